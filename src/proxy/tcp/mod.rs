//! Connections of bytes: one task for each, which finds a master for it and passes on what comes, both ways.
//!
//! ```text
//! connection ─ dial ─▶ relay ─ direction (to the master)
//!                        │  └─ direction (to the client)
//!                        └─▶ told: counted and logged, whatever ended it
//! ```

pub mod connection;
mod direction;
mod relay;
mod told;
