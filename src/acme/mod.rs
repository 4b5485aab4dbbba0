//! Certificates by ACME (RFC 8555): ordered, kept and renewed on the control thread.
//!
//! ```text
//! manager ─▶ schedule: when? ─▶ order ─▶ store ─▶ tls::issued, which gates read
//!                                 └─▶ tls::challenges, which the data path answers
//! ```
//!
//! One order is under way at a time in the whole process, attempts follow each other ever more slowly, and a certificate
//! that is kept on disk is not ordered again after a restart: the servers' limits are strict.

mod directory;
pub mod manager;
mod order;
mod schedule;
mod store;
