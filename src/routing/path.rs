//! The routes of one host by path: sorted, each path linked to the longest other one that it begins with.
//!
//! Among sorted paths, every one that begins a request's path also begins the last entry not after the request's path
//! (all that lies between a string and an extension of it begins with it). So one binary search finds an entry from
//! which the links lead to all matching prefixes, longest first.

use crate::config::model::PathPattern;

/// A route while its table is built.
#[derive(Debug, Clone, Copy)]
pub struct Rule<'a> {
    pub route: usize,
    /// Conditions beside host and path.
    pub others: usize,
    pub path: &'a PathPattern,
}

/// All routes of one host.
#[derive(Debug, Default)]
pub struct Paths {
    /// Sorted by path.
    entries: Box<[Entry]>,
}

/// The routes of one path, each group most specific first.
#[derive(Debug)]
struct Entry {
    path: Box<[u8]>,
    exact: Box<[usize]>,
    prefix: Box<[usize]>,
    /// The entry with the longest other path that this one begins with, in bytes, not in segments.
    shorter: Option<usize>,
}

impl Paths {
    pub fn build(mut rules: Vec<Rule<'_>>) -> Self {
        // Stable: routes with as many conditions stay in the order of the file.
        rules.sort_by(|one, other| path_of(one.path).cmp(path_of(other.path)).then(other.others.cmp(&one.others)));
        let mut entries: Vec<Entry> = Vec::new();
        for group in rules.chunk_by(|one, other| path_of(one.path) == path_of(other.path)) {
            let path = group.first().map_or(&b""[..], |rule| path_of(rule.path));
            let mut shorter = entries.len().checked_sub(1);
            while let Some(i) = shorter.filter(|i| !path.starts_with(&entries[*i].path)) {
                shorter = entries[i].shorter;
            }
            let routes = |exact: bool| {
                let of_kind = group.iter().filter(|rule| matches!(rule.path, PathPattern::Exact(_)) == exact);
                of_kind.map(|rule| rule.route).collect()
            };
            entries.push(Entry { path: path.into(), exact: routes(true), prefix: routes(false), shorter });
        }
        Self { entries: entries.into() }
    }

    /// The most specific route for this path that `holds` accepts.
    pub fn find(&self, path: &[u8], holds: impl Fn(usize) -> bool) -> Option<usize> {
        let first_of = |routes: &[usize]| routes.iter().copied().find(|route| holds(*route));
        // Emptiness is asked first for speed alone: comparing no bytes at the dangling address of an empty box makes
        // some processors fault and repeat a masked load, which takes ten times as long as the rest of the look-up.
        let not_after = |entry: &Entry| entry.path.is_empty() || *entry.path <= *path;
        let mut at = self.entries.partition_point(not_after).checked_sub(1);
        let common = at.map_or(0, |i| common_prefix(&self.entries[i].path, path));
        while let Some(entry) = at.and_then(|i| self.entries.get(i)) {
            let length = entry.path.len();
            if length <= common {
                let exact = if length == path.len() { first_of(&entry.exact) } else { None };
                let prefix = || if entry.covers(path) { first_of(&entry.prefix) } else { None };
                if let Some(route) = exact.or_else(prefix) {
                    return Some(route);
                }
            }
            at = entry.shorter;
        }
        None
    }
}

impl Entry {
    /// Whether a path that begins with this one does so with a whole segment.
    fn covers(&self, path: &[u8]) -> bool {
        matches!(self.path.last(), None | Some(b'/')) || matches!(path.get(self.path.len()), None | Some(b'/'))
    }
}

/// The path a pattern is filed under. A prefix loses the slash that ends its last segment, but not an empty segment.
fn path_of(pattern: &PathPattern) -> &[u8] {
    match pattern {
        PathPattern::Any => b"",
        PathPattern::Exact(path) => path.as_bytes(),
        PathPattern::Prefix(path) => match path.strip_suffix('/') {
            Some(shorter) if !shorter.is_empty() && !shorter.ends_with('/') => shorter.as_bytes(),
            _ => path.as_bytes(),
        },
    }
}

fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}
