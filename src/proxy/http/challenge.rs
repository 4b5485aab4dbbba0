//! Answers an ACME server that asks for a proof by HTTP-01, before any routing: only for tokens that are open.

use crate::http::request::Request;
use crate::tls::challenges;

/// The whole answer to the request with this head, if it asks for an open token. Costs one load while none is open.
#[must_use]
pub fn answer(head: &[u8]) -> Option<String> {
    if !challenges::any_open() {
        return None;
    }
    let request = Request::parse(head).ok()?;
    if request.method != "GET" {
        return None;
    }
    let proof = challenges::http(request.path().strip_prefix(challenges::PATH)?)?;
    Some(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{proof}",
        proof.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_get_for_an_open_token_is_answered() {
        let ask = |line: &str| answer(format!("{line} HTTP/1.1\r\nHost: bot.example\r\n\r\n").as_bytes());
        let _opened = challenges::open_http("a-proof", "a-proof.thumbprint");
        let told = ask("GET /.well-known/acme-challenge/a-proof").expect("an answer");
        assert!(told.ends_with("\r\n\r\na-proof.thumbprint"), "{told}");
        for other in [
            "POST /.well-known/acme-challenge/a-proof",
            "GET /.well-known/acme-challenge/other",
            "GET /.well-known/acme-challenge/",
            "GET /a-proof",
            "GET /x/.well-known/acme-challenge/a-proof",
        ] {
            assert_eq!(ask(other), None, "{other}");
        }
    }
}
