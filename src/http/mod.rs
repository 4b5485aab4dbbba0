//! HTTP/1.1 on the wire: heads, body framing and chunks, as strict as a proxy has to be.
//!
//! Two programs that read the same bytes differently are how requests are smuggled, so whatever RFC 9112 leaves to the
//! reader's taste is refused here rather than interpreted. Nothing in this folder does I/O.

pub mod chunked;
pub mod client_address;
pub mod coding;
pub mod fields;
pub mod h2_fields;
pub mod path;
pub mod plain;
pub mod problem;
pub mod redirect;
pub mod request;
pub mod response;
pub mod scan;
pub mod websocket;
