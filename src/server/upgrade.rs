//! The old process's side of an upgrade: it starts the new one when asked (SIGUSR2), gives its sockets to whoever asks
//! with right (`baton run --takeover`), and carries on as if nothing had happened unless that one says that it serves.
//!
//! The order of messages, and why no connection is lost, stand in [`crate::listener::handover`]; the other side is
//! [`super::takeover`].
//!
//! **State with one owner** (a database file that is locked, for one) is let go of in `Offer::run`, between `Ready` and
//! `Go`, and taken hold of by the new process when it has read `Go`, before it accepts: see `Takeover::ready`. That is the
//! only moment, and the last thing that moves. When `Serving` does not come the old process takes hold of it again.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::json;
use tokio::net::UnixListener;
use tokio::process::{Child, Command};
use tokio::signal::unix::Signal;
use tokio::time::{Instant, timeout, timeout_at};

use super::Control;
use super::spool::PATIENCE;
use crate::config::model::ListenAddress;
use crate::events::{Event, Kind, Severity};
use crate::listener::bind::{Bound, Hold, SocketFile, bind};
use crate::listener::handover::{Message, PROTOCOL, Role, SOCKETS_MAX};
use crate::listener::inherit::Inherited;
use crate::listener::link::{Link, Peer};
use crate::telemetry::names;

/// The socket's name below `state.path`.
const SOCKET_NAME: &str = "upgrade.sock";

/// What whoever connects may take to say what it wants.
const GREETING: Duration = Duration::from_secs(2);

/// What a process that has given up may take to end, so that its exit code can be told.
const EXIT: Duration = Duration::from_secs(1);

/// Wait after an accept failed, so that being out of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Where the process that uses this state directory is asked for its sockets.
pub fn socket_path(state: &Path) -> PathBuf {
    let path = state.join(SOCKET_NAME);
    std::path::absolute(&path).unwrap_or(path)
}

/// Everything this process needs to be replaced.
pub struct Upgrades {
    /// `None`: it could not be bound, and nobody can take over.
    door: Option<Door>,
    admin: Hold,
    program: Program,
}

/// Where new processes ask. Closed before its file goes.
struct Door {
    listener: UnixListener,
    file: SocketFile,
    hold: Hold,
}

/// The process that serves from now on.
pub struct Successor(pub Peer);

/// Why an upgrade came to nothing.
struct Failed {
    outcome: &'static str,
    reason: String,
}

fn failed(reason: impl Into<String>) -> Failed {
    Failed { outcome: "failed", reason: reason.into() }
}

impl Upgrades {
    /// Takes the socket below `state` over, or binds it. Where neither works the process runs all the same and says that it
    /// cannot be replaced while it serves.
    pub fn prepare(state: &Path, inherited: &mut Inherited, admin: Hold) -> Self {
        let path = socket_path(state);
        let door = Door::open(&path, inherited);
        if let Err(error) = &door {
            tracing::warn!("no new process can take over from this one (state.path): {error}");
        }
        Self { door: door.ok(), admin, program: Program::of_this_process() }
    }

    /// Serves requests to take over until one has come to its end: the new process accepts, this one is to drain. Dropped
    /// before, it calls off what is under way. `asked` is SIGUSR2.
    pub async fn until_succeeded(self, control: &Control, mut asked: Signal) -> Successor {
        loop {
            let Some(door) = &self.door else {
                asked.recv().await;
                tell(control, &failed("this process has no socket below state.path to hand over through"));
                continue;
            };
            match self.attempt(door, &mut asked, control).await {
                Ok(successor) => return successor,
                Err(failure) => tell(control, &failure),
            }
        }
    }

    async fn attempt(&self, door: &Door, asked: &mut Signal, control: &Control) -> Result<Successor, Failed> {
        let (mut child, link) = tokio::select! {
            _ = asked.recv() => (Some(self.program.start(door.file.path())?), None),
            link = door.greeted() => (None, Some(link)),
        };
        let patience = control.published.load().config.upgrade_timeout;
        let deadline = Instant::now() + patience;
        let hand_over = async {
            let link = match link {
                Some(link) => link,
                None => tokio::select! {
                    link = door.greeted() => link,
                    status = ended(&mut child) => return Err(failed(format!("the new process ended ({status})"))),
                },
            };
            tokio::select! {
                result = self.give(door, link, control) => result,
                never = refuse_others(door, asked, control) => match never {},
            }
        };
        let result = timeout_at(deadline, hand_over).await.unwrap_or_else(|_| {
            let reason = format!("the new process was not ready within {} s (upgrade_timeout)", patience.as_secs_f32());
            Err(Failed { outcome: "timed-out", reason })
        });
        let result = match (result, child) {
            (Err(failure), Some(child)) => Err(Failed { reason: settle(child, failure.reason).await, ..failure }),
            (result, _) => result,
        };
        if result.is_err() {
            control.take_back_spool(PATIENCE).await;
            control.audit.resume();
            control.take_back_failover().await;
        }
        result
    }

