//! Which upstream a TLS connection goes to that is passed on unread: by the name that its client asks for.

use crate::config::model::{HostPattern, Tcp};

/// The index of the upstream: an exact name comes first, then the longest wildcard, then the listener's own.
#[must_use]
pub fn upstream(tcp: &Tcp, name: Option<&str>) -> usize {
    let Some(name) = name else { return tcp.upstream };
    let routes = || tcp.sni.iter().flat_map(|route| route.names.iter().map(move |pattern| (pattern, route.upstream)));
    let exact = routes().find(|(pattern, _)| matches!(pattern, HostPattern::Exact(host) if host == name));
    let suffix = |(pattern, upstream): (&HostPattern, usize)| match pattern {
        // The dot is a part of it, so something has to stand before the dot.
        HostPattern::Wildcard(rest) if name.len() > rest.len() && name.ends_with(rest.as_str()) => {
            Some((rest.len(), upstream))
        }
        _ => None,
    };
    let wildcard = || routes().filter_map(suffix).max_by_key(|(length, _)| *length);
    exact.map(|(_, upstream)| upstream).or_else(|| Some(wildcard()?.1)).unwrap_or(tcp.upstream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::SniRoute;

    #[test]
    fn the_most_particular_name_wins_and_what_matches_none_goes_to_the_default() {
        let names = |names: &[HostPattern], upstream| SniRoute { names: names.to_vec(), upstream };
        let exact = |name: &str| HostPattern::Exact(name.to_owned());
        let wildcard = |rest: &str| HostPattern::Wildcard(rest.to_owned());
        let tcp = Tcp {
            upstream: 0,
            sni: vec![
                names(&[wildcard(".b.example"), exact("b.example")], 1),
                names(&[wildcard(".c.b.example")], 2),
                names(&[exact("x.c.b.example")], 3),
            ],
        };
        for (name, expected) in [
            (None, 0),
            (Some("a.example"), 0),
            (Some("b.example"), 1),
            (Some("a.b.example"), 1),
            (Some("a.a.b.example"), 1),
            (Some("xb.example"), 0),
            (Some(".b.example"), 0),
            (Some("c.b.example"), 1),
            (Some("y.c.b.example"), 2),
            (Some("x.c.b.example"), 3),
        ] {
            assert_eq!(upstream(&tcp, name), expected, "{name:?}");
        }
    }
}
