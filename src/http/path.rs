//! Paths that two programs could read differently.
//!
//! A route is chosen by one reading of the path and the master acts on its own. `//a`, `/x/../a`, `/x/%2e%2e/a` and
//! `/x%2f..%2fa` all lead to `/a` in some programs and not in others, so whoever may not pass a route can try another
//! spelling. Here such a path is refused, or brought to the one spelling that both the route and the master then get,
//! as the listener's `paths` say. A clean path costs one look at each of its bytes. The query is nobody's path and stays as it is.

use std::borrow::Cow;

use crate::config::model::{DotSegments, PathRules, RepeatedSlashes, Strictness};

/// What is wrong with a path that its listener does not take; fit for the answer.
pub type Reason = &'static str;

/// The target as the route is to see it and the master to get it: `target` itself, unless `rules` bring its path to another
/// form. `target` is in origin form, or `*`.
///
/// # Errors
/// A [`Reason`] when the rules refuse it.
pub fn judge<'t>(target: &'t str, rules: &PathRules) -> Result<Cow<'t, str>, Reason> {
    match suspect(target.as_bytes()) {
        None => Ok(Cow::Borrowed(target)),
        Some(path_end) => judge_suspect(target, path_end, rules),
    }
}

/// The length of the path when it has anything in it that this file is about.
fn suspect(target: &[u8]) -> Option<usize> {
    let (mut after_slash, mut found) = (false, false);
    for (at, byte) in target.iter().enumerate() {
        match byte {
            b'?' => return found.then_some(at),
            b'%' | b'\\' => found = true,
            b'.' | b'/' => found |= after_slash,
            _ => {}
        }
        after_slash = *byte == b'/';
    }
    found.then_some(target.len())
}

fn judge_suspect<'t>(target: &'t str, path_end: usize, rules: &PathRules) -> Result<Cow<'t, str>, Reason> {
    let (path, query) = target.split_at(path_end);
    judge_encoding(path, rules)?;
    let (mut dots, mut repeated) = (false, false);
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        repeated |= segment.is_empty() && segments.peek().is_some();
        match dot_segment(segment) {
            None => {}
            Some(_) if rules.dot_segments == DotSegments::Pass => {}
            Some(Dot::Plain(_)) if rules.dot_segments == DotSegments::Normalize => dots = true,
            Some(Dot::Plain(_)) => return Err("a dot segment in the path"),
            Some(Dot::Hidden) => return Err("a hidden dot segment in the path"),
        }
    }
    if repeated && rules.repeated_slashes == RepeatedSlashes::Reject {
        return Err("repeated slashes in the path");
    }
    let merge = repeated && rules.repeated_slashes == RepeatedSlashes::Merge;
    if !dots && !merge {
        return Ok(Cow::Borrowed(target));
    }
    let mut normal = rebuild(path, dots, merge)?;
    normal.push_str(query);
    Ok(Cow::Owned(normal))
}

/// Percent-encoding that is none or hides something, and backslashes.
fn judge_encoding(path: &str, rules: &PathRules) -> Result<(), Reason> {
    let strict = rules.invalid_encoding == Strictness::Reject;
    let mut beyond_ascii = false;
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let decoded = match byte {
            b'%' => match unescape(after) {
                Some(decoded) => decoded,
                None if strict => return Err("malformed percent-encoding in the path"),
                None => continue,
            },
            b'\\' => b'\\',
            _ => continue,
        };
        match decoded {
            b'/' | b'\\' if rules.encoded_slashes == Strictness::Reject => {
                return Err("an encoded slash or a backslash in the path");
            }
            0..0x20 | 0x7f if strict => return Err("an encoded control character in the path"),
            0x80.. => beyond_ascii = true,
            _ => {}
        }
    }
    // Overlong forms are not UTF-8: programs that decode them all the same see a slash or a dot.
    if beyond_ascii && strict && std::str::from_utf8(&decoded(path).collect::<Vec<u8>>()).is_err() {
        return Err("a path that does not decode to UTF-8");
    }
    Ok(())
}

/// A segment that some program takes for `.` or `..`.
#[derive(Debug, PartialEq, Eq)]
enum Dot {
    /// So many dots, encoded or not, and nothing else: everybody takes it for that.
    Plain(usize),
    /// With a parameter behind it (`..;a`), or between encoded slashes or backslashes (`a%2f..`).
    Hidden,
}