    /// Hands everything over, up to the word that the new process serves.
    async fn give(&self, door: &Door, link: Link, control: &Control) -> Result<Successor, Failed> {
        let peer = link.peer().map_err(|error| failed(format!("the new process is unknown: {error}")))?;
        tracing::info!(pid = peer.pid, "a new process is taking over");
        let sockets = self.sockets(door, control).map_err(|error| failed(format!("no socket to pass on: {error}")))?;
        let mut offer = Offer { link, open: true };
        let kept = offer.run(&sockets, control).await?;
        // The new process serves: from here on nothing can fail.
        offer.open = false;
        for index in kept {
            match sockets.get(index) {
                Some(Socket { role: Role::Listener, name, .. }) => control.acceptor.leave(name),
                Some(Socket { role: Role::Admin, .. }) => self.admin.passed_on(),
                Some(Socket { role: Role::Upgrade, .. }) => door.hold.passed_on(),
                None => {}
            }
        }
        Ok(Successor(peer))
    }

    fn sockets(&self, door: &Door, control: &Control) -> std::io::Result<Vec<Socket>> {
        let mut sockets = vec![Socket::new(Role::Upgrade, "", &door.hold), Socket::new(Role::Admin, "", &self.admin)];
        control.acceptor.each(|name, hold| sockets.push(Socket::new(Role::Listener, name, hold)));
        if sockets.len() > SOCKETS_MAX {
            return Err(std::io::Error::other(format!("more than {SOCKETS_MAX} sockets")));
        }
        sockets.into_iter().collect()
    }
}

/// Logs a failure, counts it, and says that all is well nevertheless.
fn tell(control: &Control, Failed { outcome, reason }: &Failed) {
    control.telemetry.cold.counter(&names::UPGRADES, &[outcome]).increment(1);
    tracing::error!("the upgrade did not take place, this process carries on: {reason}");
    let event = Event::new(Kind::UpgradeFailed, Severity::Warning, format!("the upgrade did not take place: {reason}"));
    control.events.publish(event.detail(json!({ "outcome": outcome })));
    control.supervisor.status("the last upgrade failed; the old process carries on");
}

/// Answers whoever wants to take over while somebody else does.
async fn refuse_others(door: &Door, asked: &mut Signal, control: &Control) -> Infallible {
    loop {
        tokio::select! {
            _ = asked.recv() => {}
            mut link = door.greeted() => {
                let reason = "another process is taking over just now".to_owned();
                // It may have left meanwhile.
                let _ = link.send(&Message::Refused { reason }, None).await;
            }
        }
        control.telemetry.cold.counter(&names::UPGRADES, &["refused"]).increment(1);
        tracing::warn!("an upgrade is refused: another process is taking over just now");
    }
}

