//! What a route changes on the way: no rule may touch framing, and a rewrite has something to replace.

use super::super::diagnostic::code;
use super::super::file::{self, File, Route};
use super::super::model::{Compression, HeaderRule, HeaderRules, Mirror, Passage, PathRewrite, Rewrite};
use super::super::shape::{At, List};
use super::super::units::{HeaderName, UrlPath};
use super::{Checker, destination};
use crate::http::fields::Known;

pub fn check(checker: &mut Checker<'_, '_>, route: &Route, file: &File) -> Option<Passage> {
    let request_headers = header_rules(checker, &route.request_headers);
    let response_headers = header_rules(checker, &route.response_headers);
    let rewrite = match route.rewrite.get()? {
        Some(rules) => rewrite(checker, route, rules).map(|rewrite| Some(Box::new(rewrite))),
        None => Some(None),
    };
    let mirror = match route.mirror.get()? {
        Some(rules) => mirror(checker, route, rules, file).map(Some),
        None => Some(None),
    };
    let compression = match route.compression.get()? {
        Some(rules) => compression(checker, rules).map(|rules| Some(Box::new(rules))),
        None => Some(None),
    };
    Some(Passage {
        request_headers: request_headers?,
        response_headers: response_headers?,
        rewrite: rewrite?,
        mirror: mirror?,
        compression: compression?,
    })
}

fn compression(checker: &mut Checker<'_, '_>, rules: &file::Compression) -> Option<Compression> {
    let algorithms = checker.set("algorithm", &rules.algorithms);
    let content_types = checker.set("media type", &rules.content_types);
    for (node, empty, what) in [
        (rules.algorithms.node, algorithms.as_ref().is_some_and(Vec::is_empty), "algorithm"),
        (rules.content_types.node, content_types.as_ref().is_some_and(Vec::is_empty), "media type"),
    ] {
        if empty {
            let report = checker.error(node, format!("no {what}, so nothing is compressed"));
            checker.push(report.help("name at least one, or leave `compression` out"));
        }
    }
    Some(Compression {
        algorithms: algorithms?,
        min_bytes: rules.min_bytes.get()?.0,
        content_types: content_types?.into_iter().map(|range| range.0).collect(),
        level: *rules.level.get()?,
    })
}

fn mirror(checker: &mut Checker<'_, '_>, route: &Route, rules: &file::Mirror, file: &File) -> Option<Mirror> {
    let upstream = destination::known(checker, &rules.upstream, file)?;
    if destination::answering(route).iter().any(|name| name.get() == rules.upstream.get()) {
        let message = format!("the upstream {} answers this route already", checker.show(rules.upstream.node));
        let report = checker.error(rules.upstream.node, message);
        checker.push(report.help("a mirror is another upstream, or requests would be worked on twice"));
        return None;
    }
    Some(Mirror { upstream, percent: rules.percent.get()?.u32() })
}

/// `Some(None)` when there are none, `None` when they are wrong.
fn header_rules(checker: &mut Checker<'_, '_>, at: &At<Option<file::HeaderRules>>) -> Option<Option<Box<HeaderRules>>> {
    let Some(rules) = at.get()? else { return Some(None) };
    let remove = checker.set("header", &rules.remove);
    let settings = |list: &At<List<file::HeaderSetting>>| -> Option<Vec<HeaderRule>> {
        let rule = |at: &At<file::HeaderSetting>| {
            let setting = at.get()?;
            Some(HeaderRule { name: setting.name.get()?.0.clone(), value: setting.value.get()?.0.clone() })
        };
        list.get()?.iter().map(rule).collect()
    };
    let (set, add) = (settings(&rules.set), settings(&rules.add));
    let set_names = names(&rules.set);
    checker.unique("header", set_names.iter().filter_map(|name| Some((name.get()?, name.node))));
    let all = rules.remove.get().into_iter().flatten().chain(set_names).chain(names(&rules.add));
    let mut fine = true;
    for name in all {
        fine &= may_be_changed(checker, name);
    }
    let empty = [rules.remove.get()?.len(), rules.set.get()?.len(), rules.add.get()?.len()] == [0; 3];
    if empty {
        let report = checker.warning(at.node, "these header rules change nothing");
        checker.push(report.help("name a header under `remove`, `set` or `add`"));
    }
    let rules = HeaderRules { remove: remove?.into_iter().map(|name| name.0).collect(), set: set?, add: add? };
    fine.then(|| (!empty).then(|| Box::new(rules)))
}

fn names(list: &At<List<file::HeaderSetting>>) -> Vec<&At<HeaderName>> {
    list.get().into_iter().flatten().filter_map(|setting| Some(&setting.get()?.name)).collect()
}

/// Reports a name that Baton writes itself.
fn may_be_changed(checker: &mut Checker<'_, '_>, at: &At<HeaderName>) -> bool {
    let Some(name) = at.get() else { return true };
    let hyphened = name.0.replace('_', "-");
    let (why, help) = match Known::of(&hyphened) {
        Some(Known::Host) => {
            ("says which host is asked", "another one is written with `rewrite: { host: bot.example }`")
        }
        Some(Known::ContentLength | Known::TransferEncoding | Known::Trailer) => {
            ("says where a message ends", "it is written to fit the body; leave it out")
        }
        Some(Known::Expect) => ("belongs to how a body is sent", "Baton answers it itself; leave it out"),
        Some(known) if known.is_hop_by_hop() => ("concerns a single connection", "it is never passed on; leave it out"),
        _ => return true,
    };
    let report = checker.error(at.node, format!("{} cannot be changed: it {why}", code(&name.0)));
    checker.push(report.help(help));
    false
}

fn rewrite(checker: &mut Checker<'_, '_>, route: &Route, rules: &file::Rewrite) -> Option<Rewrite> {
    let path = new_path(checker, route, &rules.path, &rules.path_prefix)?;
    let host = rules.host.get()?.as_ref().map(|host| host.0.clone());
    if path.is_none() && host.is_none() {
        let report = checker.error(route.rewrite.node, "this rewrite changes nothing");
        checker.push(report.help("its keys are `path`, `path_prefix` and `host`"));
        return None;
    }
    Some(Rewrite { path, host })
}

/// Another path, given as a whole or for the prefix that the route matches. `None` when that is wrong.
pub fn new_path(
    checker: &mut Checker<'_, '_>,
    route: &Route,
    path: &At<Option<UrlPath>>,
    prefix: &At<Option<UrlPath>>,
) -> Option<Option<PathRewrite>> {
    let matched = route.r#match.get()?;
    let (matched_path, matched_prefix) = (matched.path.get()?, matched.path_prefix.get()?);
    Some(match (path.get()?, prefix.get()?) {
        (Some(_), Some(_)) => {
            let report = checker.error(prefix.node, "both `path` and `path_prefix`");
            checker.push(report.help("keep `path` for one path, or `path_prefix` to keep what follows the prefix"));
            return None;
        }
        (None, Some(_)) if matched_path.is_some() => {
            let report = checker.error(prefix.node, "the route matches a `path`, which has no prefix");
            checker.push(report.help("write `path`, or match by `path_prefix`"));
            return None;
        }
        (Some(path), None) => Some(PathRewrite::Exact(path.0.clone())),
        (None, Some(to)) => Some(PathRewrite::Prefix {
            from: matched_prefix.as_ref().map_or("", |path| path.0.trim_end_matches('/')).to_owned(),
            to: to.0.trim_end_matches('/').to_owned(),
        }),
        (None, None) => None,
    })
}
