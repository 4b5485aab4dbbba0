//! Upgrades that do not take place: the old process carries on, says why, and counts it.

use super::*;

/// Health that takes two seconds to be known: an address that takes connections and never answers.
fn slow_start(masters: &[crate::kit::Master], silent: &RawMaster) -> Config {
    let probes = PROBES.replace("timeout: 500ms", "timeout: 4s").replace("interval: 500ms", "interval: 5s");
    Config::of(masters).master("silent", silent.address, "").upstream(&probes)
}

#[tokio::test]
async fn a_configuration_that_is_wrong_changes_nothing() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let line = Line::start(&Config::of(&masters)).await;
    line.baton.write(&Config::of(&masters).upstream("stratgey: random"));
    line.ask();
    line.until_counted("failed", 1.0).await;
    line.until_said(&["the upgrade did not take place", "exit status: 2"]).await;
    line.answers().await;
    assert_eq!(line.processes().len(), 1);
    line.baton.write(&Config::of(&masters));
    line.upgrade().await;
    line.answers().await;
    line.stop().await;
}

#[tokio::test]
async fn a_new_listener_that_cannot_be_bound_changes_nothing() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let line = Line::start(&Config::of(&masters)).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let file = line.baton.directory().join("other.yaml");
    let text = Config::of(&masters).address(taken.local_addr().unwrap()).text(&line.baton.directory().join("data"));
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(&line.program);
    command.args(["run", "--takeover", "--config"]).arg(file).stdin(Stdio::null());
    let mut new = Process::spawn("new", &mut command);
    assert_eq!(new.ended().await.code(), Some(1));
    assert!(new.said(Stream::Err).contains("in use"), "{}", new.said(Stream::Err));
    line.until_counted("failed", 1.0).await;
    line.answers().await;
    // What the new one had in its hands is as it was.
    line.upgrade().await;
    line.answers().await;
    line.stop().await;
}

#[tokio::test]
async fn a_program_that_ends_or_cannot_be_started_changes_nothing_and_the_old_one_put_back_works() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let line = Line::start(&Config::of(&masters)).await;
    line.replace_program("exit 7");
    line.ask();
    line.until_said(&["the upgrade did not take place", "exit status: 7"]).await;
    std::fs::write(&line.program, "not a program").unwrap();
    line.ask();
    line.until_said(&["the upgrade did not take place", "cannot start"]).await;
    line.until_counted("failed", 2.0).await;
    line.answers().await;
    line.restore_program();
    line.upgrade().await;
    line.answers().await;
    line.stop().await;
}

#[tokio::test]
async fn a_program_that_hangs_is_ended_after_the_upgrade_timeout() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let line = Line::start(&Config::of(&masters).top("upgrade_timeout: 500ms")).await;
    line.replace_program("exec tail -f \"$0\"");
    line.ask();
    eventually("the new program runs", async || (line.processes().len() == 2).then_some(())).await;
    line.until_counted("timed-out", 1.0).await;
    line.until_said(&["the upgrade did not take place", "0.5 s (upgrade_timeout)", "killed"]).await;
    assert_eq!(line.processes().len(), 1);
    line.answers().await;
    line.stop().await;
}

#[tokio::test]
async fn a_new_process_that_is_killed_before_it_is_ready_changes_nothing() {
    let _machine = among_others().await;
    let (masters, silent) = (masters(["a"]).await, RawMaster::bind().await);
    let line = Line::start(&slow_start(&masters, &silent)).await;
    line.ask();
    line.until_said(&["taking over from the process that serves"]).await;
    let new = line.processes()[1];
    signal(new, Signal::KILL);
    line.until_counted("failed", 1.0).await;
    line.until_said(&["the upgrade did not take place", "signal: 9"]).await;
    assert_eq!(line.ready(), 1);
    line.answers().await;
    line.stop().await;
}

