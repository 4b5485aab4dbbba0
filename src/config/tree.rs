//! The parsed text: every value with the place it was written at and the way that leads to it.
//!
//! A general YAML value forgets positions, so no later check could point at what it objects to. This tree keeps them,
//! and bounds what a hostile text can cost: depth, number of values, and copies made for aliases.
//!
//! Environment variables and files are put in here, after parsing and into scalars only: whatever they hold, it can
//! become neither a key nor a list.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::diagnostic::{Place, Report, code};
use super::substitute::{Resolver, Substituted};

/// Mappings and lists inside each other. The deepest key there is needs nine.
const DEPTH_MAX: usize = 32;

/// Values in a tree, those that aliases repeat included. A master takes about fifteen, so this is room for thousands.
const NODES_MAX: usize = 100_000;

/// Keys of one mapping: each new one is compared with all before it, and no mapping has more than twenty.
const KEYS_MAX: usize = 1_000;

/// Would mix the keys of another mapping in; unknown to YAML 1.2, and reported.
const MERGE_KEY: &str = "<<";

/// Index of a value in its [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeId(usize);

/// How a value is reached from its parent.
#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Index(usize),
}

#[derive(Debug, Clone)]
pub struct Node {
    pub value: Value,
    /// Where it stands; for a value that a default supplied, where its parent stands.
    pub place: Place,
    /// The key in front of it.
    key_place: Option<Place>,
    /// False when a default supplied it.
    pub given: bool,
    /// Never to be shown, whatever its key is.
    hidden: bool,
    parent: Option<(NodeId, Step)>,
}

#[derive(Debug, Clone)]
pub enum Value {
    Scalar(Scalar),
    List(Vec<NodeId>),
    Map(Vec<Entry>),
    /// Something that was already reported; nothing more is to be said about it.
    Broken,
}

#[derive(Debug, Clone)]
pub struct Scalar {
    pub text: String,
    /// Written without quotes.
    pub plain: bool,
    /// When it holds what a variable or a file gave: what was written. That is shown in its place.
    pub written: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub key: String,
    pub key_place: Place,
    pub node: NodeId,
}

