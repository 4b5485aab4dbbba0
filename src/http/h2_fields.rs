//! Fields between HTTP/2 and the lines of HTTP/1.1, in either direction; with requests and with answers it is the same.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::fields::{self, forbidden_in_trailers, is_name};

/// Writes a line of a head or of trailers.
pub fn write_line(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Adds fields to a map. `None` when there is one that HTTP/2 cannot say.
#[must_use]
pub fn append<'b>(fields: impl Iterator<Item = (&'b [u8], &'b [u8])>, to: &mut HeaderMap) -> Option<()> {
    for (name, value) in fields {
        to.try_append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?).ok()?;
    }
    Some(())
}

/// Trailer lines as fields. `None` when there is one that HTTP/2 cannot say.
#[must_use]
pub fn trailers(lines: &[u8]) -> Option<HeaderMap> {
    let mut trailers = HeaderMap::new();
    append(fields::lines(lines), &mut trailers)?;
    Some(trailers)
}

/// Writes trailers as lines, without fields that must not come so late, and without what would be no line in HTTP/1.1.
pub fn write_trailers(trailers: &HeaderMap, out: &mut Vec<u8>) {
    for (name, value) in trailers {
        let one_line = !value.as_bytes().iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'));
        if one_line && is_name(name.as_str()) && !forbidden_in_trailers(name.as_str()) {
            write_line(name.as_str().as_bytes(), value.as_bytes(), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_come_out_as_they_went_in_but_for_those_that_come_too_late() {
        let mut sent = HeaderMap::new();
        sent.insert("grpc-status", HeaderValue::from_static("0"));
        sent.insert("content-length", HeaderValue::from_static("9"));
        sent.insert("te", HeaderValue::from_static("trailers"));
        let mut lines = Vec::new();
        write_trailers(&sent, &mut lines);
        assert_eq!(lines, b"grpc-status: 0\r\n");
        sent.remove("content-length");
        sent.remove("te");
        assert_eq!(trailers(&lines), Some(sent));
    }

    #[test]
    fn lines_that_http_2_cannot_say_are_no_trailers() {
        assert_eq!(trailers(b"a b: 1\r\n"), None);
        assert_eq!(trailers(b"a: 1\x00\r\n"), None);
        assert_eq!(trailers(b""), Some(HeaderMap::new()));
    }
}
