//! Messages that Baton has answered for: kept on disk until a master has taken them.

pub mod schedule;
