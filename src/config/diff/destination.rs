//! Where a route leads, as keys and values.

use super::super::model::{Config, Destination, PathRewrite, Redirect};
use super::{Values, list, some};

pub fn values(config: &Config, to: &Destination) -> Values {
    let name = |upstream: usize| config.upstreams.get(upstream).map_or("", |upstream| upstream.name.as_str());
    match to {
        Destination::Upstream(upstream) => vec![("upstream", some(name(*upstream)))],
        Destination::Split(shares) => {
            vec![("split", list(shares, |share| format!("{} {}", name(share.upstream), share.weight)))]
        }
        Destination::Redirect(redirect) => {
            let Redirect { https, host, port, path, status } = &**redirect;
            let (whole, prefix) = match path {
                Some(PathRewrite::Exact(path)) => (some(path), None),
                Some(PathRewrite::Prefix { from: _, to }) => (None, Some(format!("{to}/"))),
                None => (None, None),
            };
            vec![
                ("redirect.scheme", https.map(|https| if https { "https" } else { "http" }.to_owned())),
                ("redirect.host", host.clone()),
                ("redirect.port", port.map(|port| port.to_string())),
                ("redirect.path", whole),
                ("redirect.path_prefix", prefix),
                ("redirect.status", some(status)),
            ]
        }
    }
}
