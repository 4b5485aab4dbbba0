//! Which answers may be encoded, and their heads when they are.
//!
//! An encoded answer is another representation: its length is not known, its parts cannot be asked for by range, its entity
//! tag is weak, and what a cache keeps of it is for clients that ask alike (RFC 9110 sections 8.4, 8.8.3 and 12.5.5).

use super::accept::Wanted;
use crate::config::model::{Coding, Compression};
use crate::http::fields::{self, Known};
use crate::http::request::Framing;

/// What becomes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on as it is, whatever the client takes.
    Leave,
    /// It goes on as it is, and would not for another client.
    Vary,
    Encode(Coding),
}

/// What becomes of the answer with this head, which begins with its status line. `framing` is that of its body.
#[must_use]
pub fn judge(status: u16, framing: Framing, head: &[u8], rules: &Compression, wanted: Option<Wanted>) -> Verdict {
    let length = match framing {
        Framing::None | Framing::Length(0) => return Verdict::Leave,
        Framing::Length(length) => Some(length),
        Framing::Chunked | Framing::UntilClose => None,
    };
    // Parts of what was never asked for whole must be those of the master's own bytes.
    if status < 200 || matches!(status, 204 | 206 | 304) {
        return Verdict::Leave;
    }
    let mut fits = false;
    for (name, value) in fields::lines(head) {
        let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
        if is("content-type") {
            fits = rules.content_types.iter().any(|range| is_of(value, range));
        } else if is("cache-control") && fields::list(value).any(|it| it.eq_ignore_ascii_case(b"no-transform"))
            || is("content-encoding")
            || is("content-range")
            // Digests of the very bytes (RFC 9530, and what came before it).
            || is("content-digest")
            || is("repr-digest")
            || is("content-md5")
            || is("digest")
        {
            return Verdict::Leave;
        }
    }
    let small = length.is_some_and(|length| length < rules.min_bytes);
    match wanted {
        _ if !fits => Verdict::Leave,
        Some(wanted) if !small || wanted.needed => Verdict::Encode(wanted.coding),
        _ if small => Verdict::Leave,
        _ => Verdict::Vary,
    }
}

/// Whether the value of a `Content-Type` is of this type or kind.
fn is_of(value: &[u8], range: &str) -> bool {
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    let media = value[..end].trim_ascii();
    match range.strip_suffix('*') {
        Some(kind) => media.get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind.as_bytes())),
        None => media.eq_ignore_ascii_case(range.as_bytes()),
    }
}

/// Says in a head that the answer depends on what the client takes.
pub fn vary(head: &mut Vec<u8>) {
    let says = |(name, value): (&[u8], &[u8])| {
        let names = |it: &[u8]| it == b"*" || it.eq_ignore_ascii_case(b"accept-encoding");
        name.eq_ignore_ascii_case(b"vary") && fields::list(value).any(names)
    };
    if !fields::lines(head).any(says) {
        head.truncate(head.len().saturating_sub(b"\r\n".len()));
        head.extend_from_slice(b"Vary: Accept-Encoding\r\n\r\n");
    }
}

