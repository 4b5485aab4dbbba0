//! Baton's own answers: small problem documents (RFC 9457).

use super::response::write_decimal;

/// An answer that no master gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Problem {
    pub status: u16,
    /// What happened, in words; must not need JSON escapes.
    pub detail: &'static str,
    /// Seconds after which trying again makes sense.
    pub retry_after: Option<u64>,
    /// The rate limit that was exceeded.
    pub quota: Option<Quota>,
}

/// A rate limit, as a client that exceeded it is told: `RateLimit` and `RateLimit-Policy` as in
/// draft-ietf-httpapi-ratelimit-headers-10.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Requests at once (`q`).
    pub burst: u32,
    /// Seconds in which a burst used up is whole again (`w`).
    pub window: u64,
}

impl Problem {
    #[must_use]
    pub const fn new(status: u16, detail: &'static str) -> Self {
        Self { status, detail, retry_after: None, quota: None }
    }

    #[must_use]
    pub const fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// A 429: `quota` was exceeded, and a request is admitted in `seconds`.
    #[must_use]
    pub const fn limited(quota: Quota, seconds: u64) -> Self {
        let problem = Self::new(429, "more requests than this route's rate limit allows");
        Self { retry_after: Some(seconds), quota: Some(quota), ..problem }
    }

    /// Writes the whole answer. `request_id` must not need JSON escapes; empty leaves it out. For HEAD `with_body` is
    /// false, which leaves the fields as they are.
    pub fn write(&self, request_id: &[u8], keep_alive: bool, with_body: bool, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(192);
        body.extend_from_slice(b"{\"type\":\"about:blank\",\"title\":\"");
        body.extend_from_slice(title(self.status).as_bytes());
        body.extend_from_slice(b"\",\"status\":");
        write_decimal(u64::from(self.status), &mut body);
        body.extend_from_slice(b",\"detail\":\"");
        body.extend_from_slice(self.detail.as_bytes());
        if !request_id.is_empty() {
            body.extend_from_slice(b"\",\"request_id\":\"");
            body.extend_from_slice(request_id);
        }
        body.extend_from_slice(b"\"}\n");
        out.extend_from_slice(b"HTTP/1.1 ");
        write_decimal(u64::from(self.status), out);
        out.push(b' ');
        out.extend_from_slice(title(self.status).as_bytes());
        out.extend_from_slice(b"\r\nContent-Type: application/problem+json\r\nContent-Length: ");
        write_decimal(body.len() as u64, out);
        out.extend_from_slice(b"\r\n");
        if let Some(seconds) = self.retry_after {
            out.extend_from_slice(b"Retry-After: ");
            write_decimal(seconds, out);
            out.extend_from_slice(b"\r\n");
        }
        if let Some(Quota { burst, window }) = self.quota {
            out.extend_from_slice(b"RateLimit-Policy: \"route\";q=");
            write_decimal(u64::from(burst), out);
            out.extend_from_slice(b";w=");
            write_decimal(window, out);
            out.extend_from_slice(b"\r\nRateLimit: \"route\";r=0;t=");
            write_decimal(self.retry_after.unwrap_or(0), out);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(if keep_alive {
            b"Connection: keep-alive\r\n\r\n"
        } else {
            b"Connection: close\r\n\r\n"
        });
        if with_body {
            out.extend_from_slice(&body);
        }
    }
}

/// The reason phrase of a status.
pub(super) fn title(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason()).unwrap_or("Error")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_problem_document_with_its_length() {
        let mut out = Vec::new();
        Problem::new(503, "no master is available").retry_after(1).write(b"id-1", true, true, &mut out);
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())) && head.contains("Retry-After: 1\r\n"));
        let json: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&json["status"], &json["request_id"]), (&503.into(), &"id-1".into()));
    }

    #[test]
    fn a_limited_client_is_told_the_limit_and_the_wait() {
        let mut out = Vec::new();
        Problem::limited(Quota { burst: 200, window: 2 }, 1).write(b"", true, true, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{text}");
        for line in ["Retry-After: 1", "RateLimit-Policy: \"route\";q=200;w=2", "RateLimit: \"route\";r=0;t=1"] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
    }

    #[test]
    fn an_answer_to_head_has_no_body() {
        let mut out = Vec::new();
        Problem::new(404, "no route").write(b"", false, false, &mut out);
        assert!(out.ends_with(b"Connection: close\r\n\r\n"));
    }
}
