//! The connection between two processes that hand over: messages of [`super::handover`], and the descriptors that come
//! with them (`SCM_RIGHTS`, unix(7)).

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg, sockopt,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::handover::{Message, SOCKETS_MAX, decode, encode};

/// Read at once: a message or two.
const READ_BYTES: usize = 4096;

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    pub pid: u32,
    pub uid: u32,
}

impl Peer {
    /// Whether it may hand over to this process, or take over from it: the same user, or root.
    #[must_use]
    pub fn is_trusted(self) -> bool {
        [rustix::process::geteuid().as_raw(), 0].contains(&self.uid)
    }
}

/// What the kernel says about the other end of a connection (`SO_PEERCRED`).
///
/// # Errors
/// When the kernel does not tell.
pub fn peer(stream: &UnixStream) -> io::Result<Peer> {
    let found = sockopt::socket_peercred(stream)?;
    Ok(Peer { pid: found.pid.as_raw_nonzero().get().unsigned_abs(), uid: found.uid.as_raw() })
}

/// One end.
#[derive(Debug)]
pub struct Link {
    stream: UnixStream,
    unread: Vec<u8>,
    sockets: VecDeque<OwnedFd>,
}

impl Link {
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, unread: Vec::new(), sockets: VecDeque::new() }
    }

    /// What the kernel says about the other end (`SO_PEERCRED`): nobody can claim to be somebody else.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn peer(&self) -> io::Result<Peer> {
        peer(&self.stream)
    }

    /// Sends a message, and a socket with it. Not cancel-safe: the other end may have got a part of it.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn send(&mut self, message: &Message, mut socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let bytes = encode(message);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let sent = self.stream.async_io(Interest::WRITABLE, || push(&self.stream, rest, socket)).await?;
            // A descriptor goes with the first byte.
            socket = None;
            rest = rest.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// Sends as much of a message as there is room for, without waiting: a last word to somebody who may not listen.
    pub fn send_now(&self, message: &Message) {
        let _ = self.stream.try_write(&encode(message));
    }

    /// The next message; `None` when the other end has closed, or died. Cancel-safe.
    ///
    /// # Errors
    /// When what comes is no message, or more than a hand-over needs.
    pub async fn receive(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some(message) = decode(&mut self.unread).map_err(io::Error::other)? {
                return Ok(Some(message));
            }
            let Self { stream, unread, sockets } = &mut *self;
            match stream.async_io(Interest::READABLE, || pull(stream, unread, sockets)).await {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                // It died with something of ours unread.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// The socket that came with the message that was received last.
    pub fn take_socket(&mut self) -> Option<OwnedFd> {
        self.sockets.pop_front()
    }
}

fn push(stream: &UnixStream, bytes: &[u8], socket: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let sockets = socket.as_slice();
    if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

fn pull(stream: &UnixStream, unread: &mut Vec<u8>, sockets: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
    // One descriptor comes with a message; the kernel closes what there is no room for.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; READ_BYTES];
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(found) = message {
            sockets.extend(found);
        }
    }
    if sockets.len() > SOCKETS_MAX {
        return Err(io::Error::other(format!("more than {SOCKETS_MAX} sockets came")));
    }
    unread.extend_from_slice(bytes.get(..received.bytes).unwrap_or_default());
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    use super::*;
    use crate::listener::handover::Role;

    fn pair() -> (Link, Link) {
        let (one, other) = UnixStream::pair().unwrap();
        (Link::new(one), Link::new(other))
    }

    #[tokio::test]
    async fn sockets_arrive_in_order_with_their_messages() {
        let (mut old, mut new) = pair();
        let listeners: Vec<TcpListener> = (0..40).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let giving = async {
            for (number, listener) in listeners.iter().enumerate() {
                let message = Message::Socket { role: Role::Listener, name: number.to_string(), owns_file: false };
                old.send(&message, Some(listener.as_fd())).await.unwrap();
            }
            old.send(&Message::Complete, None).await.unwrap();
        };
        let taking = async {
            for (number, listener) in listeners.iter().enumerate() {
                let message = new.receive().await.unwrap().unwrap();
                assert!(matches!(message, Message::Socket { name, .. } if name == number.to_string()));
                let taken = TcpListener::from(new.take_socket().unwrap());
                assert_eq!(taken.local_addr().unwrap(), listener.local_addr().unwrap());
            }
            assert_eq!(new.receive().await.unwrap(), Some(Message::Complete));
            assert!(new.take_socket().is_none());
        };
        tokio::join!(giving, taking);
    }

    #[tokio::test]
    async fn an_end_that_is_closed_reads_as_none_after_what_it_said() {
        let (old, mut new) = pair();
        old.send_now(&Message::Refused { reason: "no".into() });
        drop(old);
        assert_eq!(new.receive().await.unwrap(), Some(Message::Refused { reason: "no".into() }));
        assert_eq!(new.receive().await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_peer_is_known_and_trusted_when_it_is_the_same_user() {
        let (old, _new) = pair();
        let peer = old.peer().unwrap();
        assert_eq!(peer.pid, std::process::id());
        assert!(peer.is_trusted());
        assert!(Peer { uid: 0, ..peer }.is_trusted());
        assert!(!Peer { uid: rustix::process::geteuid().as_raw() + 1, ..peer }.is_trusted());
    }
}
