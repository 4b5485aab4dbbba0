//! HTTP/1.1 from a client: one task for each connection, one request at a time.
//!
//! ```text
//! connection ─ idle ─▶ head ─▶ prepare ─▶ body ─▶ exchange ─▶ respond ─▶ idle
//!                       │         │         │         │           └─▶ tunnel (after a 101)
//!                       └─────────┴─────────┴─────────┴─▶ refuse: a problem document
//! ```

pub mod challenge;
pub mod client;
pub mod connection;
pub mod entrance;
pub mod mirror;
pub mod prepare;
pub mod respond;
pub mod saying;
pub mod shared;
pub mod tunnel;
pub mod upload;