/// Values of one text. The first one is the root.
#[derive(Debug, Default)]
pub struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    /// Parses `text`. Errors that leave a usable tree are reported and their values marked [`Value::Broken`]; a syntax
    /// error ends the tree, and then there is none.
    pub fn parse(text: &str, resolver: &mut Resolver<'_>, reports: &mut Vec<Report>) -> Option<Self> {
        let mut tree = Self::default();
        let root =
            Builder { tree: &mut tree, resolver: Some(resolver), reports, stack: Vec::new(), anchors: HashMap::new() }
                .document(text)?;
        debug_assert_eq!(root, NodeId(0));
        Some(tree)
    }

    /// The root. A tree that [`Tree::parse`] returned has one.
    pub fn root(&self) -> NodeId {
        NodeId(0)
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Adds the value that `parent` has for `key` when the text says nothing. `text` is part of the program.
    pub fn add_default(&mut self, parent: NodeId, key: &str, text: &str) -> NodeId {
        let place = self.node(parent).place;
        let first = self.nodes.len();
        let mut reports = Vec::new();
        Builder { tree: self, resolver: None, reports: &mut reports, stack: Vec::new(), anchors: HashMap::new() }
            .document(text);
        debug_assert!(reports.is_empty(), "default of {key}: {reports:?}");
        if self.nodes.len() == first {
            let value = Value::Broken;
            self.nodes.push(Node { value, place, key_place: None, given: false, hidden: false, parent: None });
        }
        for node in &mut self.nodes[first..] {
            node.place = place;
            node.given = false;
        }
        self.nodes[first].parent = Some((parent, Step::Key(key.to_owned())));
        NodeId(first)
    }

    /// The way to a value: `upstreams[0].masters[2].weight`.
    pub fn path(&self, id: NodeId) -> String {
        let mut steps = Vec::new();
        let mut at = id;
        while let Some((parent, step)) = &self.node(at).parent {
            steps.push(step);
            at = *parent;
        }
        let mut path = String::new();
        for step in steps.into_iter().rev() {
            match step {
                Step::Key(key) if path.is_empty() => path.push_str(key),
                Step::Key(key) => {
                    path.push('.');
                    path.push_str(key);
                }
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        path
    }

    /// Where to point when something about the whole value is wrong: at its key, or else at its first character.
    pub fn head(&self, id: NodeId) -> Place {
        let node = self.node(id);
        match (&node.value, node.key_place) {
            (Value::List(_) | Value::Map(_), Some(key)) => key,
            (Value::List(_) | Value::Map(_), None) => node.place.start(),
            (Value::Scalar(scalar), Some(key)) if scalar.plain && ["", "~"].contains(&scalar.text.as_str()) => key,
            _ => node.place,
        }
    }

    /// Places of values that must not be shown: hidden ones and those under a key that speaks of a secret.
    pub fn secrets(&self) -> Vec<Place> {
        let is_hidden = |index: &usize| {
            matches!(self.nodes[*index].value, Value::Scalar(_) | Value::Broken) && self.is_secret(NodeId(*index))
        };
        (0..self.nodes.len()).filter(is_hidden).map(|index| self.nodes[index].place).collect()
    }

    /// Keeps a value out of every message.
    pub fn hide(&mut self, id: NodeId) {
        self.nodes[id.0].hidden = true;
    }

    /// Whether a value is hidden, or it or anything around it has a key that speaks of a secret.
    pub fn is_secret(&self, id: NodeId) -> bool {
        let mut at = id;
        if self.node(id).hidden {
            return true;
        }
        while let Some((parent, step)) = &self.node(at).parent {
            if matches!(step, Step::Key(key) if super::diagnostic::is_secret_key(key)) {
                return true;
            }
            at = *parent;
        }
        false
    }

    /// Copies a value for an alias, `depth` mappings and lists down.
    fn copy(&mut self, from: NodeId, depth: usize) -> Result<NodeId, TooLarge> {
        if self.nodes.len() >= NODES_MAX {
            return Err(TooLarge::Nodes);
        }
        let node = self.nodes[from.0].clone();
        if depth > DEPTH_MAX {
            return Err(TooLarge::Depth);
        }
        let id = NodeId(self.nodes.len());
        self.nodes.push(Node { value: Value::Broken, ..node.clone() });
        let value = match node.value {
            Value::List(items) => {
                let mut copies = Vec::with_capacity(items.len());
                for (index, item) in items.into_iter().enumerate() {
                    let copied = self.copy(item, depth + 1)?;
                    self.nodes[copied.0].parent = Some((id, Step::Index(index)));
                    copies.push(copied);
                }
                Value::List(copies)
            }
            Value::Map(entries) => {
                let mut copies = Vec::with_capacity(entries.len());
                for entry in entries {
                    let copied = self.copy(entry.node, depth + 1)?;
                    self.nodes[copied.0].parent = Some((id, Step::Key(entry.key.clone())));
                    copies.push(Entry { node: copied, ..entry });
                }
                Value::Map(copies)
            }
            value => value,
        };
        self.nodes[id.0].value = value;
        Ok(id)
    }
}

/// Which bound a tree has reached.
enum TooLarge {
    Nodes,
    Depth,
}

/// A mapping or list whose end has not come yet.
struct Open {
    id: NodeId,
    anchor: usize,
    /// In a mapping: the key that waits for its value.
    key: Option<(String, Place)>,
}

/// Ends the reading of a text; the reason has been reported.
struct Stop;

/// The likely cause of a syntax error that the parser met in this line, whose own words name only what it missed.
fn syntax_help(text: &str, line: usize, missed: &str) -> &'static str {
    if missed.contains("quoted scalar") {
        return "a quote that opens here is not closed in this line";
    }
    let near = || text.lines().skip(line.saturating_sub(2)).take(3);
    if near().any(|line| line.trim_start_matches(' ').starts_with('\t')) {
        return "YAML allows no tabs before a key: write blanks";
    }
    if text.lines().nth(line.saturating_sub(1)).is_some_and(|line| line.contains(": [:") || line.contains("]:")) {
        return "put an IPv6 address in quotes: \"[::1]:8080\"";
    }
    "keys of one mapping, and the `-` of one list, begin in the same column; a value with `: `, `#`, `{`, `[`, `*` or `&` \
     in it wants quotes"
}

/// Makes a tree of the parser's events.
struct Builder<'a, 'r> {
    tree: &'a mut Tree,
    /// `None` for texts of the program itself, in which nothing is substituted.
    resolver: Option<&'a mut Resolver<'r>>,
    reports: &'a mut Vec<Report>,
    stack: Vec<Open>,
    /// Complete values by the number that the parser gave their anchor.
    anchors: HashMap<usize, NodeId>,
}

impl Builder<'_, '_> {
    fn document(mut self, text: &str) -> Option<NodeId> {
        let first = self.tree.nodes.len();
        let mut parser = Parser::new_from_str(text);
        let mut documents = 0;
        while let Some(event) = parser.next_event() {
            match event {
                Ok((Event::StreamEnd, _)) => break,
                Ok((Event::DocumentStart(_), span)) => {
                    documents += 1;
                    if documents > 1 {
                        self.report("a second document begins here", place(span).start(), &["remove the `---`"]);
                        return None;
                    }
                }
                Ok((event, span)) => self.event(event, place(span)).ok()?,
                Err(error) => {
                    let marker = error.marker();
                    let at = Place::point(marker.line(), marker.col() + 1);
                    self.report(
                        &format!("not valid YAML: {}", error.info()),
                        at,
                        &[syntax_help(text, marker.line(), error.info())],
                    );
                    return None;
                }
            }
        }
        if self.tree.nodes.len() == first {
            self.report(
                "the text is empty",
                Place::point(1, 1),
                &["a configuration needs listeners, routes and upstreams"],
            );
            return None;
        }
        Some(NodeId(first))
    }

    fn event(&mut self, event: Event<'_>, place: Place) -> Result<(), Stop> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if tag.is_some() {
                    self.report("tags are not supported", place, &["leave out the word that begins with `!`"]);
                }
                if self.key_expected() {
                    return self.key(text.into_owned(), place);
                }
                let value = self.scalar(text, style, place);
                let id = self.add(value, place)?;
                if anchor != 0 {
                    self.anchors.insert(anchor, id);
                }
                Ok(())
            }
            Event::SequenceStart(anchor, tag) => self.open(Value::List(Vec::new()), anchor, tag.is_some(), place),
            Event::MappingStart(anchor, tag) => self.open(Value::Map(Vec::new()), anchor, tag.is_some(), place),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.stack.pop()
                    && open.anchor != 0
                {
                    self.anchors.insert(open.anchor, open.id);
                }
                Ok(())
            }
            Event::Alias(anchor) => {
                if self.key_expected() {
                    return Err(self.stop("an alias cannot be a key", place, &[]));
                }
                let Some(&original) = self.anchors.get(&anchor) else {
                    return Err(self.stop("this alias stands inside the value that it repeats", place, &[]));
                };
                match self.tree.copy(original, self.stack.len()) {
                    Ok(id) => {
                        self.attach(id);
                        Ok(())
                    }
                    Err(bound) => Err(self.too_large(&bound, place)),
                }
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(())
            }
        }
    }

    /// Whether the next event is a key of the innermost mapping.
    fn key_expected(&self) -> bool {
        self.stack
            .last()
            .is_some_and(|open| open.key.is_none() && matches!(self.tree.node(open.id).value, Value::Map(_)))
    }

    fn key(&mut self, key: String, place: Place) -> Result<(), Stop> {
        if key == MERGE_KEY {
            self.report("merge keys are not supported", place, &["repeat the keys, or the whole value with an alias"]);
        }
        let Some(open) = self.stack.last_mut() else { return Ok(()) };
        open.key = Some((key, place));
        match &self.tree.node(open.id).value {
            Value::Map(entries) if entries.len() >= KEYS_MAX => {
                Err(self.stop(&format!("more than {KEYS_MAX} keys in one mapping"), place, &[]))
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, value: Value, anchor: usize, tagged: bool, place: Place) -> Result<(), Stop> {
        if tagged {
            self.report("tags are not supported", place, &["leave out the word that begins with `!`"]);
        }
        if self.key_expected() {
            return Err(self.stop("a key must be a word, not a list or a mapping", place.start(), &[]));
        }
        if self.stack.len() == DEPTH_MAX {
            return Err(self.too_large(&TooLarge::Depth, place));
        }
        let id = self.add(value, place)?;
        self.stack.push(Open { id, anchor, key: None });
        Ok(())
    }

    fn scalar(&mut self, text: Cow<'_, str>, style: ScalarStyle, place: Place) -> Value {
        let plain = style == ScalarStyle::Plain;
        let Some(resolver) = &mut self.resolver else {
            return Value::Scalar(Scalar { text: text.into_owned(), plain, written: None });
        };
        match resolver.substitute(&text) {
            Ok(None) => Value::Scalar(Scalar { text: text.into_owned(), plain, written: None }),
            Ok(Some(Substituted { text: value, looked_up })) => {
                Value::Scalar(Scalar { text: value, plain: false, written: looked_up.then(|| text.into_owned()) })
            }
            Err(errors) => {
                for error in errors {
                    self.report(&error.message, place, &error.help.iter().map(String::as_str).collect::<Vec<_>>());
                }
                Value::Broken
            }
        }
    }

    fn add(&mut self, value: Value, place: Place) -> Result<NodeId, Stop> {
        // Defaults are not counted: their number is bounded by that of the mappings in the text.
        if self.tree.nodes.len() >= NODES_MAX && self.resolver.is_some() {
            return Err(self.too_large(&TooLarge::Nodes, place));
        }
        let id = NodeId(self.tree.nodes.len());
        self.tree.nodes.push(Node { value, place, key_place: None, given: true, hidden: false, parent: None });
        self.attach(id);
        Ok(id)
    }

    /// Hangs a value into the innermost open mapping or list.
    fn attach(&mut self, id: NodeId) {
        let Some(open) = self.stack.last_mut() else { return };
        let parent = open.id;
        let key = open.key.take();
        let step = match (&mut self.tree.nodes[parent.0].value, key) {
            (Value::List(items), _) => {
                items.push(id);
                Step::Index(items.len() - 1)
            }
            (Value::Map(entries), Some((key, key_place))) => {
                let earlier = entries.iter().find(|entry| entry.key == key).map(|entry| entry.key_place.line);
                if earlier.is_none() && key != MERGE_KEY {
                    entries.push(Entry { key: key.clone(), key_place, node: id });
                }
                self.tree.nodes[id.0].key_place = Some(key_place);
                if let Some(line) = earlier {
                    self.tree.nodes[id.0].parent = Some((parent, Step::Key(key.clone())));
                    let path = self.tree.path(id);
                    let message = format!("the key {} stands here twice", code(&key));
                    let help = format!("the first one is in line {line}; keep one of them");
                    self.reports.push(Report::error(message, key_place).at(&path).help(help));
                }
                Step::Key(key)
            }
            _ => return,
        };
        self.tree.nodes[id.0].parent = Some((parent, step));
    }

    fn report(&mut self, message: &str, place: Place, help: &[&str]) {
        let report = Report::error(message, place).at(&self.path());
        self.reports.push(help.iter().fold(report, |report, line| report.help(*line)));
    }

    /// The way to the value that the next event brings.
    fn path(&self) -> String {
        let Some(open) = self.stack.last() else { return String::new() };
        let parent = self.tree.path(open.id);
        match (&self.tree.node(open.id).value, &open.key) {
            (Value::List(items), _) => format!("{parent}[{}]", items.len()),
            (_, Some((key, _))) if parent.is_empty() => key.clone(),
            (_, Some((key, _))) => format!("{parent}.{key}"),
            _ => parent,
        }
    }

    fn stop(&mut self, message: &str, place: Place, help: &[&str]) -> Stop {
        self.report(message, place, help);
        Stop
    }

    fn too_large(&mut self, bound: &TooLarge, place: Place) -> Stop {
        let message = match bound {
            TooLarge::Nodes => format!("more than {NODES_MAX} values, those that aliases repeat included"),
            TooLarge::Depth => format!("more than {DEPTH_MAX} mappings and lists inside each other"),
        };
        self.stop(&message, place.start(), &[])
    }
}

fn place(span: Span) -> Place {
    Place {
        line: span.start.line().max(1),
        column: span.start.col() + 1,
        end_line: span.end.line().max(1),
        end_column: span.end.col() + 1,
    }
}
