//! What a route changes on a request's way to a master and on the answer's way back.

use super::compression::Compression;

/// Every part is absent unless configured, so that a route without changes costs a comparison each.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Passage {
    pub request_headers: Option<Box<HeaderRules>>,
    pub response_headers: Option<Box<HeaderRules>>,
    pub rewrite: Option<Box<Rewrite>>,
    pub mirror: Option<Mirror>,
    pub compression: Option<Box<Compression>>,
}

/// A second upstream that gets copies of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mirror {
    /// Index into the upstreams.
    pub upstream: usize,
    /// Share of the requests that are copied, 1 to 100.
    pub percent: u32,
}

/// Changes to header fields, in the order in which they apply. No name is one of framing or of a single connection, and no
/// value has a control character.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HeaderRules {
    /// In lower case.
    pub remove: Vec<String>,
    pub set: Vec<HeaderRule>,
    pub add: Vec<HeaderRule>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct HeaderRule {
    /// In lower case.
    pub name: String,
    pub value: Template,
}

/// A text with variables in it, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template(pub Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Text(String),
    Variable(Variable),
}

/// What a template may say about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variable {
    ClientIp,
    Host,
    Path,
    RequestId,
    Scheme,
}

impl Variable {
    /// Every variable with the word that stands for it in braces.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::ClientIp, "client-ip"),
        (Self::Host, "host"),
        (Self::Path, "path"),
        (Self::RequestId, "request-id"),
        (Self::Scheme, "scheme"),
    ];
}

/// What a master is asked for instead of what the client asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewrite {
    pub path: Option<PathRewrite>,
    pub host: Option<HostRewrite>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRewrite {
    Exact(String),
    /// `to` in place of the route's own prefix `from`; neither ends with a slash, both may be empty.
    Prefix {
        from: String,
        to: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostRewrite {
    /// With its port, if it has one.
    Name(String),
    /// The master's own address.
    Master,
}
