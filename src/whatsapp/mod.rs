//! What WhatsApp gateways send: whose it is, which conversation it is about, and how one tells that it came before.
//!
//! Nothing in here does I/O or reads a clock. Each gateway has a file that reads its payloads with the skimmer in `json`;
//! nothing builds a tree, and media of some megabytes cost a search for the end of their string. A body of the Cloud API
//! may hold many updates; `split` tells how each is written as a body of its own. What is not understood is an update of
//! [`Kind::Event`] or [`Undecodable`], never a panic and never lost: its caller passes the body on as it is.
//!
//! `identity` brings the names of a person to one form, `aliases` learns which of them are one person's, `country` tells
//! where that person is at home; `signature` and `handshake` are what is answered at the edge.

pub mod aliases;
mod chat;
mod cloud_api;
pub mod country;
mod decode;
mod evolution;
pub mod form;
mod gowa;
pub mod handshake;
pub mod identity;
pub mod json;
mod provider;
pub mod signature;
mod split;
mod token;
mod twilio;
mod update;
mod waha;
mod wppconnect;
mod wwebjs;

pub use decode::{UPDATES_MAX, Undecodable, decode};
pub use provider::Provider;
pub use split::{Part, write_part};
pub use update::{Id, Kind, Names, Update};

#[cfg(test)]
mod tests;
