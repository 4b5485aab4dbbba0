//! A level-triggered epoll set over nonblocking sockets, each known by a number.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

/// Events taken by one system call.
const BATCH: usize = 256;

pub struct Poller {
    set: OwnedFd,
    ready: Vec<u64>,
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        Ok(Self { set: epoll::create(epoll::CreateFlags::CLOEXEC)?, ready: Vec::with_capacity(BATCH) })
    }

    /// Watches a socket for input until it is closed.
    pub fn add(&self, socket: impl AsFd, number: u64) -> io::Result<()> {
        Ok(epoll::add(&self.set, socket, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?)
    }

    /// The numbers of the sockets that have input, or none after `timeout`.
    ///
    /// The wait itself is a `ppoll`, whose timeout has nanoseconds where that of `epoll_wait` has milliseconds.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<&[u64]> {
        if let Some(timeout) = timeout {
            let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&self.set, PollFlags::IN)], Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut events = [MaybeUninit::uninit(); BATCH];
        let taken = match epoll::wait(&self.set, &mut events, timeout.is_some().then_some(&now)) {
            Ok((taken, _)) => taken,
            Err(rustix::io::Errno::INTR) => &mut [],
            Err(error) => return Err(error.into()),
        };
        self.ready.clear();
        self.ready.extend(taken.iter().map(|event| {
            let data = event.data;
            data.u64()
        }));
        Ok(&self.ready)
    }
}
