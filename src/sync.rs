//! Atomics and locks, from `std` or, under `--cfg loom`, from the model checker.

use std::ops::Deref;

#[cfg(loom)]
pub use loom::sync::{Mutex, atomic};
#[cfg(not(loom))]
pub use std::sync::{Mutex, atomic};

/// Keeps a value that many cores write away from values they only read.
///
/// Two cache lines, because x86-64 fetches them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Padded<T>(pub T);

impl<T> Deref for Padded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
