//! Atomics and locks, from `std` or, under `--cfg loom`, from the model checker.

#[cfg(loom)]
pub use loom::sync::{Mutex, atomic};
#[cfg(not(loom))]
pub use std::sync::{Mutex, atomic};
