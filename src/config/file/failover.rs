//! Keys about who takes over when a master fails.

use super::super::model::{Failback, FailoverMode};
use super::super::shape::shape;
use super::super::units::{Int, Secret, Size, Time, UrlPath};

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
        /// What Baton asks of masters that keep a state of their own, so that it goes along. Left out, nothing is asked.
        hooks: Option<Hooks>,
    }

    /// Paths at each master by which its own state is fetched and handed over. One that is left out is not called. Each call
    /// names upstream, account and epoch, and is signed.
    struct Hooks {
        /// GET gives the state as bytes, 204 where there is none, 409 where the master was not activated since it started.
        export: Option<UrlPath>,
        /// POST of these bytes to the next master, which answers with the SHA-256 of what it holds then.
        import: Option<UrlPath>,
        /// POST: it serves from now on.
        activate: Option<UrlPath>,
        /// POST: it serves no more.
        deactivate: Option<UrlPath>,
        /// For each call, its body included. What takes longer has failed.
        timeout: Time = "2s",
        /// Between two exports of a master that is well. What changed since the last one is lost with a master that dies.
        interval: Time = "10s",
        /// Of a state. A larger one is not kept, and the one before stays.
        max_bytes: Size<1, 268_435_456> = "16MiB",
        /// Signs each call. Left out, masters cannot tell who calls them.
        secret: Option<Secret>,
        /// Encrypts what is kept below `state.path`: 32 bytes or more. Left out, whoever reads the disk reads the state.
        key: Option<Secret>,
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