fn dot_segment(segment: &str) -> Option<Dot> {
    let is_dot = |dots: Option<usize>| matches!(dots, Some(1 | 2));
    // How many dots the part has so far; none once anything else came.
    let (mut dots, mut parts, mut hidden) = (Some(0), 1, false);
    for byte in decoded(segment) {
        match byte {
            b'.' => dots = dots.map(|dots| dots + 1),
            b';' => {
                hidden |= is_dot(dots);
                dots = None;
            }
            b'/' | b'\\' => {
                hidden |= is_dot(dots);
                (dots, parts) = (Some(0), parts + 1);
            }
            _ => dots = None,
        }
    }
    match dots {
        Some(dots @ (1 | 2)) if parts == 1 => Some(Dot::Plain(dots)),
        _ if hidden || is_dot(dots) => Some(Dot::Hidden),
        _ => None,
    }
}

/// The path without dot segments (RFC 3986 section 5.2.4), without empty segments, or both.
fn rebuild(path: &str, dots: bool, merge: bool) -> Result<String, Reason> {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match dot_segment(segment) {
            Some(Dot::Plain(count)) if dots => {
                if count == 2 && kept.pop().is_none() {
                    return Err("a path that leads above its root");
                }
                // What names a folder keeps its slash.
                if last {
                    kept.push("");
                }
            }
            _ if merge && segment.is_empty() && !last => {}
            _ => kept.push(segment),
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in kept {
        normal.push('/');
        normal.push_str(segment);
    }
    Ok(normal)
}

/// The bytes that percent-encoding stands for; a `%` that begins none is itself.
fn decoded(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (&byte, after) = rest.split_first()?;
        let unescaped = if byte == b'%' { unescape(after) } else { None };
        rest = if unescaped.is_some() { &after[2..] } else { after };
        Some(unescaped.unwrap_or(byte))
    })
}

