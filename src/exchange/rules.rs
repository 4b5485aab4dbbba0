//! A route's changes to the header fields of a message that is about to be sent.
//!
//! They work on the written head, after everything else has had its say: fields are left out by name, then those that the
//! rules set and add follow at the end. Validation keeps framing and hop-by-hop fields out of the rules, and a value has
//! no control character, neither as configured nor in what its variables stand for; so no rule can make a second framing
//! or a line of its own.

use std::io::Write;
use std::net::IpAddr;

use crate::config::model::{HeaderRules, Part, Variable};

/// What variables stand for.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// `None` for a Unix socket.
    pub client: Option<IpAddr>,
    pub host: &'a str,
    /// As the client asked for it, without the query.
    pub path: &'a str,
    pub request_id: &'a [u8],
    pub https: bool,
}

/// Appends the lines that the rules set and add.
pub fn write_lines(rules: &HeaderRules, values: &Values<'_>, out: &mut Vec<u8>) {
    for rule in rules.set.iter().chain(&rules.add) {
        out.extend_from_slice(rule.name.as_bytes());
        out.extend_from_slice(b": ");
        for part in &rule.value.0 {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Variable(variable) => write_variable(*variable, values, out),
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn write_variable(variable: Variable, values: &Values<'_>, out: &mut Vec<u8>) {
    match variable {
        Variable::ClientIp => match values.client {
            // Writing to a vector cannot fail.
            Some(address) => drop(write!(out, "{address}")),
            None => out.extend_from_slice(b"unix"),
        },
        Variable::Host => out.extend_from_slice(values.host.as_bytes()),
        Variable::Path => out.extend_from_slice(values.path.as_bytes()),
        Variable::RequestId => out.extend_from_slice(values.request_id),
        Variable::Scheme => out.extend_from_slice(if values.https { b"https" } else { b"http" }),
    }
}

/// Changes the head that begins at `start` in `head` and ends with it: its start line, its fields, a blank line. `lines`
/// are those of [`write_lines`].
pub fn apply(rules: &HeaderRules, lines: &[u8], head: &mut Vec<u8>, start: usize) {
    let line_end = |head: &[u8], at: usize| memchr::memchr(b'\n', &head[at..]).map(|length| at + length + 1);
    let Some(fields) = line_end(head, start) else { return };
    let (mut kept, mut at) = (fields, fields);
    while let Some(end) = line_end(head, at) {
        let name = memchr::memchr(b':', &head[at..end]).map(|length| &head[at..at + length]);
        if name.is_some_and(|name| !is_dropped(rules, name)) {
            head.copy_within(at..end, kept);
            kept += end - at;
        }
        at = end;
    }
    head.truncate(kept);
    head.extend_from_slice(lines);
    head.extend_from_slice(b"\r\n");
}

fn is_dropped(rules: &HeaderRules, name: &[u8]) -> bool {
    let set = rules.set.iter().map(|rule| &rule.name);
    rules.remove.iter().chain(set).any(|ruled| is_same(ruled.as_bytes(), name))
}

/// Whether two names mean one field to a master that hands fields on as variables, as CGI and WSGI do: hyphens and
/// underscores are one there, and a client must not get its own `X_Role` past a rule about `x-role`.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let plain = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| plain(a) == plain(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{HeaderRule, Template};
    use crate::exchange::headers::{Forwarding, write_request_head};
    use crate::http::request::Request;
    use proptest::prelude::*;

    const VALUES: Values<'static> = Values {
        client: Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)),
        host: "a",
        path: "/",
        request_id: b"id",
        https: true,
    };

    fn rule(name: &str, parts: &[Part]) -> HeaderRule {
        HeaderRule { name: name.to_owned(), value: Template(parts.to_vec()) }
    }

    fn text(name: &str, value: &str) -> HeaderRule {
        rule(name, &[Part::Text(value.to_owned())])
    }

    fn applied(rules: &HeaderRules, head: &str) -> String {
        let (mut head, mut lines) = (head.as_bytes().to_vec(), Vec::new());
        write_lines(rules, &VALUES, &mut lines);
        apply(rules, &lines, &mut head, 0);
        String::from_utf8(head).unwrap()
    }

    #[test]
    fn fields_are_removed_then_set_then_added() {
        let rules = HeaderRules {
            remove: vec!["x-gone".into()],
            set: vec![text("x-set", "new")],
            add: vec![text("x-add", "two"), text("x-gone", "back")],
        };
        let head = "HTTP/1.1 200 OK\r\nX-Gone: 1\r\nA: x-gone: no\r\nX_Set: old\r\nX-SET: older\r\nX-Add: one\r\n\r\n";
        let wanted =
            "HTTP/1.1 200 OK\r\nA: x-gone: no\r\nX-Add: one\r\nx-set: new\r\nx-add: two\r\nx-gone: back\r\n\r\n";
        assert_eq!(applied(&rules, head), wanted);
    }

    #[test]
    fn variables_stand_for_what_the_request_has() {
        let parts = |variable| [Part::Text("<".into()), Part::Variable(variable), Part::Text(">".into())];
        let rules =
            HeaderRules { set: Variable::ALL.map(|(it, word)| rule(word, &parts(it))).to_vec(), ..Default::default() };
        let wanted = "GET / HTTP/1.1\r\nclient-ip: <127.0.0.1>\r\nhost: <a>\r\npath: </>\r\nrequest-id: <id>\r\nscheme: <https>\r\n\r\n";
        assert_eq!(applied(&rules, "GET / HTTP/1.1\r\n\r\n"), wanted);
    }

    #[test]
    fn what_stands_before_the_head_is_left_alone() {
        let mut out = b"earlier: 1\r\nHTTP/1.1 200 OK\r\na: 1\r\n\r\n".to_vec();
        apply(&HeaderRules { remove: vec!["a".into(), "earlier".into()], ..Default::default() }, b"", &mut out, 12);
        assert_eq!(out, b"earlier: 1\r\nHTTP/1.1 200 OK\r\n\r\n");
    }

    proptest! {
        /// Whatever rules validation lets pass, and whatever a client sends that is not refused.
        #[test]
        fn a_head_keeps_its_one_framing_and_gets_no_line_that_no_rule_names(
            lines in prop::collection::vec("(Content-Length: [0-9]{1,2}|Transfer-Encoding: chunked|X-A: b|X_A: c|X-Bb: [ -~]{0,5})", 0..6),
            names in prop::collection::vec("x-[ab]{1,2}", 3),
            value in "[ -~]{0,20}",
            path in "/[!-~]{0,10}",
            host in "[a-z.:\\[\\]]{0,10}",
        ) {
            let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let raw = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
            let Ok(request) = Request::parse(raw.as_bytes()) else { return Ok(()) };
            let forwarding = Forwarding { client: "192.0.2.7", node: "192.0.2.7", https: true, trusted: false, request_id: b"id", host: None, prefix: "" };
            let mut head = Vec::new();
            write_request_head(&request, request.target, &forwarding, request.framing, false, &mut head);
            let before = Request::parse(&head).unwrap().fields().len();
            let parts = [Part::Text(value), Part::Variable(Variable::Path), Part::Variable(Variable::Host)];
            let rules = HeaderRules { remove: vec![names[0].clone()], set: vec![rule(&names[1], &parts)], add: vec![rule(&names[2], &parts)] };
            let values = Values { path: request.path(), host: request.host.unwrap_or_default(), ..VALUES };
            let mut lines = Vec::new();
            write_lines(&rules, &values, &mut lines);
            apply(&rules, &lines, &mut head, 0);
            let after = Request::parse(&head).expect("what goes out must be acceptable");
            prop_assert_eq!(after.framing, request.framing);
            prop_assert_eq!(after.target, request.target);
            prop_assert!(after.fields().len() <= before + 2);
            let named = |name: &str| after.fields().iter().filter(|field| is_same(field.name.as_bytes(), name.as_bytes())).count();
            prop_assert_eq!(named(&names[1]), 1 + usize::from(names[1] == names[2]));
        }
    }
}
