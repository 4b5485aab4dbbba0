//! Listening sockets: bound once, kept over reloads, and one acceptor that deals connections out to the workers.

pub mod accept;
pub mod bind;
pub mod handover;
pub mod inherit;
pub mod link;
pub mod proxy_protocol;
pub mod receive;
