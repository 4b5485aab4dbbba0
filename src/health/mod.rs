//! Who is well: probes, what requests see, and the rules that make a verdict of either.
//!
//! [`outlier`], [`breaker`], [`counter`] and [`slow_start`] are pure: time is an argument. [`probe`] asks one master once;
//! [`checker`] keeps asking, and writes what comes of it into the masters' admission words.

pub mod breaker;
pub mod change;
pub mod checker;
pub mod counter;
pub mod monitor;
pub mod outlier;
pub mod probe;
mod probe_h2;
pub mod reach;
pub mod resolve;
pub mod slow_start;
