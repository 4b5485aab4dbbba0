//! What an alert is about.

use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use crate::config::model::{Only, Scope};

/// An upstream, a master, a route, something else that has a name, or the whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    pub upstream: Option<Arc<str>>,
    pub master: Option<Arc<str>>,
    pub route: Option<Arc<str>>,
    /// Of a certificate, or of an event webhook.
    pub name: Option<Arc<str>>,
}

impl Subject {
    /// Baton as a whole.
    pub const SYSTEM: Self = Self { upstream: None, master: None, route: None, name: None };

    #[must_use]
    pub fn upstream(name: &Arc<str>) -> Self {
        Self { upstream: Some(name.clone()), ..Self::SYSTEM }
    }

    #[must_use]
    pub fn master(upstream: &Arc<str>, name: &Arc<str>) -> Self {
        Self { upstream: Some(upstream.clone()), master: Some(name.clone()), ..Self::SYSTEM }
    }

    #[must_use]
    pub fn route(name: &Arc<str>) -> Self {
        Self { route: Some(name.clone()), ..Self::SYSTEM }
    }

    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { name: Some(name.into()), ..Self::SYSTEM }
    }

    #[must_use]
    pub fn scope(&self) -> Scope {
        match self {
            Self { master: Some(_), .. } => Scope::Master,
            Self { upstream: Some(_), .. } => Scope::Upstream,
            Self { route: Some(_), .. } => Scope::Route,
            Self { name: Some(_), .. } => Scope::Named,
            _ => Scope::System,
        }
    }

    /// Whether a rule looks at it.
    #[must_use]
    pub fn is_in(&self, only: &Only) -> bool {
        let fits = |wanted: &Option<String>, own: &Option<Arc<str>>| {
            wanted.as_ref().is_none_or(|wanted| own.as_deref() == Some(wanted))
        };
        fits(&only.upstream, &self.upstream) && fits(&only.master, &self.master) && fits(&only.route, &self.route)
    }

    /// What it has a label for, with the label's name.
    pub fn labels(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let parts =
            [("upstream", &self.upstream), ("master", &self.master), ("route", &self.route), ("name", &self.name)];
        parts.into_iter().filter_map(|(label, value)| Some((label, value.as_deref()?)))
    }

    /// The same for the same rule and subject, over restarts: sixteen hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self, rule: &str) -> String {
        let mut hash = Xxh3::new();
        // Names have no line ends in them.
        hash.update(rule.as_bytes());
        for (label, value) in self.labels() {
            hash.update(format!("\n{label}={value}").as_bytes());
        }
        format!("{:016x}", hash.digest())
    }
}

/// As a sentence names it.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { upstream: Some(upstream), master: Some(master), .. } => write!(f, "master {master} of {upstream}"),
            Self { upstream: Some(upstream), .. } => write!(f, "upstream {upstream}"),
            Self { route: Some(route), .. } => write!(f, "route {route}"),
            Self { name: Some(name), .. } => f.write_str(name),
            _ => f.write_str("Baton"),
        }
    }
}
