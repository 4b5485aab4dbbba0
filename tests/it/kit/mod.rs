//! Builders and waits for the tests.
//!
//! Rules that keep the tests steady: ports are the kernel's choice and reported by whoever binds them; every wait is a
//! condition with a deadline; a process is ended by its handle when its owner goes; what a process said is shown when
//! its test fails.

pub mod acme;
pub mod arrivals;
pub mod baton;
pub mod bot;
pub mod config;
pub mod directory;
pub mod events;
pub mod frames;
pub mod h2;
pub mod h2_master;
pub mod http;
pub mod load;
pub mod master;
pub mod meta;
pub mod process;
pub mod raw;
pub mod relay;
pub mod sender;
pub mod small_disk;
pub mod smtp;
pub mod strict;
pub mod tls;
pub mod tls_master;
pub mod tools;

pub use baton::Baton;
pub use config::Config;
pub use directory::Directory;
pub use master::{Master, masters};

use std::time::Duration;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::time::Instant;

/// A deadline for what takes milliseconds, with room for a machine that is busy with other things.
pub const SOON: Duration = Duration::from_secs(10);
/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Measuring tests hold it alone, all others together.
static MACHINE: RwLock<()> = RwLock::const_new(());

/// For tests that measure time: no other test runs meanwhile.
pub async fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().await
}

/// For all other tests.
pub async fn among_others() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().await
}

/// Waits until `condition` gives a value; fails, naming what was expected, when that takes more than [`SOON`].
pub async fn eventually<T>(expected: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    within(SOON, expected, condition).await
}

/// [`eventually`] with a deadline of its own.
pub async fn within<T>(limit: Duration, expected: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {expected}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
