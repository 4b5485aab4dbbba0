//! Failover of an upstream.

use super::{Values, some};
use crate::config::model::{Failover, Recovery};
use crate::config::units::show_time;

pub fn values(failover: &Failover) -> Values {
    let Failover { mode, deadline, failback, stable_after, recovery: Recovery { timeout, max_attempts } } = failover;
    vec![
        ("failover.mode", some(mode.name())),
        ("failover.deadline", some(show_time(*deadline))),
        ("failover.failback", some(failback.name())),
        ("failover.stable_after", some(show_time(*stable_after))),
        ("failover.recovery.timeout", some(show_time(*timeout))),
        ("failover.recovery.max_attempts", some(max_attempts)),
    ]
}
