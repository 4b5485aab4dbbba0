//! Messages that Baton has answered for: kept on disk until a master has taken them.
//!
//! ```text
//! worker ─▶ store (commit) ─▶ 200                       store ─▶ dispatch: schedule ─▶ exchange ─▶ master
//!    └───▶ turns, claims (where it is forwarded at once)   ▲─────── settlement ◀──────────┘
//! ```

pub mod claims;
mod codec;
pub mod dispatch;
pub mod record;
pub mod schedule;
pub mod store;
pub mod turns;

use std::sync::Arc;

/// What workers have of it; cheap to copy.
#[derive(Debug, Clone)]
pub struct Spool {
    pub store: store::Store,
    pub turns: Arc<turns::Turns>,
    pub claims: Arc<claims::Claims>,
}
