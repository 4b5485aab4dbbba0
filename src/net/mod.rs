//! Sockets as the data path uses them: one stream type, its buffer, and the watch that ends waits; and requests of Baton's
//! own.

pub mod buffer;
pub mod h2_stream;
pub mod outbound;
pub mod pipes;
pub mod stream;
pub mod watch;
