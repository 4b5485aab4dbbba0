//! The new process's side of an upgrade: it gets the sockets of the one that serves, and takes its place when it is ready.
//!
//! The order of messages stands in [`crate::listener::handover`], the other side is [`super::upgrade`].

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::listener::handover::{Message, PROTOCOL};
use crate::listener::inherit::Inherited;
use crate::listener::link::Link;

/// What the old process may take for each of its answers: it has everything at hand.
const ANSWER: Duration = Duration::from_secs(10);

/// A hand-over under way. Dropped before [`Takeover::serving`], the old process carries on.
pub struct Takeover {
    link: Link,
    alone: bool,
}

impl Takeover {
    /// Asks the process behind `socket` for its sockets and adds them to `inherited`. `None` when nobody is there.
    ///
    /// # Errors
    /// One line, when it refuses or is not to be trusted.
    pub async fn begin(socket: &Path, inherited: &mut Inherited) -> Result<Option<Self>, String> {
        let problem = |error: &dyn std::fmt::Display| format!("cannot take over through {}: {error}", socket.display());
        let stream = match UnixStream::connect(socket).await {
            Ok(stream) => stream,
            Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused].contains(&error.kind()) => {
                return Ok(None);
            }
            Err(error) => return Err(problem(&error)),
        };
        let mut this = Self { link: Link::new(stream), alone: false };
        let peer = this.link.peer().map_err(|error| problem(&error))?;
        if !peer.is_trusted() {
            return Err(problem(&format!("process {} belongs to user {}", peer.pid, peer.uid)));
        }
        let hello = Message::Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned() };
        this.link.send(&hello, None).await.map_err(|error| problem(&error))?;
        loop {
            match this.answer().await.map_err(|error| problem(&error))? {
                Some(Message::Socket { role, name, owns_file }) => {
                    let descriptor = this.link.take_socket().ok_or_else(|| problem(&"a socket did not come along"))?;
                    inherited.add(role, name, descriptor, owns_file).map_err(|error| problem(&error))?;
                }
                Some(Message::Complete) => break,
                Some(other) => return Err(problem(&format!("unexpected {other:?}"))),
                None => break,
            }
        }
        if !this.alone {
            tracing::info!(pid = peer.pid, "taking over from the process that serves");
        }
        Ok(Some(this))
    }

    /// Says that everything is prepared, and waits until the old process leaves the rest to this one. `kept` are the
    /// numbers of the sockets in use. Afterwards this process owns what only one may own, and is to accept.
    ///
    /// # Errors
    /// One line, when the old process carries on instead.
    pub async fn ready(&mut self, kept: Vec<usize>) -> Result<(), String> {
        // Where it cannot be sent there may be a last word to read: dead and called off are not the same.
        let _ = self.link.send(&Message::Ready { kept }, None).await;
        match self.answer().await.map_err(|error| format!("the process to take over from carries on: {error}"))? {
            Some(Message::Go) | None => Ok(()),
            Some(other) => Err(format!("the process to take over from carries on: unexpected {other:?}")),
        }
    }

    /// Says that this process accepts, which lets the old one go.
    pub async fn serving(mut self) {
        if !self.alone {
            // Dead or alive, it is not needed any more.
            let _ = self.link.send(&Message::Serving, None).await;
        }
    }

    /// `None` when the old process is dead: then this one is alone, and goes on with what it has.
    async fn answer(&mut self) -> Result<Option<Message>, String> {
        if self.alone {
            return Ok(None);
        }
        match timeout(ANSWER, self.link.receive()).await {
            Ok(Ok(Some(Message::Refused { reason }))) => Err(format!("it refuses: {reason}")),
            Ok(Ok(Some(message))) => Ok(Some(message)),
            Ok(Ok(None)) => {
                tracing::warn!("the process to take over from has ended in the middle of it; this one goes on alone");
                self.alone = true;
                Ok(None)
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("it did not answer within {} s", ANSWER.as_secs())),
        }
    }
}
