//! One line of the access log.

use std::io::Write;
use std::net::IpAddr;

use crate::clock;
use crate::telemetry::escape::json_string;

/// What is known about an exchange when it has ended. Everything that came over the network may hold any bytes.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// When it ended, in milliseconds since 1970, UTC.
    pub unix_millis: u64,
    pub request_id: &'a [u8],
    /// `None` on a Unix socket.
    pub client: Option<IpAddr>,
    /// Empty for a TCP connection, as is `path`.
    pub method: &'a [u8],
    pub host: &'a [u8],
    /// Request target; a query is left out, because gateways put secrets there.
    pub path: &'a [u8],
    /// Such as `HTTP/1.1`; `TCP` for a connection that is passed on as it comes.
    pub protocol: &'a str,
    /// The status that was sent, 0 when none was and for a TCP connection.
    pub status: u16,
    /// Bytes of the request body received; for a tunnel or a TCP connection, bytes to the master.
    pub bytes_in: u64,
    /// Bytes sent to the client, head and framing included; for a tunnel, without the head.
    pub bytes_out: u64,
    pub duration_micros: u64,
    pub route: Option<&'a str>,
    pub upstream: Option<&'a str>,
    /// Of the last attempt.
    pub master: Option<&'a str>,
    pub attempts: u32,
    /// How it ended: `complete`, or the reason, such as `client-gone`, `no-master`, `timeout`.
    pub end: &'a str,
}

/// Appends one line with its newline.
pub fn format(out: &mut Vec<u8>, entry: &Entry<'_>) {
    out.extend_from_slice(b"{\"ts\":\"");
    push_timestamp(out, entry.unix_millis);
    out.push(b'"');
    text(out, "request_id", entry.request_id);
    key(out, "client");
    match entry.client {
        // An address has no character that JSON would escape, and writing to a `Vec` cannot fail.
        Some(client) => drop(write!(out, "\"{client}\"")),
        None => out.extend_from_slice(b"null"),
    }
    text(out, "method", entry.method);
    text(out, "host", entry.host);
    text(out, "path", entry.path.split(|byte| *byte == b'?').next().unwrap_or_default());
    text(out, "protocol", entry.protocol.as_bytes());
    number(out, "status", entry.status.into());
    number(out, "bytes_in", entry.bytes_in);
    number(out, "bytes_out", entry.bytes_out);
    number(out, "duration_ms", entry.duration_micros / 1000);
    out.push(b'.');
    push_digits(out, entry.duration_micros % 1000, 3);
    name(out, "route", entry.route);
    name(out, "upstream", entry.upstream);
    name(out, "master", entry.master);
    number(out, "attempts", entry.attempts.into());
    text(out, "end", entry.end.as_bytes());
    out.extend_from_slice(b"}\n");
}

fn key(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

fn text(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    key(out, name);
    json_string(out, value);
}

fn name(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    match value {
        Some(value) => text(out, name, value.as_bytes()),
        None => {
            key(out, name);
            out.extend_from_slice(b"null");
        }
    }
}

fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    key(out, name);
    push_digits(out, value, 1);
}

/// At least `width` digits.
fn push_digits(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let start = out.len();
    while value > 0 || out.len() < start + width {
        out.push(b'0' + (value % 10) as u8);
        value /= 10;
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}

/// RFC 3339 in UTC with milliseconds.
fn push_timestamp(out: &mut Vec<u8>, unix_millis: u64) {
    let seconds = unix_millis / 1000;
    let (year, month, day) = clock::civil(seconds / 86_400);
    for (value, width, separator) in [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (seconds / 3600 % 24, 2, b':'),
        (seconds / 60 % 60, 2, b':'),
        (seconds % 60, 2, b'.'),
        (unix_millis % 1000, 3, b'Z'),
    ] {
        push_digits(out, value, width);
        out.push(separator);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> Entry<'static> {
        Entry {
            unix_millis: 1_700_000_000_042,
            request_id: b"0192",
            client: Some([127, 0, 0, 1].into()),
            method: b"POST",
            host: b"bot.example",
            path: b"/webhook?hub.verify_token=secret",
            protocol: "http/1.1",
            status: 200,
            bytes_in: 1234,
            bytes_out: 2,
            duration_micros: 12_034,
            route: Some("webhooks"),
            upstream: Some("bots"),
            master: None,
            attempts: 1,
            end: "complete",
        }
    }

    fn line(entry: &Entry<'_>) -> String {
        let mut out = Vec::new();
        format(&mut out, entry);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_has_every_field_and_no_query() {
        assert_eq!(
            line(&entry()),
            "{\"ts\":\"2023-11-14T22:13:20.042Z\",\"request_id\":\"0192\",\"client\":\"127.0.0.1\",\"method\":\"POST\",\
             \"host\":\"bot.example\",\"path\":\"/webhook\",\"protocol\":\"http/1.1\",\"status\":200,\"bytes_in\":1234,\
             \"bytes_out\":2,\"duration_ms\":12.034,\"route\":\"webhooks\",\"upstream\":\"bots\",\"master\":null,\
             \"attempts\":1,\"end\":\"complete\"}\n"
        );
    }

    #[test]
    fn dates_around_leap_days_and_centuries_are_right() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800, "2024-02-29T00:00:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799, "9999-12-31T23:59:59.000Z"),
        ] {
            let mut out = Vec::new();
            push_timestamp(&mut out, seconds * 1000);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    proptest! {
        #[test]
        fn whatever_strangers_send_is_one_line_of_json(
            path in proptest::collection::vec(any::<u8>(), 0..200), host in proptest::collection::vec(any::<u8>(), 0..50),
            duration_micros in any::<u64>(), bytes_in in any::<u64>(), status in any::<u16>(),
        ) {
            let text = line(&Entry { path: &path, host: &host, duration_micros, bytes_in, status, ..entry() });
            prop_assert_eq!(text.bytes().filter(|byte| *byte == b'\n').count(), 1);
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            let shown = path.split(|byte| *byte == b'?').next().unwrap();
            let shown = String::from_utf8_lossy(shown);
            prop_assert_eq!(read["path"].as_str(), Some(&*shown));
            prop_assert_eq!(read["bytes_in"].as_u64(), Some(bytes_in));
            prop_assert_eq!(read["status"].as_u64(), Some(status.into()));
        }
    }
}
