//! One value of a configuration's text set, and all else left as somebody wrote it, comments included.
//!
//! The new text is read again and compared with the old one, value by value: an edit that would change anything else, as where an
//! alias repeats what is edited, is refused.

use std::collections::BTreeMap;
use std::fmt;

use super::substitute::{Lookup, Resolver};
use super::tree::{Entry, NodeId, Tree, Value};

/// What is to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    pub upstream: String,
    /// Where it is about one of the upstream's masters.
    pub master: Option<String>,
    pub key: &'static str,
    /// A word or a number: it is written without quotes.
    pub value: String,
}

/// Why a text stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CannotEdit {
    NoUpstream(String),
    NoMaster {
        upstream: String,
        master: String,
    },
    /// The way to the value, and what else would change with it.
    Shared {
        path: String,
        also: String,
    },
    /// The text cannot be read, before or after.
    Unreadable,
}

impl fmt::Display for CannotEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUpstream(name) => write!(f, "there is no upstream {name}"),
            Self::NoMaster { upstream, master } => write!(f, "upstream {upstream} has no master {master}"),
            Self::Shared { path, also } => {
                write!(f, "{path} cannot be set by itself: {also} would change with it; change the file")
            }
            Self::Unreadable => write!(f, "the configuration in use cannot be edited; change the file"),
        }
    }
}

/// The text with the edit made; the same text where that is its value already. Blocks as `lookup` does.
///
/// # Errors
/// [`CannotEdit`].
pub fn edit(text: &str, edit: &Edit, lookup: &dyn Lookup) -> Result<String, CannotEdit> {
    let (mark, body) = match text.strip_prefix('\u{feff}') {
        Some(body) => ("\u{feff}", body),
        None => ("", text),
    };
    let tree = read(body, lookup)?;
    let (map, path) = target(&tree, edit)?;
    let path = format!("{path}.{}", edit.key);
    let Value::Map(entries) = &tree.node(map).value else { return Err(CannotEdit::Unreadable) };
    let new = match entries.iter().find(|entry| entry.key == edit.key) {
        Some(entry) => replaced(body, &tree, entry, &edit.value)?,
        None => inserted(body, entries, edit)?,
    };
    let (before, after) = (scalars(&tree), scalars(&read(&new, lookup)?));
    let differs = |path: &&String| before.get(*path) != after.get(*path);
    if let Some(also) = before.keys().chain(after.keys()).filter(differs).find(|changed| **changed != path) {
        return Err(CannotEdit::Shared { path, also: also.clone() });
    }
    if after.get(&path) != Some(&edit.value) {
        return Err(CannotEdit::Unreadable);
    }
    Ok(format!("{mark}{new}"))
}

fn read(text: &str, lookup: &dyn Lookup) -> Result<Tree, CannotEdit> {
    Tree::parse(text, &mut Resolver::new(lookup, text), &mut Vec::new()).ok_or(CannotEdit::Unreadable)
}

/// The mapping that has the key, and the way to it.
fn target(tree: &Tree, edit: &Edit) -> Result<(NodeId, String), CannotEdit> {
    let upstream = named(tree, tree.root(), "upstreams", &edit.upstream);
    let upstream = upstream.ok_or_else(|| CannotEdit::NoUpstream(edit.upstream.clone()))?;
    let found = match &edit.master {
        None => upstream,
        Some(name) => named(tree, upstream, "masters", name)
            .ok_or_else(|| CannotEdit::NoMaster { upstream: edit.upstream.clone(), master: name.clone() })?,
    };
    Ok((found, tree.path(found)))
}

/// The mapping of this name in the list below a key.
fn named(tree: &Tree, map: NodeId, list: &str, name: &str) -> Option<NodeId> {
    let Value::List(items) = &tree.node(below(tree, map, list)?).value else { return None };
    items.iter().copied().find(|item| {
        let known = below(tree, *item, "name").map(|id| &tree.node(id).value);
        matches!(known, Some(Value::Scalar(scalar)) if scalar.text == name)
    })
}

fn below(tree: &Tree, map: NodeId, key: &str) -> Option<NodeId> {
    let Value::Map(entries) = &tree.node(map).value else { return None };
    entries.iter().find(|entry| entry.key == key).map(|entry| entry.node)
}

