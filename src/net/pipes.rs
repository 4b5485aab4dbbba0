//! Pipes that the kernel moves bytes through from one TCP socket to another (splice(2)): a transfer in bulk is not copied through
//! this process. One stock for each worker, bounded; who gets none copies.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;

use super::stream::Stream;

/// What a pipe is made to hold; the kernel's default where it allows no more. Larger ones take fewer calls for each
/// gigabyte, and too large ones leave the processor's cache.
const PIPE_BYTES: usize = 256 * 1024;

/// Pipes of one worker that are in use: 16 MiB. One user's may have 64 MiB beyond which they get a page each (pipe(7)).
const PIPES_MAX: usize = 64;

/// Empty pipes kept for the next transfer.
const STOCK_PIPES: usize = 16;

/// Where pipes come from and go back to.
#[derive(Debug, Default)]
pub struct Pipes {
    stock: RefCell<Vec<Ends>>,
    used: Cell<usize>,
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

/// A pipe in use. Dropping it gives it back, or closes it when there is still something in it.
#[derive(Debug)]
pub struct Pipe {
    /// There until it is dropped.
    ends: Option<Ends>,
    held: usize,
    home: Rc<Pipes>,
}

impl Pipes {
    /// An empty pipe; `None` when enough are in use, or the process may have no more.
    #[must_use]
    pub fn take(self: &Rc<Self>) -> Option<Pipe> {
        if self.used.get() >= PIPES_MAX {
            return None;
        }
        let kept = self.stock.borrow_mut().pop();
        let ends = kept.or_else(|| {
            let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).ok()?;
            // Whatever it holds then will do.
            let _ = fcntl_setpipe_size(&write, PIPE_BYTES);
            Some(Ends { read, write })
        })?;
        self.used.set(self.used.get() + 1);
        Some(Pipe { ends: Some(ends), held: 0, home: self.clone() })
    }
}

impl Pipe {
    /// Whether bytes are on their way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes what has come from a TCP stream into the empty pipe; 0 is the peer's end.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, from: &Stream) -> Poll<io::Result<usize>> {
        let Some(Ends { write, .. }) = &self.ends else { return Poll::Ready(unsupported()) };
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        let polled = from.with_tcp(|tcp| {
            loop {
                ready!(tcp.poll_read_ready(cx))?;
                let moved = tcp.try_io(Interest::READABLE, || Ok(splice(tcp, None, write, None, PIPE_BYTES, flags)?));
                match moved {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    moved => return Poll::Ready(moved),
                }
            }
        });
        let count = ready!(polled.unwrap_or_else(|| Poll::Ready(unsupported())))?;
        self.held += count;
        Poll::Ready(Ok(count))
    }

    /// Gives a TCP stream what it takes of the pipe.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, to: &Stream) -> Poll<io::Result<usize>> {
        let Some(Ends { read, .. }) = &self.ends else { return Poll::Ready(unsupported()) };
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        let polled = to.with_tcp(|tcp| {
            loop {
                ready!(tcp.poll_write_ready(cx))?;
                let moved = tcp.try_io(Interest::WRITABLE, || Ok(splice(read, None, tcp, None, self.held, flags)?));
                match moved {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    moved => return Poll::Ready(moved),
                }
            }
        });
        let count = ready!(polled.unwrap_or_else(|| Poll::Ready(unsupported())))?;
        self.held -= count;
        Poll::Ready(Ok(count))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.home.used.set(self.home.used.get() - 1);
        let mut stock = self.home.stock.borrow_mut();
        if let Some(ends) = self.ends.take().filter(|_| self.held == 0 && stock.len() < STOCK_PIPES) {
            stock.push(ends);
        }
    }
}

/// Whether the kernel, or who watches over it, does not do this here at all.
#[must_use]
pub fn is_unsupported(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported)
}

fn unsupported() -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_are_bounded_and_come_back_empty_or_not_at_all() {
        let pipes = Rc::<Pipes>::default();
        let mut taken: Vec<_> = (0..PIPES_MAX).map(|_| pipes.take().unwrap()).collect();
        assert!(pipes.take().is_none());
        taken[0].held = 1;
        taken.truncate(2);
        assert_eq!((pipes.used.get(), pipes.stock.borrow().len()), (2, STOCK_PIPES));
        assert!(pipes.take().is_some());
        pipes.stock.borrow_mut().clear();
        drop(taken);
        assert_eq!((pipes.used.get(), pipes.stock.borrow().len()), (0, 1), "the one with bytes in it is closed");
    }
}
