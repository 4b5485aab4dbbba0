//! What a service manager is told: readiness, reloads, stopping, and which process is the main one (sd_notify(3)).
//!
//! Thirty lines, so no crate for it: a datagram to the socket that `NOTIFY_SOCKET` names. Without that variable nothing
//! happens.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A message waits for room no longer: a service manager that does not read must not hold up the control plane.
const SEND: Duration = Duration::from_secs(1);

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub struct Supervisor {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// As the environment tells.
    pub fn from_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let to = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let address = match name.as_bytes().split_first() {
                Some((b'@', rest)) => SocketAddr::from_abstract_name(rest),
                _ => SocketAddr::from_pathname(&name),
            };
            let socket = UnixDatagram::unbound().and_then(|socket| {
                socket.set_write_timeout(Some(SEND))?;
                Ok(socket)
            });
            match (socket, address) {
                (Ok(socket), Ok(address)) => Some((socket, address)),
                (Err(error), _) | (_, Err(error)) => {
                    tracing::warn!(%error, "the service manager cannot be told anything (NOTIFY_SOCKET)");
                    None
                }
            }
        });
        Self { to, watchdog: watchdog(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID")) }
    }

    /// How often [`Supervisor::alive`] has to be said: twice in the time that the service manager allows.
    pub fn pulse(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.to.is_some()).map(|allowed| allowed / 2)
    }

    /// This process serves.
    pub fn ready(&self, generation: u64) {
        let pid = std::process::id();
        self.tell(&format!("READY=1\nMAINPID={pid}\nSTATUS=serving configuration generation {generation}"));
    }

    /// A reload begins; [`Supervisor::ready`] ends it, whatever its outcome.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reading the configuration again"));
    }

    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=finishing what is in flight");
    }

    /// Another process is the service from now on.
    pub fn succeeded_by(&self, pid: u32) {
        self.tell(&format!("MAINPID={pid}"));
    }

    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// One line for people.
    pub fn status(&self, line: &str) {
        self.tell(&format!("STATUS={line}"));
    }

    fn tell(&self, message: &str) {
        let Some((socket, address)) = &self.to else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            tracing::warn!(%error, "the service manager does not take a message (NOTIFY_SOCKET)");
        }
    }
}

/// The time between two signs of life that is allowed, if this process is to give any.
fn watchdog(micros: Option<String>, pid: Option<String>) -> Option<Duration> {
    let ours = pid.is_none_or(|pid| pid == std::process::id().to_string());
    let micros: u64 = micros?.parse().ok()?;
    (ours && micros > 0).then(|| Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_of_another_process_is_none() {
        let text = |text: &str| Some(text.to_owned());
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog(text("1000000"), None), second);
        assert_eq!(watchdog(text("1000000"), Some(std::process::id().to_string())), second);
        assert_eq!(watchdog(text("1000000"), text("1")), None);
        assert_eq!(watchdog(text("0"), None), None);
        assert_eq!(watchdog(text("soon"), None), None);
        assert_eq!(watchdog(None, None), None);
    }
}
