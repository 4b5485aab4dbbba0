//! HTTP/2 from a client: one task for the connection, one for each stream.
//!
//! ```text
//! connection ─ accept ─▶ stream: head ─▶ prepare ─▶ body ─▶ exchange ─▶ respond
//!     │ meter                      │        │                 └─▶ websocket (after a 101)
//!     └─▶ GOAWAY                   └────────┴─▶ refuse: a problem document
//! ```
//!
//! Frames, header compression, flow control and the states of streams are the `h2` crate's. A request becomes the bytes of an
//! HTTP/1.1 head ([`head`]) and is judged, routed and written on by the same code as any other, so that there is one
//! opinion about what a request means. What the crate does not bound, [`meter`] does.

pub mod body;
pub mod connection;
pub mod head;
pub mod io;
pub mod meter;
pub mod respond;
pub mod stream;
pub mod websocket;
