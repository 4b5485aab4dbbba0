//! TLS of the listeners, and with the masters (`client`).
//!
//! ```text
//! certificate ─▶ sni ─┐                 issued, challenges: what ACME brings ─┐
//! client_auth ────────┼─▶ server: a Gate, built whole at a start or a reload ─┴▶ handshake, in a worker
//! sessions ───────────┘   (outlives gates)
//! ```

pub mod certificate;
pub mod challenges;
pub mod client;
pub mod client_auth;
pub mod handshake;
pub mod hello;
pub mod issued;
pub mod server;
pub mod sessions;
pub mod sni;
