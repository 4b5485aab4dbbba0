//! A request's head: found at the same place however it arrives, and what goes on to a master is read in one way only.

use baton::exchange::headers::{Forwarding, write_request_head};
use baton::http::fields::Known;
use baton::http::request::{FIELDS_MAX, Framing, Request};
use baton::http::scan::HeadScan;

use crate::lines::{self, Lines};

/// What forwarding adds at most: its own fields, and what the client wrote into those that are extended.
const ADDED_BYTES_MAX: usize = 1024;

const FORWARDING: Forwarding<'static> = Forwarding {
    client: "192.0.2.7",
    node: "192.0.2.7",
    https: true,
    trusted: false,
    request_id: b"0123456789abcdef0123456789abcdef",
    host: None,
    prefix: "",
};

pub fn run(data: &[u8]) {
    let Some((&options, bytes)) = data.split_first() else { return };
    let end = HeadScan::default().find_end(bytes);
    assert_eq!(piecewise(bytes, usize::from(options >> 2) + 1), end, "the end depends on how the head arrives");
    let Ok(Some(end)) = end else { return };
    let raw = &bytes[..end];
    let Ok(request) = Request::parse(raw) else { return };
    assert!(request.target.starts_with('/') || request.target == "*");
    assert!(request.target.bytes().chain(request.method.bytes()).all(|byte| byte > b' ' && byte != 0x7f));
    assert!(request.fields().len() <= FIELDS_MAX);

    let drop_expect = options & 1 != 0;
    let forwarding = Forwarding { trusted: options & 2 != 0, ..FORWARDING };
    let mut out = Vec::new();
    write_request_head(&request, request.target, &forwarding, request.framing, drop_expect, &mut out);
    assert!(out.len() <= 3 * raw.len() + ADDED_BYTES_MAX, "a head grows without a bound");
    let head = lines::read(&out);
    let first = format!("{} {} HTTP/1.1", request.method, request.target);
    assert_eq!(head.first, first.as_bytes());
    check_framing(&head, request.framing);
    check_fields(&head, &request, forwarding.trusted);

    // What was written is understood as what was read, and writing it again changes nothing.
    assert_eq!(HeadScan::default().find_end(&out), Ok(Some(out.len())));
    let Ok(again) = Request::parse(&out) else { return assert!(head.fields.len() > FIELDS_MAX) };
    assert_eq!((again.method, again.target, again.framing), (request.method, request.target, request.framing));
    assert!(again.host.is_some_and(|host| host.eq_ignore_ascii_case(request.host.unwrap_or_default())));
    assert_eq!(again.upgrade.is_some(), request.upgrade.is_some());
    if !forwarding.trusted {
        let mut twice = Vec::new();
        write_request_head(&again, again.target, &forwarding, again.framing, drop_expect, &mut twice);
        let sorted = |head: &Lines<'_>| {
            let mut fields: Vec<_> =
                head.fields.iter().map(|(name, value)| (name.clone(), value.to_ascii_lowercase())).collect();
            fields.sort();
            fields
        };
        assert_eq!(sorted(&lines::read(&twice)), sorted(&head));
    }
}

fn piecewise(bytes: &[u8], step: usize) -> Result<Option<usize>, baton::http::scan::BadLine> {
    let mut scan = HeadScan::default();
    let mut end = 0;
    loop {
        end = (end + step).min(bytes.len());
        match scan.find_end(&bytes[..end]) {
            Ok(None) if end < bytes.len() => {}
            verdict => return verdict,
        }
    }
}

pub fn check_framing(head: &Lines<'_>, framing: Framing) {
    match framing {
        Framing::Chunked => assert_eq!(head.framing(), Err(())),
        Framing::Length(length) => assert_eq!(head.framing(), Ok(Some(length))),
        Framing::None => assert!(matches!(head.framing(), Ok(None | Some(0)))),
        Framing::UntilClose => panic!("a request cannot end with its connection"),
    }
}

fn check_fields(head: &Lines<'_>, request: &Request<'_>, trusted: bool) {
    let hosts = head.values("host");
    // A target in absolute form may write it in another case.
    assert!(hosts.len() == 1 && hosts[0].eq_ignore_ascii_case(request.host.unwrap_or_default().as_bytes()));
    for name in ["host", "content-length", "transfer-encoding", "x-forwarded-for", "x-request-id"] {
        assert!(head.as_variables(name) <= 1, "{name} in two spellings");
    }
    if !trusted {
        assert_eq!(head.values("x-forwarded-for"), [&b"192.0.2.7"[..]]);
        assert!(head.values("x-real-ip").is_empty());
    }
    let options = head.values("connection");
    assert!(options.is_empty() || (options == [&b"Upgrade"[..]] && request.upgrade.is_some()));
    // Everything else goes on in its order, with its bytes.
    let passes =
        |name: &str| Known::of(name).is_none() && !Known::is_mimicked_by(name) && !request.named_in_connection(name);
    let came = request.fields().iter().filter(|field| passes(field.name));
    let came: Vec<_> = came.map(|field| (field.name.to_ascii_lowercase(), field.value.trim_ascii())).collect();
    let went: Vec<_> = head.fields.iter().filter(|(name, _)| passes(name)).cloned().collect();
    assert_eq!(went, came);
}