#[tokio::test]
async fn a_new_process_goes_on_alone_when_the_old_one_is_killed_in_the_middle() {
    let _machine = among_others().await;
    let (masters, silent) = (masters(["a"]).await, RawMaster::bind().await);
    let line = Line::start(&slow_start(&masters, &silent)).await;
    let address = line.baton.address();
    line.ask();
    line.until_said(&["taking over from the process that serves"]).await;
    line.baton.process.signal(Signal::KILL);
    eventually("the old process is gone", async || (line.processes().len() == 1).then_some(())).await;
    // Nobody accepts, and the kernel keeps it.
    let mut waiting = Client::connect(address).await;
    assert_eq!(line.ready(), 1);
    assert_eq!(waiting.get("/").await.status, 200);
    // It accepts before it says so.
    eventually("the new process says that it is ready", async || (line.ready() == 2).then_some(())).await;
    line.upgrade().await;
    line.answers().await;
    line.stop().await;
}

#[tokio::test]
async fn of_two_that_want_to_take_over_one_wins() {
    let _machine = among_others().await;
    let (masters, silent) = (masters(["a"]).await, RawMaster::bind().await);
    let line = Line::start(&slow_start(&masters, &silent)).await;
    let start = |name: &str| {
        let mut command = Command::new(&line.program);
        command.args(["run", "--takeover", "--config"]).arg(line.baton.config_path()).stdin(Stdio::null());
        Process::spawn(name, &mut command)
    };
    let mut first = start("first");
    line.until_said(&["a new process is taking over"]).await;
    let mut second = start("second");
    line.baton.process.signal(Signal::USR2);
    assert_eq!(second.ended().await.code(), Some(1));
    assert!(second.said(Stream::Err).contains("another process is taking over"), "{}", second.said(Stream::Err));
    first.line("ready", |line| (line == "ready").then_some(())).await;
    within(START, "one process is left", async || (line.processes() == [first.id()]).then_some(())).await;
    line.answers().await;
    assert!(line.said().contains("an upgrade is refused"));
    line.stop().await;
}

#[tokio::test]
async fn sigterm_in_the_middle_of_an_upgrade_ends_both() {
    let _machine = among_others().await;
    let (masters, silent) = (masters(["a"]).await, RawMaster::bind().await);
    let line = Line::start(&slow_start(&masters, &silent)).await;
    line.ask();
    line.until_said(&["taking over from the process that serves"]).await;
    line.baton.process.signal(Signal::TERM);
    within(START, "both have ended", async || line.processes().is_empty().then_some(())).await;
    assert_eq!(line.ready(), 1);
}

#[tokio::test]
async fn without_a_process_to_take_over_from_it_starts_by_itself() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let line = Line::start_with(&Config::of(&masters), |command| {
        command.arg("--takeover");
    })
    .await;
    line.answers().await;
    line.until_said(&["nobody to take over from"]).await;
    let nowhere = line.baton.directory().join("nowhere.sock");
    let mut command = Command::new(&line.program);
    command.args(["run", "--config"]).arg(line.baton.config_path()).stdin(Stdio::null());
    command.arg(format!("--takeover={}", nowhere.display()));
    let mut lost = Process::spawn("lost", &mut command);
    assert_eq!(lost.ended().await.code(), Some(1));
    assert!(lost.said(Stream::Err).contains("nobody is there"), "{}", lost.said(Stream::Err));
    line.stop().await;
}

#[tokio::test]
async fn the_socket_is_for_its_owner_alone_and_garbage_on_it_changes_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let line = Line::start(&Config::of(&masters)).await;
    let socket = line.baton.directory().join("data/upgrade.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    for garbage in ["", "GET / HTTP/1.1\r\n\r\n", "\0\0\0\u{2}{}", "\u{7f}\u{7f}\u{7f}\u{7f}"] {
        let mut raw = Raw::over(UnixStream::connect(&socket).await.unwrap());
        raw.send(garbage).await.finish().await;
        raw.rest().await;
    }
    line.upgrade().await;
    line.answers().await;
    line.stop().await;
}