/// A scalar in the place of another one.
fn replaced(text: &str, tree: &Tree, entry: &Entry, value: &str) -> Result<String, CannotEdit> {
    let node = tree.node(entry.node);
    if !matches!(node.value, Value::Scalar(_)) {
        return Err(CannotEdit::Unreadable);
    }
    let place = node.place;
    let at = (offset(text, place.line, place.column), offset(text, place.end_line, place.end_column));
    let (Some(begin), Some(end)) = at else { return Err(CannotEdit::Unreadable) };
    let written = text.get(begin..end).ok_or(CannotEdit::Unreadable)?;
    if written.is_empty() {
        // Where a value would stand that is not there the parser does not say, but it is behind the colon.
        let key = offset(text, entry.key_place.line, entry.key_place.column).ok_or(CannotEdit::Unreadable)?;
        let (before, rest) = text.split_at_checked(key).ok_or(CannotEdit::Unreadable)?;
        let (key, after) = rest.split_once(':').ok_or(CannotEdit::Unreadable)?;
        return Ok(format!("{before}{key}: {value}{after}"));
    }
    let end = begin + quoted(written).unwrap_or(written.len());
    let (Some(before), Some(after)) = (text.get(..begin), text.get(end..)) else { return Err(CannotEdit::Unreadable) };
    Ok(format!("{before}{value}{after}"))
}

/// The bytes of a scalar in quotes, whose place goes on to whatever comes next.
fn quoted(written: &str) -> Option<usize> {
    let quote = written.bytes().next().filter(|byte| b"\"'".contains(byte))?;
    let mut escaped = false;
    // A quote that stands for itself ends it too early; what is made of that does not stand the reading that follows.
    let end = written.bytes().skip(1).position(|byte| {
        let ends = byte == quote && !escaped;
        escaped = quote == b'"' && byte == b'\\' && !escaped;
        ends
    })?;
    Some(end + 2)
}

/// A key before the first one of its mapping: what follows the last one may be a comment or the end of a list.
fn inserted(text: &str, entries: &[Entry], edit: &Edit) -> Result<String, CannotEdit> {
    let first = entries.first().ok_or(CannotEdit::Unreadable)?.key_place;
    let at = offset(text, first.line, first.column).ok_or(CannotEdit::Unreadable)?;
    let (before, after) = text.split_at_checked(at).ok_or(CannotEdit::Unreadable)?;
    let line = before.rsplit('\n').next().unwrap_or_default();
    let between =
        if in_braces(text, entries, at) { ", ".to_owned() } else { format!("\n{}", " ".repeat(line.chars().count())) };
    Ok(format!("{before}{}: {}{between}{after}", edit.key, edit.value))
}

/// Whether the mapping whose first key stands there is one in braces.
fn in_braces(text: &str, entries: &[Entry], first: usize) -> bool {
    let before = text.get(..first).unwrap_or_default().trim_end_matches([' ', '\t', '\r', '\n']);
    // A key in quotes begins behind its quote or at it, by the parser.
    let before = before.trim_end_matches(['"', '\'']);
    let lone = entries.len() == 1;
    before.ends_with('{')
        || (!lone && entries.get(1).is_some_and(|second| second.key_place.line == entries[0].key_place.line))
}

/// Where a character stands, in bytes; lines and columns count from 1.
fn offset(text: &str, line: usize, column: usize) -> Option<usize> {
    let begin = match line {
        0 => return None,
        1 => 0,
        _ => memchr::memchr_iter(b'\n', text.as_bytes()).nth(line - 2)? + 1,
    };
    let rest = text.get(begin..)?;
    let within = rest.char_indices().map(|(at, _)| at).chain([rest.len()]).nth(column.checked_sub(1)?)?;
    Some(begin + within)
}

