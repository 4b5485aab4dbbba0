//! Keys of a route that change a request on its way to a master, or the answer on its way back.

use super::super::model::{Coding, CompressionLevel};
use super::super::shape::{List, shape};
use super::super::units::{HeaderName, HeaderTemplate, Int, MediaRange, Name, NewHost, Size, UrlPath};

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

    /// Answers made smaller for clients whose `Accept-Encoding` takes that. What a master has compressed itself, or marked with
    /// `Cache-Control: no-transform`, stays as it is.
    struct Compression {
        /// `zstd`, `br` or `gzip`. Where a client likes several of them equally, the first one is taken.
        algorithms: List<Coding> = "[zstd, br, gzip]",
        /// An answer whose length is known and below this stays as it is.
        min_bytes: Size<0, { 1 << 30 }> = "1KiB",
        /// Types of answers that become smaller. `text/*` stands for all that begin with `text/`.
        content_types: List<MediaRange> = "[text/html, text/css, text/plain, text/csv, text/xml, text/javascript, application/javascript, application/json, application/problem+json, application/xml, application/xhtml+xml, image/svg+xml]",
        /// `fastest`, `default` or `best`: time spent on smaller answers, whatever the algorithm.
        level: CompressionLevel = "default",
    }
}