async fn ended(child: &mut Option<Child>) -> ExitStatus {
    match child {
        Some(child) => match child.wait().await {
            Ok(status) => status,
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// Makes sure that a process that did not take over is gone, and adds what is known about its end.
async fn settle(mut child: Child, reason: String) -> String {
    match timeout(EXIT, child.wait()).await {
        Ok(Ok(status)) if !reason.contains("ended (") => format!("{reason} ({status})"),
        Ok(_) => reason,
        Err(_) => {
            // It fails when the process has just ended.
            let _ = child.kill().await;
            format!("{reason}; it has been killed")
        }
    }
}

impl Door {
    fn open(path: &Path, inherited: &mut Inherited) -> Result<Self, String> {
        let address = ListenAddress::Unix(path.to_owned());
        let problem = |error: std::io::Error| format!("{}: {error}", path.display());
        let bound = match inherited.take(Role::Upgrade, "", &address) {
            Some(bound) => bound,
            None => {
                if let Some(folder) = path.parent() {
                    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(problem)?;
                }
                let bound = bind(&address, "upgrades")?;
                // Until then only the check of the peer's user keeps others out; it is what counts afterwards, too.
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(problem)?;
                bound
            }
        };
        let hold = bound.hold().map_err(problem)?;
        let Bound::Unix(listener, file) = bound else { return Err("it is no Unix socket".to_owned()) };
        Ok(Self { listener: UnixListener::from_std(listener).map_err(problem)?, file, hold })
    }

    /// The next process that says, in a language this one speaks, that it wants to take over. Cancel-safe but for one
    /// whose greeting is under way.
    async fn greeted(&self) -> Link {
        loop {
            let mut link = match self.listener.accept().await {
                Ok((stream, _)) => Link::new(stream),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the socket for upgrades");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let reason = match link.peer() {
                Ok(peer) if peer.is_trusted() => match timeout(GREETING, link.receive()).await {
                    Ok(Ok(Some(Message::Hello { protocol: PROTOCOL, .. }))) => return link,
                    Ok(Ok(Some(Message::Hello { protocol, version }))) => format!(
                        "version {version} hands over by protocol {protocol}, and {} by protocol {PROTOCOL}",
                        env!("CARGO_PKG_VERSION")
                    ),
                    // It only wanted to know whether anybody is here.
                    Ok(Ok(None)) => continue,
                    _ => "that was no greeting".to_owned(),
                },
                Ok(peer) => format!("user {} may not take over", peer.uid),
                Err(_) => continue,
            };
            tracing::warn!("a process that wants to take over is refused: {reason}");
            link.send_now(&Message::Refused { reason });
        }
    }
}

/// A socket on its way.
struct Socket {
    role: Role,
    name: String,
    owns_file: bool,
    descriptor: OwnedFd,
}

impl Socket {
    fn new(role: Role, name: &str, hold: &Hold) -> std::io::Result<Self> {
        let descriptor = hold.socket().try_clone_to_owned()?;
        Ok(Self { role, name: name.to_owned(), owns_file: hold.owns_file(), descriptor })
    }
}

/// A hand-over under way. Dropped while open, it tells the other process that there will be none.
struct Offer {
    link: Link,
    open: bool,
}

impl Offer {
    /// Gives the numbers of the sockets that the new process serves by now.
    async fn run(&mut self, sockets: &[Socket], owner: &Control) -> Result<Vec<usize>, Failed> {
        for Socket { role, name, owns_file, descriptor } in sockets {
            let message = Message::Socket { role: *role, name: name.clone(), owns_file: *owns_file };
            self.link.send(&message, Some(descriptor.as_fd())).await.map_err(|error| gone(&error))?;
        }
        self.link.send(&Message::Complete, None).await.map_err(|error| gone(&error))?;
        let kept = match self.receive().await? {
            Message::Ready { kept } => kept,
            other => return Err(unexpected(&other)),
        };
        // State with one owner is let go of here: see the top of this file.
        owner.hand_over_spool().await;
        owner.audit.release().await;
        owner.failover.release().await;
        self.link.send(&Message::Go, None).await.map_err(|error| gone(&error))?;
        match self.receive().await? {
            Message::Serving => Ok(kept),
            other => Err(unexpected(&other)),
        }
    }

    async fn receive(&mut self) -> Result<Message, Failed> {
        match self.link.receive().await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(failed("the new process ended before it served")),
            Err(error) => Err(gone(&error)),
        }
    }
}

fn gone(error: &std::io::Error) -> Failed {
    failed(format!("the new process cannot be talked to: {error}"))
}

fn unexpected(message: &Message) -> Failed {
    failed(format!("the new process said something else than expected: {message:?}"))
}

impl Drop for Offer {
    fn drop(&mut self) {
        if self.open {
            self.link.send_now(&Message::Refused { reason: "the process to take over from has called it off".into() });
        }
    }
}

/// How this process was started.
#[derive(Debug, PartialEq, Eq)]
struct Program {
    /// As it was called: a file put in its place is the new program, and so is one that a link on the way leads to.
    called: PathBuf,
    /// Where that turned out to be; for a name that cannot be found any more.
    found: Option<PathBuf>,
    arguments: Vec<OsString>,
}

impl Program {
    fn of_this_process() -> Self {
        let mut words = std::env::args_os();
        let called = words.next().map(PathBuf::from).unwrap_or_default();
        let is_path = called.components().count() > 1;
        let called = if is_path { std::path::absolute(&called).unwrap_or(called) } else { called };
        Self { called, found: std::env::current_exe().ok(), arguments: without_takeover(words) }
    }

    fn start(&self, socket: &Path) -> Result<Child, Failed> {
        let on_path = || {
            let folders = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&folders).map(|folder| folder.join(&self.called)).find(|file| file.is_file())
        };
        let program = if self.called.is_absolute() { Some(self.called.clone()) } else { on_path() };
        let program = program.filter(|file| file.is_file()).or_else(|| self.found.clone());
        let program = program.ok_or_else(|| failed(format!("{} is not there", self.called.display())))?;
        let mut from = OsString::from("--takeover=");
        from.push(socket);
        let mut command = Command::new(&program);
        command.args(&self.arguments).arg(from);
        // These were meant for this process.
        for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
            command.env_remove(name);
        }
        let child = command.spawn();
        let child = child.map_err(|error| failed(format!("cannot start {}: {error}", program.display())))?;
        tracing::info!(pid = child.id(), "starting {} to take over from this process", program.display());
        Ok(child)
    }
}

/// The arguments as they were given, but for what an earlier upgrade has added.
fn without_takeover(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    words.filter(|word| !word.as_encoded_bytes().starts_with(b"--takeover")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_itself_started_by_an_upgrade_passes_its_own_arguments_on() {
        let given = ["run", "--config", "a b.yaml", "--takeover=/run/baton/upgrade.sock"].map(OsString::from);
        assert_eq!(without_takeover(given.into_iter()), ["run", "--config", "a b.yaml"]);
    }

    #[test]
    fn the_socket_stands_below_the_state_directory_with_its_whole_path() {
        assert_eq!(socket_path(Path::new("/var/lib/baton")), Path::new("/var/lib/baton/upgrade.sock"));
        assert!(socket_path(Path::new("./data")).is_absolute());
    }
}
