//! TLS: certificates read from files and chosen by the name a client asks for.

pub mod server;
