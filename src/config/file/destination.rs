//! Keys of a route that say where it leads, other than to one upstream.

use super::super::shape::shape;
use super::super::units::{Int, Name, NewHost, RedirectStatus, UrlPath, UrlScheme};

shape! {
    /// One of several upstreams that share a route's requests.
    struct Share {
        /// Name of the upstream.
        upstream: Name,
        /// Its share among the others. 0 sends nothing there.
        weight: Int<0, 1_000_000>,
    }

    /// An answer that sends the client elsewhere. What is not given stays as the client asked for it.
    struct Redirect {
        /// `http` or `https`.
        scheme: Option<UrlScheme>,
        /// A host, without a port.
        host: Option<NewHost>,
        /// Left out, none is written when `scheme` or `host` is given, and the client's otherwise.
        port: Option<Int<1, 65_535>>,
        /// The whole path. Give either this or `path_prefix`. The query stays as it is.
        path: Option<UrlPath>,
        /// In place of the `path_prefix` that the route matches.
        path_prefix: Option<UrlPath>,
        /// 301, 302, 303, 307 or 308. With 307 and 308 a client repeats a POST as it was.
        status: RedirectStatus = "302",
    }
}