/// Makes a head, which ends with its blank line, that of the encoded answer. `framing` is the line that says where its body
/// ends, where the protocol needs one.
pub fn encode(head: &mut Vec<u8>, coding: Coding, framing: &[u8]) {
    let mut out = Vec::with_capacity(head.len() + 96);
    for (at, line) in head.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let colon = memchr::memchr(b':', line).filter(|_| at > 0);
        let name = colon.map_or("", |colon| std::str::from_utf8(&line[..colon]).unwrap_or_default());
        let dropped = matches!(Known::of(name), Some(Known::ContentLength | Known::TransferEncoding))
            || name.eq_ignore_ascii_case("accept-ranges")
            || line == b"\r\n";
        if dropped {
            continue;
        }
        let value = colon.map_or(&[][..], |colon| line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case("etag") && value.starts_with(b"\"") {
            out.extend_from_slice(&line[..=name.len()]);
            for part in [&b" W/"[..], value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        } else {
            out.extend_from_slice(line);
        }
    }
    for part in [framing, b"Content-Encoding: ", coding.name().as_bytes(), b"\r\n\r\n"] {
        out.extend_from_slice(part);
    }
    vary(&mut out);
    *head = out;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::CompressionLevel;

    fn rules() -> Compression {
        Compression {
            algorithms: vec![Coding::Gzip],
            min_bytes: 100,
            content_types: vec!["text/*".into(), "application/json".into()],
            level: CompressionLevel::Default,
        }
    }

    const WANTED: Option<Wanted> = Some(Wanted { coding: Coding::Gzip, needed: false });
    const ENCODED: Verdict = Verdict::Encode(Coding::Gzip);

    fn judged(status: u16, framing: Framing, fields: &str, wanted: Option<Wanted>) -> Verdict {
        judge(status, framing, format!("HTTP/1.1 {status} X: Y\r\n{fields}\r\n").as_bytes(), &rules(), wanted)
    }

    #[test]
    fn only_listed_types_are_encoded() {
        let of = |media: &str| judged(200, Framing::Chunked, &format!("Content-Type: {media}\r\n"), WANTED);
        for media in ["text/html", "TEXT/plain; charset=utf-8", "application/json", "Application/JSON ;a=b"] {
            assert_eq!(of(media), ENCODED, "{media}");
        }
        for media in ["application/jsonl", "application/octet-stream", "image/png", "text", "", "a; text/html"] {
            assert_eq!(of(media), Verdict::Leave, "{media}");
        }
        assert_eq!(judged(200, Framing::Chunked, "", WANTED), Verdict::Leave, "without a type");
    }

    #[test]
    fn what_must_not_be_changed_is_left_alone() {
        for field in [
            "Content-Encoding: br",
            "content-encoding: identity",
            "Cache-Control: max-age=60, No-Transform",
            "Content-Range: bytes 0-1/2",
            "Content-MD5: x",
            "Content-Digest: sha-256=:x:",
            "Repr-Digest: sha-256=:x:",
            "Digest: sha-256=x",
        ] {
            for wanted in [WANTED, None] {
                let fields = format!("Content-Type: text/html\r\n{field}\r\n");
                assert_eq!(judged(200, Framing::Chunked, &fields, wanted), Verdict::Leave, "{field}");
            }
        }
        for status in [204, 206, 304] {
            assert_eq!(judged(status, Framing::Chunked, "Content-Type: text/html\r\n", WANTED), Verdict::Leave);
        }
        assert_eq!(judged(404, Framing::Chunked, "Content-Type: text/html\r\n", WANTED), ENCODED);
    }

    #[test]
    fn small_answers_are_encoded_only_for_who_takes_nothing_else() {
        let of = |framing, wanted| judged(200, framing, "Content-Type: text/html\r\n", wanted);
        let needed = Some(Wanted { coding: Coding::Gzip, needed: true });
        assert_eq!(of(Framing::Length(100), WANTED), ENCODED);
        assert_eq!(of(Framing::Length(99), WANTED), Verdict::Leave);
        assert_eq!(of(Framing::Length(99), needed), ENCODED);
        for framing in [Framing::None, Framing::Length(0)] {
            assert_eq!(of(framing, needed), Verdict::Leave);
        }
        assert_eq!(of(Framing::Length(100), None), Verdict::Vary);
        assert_eq!(of(Framing::Length(99), None), Verdict::Leave);
    }

    #[test]
    fn the_head_of_an_encoded_answer_has_no_length_no_ranges_and_a_weak_tag() {
        let mut head =
            b"HTTP/1.1 200 ETag: \"a\"\r\nContent-Length: 5\r\nETag:\"a:b\"\r\nAccept-Ranges: bytes\r\nX: 1\r\n\r\n"
                .to_vec();
        encode(&mut head, Coding::Zstd, b"Transfer-Encoding: chunked\r\n");
        let wanted = "HTTP/1.1 200 ETag: \"a\"\r\nETag: W/\"a:b\"\r\nX: 1\r\nTransfer-Encoding: chunked\r\nContent-Encoding: zstd\r\nVary: Accept-Encoding\r\n\r\n";
        assert_eq!(String::from_utf8(head).unwrap(), wanted);

        let mut head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\netag: W/\"a\"\r\n\r\n".to_vec();
        encode(&mut head, Coding::Gzip, b"");
        let wanted = "HTTP/1.1 200 OK\r\netag: W/\"a\"\r\nContent-Encoding: gzip\r\nVary: Accept-Encoding\r\n\r\n";
        assert_eq!(String::from_utf8(head).unwrap(), wanted);
    }

    #[test]
    fn caches_are_told_once() {
        for (said, added) in [
            ("", true),
            ("Vary: Origin\r\n", true),
            ("vary: Origin, accept-ENCODING\r\n", false),
            ("Vary: *\r\n", false),
        ] {
            let mut head = format!("HTTP/1.1 200 OK\r\n{said}\r\n").into_bytes();
            vary(&mut head);
            let added = if added { "Vary: Accept-Encoding\r\n" } else { "" };
            assert_eq!(String::from_utf8(head).unwrap(), format!("HTTP/1.1 200 OK\r\n{said}{added}\r\n"));
        }
    }
}