/// The byte that two hexadecimal digits behind a `%` stand for.
fn unescape(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| digits.get(at).and_then(|digit| char::from(*digit).to_digit(16));
    u8::try_from(digit(0)? << 4 | digit(1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASS: PathRules = PathRules {
        dot_segments: DotSegments::Pass,
        repeated_slashes: RepeatedSlashes::Pass,
        encoded_slashes: Strictness::Pass,
        invalid_encoding: Strictness::Pass,
    };

    const NORMALIZE: PathRules =
        PathRules { dot_segments: DotSegments::Normalize, repeated_slashes: RepeatedSlashes::Merge, ..PASS };

    fn judged(target: &str, rules: PathRules) -> Option<String> {
        judge(target, &rules).ok().map(Cow::into_owned)
    }

    #[test]
    fn ordinary_paths_are_taken_as_they_are() {
        for target in [
            "/",
            "*",
            "/webhook",
            "/webhook/",
            "/.well-known/acme-challenge/a_B-9",
            "/message/sendText/My%20Instance",
            "/api/files/true_12345%40c.us_3EB0.jpeg?download=1",
            "/caf%C3%A9/é/a..b/...;x/..a/a../.a",
            "/a;b=c/d,e/{f}|\"<>",
            "/a?next=//b/../c%2f%00\\",
        ] {
            let taken = judge(target, &PathRules::default());
            assert!(matches!(taken, Ok(Cow::Borrowed(same)) if same == target), "{target}: {taken:?}");
        }
    }

    #[test]
    fn what_two_programs_could_read_differently_is_refused() {
        for target in [
            "/a/../b",
            "/a/..",
            "/./a",
            "/a/.",
            "/%2e%2E/a",
            "/a/.%2e?q",
            "/a/..;x/b",
            "/a/%2e;",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a/..\\b",
            "/a%00",
            "/a%0d%0aX:y",
            "/a%7f",
            "/a%",
            "/a%4",
            "/a%zz",
            "/a%c0%af",
            "/a%c0%ae/",
            "/a%ff",
            "/a%e9",
            "/a%ed%a0%80",
            "/\u{e9}%a9",
        ] {
            assert_eq!(judged(target, PathRules::default()), None, "{target}");
            assert_eq!(judged(target, PASS).as_deref(), Some(target));
        }
    }

    #[test]
    fn repeated_slashes_are_merged_refused_or_left() {
        let with = |target: &str, repeated_slashes| judged(target, PathRules { repeated_slashes, ..PASS });
        for (target, merged) in [("//", "/"), ("//a///b//", "/a/b/"), ("/a//?b//c", "/a/?b//c")] {
            assert_eq!(with(target, RepeatedSlashes::Merge).as_deref(), Some(merged));
            assert_eq!(with(target, RepeatedSlashes::Reject), None);
            assert_eq!(with(target, RepeatedSlashes::Pass).as_deref(), Some(target));
        }
    }

    #[test]
    fn dot_segments_are_resolved_where_that_is_asked_for() {
        for (target, normal) in [
            ("/a/./b/../c?../d", "/a/c?../d"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/a/%2e%2e/b", "/b"),
            ("/a//../b", "/b"),
            ("/a/b/..//", "/a/"),
        ] {
            assert_eq!(judged(target, NORMALIZE).as_deref(), Some(normal), "{target}");
        }
        // Without merging an empty segment is one, as RFC 3986 has it.
        let dots_only = PathRules { repeated_slashes: RepeatedSlashes::Pass, ..NORMALIZE };
        assert_eq!(judged("/a//../b", dots_only).as_deref(), Some("/a/b"));
        for target in ["/..", "/a/../../b", "/a/..;/b", "/a%2f../b", "/..%5cb", "/a/..\\"] {
            assert_eq!(judged(target, NORMALIZE), None, "{target}");
        }
    }

    #[test]
    fn each_rule_stands_for_itself() {
        let slashes = PathRules { encoded_slashes: Strictness::Pass, ..PathRules::default() };
        assert_eq!(judged("/a%2fb", slashes).as_deref(), Some("/a%2fb"));
        assert_eq!(judged("/a%2f%2e%2e", slashes), None);
        let encoding = PathRules { invalid_encoding: Strictness::Pass, ..PathRules::default() };
        assert_eq!(judged("/a%00%zz%ff", encoding).as_deref(), Some("/a%00%zz%ff"));
        assert_eq!(judged("/a%2f", encoding), None);
    }

    fn rules() -> impl Strategy<Value = PathRules> {
        use prop::sample::select;
        let strictness = || select(vec![Strictness::Reject, Strictness::Pass]);
        let dots = select(vec![DotSegments::Reject, DotSegments::Normalize, DotSegments::Pass]);
        let slashes = select(vec![RepeatedSlashes::Reject, RepeatedSlashes::Merge, RepeatedSlashes::Pass]);
        (dots, slashes, strictness(), strictness()).prop_map(
            |(dot_segments, repeated_slashes, encoded_slashes, invalid_encoding)| PathRules {
                dot_segments,
                repeated_slashes,
                encoded_slashes,
                invalid_encoding,
            },
        )
    }

    /// As a master may do that decodes once, knows backslashes and parameters, merges slashes, then resolves dots.
    fn liberal_master(path: &str) -> Vec<Vec<u8>> {
        let bytes: Vec<u8> = decoded(path).collect();
        let mut segments: Vec<Vec<u8>> = Vec::new();
        for segment in bytes.split(|byte| matches!(byte, b'/' | b'\\')) {
            match segment.split(|byte| *byte == b';').next().unwrap() {
                b"" | b"." => {}
                b".." => drop(segments.pop()),
                name => segments.push(name.to_vec()),
            }
        }
        segments
    }

    proptest! {
        #[test]
        fn what_was_taken_is_taken_again_as_it_is(target in "/([a.;/\\\\?]|%2e|%2f|%5c|%00|%c0|%|é){0,12}", rules in rules()) {
            if let Ok(once) = judge(&target, &rules) {
                prop_assert!(once.starts_with('/'));
                prop_assert_eq!(judge(&once, &rules), Ok(Cow::Borrowed(&*once)));
            }
        }

        #[test]
        fn with_the_defaults_the_most_liberal_master_reads_the_segments_that_were_routed(target in "/([ab.;/\\\\]|%2e|%2f|%5c|%61){0,12}") {
            if let Ok(taken) = judge(&target, &PathRules::default()) {
                let routed = taken.split('/').map(|segment| decoded(segment).collect::<Vec<u8>>());
                let routed = routed.map(|segment| segment.split(|byte| *byte == b';').next().unwrap().to_vec());
                let routed: Vec<Vec<u8>> = routed.filter(|segment| !segment.is_empty()).collect();
                prop_assert_eq!(liberal_master(&taken), routed);
            }
        }
    }
}
