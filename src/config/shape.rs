//! From a [`Tree`] to structs, and from the same declarations to the schema and the reference.
//!
//! `serde` ends at its first error and knows no position. Here every key is decoded whatever became of the others, each
//! value remembers its place for the checks of its meaning, and [`shape!`] keeps names, types, defaults and explanations
//! of the keys in one declaration, so that the parser, `baton schema` and the documentation cannot disagree.

use serde_json::Value as Json;

use super::diagnostic::{Place, Report, code, nearest};
use super::foreign;
use super::tree::{self, NodeId, Tree, Value};

/// A decoded value and where it came from. There is none when it was wrong; that has been reported by then.
#[derive(Debug, Clone)]
pub struct At<T> {
    value: Option<T>,
    pub node: NodeId,
}

impl<T> At<T> {
    /// A value that stands at this place.
    pub fn new(value: T, node: NodeId) -> Self {
        Self { value: Some(value), node }
    }

    /// The value, unless it was wrong.
    pub fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }
}

impl<T> At<Option<T>> {
    /// The value of an optional key, when it was given and right.
    pub fn given(&self) -> Option<&T> {
        self.get()?.as_ref()
    }
}

/// Items of a list. Its users have a few dozen masters; and some lists are compared with each other, item by item.
pub const LIST_MAX: usize = 1_000;

/// A list whose items each have a place.
pub type List<T> = Vec<At<T>>;

/// A type that stands in the configuration.
pub trait Decode: Sized {
    /// Whether a key of this type may be left out although it has no default.
    const OPTIONAL: bool = false;

    /// The value when the key is left out, if that is allowed.
    fn absent() -> Option<Self> {
        None
    }

    /// Decodes a value; when it is wrong, that is reported and there is none.
    fn decode(decoder: &mut Decoder, node: NodeId) -> Option<Self>;

    /// What may be written.
    fn kind() -> Kind;
}

