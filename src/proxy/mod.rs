//! The client's side of the data path.

pub mod http;
pub mod tcp;
