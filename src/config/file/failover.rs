//! Keys about who takes over when a master fails.

use super::super::model::{Failback, FailoverMode};
use super::super::shape::shape;
use super::super::units::{Int, Time};

shape! {
    /// Who takes over when a master fails. Left out, requests go to any master that is usable.
    struct Failover {
        /// `active-standby`: one master serves at a time, the most preferred by `priority`, and the others stand by. Where masters name
        /// `accounts`, there is one for each account, and a master can stand by for several.
        mode: FailoverMode = "active-standby",
        /// For one failover, whichever masters are tried. So long, and no longer than they may take in all, requests wait for it;
        /// beyond it they are answered 503, or stored.
        deadline: Time = "10s",
        /// When the most preferred master serves again: `manual` on `baton ctl failback`, `automatic` once it is stable.
        failback: Failback = "manual",
        /// How long a master that was down has to be well until it counts as stable: its attempts to recover are forgotten,
        /// and `failback: automatic` gives back what was its own.
        stable_after: Time = "60s",
        /// A failed master's ways back.
        recovery: Recovery = "{}",
    }

    /// A failed master's ways back. It stands by again when its probes pass, each further time after a pause that doubles from 1 s.
    struct Recovery {
        /// For one attempt: a master that is not well within this time has failed it. So has one that fails again before it is
        /// stable.
        timeout: Time = "30s",
        /// Failed attempts after which it stays failed until `baton ctl reset`. 0 is any number.
        max_attempts: Int<0, 1000> = "5",
    }
}