/// What may be written for a value.
pub enum Kind {
    Object(&'static Object),
    List(Box<Kind>),
    /// One of these words.
    Words(Vec<&'static str>),
    /// Its name in messages, such as `a duration`, and its JSON Schema.
    Scalar(&'static str, Json),
    /// The word `off`, or the other thing.
    OffOr(Box<Kind>),
}

/// A mapping with known keys.
pub struct Object {
    pub name: &'static str,
    pub doc: &'static str,
    pub fields: &'static [Field],
    /// Keys that belong here and that this version does not have.
    pub later: &'static [&'static str],
}

pub struct Field {
    raw_name: &'static str,
    pub doc: &'static str,
    /// As one would write it.
    pub default: Option<&'static str>,
    pub optional: bool,
    pub kind: fn() -> Kind,
}

impl Field {
    pub const fn new(
        raw_name: &'static str,
        doc: &'static str,
        default: Option<&'static str>,
        optional: bool,
        kind: fn() -> Kind,
    ) -> Self {
        Self { raw_name, doc, default, optional, kind }
    }

    /// The key; a Rust keyword has lost its `r#`.
    pub fn name(&self) -> &'static str {
        self.raw_name.trim_start_matches("r#")
    }
}

/// Declares mappings: `key: Type` must be given, `key: Option<Type>` may be left out, `key: Type = "text"` has a default.
macro_rules! shape {
    ($(
        $(#[doc = $doc:literal])+
        struct $name:ident {
            $( $(#[doc = $field_doc:literal])+ $field:ident: $type:ty $(= $default:literal)?, )*
        }
        $(later { $($later:literal),* })?
    )+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone)]
        pub struct $name {
            $( $(#[doc = $field_doc])+ pub $field: $crate::config::shape::At<$type>, )*
        }

        impl $name {
            const OBJECT: $crate::config::shape::Object = $crate::config::shape::Object {
                name: stringify!($name),
                doc: concat!($($doc, "\n"),+),
                fields: &[$($crate::config::shape::Field::new(
                    stringify!($field),
                    concat!($($field_doc, "\n"),+),
                    shape!(@default $($default)?),
                    <$type as $crate::config::shape::Decode>::OPTIONAL,
                    <$type as $crate::config::shape::Decode>::kind,
                )),*],
                later: &[$($($later),*)?],
            };
        }

        impl $crate::config::shape::Decode for $name {
            #[allow(unused_variables, reason = "a mapping may have no keys")]
            fn decode(
                decoder: &mut $crate::config::shape::Decoder,
                node: $crate::config::tree::NodeId,
            ) -> Option<Self> {
                let fields = decoder.object(node, &Self::OBJECT)?;
                Some(Self { $($field: decoder.field(&fields, stringify!($field))),* })
            }

            fn kind() -> $crate::config::shape::Kind {
                $crate::config::shape::Kind::Object(&Self::OBJECT)
            }
        }
    )+};
    (@default) => { None };
    (@default $default:literal) => { Some($default) };
}
pub(super) use shape;

/// A value that is one piece of text: a number, a duration, a name.
pub trait Scalar: Sized {
    /// With its article, for messages: `a duration`.
    const NAME: &'static str;

    /// # Errors
    /// How to write it.
    fn parse(text: &str) -> Result<Self, String>;

    /// JSON Schema.
    fn schema() -> Json;
}

/// Makes [`Scalar`]s usable as values.
macro_rules! scalars {
    ($($type:ty $(where $($parameter:ident: $kind:ty),+)?;)+) => {$(
        impl$(<$(const $parameter: $kind),+>)? $crate::config::shape::Decode for $type {
            fn decode(
                decoder: &mut $crate::config::shape::Decoder,
                node: $crate::config::tree::NodeId,
            ) -> Option<Self> {
                decoder.scalar(node)
            }

            fn kind() -> $crate::config::shape::Kind {
                use $crate::config::shape::Scalar;
                $crate::config::shape::Kind::Scalar(Self::NAME, Self::schema())
            }
        }
    )+};
}
pub(super) use scalars;

/// A tree and what was found to be wrong in it.
pub struct Decoder {
    pub tree: Tree,
    pub reports: Vec<Report>,
}

/// Which value each key of a mapping has.
pub struct Fields {
    node: NodeId,
    object: &'static Object,
    values: Vec<(&'static str, NodeId)>,
}

impl Decoder {
    /// Decodes a value and keeps its place.
    pub fn at<T: Decode>(&mut self, node: NodeId) -> At<T> {
        let value = match self.tree.node(node).value {
            Value::Broken => None,
            _ => T::decode(self, node),
        };
        At { value, node }
    }

    /// An error about a value, to be finished and pushed.
    pub fn error(&self, node: NodeId, message: impl Into<String>) -> Report {
        Report::error(message, self.tree.head(node)).at(&self.tree.path(node))
    }

    pub fn warning(&self, node: NodeId, message: impl Into<String>) -> Report {
        Report::warning(message, self.tree.head(node)).at(&self.tree.path(node))
    }

    /// What stands there, in words; a secret, and the value of a variable or file, is not repeated.
    pub fn found(&self, node: NodeId) -> String {
        match &self.tree.node(node).value {
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a mapping".into(),
            Value::Broken => "nothing".into(),
            Value::Scalar(_) if self.is_nothing(node) => "nothing".into(),
            Value::Scalar(_) if self.tree.is_secret(node) => "a value that is not shown".into(),
            Value::Scalar(tree::Scalar { written: Some(written), .. }) => code(written),
            Value::Scalar(scalar) if scalar.text.is_empty() => "an empty text".into(),
            Value::Scalar(scalar) => code(&scalar.text),
        }
    }

    /// An empty value, or the word for one.
    pub fn is_nothing(&self, node: NodeId) -> bool {
        matches!(&self.tree.node(node).value,
            Value::Scalar(scalar) if scalar.plain && ["", "~", "null"].contains(&scalar.text.as_str()))
    }

    pub fn expected(&mut self, node: NodeId, what: &str, help: impl Into<String>) {
        let report = self.error(node, format!("expected {what}, found {}", self.found(node)));
        let help = help.into();
        let report = if help.is_empty() { report } else { report.help(help) };
        let is_substituted = matches!(&self.tree.node(node).value, Value::Scalar(scalar) if scalar.written.is_some());
        self.reports.push(if is_substituted { report.note("what it stands for is not shown") } else { report });
    }

    /// The text of a scalar, or a report that `what` was expected.
    pub fn text(&mut self, node: NodeId, what: &str) -> Option<String> {
        if !self.is_nothing(node)
            && let Value::Scalar(scalar) = &self.tree.node(node).value
        {
            return Some(scalar.text.clone());
        }
        self.expected(node, what, "");
        None
    }

    pub fn scalar<T: Scalar>(&mut self, node: NodeId) -> Option<T> {
        let text = self.text(node, T::NAME)?;
        T::parse(&text).map_err(|help| self.expected(node, T::NAME, help)).ok()
    }

    /// One of some words. `later` are words of other versions.
    pub fn word<T: Copy>(&mut self, node: NodeId, words: &[(T, &'static str)], later: &[&str]) -> Option<T> {
        let names = || words.iter().map(|(_, name)| *name);
        let list = names().map(code).collect::<Vec<_>>().join(", ");
        let text = self.text(node, &format!("one of {list}"))?;
        if let Some((value, _)) = words.iter().find(|(_, name)| *name == text) {
            return Some(*value);
        }
        let report = if later.contains(&text.as_str()) {
            self.error(node, format!("{} is not supported by this version", code(&text)))
        } else {
            self.error(node, format!("unknown value {}", self.found(node)))
        };
        let foreign = foreign::word(&text).filter(|word| names().any(|name| name == *word));
        let report = match foreign.or_else(|| nearest(&text, names())) {
            Some(meant) => report.help(format!("did you mean {}?", code(meant))),
            None => report,
        };
        self.reports.push(report.allowed(list));
        None
    }

    /// The keys of a mapping; unknown ones are reported. A key that was probably meant for a known one counts as it, so
    /// that a misspelled key is one error, and what is below it is looked at too.
    pub fn object(&mut self, node: NodeId, object: &'static Object) -> Option<Fields> {
        let Value::Map(entries) = &self.tree.node(node).value else {
            let keys = object.fields.iter().map(|field| code(field.name())).collect::<Vec<_>>().join(", ");
            let help =
                if keys.is_empty() { "it has no keys: write `{}`".into() } else { format!("its keys are {keys}") };
            self.expected(node, "a mapping", help);
            return None;
        };
        let entries = entries.clone();
        let mut values: Vec<(&'static str, NodeId)> = Vec::new();
        let mut unknown = Vec::new();
        for entry in entries {
            match object.fields.iter().find(|field| field.name() == entry.key) {
                Some(field) => values.push((field.name(), entry.node)),
                None => unknown.push(entry),
            }
        }
        for entry in unknown {
            let path = self.tree.path(entry.node);
            let known = || object.fields.iter().map(Field::name);
            if object.later.contains(&entry.key.as_str()) {
                let message = format!("{} is not supported by this version", code(&entry.key));
                self.reports.push(Report::error(message, entry.key_place).at(&path).help("leave it out"));
                continue;
            }
            let report = Report::error(format!("unknown key {}", code(&entry.key)), entry.key_place).at(&path);
            if let Some(hint) = foreign::hint(object.name, &entry.key) {
                self.reports.push(report.help(hint));
                continue;
            }
            // `{name:bot-1}`: without a blank the colon is a part of the key.
            if let Some((name, _)) = entry.key.split_once(':').filter(|(name, _)| known().any(|field| field == *name)) {
                self.reports.push(report.help(format!("a blank belongs after the colon: `{name}: `...")));
                continue;
            }
            let report = match nearest(&entry.key, known()) {
                Some(meant) => {
                    if !values.iter().any(|(name, _)| *name == meant) {
                        values.push((meant, entry.node));
                    }
                    report.help(format!("did you mean {}?", code(meant)))
                }
                None => report.allowed(known().map(code).collect::<Vec<_>>().join(", ")),
            };
            self.reports.push(report);
        }
        Some(Fields { node, object, values })
    }

    /// Decodes the value of a key, or its default.
    pub fn field<T: Decode>(&mut self, fields: &Fields, raw_name: &str) -> At<T> {
        let Some(field) = fields.object.fields.iter().find(|field| field.raw_name == raw_name) else {
            return At { value: None, node: fields.node };
        };
        if let Some((_, node)) = fields.values.iter().find(|(name, _)| *name == field.name()) {
            return self.at(*node);
        }
        if let Some(text) = field.default {
            let node = self.tree.add_default(fields.node, field.name(), text);
            return self.at(node);
        }
        let value = T::absent();
        if value.is_none() {
            let report = self.error(fields.node, format!("missing key {}", code(field.name())));
            self.reports.push(report.meaning(first_sentence(field.doc)));
        }
        At { value, node: fields.node }
    }

    /// Where to point for a value.
    pub fn place(&self, node: NodeId) -> Place {
        self.tree.head(node)
    }
}

/// The first sentence of an explanation, in one line and without its full stop.
fn first_sentence(doc: &str) -> String {
    let line = prose(doc);
    let end = line.find(". ").unwrap_or(line.trim_end_matches('.').len());
    line[..end].to_owned()
}

/// A doc comment as running text.
pub fn prose(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl<T: Decode> Decode for Option<T> {
    const OPTIONAL: bool = true;

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn decode(decoder: &mut Decoder, node: NodeId) -> Option<Self> {
        T::decode(decoder, node).map(Some)
    }

    fn kind() -> Kind {
        T::kind()
    }
}

impl<T: Decode> Decode for List<T> {
    fn decode(decoder: &mut Decoder, node: NodeId) -> Option<Self> {
        let items = match &decoder.tree.node(node).value {
            Value::List(items) => items.clone(),
            Value::Scalar(_) if !decoder.is_nothing(node) => {
                let found = decoder.found(node);
                decoder.expected(node, "a list", format!("one item is a list too: `[{}]`", found.trim_matches('`')));
                return None;
            }
            _ => {
                decoder.expected(node, "a list", "begin each item with `- `");
                return None;
            }
        };
        if items.len() > LIST_MAX {
            let report =
                decoder.error(node, format!("a list of {} items; at most {LIST_MAX} are allowed", items.len()));
            decoder.reports.push(report);
        }
        Some(items.into_iter().take(LIST_MAX).map(|item| decoder.at(item)).collect())
    }

    fn kind() -> Kind {
        Kind::List(Box::new(T::kind()))
    }
}

/// Something that the word `off` switches off.
#[derive(Debug, Clone)]
pub enum Switch<T> {
    Off,
    On(T),
}

impl<T: Decode> Decode for Switch<T> {
    fn decode(decoder: &mut Decoder, node: NodeId) -> Option<Self> {
        match &decoder.tree.node(node).value {
            Value::Scalar(scalar) if scalar.text == "off" => Some(Self::Off),
            Value::Scalar(scalar) => {
                let help = if scalar.text == "false" || scalar.text == "no" { "write `off`" } else { "" };
                decoder.expected(node, "a mapping or `off`", help);
                None
            }
            _ => T::decode(decoder, node).map(Self::On),
        }
    }

    fn kind() -> Kind {
        Kind::OffOr(Box::new(T::kind()))
    }
}
