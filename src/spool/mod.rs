//! Messages that Baton has answered for: kept on disk until a master has taken them.

pub mod claims;
mod codec;
pub mod record;
pub mod schedule;
pub mod store;
pub mod turns;
