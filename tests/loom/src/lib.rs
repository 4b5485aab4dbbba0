//! The program's lock-free types, each from its own source file, over loom's atomics.
//!
//! Run with `cargo test --release --manifest-path tests/loom/Cargo.toml`. The tests lie in `tests/`, so that the unit tests of the
//! shared files, which know nothing of a model, are not compiled here.

// A crate of its own sees less of each file than the program does.
#![allow(dead_code, reason = "parts that only the program uses")]

pub mod health;
pub mod limits;
pub mod spool;
pub mod telemetry;
pub mod upstream;

#[path = "../../../src/sync.rs"]
pub mod sync;

/// The program's clock without its reading: a model has no time.
pub mod clock {
    pub type Micros = u64;

    pub fn micros(duration: std::time::Duration) -> Micros {
        duration.as_micros() as u64
    }
}
