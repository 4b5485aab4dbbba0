//! Paths: what was taken is taken again as it is, and with the default rules a master that reads it as liberally as any sees
//! the segments that the route was chosen by.

use std::borrow::Cow;

use baton::config::model::{DotSegments, PathRewrite, PathRules, RepeatedSlashes, Strictness};
use baton::exchange::rewrite::write_target;
use baton::http::path::judge;

pub fn run(data: &[u8]) {
    let Some((&options, bytes)) = data.split_first() else { return };
    let Ok(target) = std::str::from_utf8(bytes) else { return };
    if !target.starts_with('/') || target.contains('#') || target.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return;
    }
    let rules = rules(options);
    let Ok(taken) = judge(target, &rules) else { return };
    assert!(taken.starts_with('/') && taken.len() <= target.len());
    assert_eq!(query(&taken), query(target));
    assert_eq!(judge(&taken, &rules), Ok(Cow::Borrowed(&*taken)));
    if rules == PathRules::default() {
        check_reading(&taken);
    }
    let rewrite = PathRewrite::Prefix { from: first_segment(&taken).to_owned(), to: String::new() };
    let mut rewritten = String::new();
    if write_target(&rewrite, &taken, &mut rewritten) {
        assert!(rewritten.starts_with('/') && rewritten.len() <= taken.len() + 1);
        assert!(!rewritten.starts_with("//") || taken.starts_with("//"), "a path became a host");
        assert_eq!(query(&rewritten), query(&taken));
    }
}

fn rules(options: u8) -> PathRules {
    let strictness = |bit: u8| if options & bit == 0 { Strictness::Reject } else { Strictness::Pass };
    if options & 1 == 0 {
        return PathRules::default();
    }
    PathRules {
        dot_segments: [DotSegments::Reject, DotSegments::Normalize, DotSegments::Pass]
            [usize::from(options >> 1 & 3) % 3],
        repeated_slashes: [RepeatedSlashes::Reject, RepeatedSlashes::Merge, RepeatedSlashes::Pass]
            [usize::from(options >> 3 & 3) % 3],
        encoded_slashes: strictness(32),
        invalid_encoding: strictness(64),
    }
}

fn query(target: &str) -> Option<&str> {
    target.split_once('?').map(|(_, query)| query)
}

fn first_segment(target: &str) -> &str {
    let path = target.split('?').next().unwrap_or_default();
    let end = path[1..].find('/').map_or(path.len(), |at| at + 1);
    if end == 1 { "" } else { &path[..end] }
}

fn check_reading(taken: &str) {
    let path = taken.split('?').next().unwrap_or_default();
    let plain = |segment: &[u8]| segment.split(|byte| *byte == b';').next().unwrap_or_default().to_vec();
    let routed = path.split('/').map(|segment| plain(&decoded(segment.as_bytes())));
    let routed: Vec<Vec<u8>> = routed.filter(|segment| !segment.is_empty()).collect();
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for segment in decoded(path.as_bytes()).split(|byte| matches!(byte, b'/' | b'\\')) {
        match &plain(segment)[..] {
            b"" | b"." => {}
            b".." => drop(seen.pop()),
            name => seen.push(name.to_vec()),
        }
    }
    assert_eq!(seen, routed, "two readings of {path:?}");
    assert!(std::str::from_utf8(&decoded(path.as_bytes())).is_ok());
}

/// Once, and what is no encoding stays.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| byte == b'%').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
            u8::from_str_radix(digits, 16).ok()
        });
        bytes.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    bytes
}
