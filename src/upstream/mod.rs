//! The masters' side: who they are, whether they may be used, and the connections to them.

pub mod admission;
pub mod connection;
pub mod latency;
pub mod links;
pub mod master;
pub mod owner;
pub mod owners;
pub mod permit;
pub mod silence;
pub mod window;
