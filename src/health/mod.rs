//! Who is well: probes, what requests see, and the rules that make a verdict of either.
//!
//! [`outlier`], [`breaker`], [`counter`] and [`slow_start`] are pure: time is an argument.

pub mod breaker;
pub mod counter;
pub mod outlier;
pub mod slow_start;
