//! Where a redirect sends a client.

use super::rewrite;
use crate::config::model::Redirect;

/// Writes the `Location` for a request with this host and target. False when there is no host to go to: the client named
/// none, and neither does the redirect.
///
/// It is always a whole URL, so that no path can be taken for the name of a host; host and target are those of a request
/// that was taken, and have neither blanks nor line ends.
pub fn write_location(redirect: &Redirect, https: bool, host: &str, target: &str, out: &mut String) -> bool {
    let (own, own_port) = split_port(host);
    let name = redirect.host.as_deref().unwrap_or(own);
    if name.is_empty() {
        return false;
    }
    let to_https = redirect.https.unwrap_or(https);
    out.push_str(if to_https { "https://" } else { "http://" });
    out.push_str(name);
    let moved = redirect.https.is_some() || redirect.host.is_some();
    match redirect.port {
        Some(port) if port == if to_https { 443 } else { 80 } => {}
        Some(port) => {
            out.push(':');
            out.push_str(&port.to_string());
        }
        None if moved => {}
        None => out.push_str(own_port),
    }
    let rewritten = redirect.path.as_ref().is_some_and(|path| rewrite::write_target(path, target, out));
    if !rewritten && target.starts_with('/') {
        out.push_str(target);
    }
    true
}

/// A host, and its port with the colon.
fn split_port(host: &str) -> (&str, &str) {
    let end = host.rfind(']').map_or(0, |bracket| bracket + 1);
    let colon = host[end..].find(':').map_or(host.len(), |colon| end + colon);
    host.split_at(colon)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::PathRewrite;
    use proptest::prelude::*;

    const NOTHING: Redirect = Redirect { https: None, host: None, port: None, path: None, status: 302 };

    fn location(redirect: &Redirect, host: &str, target: &str) -> Option<String> {
        let mut out = String::new();
        write_location(redirect, false, host, target, &mut out).then_some(out)
    }

    #[test]
    fn what_is_not_given_stays_as_the_client_asked_for_it() {
        let https = Redirect { https: Some(true), ..NOTHING };
        assert_eq!(location(&https, "bot.example:8080", "/a?b").as_deref(), Some("https://bot.example/a?b"));
        let port = Redirect { port: Some(8443), ..https.clone() };
        assert_eq!(location(&port, "[::1]:80", "/").as_deref(), Some("https://[::1]:8443/"));
        let usual = Redirect { port: Some(443), ..https };
        assert_eq!(location(&usual, "a", "/").as_deref(), Some("https://a/"));
        let path = Redirect { path: Some(PathRewrite::Exact("/new".into())), ..NOTHING };
        assert_eq!(location(&path, "a:81", "/old?q").as_deref(), Some("http://a:81/new?q"));
        let host = Redirect { host: Some("b".into()), ..NOTHING };
        assert_eq!(location(&host, "a:81", "*").as_deref(), Some("http://b"));
    }

    #[test]
    fn without_a_host_there_is_nowhere_to_go() {
        assert_eq!(location(&Redirect { https: Some(true), ..NOTHING }, "", "/"), None);
    }

    proptest! {
        #[test]
        fn a_path_never_becomes_the_host(target in "/[/a\\\\@:?]{0,10}") {
            let prefix = PathRewrite::Prefix { from: String::new(), to: String::new() };
            for path in [None, Some(prefix)] {
                let redirect = Redirect { https: Some(true), path, ..NOTHING };
                let out = location(&redirect, "bot.example", &target).unwrap();
                prop_assert!(out.starts_with("https://bot.example/"), "{out}");
            }
        }
    }
}
