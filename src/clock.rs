//! Time as the data path counts it: microseconds since this process first asked.
//!
//! One `u64` fits an atomic, compares with one instruction and never goes backwards. Pure code takes it as an argument;
//! only shells call [`now`].

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since the process first asked for the time.
pub type Micros = u64;

/// Milliseconds since 1970: what outlives the process is dated with it.
pub type UnixMillis = u64;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The present moment.
#[must_use]
pub fn now() -> Micros {
    micros(START.elapsed())
}

/// A duration in microseconds; one longer than 584 000 years is cut.
#[must_use]
pub fn micros(duration: Duration) -> Micros {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The present moment for what outlives the process; it can be set back, or forward.
#[must_use]
pub fn unix_millis() -> UnixMillis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

/// A duration in milliseconds; one longer than 584 million years is cut.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
