//! From a configured route and a request's head to what a master gets: whatever rules validation lets pass, and whatever a client
//! sends that is not refused, the route's rules hold and the framing stays.
//!
//! The input is eight lines (the rules of the listener's paths, the route's prefix, its rewriting, a name to remove, a name and a
//! value to set, the same to add) and then a head.

use std::path::Path;
use std::sync::Arc;

use baton::config::{self, System};
use baton::exchange::local::Local;
use baton::http::request::Request;
use baton::http::scan::HeadScan;
use baton::proxy::http::entrance::Peer;
use baton::proxy::http::prepare::{Inlet, Scratch};
use baton::snapshot::Snapshot;
use baton::telemetry::registry::Registry;

use crate::{lines, request_head};

const SETTINGS: usize = 8;

pub fn run(data: &[u8]) {
    let mut parts = data.splitn(SETTINGS + 1, |byte| *byte == b'\n');
    let settings: Vec<&str> = parts.by_ref().take(SETTINGS).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    let (Ok(settings), Some(bytes)) = (<[&str; SETTINGS]>::try_from(settings), parts.next()) else { return };
    let Ok(Some(end)) = HeadScan::default().find_end(bytes) else { return };
    let raw = &bytes[..end];
    let Ok(loaded) = config::parse(&text(settings), Path::new("baton.yaml"), &System) else { return };
    let route = loaded.config.routes[0].clone();
    let snapshot = Snapshot::build(loaded.config, vec![vec![None]], None);
    let local = Local::new(&Arc::new(arc_swap::ArcSwap::from_pointee(snapshot)), Registry::new().worker());
    let (generation, peer) = (local.generation(), Peer::new(Some([192, 0, 2, 1].into())));
    let inlet =
        Inlet { generation: &generation, position: 0, peer: &peer, https: false, ids: &local.ids, logged: true };
    let mut scratch = Scratch::default();
    if inlet.prepare(raw, 0, &mut scratch).is_err() {
        return;
    }
    let asked = Request::parse(raw).expect("it was taken");
    let head = lines::read(&scratch.head);
    request_head::check_framing(&head, asked.framing);
    assert_eq!(head.values("host").len(), 1);
    let Some(rules) = &route.passage.request_headers else { return };
    for name in &rules.remove {
        let added = rules.set.iter().chain(&rules.add).filter(|rule| rule.name == *name).count();
        assert_eq!(head.as_variables(&name.replace('_', "-")), added, "{name} was to be removed");
    }
    for rule in &rules.set {
        let plain = rule.name.replace('_', "-");
        let ours = rules.set.iter().chain(&rules.add).filter(|rule| rule.name.replace('_', "-") == plain).count();
        assert_eq!(head.as_variables(&plain), ours, "{plain} was to be set");
    }
    let mut words = head.first.split(|byte| *byte == b' ');
    let target = words.nth(1).expect("a target");
    assert!(target.starts_with(b"/") || target == b"*");
    assert_eq!((words.next(), words.next()), (Some(&b"HTTP/1.1"[..]), None));
}

fn text([paths, prefix, rewrite, remove, set, set_to, add, add_to]: [&str; SETTINGS]) -> String {
    let quoted = |text: &str| serde_json::to_string(text).expect("a string is JSON");
    let rule = |name: &str, value: &str| match name {
        "" => String::from("[]"),
        name => format!("[{{ name: {}, value: {} }}]", quoted(name), quoted(value)),
    };
    let word =
        |at: usize, words: [&'static str; 3]| words[usize::from(paths.as_bytes().get(at).copied().unwrap_or(0)) % 3];
    let paths = format!(
        "dot_segments: {}, repeated_slashes: {}, encoded_slashes: {}, invalid_encoding: {}",
        word(0, ["reject", "normalize", "pass"]),
        word(1, ["reject", "merge", "pass"]),
        word(2, ["reject", "pass", "pass"]),
        word(3, ["reject", "pass", "pass"]),
    );
    let remove = if remove.is_empty() { String::from("[]") } else { format!("[{}]", quoted(remove)) };
    let rewrite =
        if rewrite.is_empty() { String::new() } else { format!(", rewrite: {{ path_prefix: {} }}", quoted(rewrite)) };
    let matcher = if prefix.is_empty() { String::new() } else { format!("path_prefix: {}", quoted(prefix)) };
    format!(
        "listeners: [{{ name: gateway, address: '127.0.0.1:0', paths: {{ {paths} }} }}]\n\
         routes: [{{ name: all, match: {{ {matcher} }}, upstream: bots{rewrite}, request_headers: {{ remove: {remove}, set: {}, add: {} }} }}]\n\
         upstreams: [{{ name: bots, masters: [{{ name: a, address: '127.0.0.1:1' }}] }}]\n",
        rule(set, set_to),
        rule(add, add_to),
    )
}
