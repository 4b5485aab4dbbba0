//! The bytes read from a peer and not yet dealt with, and the stock that buffers come from.
//!
//! A connection that waits for its next request holds no buffer at all: it takes one when the kernel has something to
//! read and gives it back when everything in it has been dealt with. Ten thousand idle connections cost their tasks and
//! sockets only.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::stream::Stream;

/// What a buffer holds at first; a page multiple that takes most webhooks whole, head and body.
pub const BUFFER_BYTES: usize = 16 * 1024;

/// Empty buffers that one worker keeps for the next connection: 4 MiB.
const STOCK_BUFFERS: usize = 256;

/// Where buffers come from and go back to. One for each worker.
#[derive(Debug, Default)]
pub struct BufferStock(RefCell<Vec<Vec<u8>>>);

/// Received bytes, `start..end` of `bytes`. Holds memory only between [`Buffer::reserve`] and [`Buffer::release`].
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    stock: Rc<BufferStock>,
}

impl BufferStock {
    fn take(&self) -> Vec<u8> {
        self.0.borrow_mut().pop().unwrap_or_else(|| vec![0; BUFFER_BYTES])
    }

    fn give_back(&self, bytes: Vec<u8>) {
        let mut stock = self.0.borrow_mut();
        if bytes.len() == BUFFER_BYTES && stock.len() < STOCK_BUFFERS {
            stock.push(bytes);
        }
    }
}

impl Buffer {
    /// An empty buffer without memory.
    #[must_use]
    pub fn new(stock: &Rc<BufferStock>) -> Self {
        Self { bytes: Vec::new(), start: 0, end: 0, stock: stock.clone() }
    }

    /// What has been received and not consumed.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Forgets the first `count` received bytes, or all if there are fewer.
    pub fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Makes room for at least one more byte while holding up to `limit`; false when `limit` bytes are held already.
    pub fn reserve(&mut self, limit: usize) -> bool {
        if self.bytes.is_empty() {
            self.bytes = self.stock.take();
        }
        if self.end < self.bytes.len() {
            return true;
        }
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            return true;
        }
        if self.bytes.len() >= limit {
            return false;
        }
        let larger = (self.bytes.len() * 2).min(limit.max(BUFFER_BYTES));
        self.bytes.resize(larger, 0);
        true
    }

    /// Gives the memory back if nothing is held.
    pub fn release(&mut self) {
        if self.is_empty() && !self.bytes.is_empty() {
            self.stock.give_back(std::mem::take(&mut self.bytes));
            self.start = 0;
            self.end = 0;
        }
    }

    /// Puts `bytes` behind what is held, whatever their number.
    pub fn put(&mut self, bytes: &[u8]) {
        self.reserve(BUFFER_BYTES);
        let end = self.end + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[self.end..end].copy_from_slice(bytes);
        self.end = end;
    }

    /// Reads once from `stream` behind what is held. `Ok(0)` is the peer's end. Room must have been reserved.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, stream: &Stream) -> Poll<io::Result<usize>> {
        let count = ready!(stream.poll_read(cx, &mut self.bytes[self.end..]))?;
        self.end += count;
        Poll::Ready(Ok(count))
    }

    /// See [`Buffer::poll_fill`]. Cancel-safe.
    pub async fn fill(&mut self, stream: &Stream) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_fill(cx, stream)).await
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if !bytes.is_empty() {
            self.stock.give_back(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_buffer_grows_to_its_limit_and_no_further() {
        let stock = Rc::new(BufferStock::default());
        let mut buffer = Buffer::new(&stock);
        assert!(buffer.reserve(40_000));
        buffer.end = buffer.bytes.len();
        assert!(buffer.reserve(40_000));
        assert_eq!(buffer.bytes.len(), 32_768);
        buffer.end = buffer.bytes.len();
        assert!(buffer.reserve(40_000));
        buffer.end = buffer.bytes.len();
        assert_eq!(buffer.bytes.len(), 40_000);
        assert!(!buffer.reserve(40_000));
    }

    #[test]
    fn consumed_bytes_make_room_before_the_buffer_grows() {
        let stock = Rc::new(BufferStock::default());
        let mut buffer = Buffer::new(&stock);
        buffer.reserve(BUFFER_BYTES);
        buffer.end = BUFFER_BYTES;
        buffer.bytes[BUFFER_BYTES - 1] = 7;
        buffer.consume(BUFFER_BYTES - 1);
        assert!(buffer.reserve(BUFFER_BYTES));
        assert_eq!(buffer.filled(), [7]);
    }

    #[test]
    fn more_than_is_held_can_be_consumed() {
        let stock = Rc::new(BufferStock::default());
        let mut buffer = Buffer::new(&stock);
        buffer.reserve(BUFFER_BYTES);
        buffer.end = 10;
        buffer.consume(3);
        buffer.consume(usize::MAX);
        assert!(buffer.is_empty());
    }

    #[test]
    fn an_empty_buffer_gives_its_memory_back_for_the_next_one() {
        let stock = Rc::new(BufferStock::default());
        let mut buffer = Buffer::new(&stock);
        buffer.reserve(BUFFER_BYTES);
        buffer.release();
        assert_eq!(buffer.bytes.capacity(), 0);
        assert_eq!(stock.0.borrow().len(), 1);
    }
}
