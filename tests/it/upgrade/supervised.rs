//! What a service manager gives and is told: sockets, readiness, reloads, the main process, signs of life.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use super::*;

/// The service manager's end of `NOTIFY_SOCKET`.
struct Manager(UnixDatagram, PathBuf);

impl Manager {
    fn listen(directory: &Directory) -> Self {
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(socket, path)
    }

    /// The next message that is no sign of life.
    async fn told(&self) -> String {
        within(START, "a message", async || {
            let mut bytes = [0; 4096];
            let count = self.0.recv(&mut bytes).ok()?;
            let text = String::from_utf8(bytes[..count].to_vec()).unwrap();
            (text != "WATCHDOG=1").then_some(text)
        })
        .await
    }

    async fn alive(&self) {
        within(START, "a sign of life", async || {
            let mut bytes = [0; 4096];
            let count = self.0.recv(&mut bytes).ok()?;
            (&bytes[..count] == b"WATCHDOG=1").then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_service_manager_is_told_what_happens() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let directory = Directory::new();
    let manager = Manager::listen(&directory);
    let line = Line::start_in(directory, &Config::of(&masters), |command| {
        command.env("NOTIFY_SOCKET", &manager.1).env("WATCHDOG_USEC", "200000");
    })
    .await;
    let ready =
        |pid: i32, generation| format!("READY=1\nMAINPID={pid}\nSTATUS=serving configuration generation {generation}");
    let old = line.baton.process.id();
    assert_eq!(manager.told().await, ready(old, 1));
    manager.alive().await;
    manager.alive().await;

    line.baton.write(&Config::of(&masters).route("timeout: 20s"));
    line.baton.hang_up();
    let reloading = manager.told().await;
    let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().lines().next().unwrap();
    assert!(micros.parse::<u64>().unwrap() > 0);
    assert_eq!(manager.told().await, ready(old, 2));

    line.replace_program("exit 7");
    line.ask();
    assert!(manager.told().await.starts_with("STATUS=the last upgrade failed"));
    line.restore_program();

    line.upgrade().await;
    let new = line.processes()[0];
    // Which of the two says it first is no matter.
    let mut both = [manager.told().await, manager.told().await];
    both.sort();
    assert_eq!(both, [format!("MAINPID={new}"), ready(new, 2)]);
    manager.alive().await;
    signal(new, Signal::TERM);
    assert!(manager.told().await.starts_with("STOPPING=1\n"));
}

/// Starts it as a service manager does that has opened a socket for it: the descriptor is number 3.
async fn activated(directory: Directory, config: &str, socket: OwnedFd, name: Option<&str>) -> Line {
    let program = directory.path().join("baton");
    link(&program);
    let path = directory.write("baton.yaml", config);
    let mut command = Command::new("/bin/sh");
    let script = "exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\"";
    command.args(["-c", script, "sh"]).arg(&program).args(["run", "--config"]).arg(path).stdin(socket);
    if let Some(name) = name {
        command.env("LISTEN_FDNAMES", name);
    }
    Line { baton: Baton::started(Process::spawn("baton", &mut command), directory).await, program }
}

#[tokio::test]
async fn a_socket_of_the_service_manager_is_used_by_name_and_moves_on_with_an_upgrade() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // A connection from before there is a process to take it.
    let mut early = Client::connect(address).await;
    let directory = Directory::new();
    let text = Config::of(&masters).text(&directory.path().join("data"));
    let line = activated(directory, &text, listener.try_clone().unwrap().into(), Some("gateway")).await;
    assert_eq!(line.baton.address(), address);
    assert_eq!(early.get("/").await.status, 200);
    line.upgrade().await;
    assert_eq!(Client::connect(address).await.get("/").await.status, 200);
    line.stop().await;
    // It stays the manager's: connections wait for the next process.
    TcpStream::connect(address).await.unwrap();
}

#[tokio::test]
async fn a_socket_without_a_known_name_is_used_by_its_address() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let directory = Directory::new();
    let text = Config::of(&masters).address(address).text(&directory.path().join("data"));
    let line = activated(directory, &text, listener.into(), None).await;
    assert_eq!(Client::connect(address).await.get("/").await.status, 200);
    line.stop().await;
}

#[tokio::test]
async fn the_file_of_a_service_managers_unix_socket_stays_its_own() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let directory = Directory::new();
    let keep = Directory::new();
    let path = keep.path().join("gateway.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let text = Config::of(&masters).text(&directory.path().join("data"));
    let text = text.replacen("\"127.0.0.1:0\"", &format!("\"unix:{}\"", path.display()), 1);
    let line = activated(directory, &text, listener.into(), None).await;
    line.upgrade().await;
    let mut raw = Raw::over(UnixStream::connect(&path).await.unwrap());
    raw.send("GET / HTTP/1.1\r\nHost: bot.example\r\nConnection: close\r\n\r\n").await;
    assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
    line.stop().await;
    assert!(path.exists());
}

#[tokio::test]
async fn a_socket_that_nobody_wants_is_told() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = Directory::new();
    let text = Config::of(&masters).text(&directory.path().join("data"));
    let line = activated(directory, &text, listener.into(), Some("other")).await;
    line.until_said(&["no listener has the name or the address", "other"]).await;
    line.stop().await;
}

#[test]
fn the_units_fit_the_program_and_the_example_configuration() {
    let read = |name: &str| std::fs::read_to_string(format!("{}/config/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (service, socket, config) = (read("systemd/baton.service"), read("systemd/baton.socket"), read("baton.yaml"));
    for line in [
        "Type=notify-reload",
        "NotifyAccess=all",
        "ExecStart=/usr/local/bin/baton run --config /etc/baton/baton.yaml",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
        "SystemCallFilter=@system-service",
    ] {
        assert!(service.lines().any(|found| found == line), "{line} is not in the service");
    }
    let value = |key: &str| socket.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap();
    assert!(config.contains(&format!("- name: {}\n", value("FileDescriptorName"))), "no listener for the socket");
    assert!(config.contains(&format!(":{}\n", value("ListenStream"))), "no listener at the socket's port");
}
