//! Messages that Baton has answered for: kept on disk until a master has taken them.

mod codec;
pub mod record;
pub mod schedule;
pub mod store;