/// Every scalar with the way to it.
fn scalars(tree: &Tree) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut ahead = vec![tree.root()];
    while let Some(id) = ahead.pop() {
        match &tree.node(id).value {
            Value::Scalar(scalar) => {
                found.insert(tree.path(id), scalar.text.clone());
            }
            Value::List(items) => ahead.extend(items),
            Value::Map(entries) => ahead.extend(entries.iter().map(|entry| entry.node)),
            Value::Broken => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::System;

    fn set(text: &str, master: Option<&str>, key: &'static str, value: &str) -> Result<String, CannotEdit> {
        let wanted = Edit { upstream: "bots".into(), master: master.map(str::to_owned), key, value: value.to_owned() };
        edit(text, &wanted, &System)
    }

    const BLOCK: &str = "\
# mine
upstreams:
  - name: others
    strategy: random
  - name: bots   # all of them
    strategy: \"least-loaded\"  # for now
    masters:
      - name: a
        address: 127.0.0.1:1
        weight: 2
      - { name: ä, address: 127.0.0.1:2 }
";

    #[test]
    fn a_value_is_put_in_the_place_of_the_one_that_is_there() {
        let text = set(BLOCK, None, "strategy", "geo").unwrap();
        assert_eq!(text, BLOCK.replace("\"least-loaded\"", "geo"));
        assert_eq!(set(&text, None, "strategy", "geo"), Ok(text.clone()));
        assert_eq!(set(BLOCK, Some("a"), "weight", "30"), Ok(BLOCK.replace("weight: 2", "weight: 30")));
    }

    #[test]
    fn a_value_that_is_not_there_is_added() {
        let text = set(BLOCK, Some("a"), "priority", "1").unwrap();
        assert_eq!(text, BLOCK.replace("- name: a\n", "- priority: 1\n        name: a\n"));
        let text = set(BLOCK, Some("ä"), "priority", "1").unwrap();
        assert_eq!(text, BLOCK.replace("{ name: ä", "{ priority: 1, name: ä"));
        let text = set("upstreams: [name: bots]", None, "strategy", "geo");
        assert!(text.is_err() || text == Ok("upstreams: [{strategy: geo, name: bots}]".into()), "{text:?}");
    }

    #[test]
    fn who_is_not_there_is_named() {
        assert_eq!(set("upstreams: []", None, "strategy", "geo"), Err(CannotEdit::NoUpstream("bots".into())));
        let none = CannotEdit::NoMaster { upstream: "bots".into(), master: "b".into() };
        assert_eq!(set(BLOCK, Some("b"), "weight", "3"), Err(none));
        assert_eq!(set("upstreams: [", None, "strategy", "geo"), Err(CannotEdit::Unreadable));
        assert_eq!(set("a: 1", None, "strategy", "geo"), Err(CannotEdit::NoUpstream("bots".into())));
    }

    #[test]
    fn what_an_alias_repeats_is_not_changed_with_it() {
        let text = "\
upstreams:
  - { name: others, masters: &all [{ name: a, weight: 1 }] }
  - { name: bots, masters: *all }
";
        let refused = set(text, Some("a"), "weight", "3").unwrap_err();
        assert!(refused.to_string().contains("upstreams[0].masters[0].weight would change with it"), "{refused}");
    }

    #[test]
    fn names_may_come_from_elsewhere_and_keys_may_have_no_value() {
        struct Named;
        impl Lookup for Named {
            fn variable(&self, _: &str) -> Option<String> {
                Some("bots".into())
            }
            fn read(&self, _: &std::path::Path, _: u64) -> std::io::Result<Vec<u8>> {
                Err(std::io::ErrorKind::NotFound.into())
            }
        }
        let text = "upstreams:\n  - name: ${NAME}\n    strategy:\n";
        let wanted = Edit { upstream: "bots".into(), master: None, key: "strategy", value: "geo".into() };
        assert_eq!(edit(text, &wanted, &Named), Ok(text.replace("strategy:", "strategy: geo")));
    }

    proptest! {
        #[test]
        fn any_text_is_edited_in_one_place_or_refused(text in "(?s)(upstreams:|name: bots|[ \n\\-{}\\[\\],:#&*\"'aä]){0,20}") {
            if let Ok(edited) = set(&text, None, "strategy", "geo") {
                prop_assert_eq!(set(&edited, None, "strategy", "geo"), Ok(edited));
            }
        }

        #[test]
        fn an_edit_of_a_good_text_changes_one_line_of_it(
            flow: bool, comment in "(  # [a-z ]{0,10})?", masters in 1usize..5, of in 0usize..5, weight in 1u32..1000,
        ) {
            let of = of % masters;
            let mut text = format!("upstreams:{comment}\n  - name: bots\n    masters:\n");
            for n in 0..masters {
                text += &if flow { format!("      - {{ name: m{n}, address: h{n} }}{comment}\n") }
                    else { format!("      - name: m{n}{comment}\n        address: h{n}\n") };
            }
            let edited = set(&text, Some(&format!("m{of}")), "weight", &weight.to_string()).unwrap();
            let gone: Vec<_> = text.lines().filter(|line| !edited.lines().any(|other| other == *line)).collect();
            prop_assert!(gone.len() <= 1, "{edited}");
        }
    }
}
