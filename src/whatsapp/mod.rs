//! What WhatsApp gateways send: whose it is, which conversation it is about, and how one tells that it came before.
//!
//! Nothing in here does I/O or reads a clock.

mod provider;

pub use provider::Provider;
