//! The client's side of the data path.

pub mod compression;
pub mod h2;
pub mod http;
pub mod intake;
pub mod linger;
pub mod replay;
pub mod tcp;
