//! An answer of plain text, or of none.

use super::problem::title;
use super::response::write_decimal;

/// Writes the whole answer. `kind` is its media type. What is in it may be a stranger's words, which no browser is to take for
/// anything else.
pub fn write(status: u16, kind: &str, text: &[u8], keep_alive: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    write_decimal(u64::from(status), out);
    out.push(b' ');
    out.extend_from_slice(title(status).as_bytes());
    if !text.is_empty() {
        out.extend_from_slice(b"\r\nContent-Type: ");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\r\nX-Content-Type-Options: nosniff");
    }
    out.extend_from_slice(b"\r\nContent-Length: ");
    write_decimal(text.len() as u64, out);
    out.extend_from_slice(if keep_alive {
        b"\r\nConnection: keep-alive\r\n\r\n"
    } else {
        b"\r\nConnection: close\r\n\r\n"
    });
    out.extend_from_slice(text);
}
