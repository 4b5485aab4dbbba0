//! Failover of an upstream. Secrets are not shown.

use super::{Values, some};
use crate::config::model::{Failover, Hooks, Recovery};
use crate::config::units::{show_size, show_time};

pub fn values(failover: &Failover) -> Values {
    let Failover { mode, deadline, failback, stable_after, recovery: Recovery { timeout, max_attempts }, hooks } =
        failover;
    let mut values = vec![
        ("failover.mode", some(mode.name())),
        ("failover.deadline", some(show_time(*deadline))),
        ("failover.failback", some(failback.name())),
        ("failover.stable_after", some(show_time(*stable_after))),
        ("failover.recovery.timeout", some(show_time(*timeout))),
        ("failover.recovery.max_attempts", some(max_attempts)),
    ];
    if let Some(hooks) = hooks {
        let Hooks { export, import, activate, deactivate, timeout, interval, max_bytes, secret, key } = hooks;
        values.extend([
            ("failover.hooks.export", export.clone()),
            ("failover.hooks.import", import.clone()),
            ("failover.hooks.activate", activate.clone()),
            ("failover.hooks.deactivate", deactivate.clone()),
            ("failover.hooks.timeout", some(show_time(*timeout))),
            ("failover.hooks.interval", some(show_time(*interval))),
            ("failover.hooks.max_bytes", some(show_size(*max_bytes as u64))),
            ("failover.hooks.secret", secret.as_ref().map(|_| "given".into())),
            ("failover.hooks.key", key.as_ref().map(|_| "given".into())),
        ]);
    }
    values
}
