//! A master's answer: what the client gets has one framing, and it is the one that Baton reads the body by.

use baton::http::request::Framing;
use baton::http::response::{Onward, Response};
use baton::http::scan::HeadScan;
use baton::proxy::h2::head;

use crate::lines;

pub fn run(data: &[u8]) {
    let Some((&options, bytes)) = data.split_first() else { return };
    let Ok(Some(end)) = HeadScan::default().find_end(bytes) else { return };
    let raw = &bytes[..end];
    let (to_head, keep_alive) =
        (options & 1 != 0, [None, Some(true), Some(false), None][usize::from(options >> 1 & 3)]);
    let mut response = Response::default();
    if response.parse(raw, to_head).is_err() {
        return;
    }
    assert!((100..=599).contains(&response.status));
    let framing = match response.framing.0 {
        Framing::UntilClose => Framing::Chunked,
        framing => framing,
    };
    let mut out = Vec::new();
    response.write(raw, Onward { framing, keep_alive }, &mut out);
    assert!(out.len() <= raw.len() + 128);
    let written = lines::read(&out);
    match framing {
        Framing::Chunked => assert_eq!(written.framing(), Err(())),
        Framing::Length(length) => assert_eq!(written.framing(), Ok(Some(length))),
        // To HEAD, or with a 304, a length may stand although no body follows.
        _ => assert!(written.values("transfer-encoding").is_empty() && written.values("content-length").len() <= 1),
    }
    assert!(written.values("connection").len() <= 1);
    assert!(["keep-alive", "upgrade", "te", "proxy-connection"].iter().all(|name| written.values(name).is_empty()));

    // The client, read by the same rules, sees the same.
    let mut again = Response::default();
    again.parse(&out, to_head).expect("what goes out is taken");
    assert_eq!((again.status, again.framing.0), (response.status, framing));

    // Over HTTP/2 the same fields, but for what is only of HTTP/1.1.
    if let Some(h2) = head::response(&response, raw) {
        let status = if response.status == 101 { 200 } else { response.status };
        assert_eq!(h2.status().as_u16(), status);
        assert!(h2.headers().get_all("content-length").iter().count() <= 1);
        for name in ["connection", "transfer-encoding", "keep-alive", "upgrade", "proxy-connection"] {
            assert!(!h2.headers().contains_key(name), "{name} over HTTP/2");
        }
    }
}
