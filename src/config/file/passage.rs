//! Keys of a route that change a request on its way to a master, or the answer on its way back.

use super::super::shape::{List, shape};
use super::super::units::{HeaderName, HeaderTemplate, Int, Name, NewHost, UrlPath};

shape! {
    /// Changes to header fields: `remove` first, then `set`, then `add`. Framing and what concerns a single connection
    /// (`Content-Length`, `Transfer-Encoding`, `Connection` and the like) stays Baton's.
    struct HeaderRules {
        /// Fields to leave out, whatever they contain.
        remove: List<HeaderName> = "[]",
        /// Fields that have this value and no other, whether they came or not.
        set: List<HeaderSetting> = "[]",
        /// Fields added beside those of the same name that came.
        add: List<HeaderSetting> = "[]",
    }

    /// A header field and its value.
    struct HeaderSetting {
        /// Name of the header, in any case of letters; it is sent in lower case.
        name: HeaderName,
        /// Its value, never shown. `{client-ip}`, `{host}`, `{path}`, `{scheme}` and `{request-id}` stand for what the
        /// client's request has; other braces stand for themselves.
        value: HeaderTemplate,
    }

    /// What a master is asked for instead of what the client asked for. The query stays as it is.
    struct Rewrite {
        /// The whole path. Give either this or `path_prefix`.
        path: Option<UrlPath>,
        /// In place of the `path_prefix` that the route matches, or before the path if it matches none; `/` takes the
        /// prefix away. A master learns the replaced prefix from `X-Forwarded-Prefix`.
        path_prefix: Option<UrlPath>,
        /// `Host`: a host with or without a port, or `upstream` for the address of the master. `X-Forwarded-Host` says
        /// what the client asked for.
        host: Option<NewHost>,
    }

    /// A second upstream that gets copies of requests. Its answers are thrown away.
    struct Mirror {
        /// Name of the upstream.
        upstream: Name,
        /// Share of the requests that are copied.
        percent: Int<1, 100> = "100",
    }
}
