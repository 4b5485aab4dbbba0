//! A request body's bytes between its client and a master, kept for another attempt as far as that is allowed.
//!
//! Nothing more is to be taken from the client while something is unsent. Up to a limit the bytes are kept, so that another
//! attempt can start from the beginning; a body that outgrows it, or the worker's allowance, is tried once.

use std::rc::Rc;

use crate::exchange::load::Load;

/// The bytes of one body.
#[derive(Debug)]
pub struct Replay {
    /// All since the start while they are kept, else those not yet sent.
    bytes: Vec<u8>,
    sent: usize,
    kept: bool,
    keep_max: usize,
    load: Rc<Load>,
    allowed: usize,
}

impl Replay {
    /// Keeps up to `keep_max` bytes.
    #[must_use]
    pub fn new(keep_max: usize, load: Rc<Load>) -> Self {
        Self { bytes: Vec::new(), sent: 0, kept: true, keep_max, load, allowed: 0 }
    }

    /// What is still to be sent.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// So many bytes of it have been sent.
    pub fn sent(&mut self, count: usize) {
        self.sent += count;
        if !self.kept && self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        }
    }

    /// Goes back to the start; false when that is gone.
    pub fn rewind(&mut self) -> bool {
        if self.kept {
            self.sent = 0;
        }
        self.kept
    }

    /// Adds bytes that came from the client.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if self.kept {
            self.kept = self.bytes.len() <= self.keep_max && self.load.keep(bytes.len());
            if self.kept {
                self.allowed += bytes.len();
            } else {
                // In a vector of its own size: what is no longer allowed must not stay allocated.
                self.bytes = self.bytes.split_off(self.sent);
                self.sent = 0;
                self.load.give_back(std::mem::take(&mut self.allowed));
            }
        }
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.load.give_back(self.allowed);
    }
}
