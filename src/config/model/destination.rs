//! Where a route leads.

use super::PathRewrite;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Index into the upstreams.
    Upstream(usize),
    /// At least one, of weights that are not all zero.
    Split(Vec<Share>),
    /// The route answers by itself.
    Redirect(Box<Redirect>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Index into the upstreams.
    pub upstream: usize,
    pub weight: u32,
}

/// What is `None` stays as the client asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    pub https: Option<bool>,
    /// Without a port.
    pub host: Option<String>,
    pub port: Option<u16>,
    pub path: Option<PathRewrite>,
    pub status: u16,
}

impl Destination {
    /// Every upstream that it may lead to, in the order of the configuration.
    pub fn upstreams(&self) -> impl Iterator<Item = usize> {
        let (one, several): (Option<usize>, &[Share]) = match self {
            Self::Upstream(upstream) => (Some(*upstream), &[]),
            Self::Split(shares) => (None, shares),
            Self::Redirect(_) => (None, &[]),
        };
        one.into_iter().chain(several.iter().map(|share| share.upstream))
    }
}
