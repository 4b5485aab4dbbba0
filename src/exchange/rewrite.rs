//! The path that a master is asked for instead of the one that the client asked for.

use crate::config::model::PathRewrite;

/// Writes the target for the master: another path, the same query. False, and nothing written, when this target has no
/// path to rewrite (`OPTIONS *`) or not the prefix to be replaced.
///
/// The path never begins with two slashes unless the client's did or the rewrite says so: with one more, a path would
/// become the name of a host to whoever resolves it as a reference (RFC 3986 section 4.2).
pub fn write_target(rewrite: &PathRewrite, target: &str, out: &mut String) -> bool {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    if !path.starts_with('/') {
        return false;
    }
    match rewrite {
        PathRewrite::Exact(to) => out.push_str(to),
        PathRewrite::Prefix { from, to } => {
            let Some(rest) = path.strip_prefix(&**from).filter(|rest| rest.is_empty() || rest.starts_with('/')) else {
                return false;
            };
            let rest = if to.is_empty() && !path.starts_with("//") { rest.trim_start_matches('/') } else { rest };
            out.push_str(to);
            // An exact hit on the prefix leaves nothing of it, and the root is a slash.
            if !rest.starts_with('/') && (to.is_empty() || !rest.is_empty()) {
                out.push('/');
            }
            out.push_str(rest);
        }
    }
    out.push_str(query);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(from: &str, to: &str, target: &str) -> Option<String> {
        let mut out = String::new();
        let rewrite = PathRewrite::Prefix { from: from.to_owned(), to: to.to_owned() };
        write_target(&rewrite, target, &mut out).then_some(out)
    }

    #[test]
    fn a_prefix_is_replaced_and_all_else_kept() {
        for (from, to, target, wanted) in [
            ("/api", "/v1", "/api/a%2Fb?c=/api", "/v1/a%2Fb?c=/api"),
            ("/api", "/v1", "/api", "/v1"),
            ("/api", "/v1", "/api/", "/v1/"),
            ("/api", "/v1", "/api?x", "/v1?x"),
            ("/api", "", "/api/a", "/a"),
            ("/api", "", "/api", "/"),
            ("/api", "", "/api?x", "/?x"),
            ("", "/v1", "/a", "/v1/a"),
            ("", "/v1", "/", "/v1/"),
        ] {
            assert_eq!(prefix(from, to, target).as_deref(), Some(wanted), "{from} {to} {target}");
        }
    }

    #[test]
    fn a_path_does_not_become_a_host() {
        assert_eq!(prefix("/api", "", "/api//evil.example/x").as_deref(), Some("/evil.example/x"));
        assert_eq!(prefix("", "", "//a").as_deref(), Some("//a"));
    }

    #[test]
    fn what_has_no_such_path_stays_as_it_is() {
        assert_eq!(prefix("/api", "", "*"), None);
        assert_eq!(prefix("/api", "", "/apis"), None);
        assert_eq!(prefix("/api", "", "/other?/api"), None);
    }

    #[test]
    fn a_whole_path_is_replaced_before_the_query() {
        let mut out = String::new();
        assert!(write_target(&PathRewrite::Exact("/hook".into()), "/a/b?c=d?e", &mut out));
        assert_eq!(out, "/hook?c=d?e");
    }

    proptest! {
        #[test]
        fn a_target_stays_a_path_with_the_same_query(from in "(/[a-b]{1,2}){0,2}", to in "(/[a-c]{1,2}){0,2}", target in "/[ab/%?=]{0,12}") {
            if let Some(out) = prefix(&from, &to, &target) {
                prop_assert!(out.starts_with('/'));
                prop_assert!(!out.starts_with("//") || target.starts_with("//"));
                prop_assert_eq!(out.split_once('?').map(|it| it.1), target.split_once('?').map(|it| it.1));
            }
        }
    }
}
