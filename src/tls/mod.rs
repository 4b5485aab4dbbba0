//! TLS: certificates read from files, chosen by the name a client asks for, and those of masters verified.

pub mod client;
pub mod server;
