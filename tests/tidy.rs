//! Rules about the source itself: who may import whom, how old a dependency may be, what an exception must say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Longest file in lines, tests included. Whoever reaches it has two ideas in one file.
const MAX_LINES: usize = 700;

/// The layers from the lowest to the highest. A module imports only what stands in its own layer or below.
///
/// An entry is a path below `src`; the longest that fits a file decides. A file that fits none is an error, so that a new
/// module gets its place when it is made.
const LAYERS: &[(&str, &[&str])] = &[
    ("base", &["clock", "events", "ids", "sync", "telemetry/names", "telemetry/escape"]),
    (
        "pure cores",
        &[
            "acme/schedule",
            "alerts/alert",
            "alerts/allowance",
            "alerts/book",
            "alerts/facts",
            "alerts/filter",
            "alerts/notices",
            "alerts/refresh",
            "alerts/silence",
            "alerts/subject",
            "alerts/window",
            "audit/chain",
            "balance",
            "config",
            "exchange/budget",
            "exchange/headers",
            "exchange/redirect",
            "exchange/rewrite",
            "exchange/rules",
            "failover/ask",
            "failover/fleet",
            "failover/giving",
            "failover/hand_over",
            "failover/hooks/sealed",
            "failover/hooks/signature",
            "failover/look",
            "failover/operation",
            "failover/plan",
            "failover/record",
            "failover/recovery",
            "failover/view",
            "health/breaker",
            "health/counter",
            "health/outlier",
            "health/slow_start",
            "http",
            "limits",
            "listener/proxy_protocol",
            "lru",
            "notify/letters",
            "notify/retry",
            "monitor/distribution",
            "monitor/pack",
            "monitor/record",
            "monitor/ring",
            "monitor/sample",
            "monitor/score",
            "monitor/series",
            "monitor/trend",
            "routing",
            "sla/burn",
            "sla/ledger",
            "sla/log",
            "sla/maintenance",
            "sla/month",
            "sla/report",
            "sla/slot",
            "sla/standing",
            "spool/codec",
            "spool/joins",
            "spool/record",
            "spool/schedule",
            "spool/turns",
            "telemetry/histogram",
            "telemetry/hot",
            "tls/hello",
            "upstream/admission",
            "upstream/latency",
            "upstream/owner",
            "upstream/permit",
            "upstream/silence",
            "upstream/window",
            "whatsapp",
        ],
    ),
    (
        "mechanisms",
        &[
            "alerts",
            "audit",
            "exchange",
            "generations",
            "listener",
            "net",
            "sla",
            "snapshot",
            "spool",
            "state_file",
            "telemetry",
            "tls",
            "upstream",
        ],
    ),
    ("data plane", &["proxy", "spool/dispatch", "worker"]),
    ("control plane", &["acme", "failover", "health", "monitor", "notify"]), // but for their pure cores, above
    ("admin", &["admin"]),
    ("assembly", &["cli", "ctl", "demo", "lib", "main", "sample", "server"]),
];
/// Two layers of which neither may import the other: they meet in the snapshot and in the masters' atomics.
const STRANGERS: (&str, &str) = ("data plane", "control plane");

/// The reason for a floor below which a version is known to be unsafe and no more is to be said here.
const KNOWN: &str = "older versions have known faults";
/// Oldest version of a crate that may be in the lock file, and why; absent crates are fine.
const FLOORS: &[(&str, &str, &str)] = &[
    ("arc-swap", "1.9.1", "memory orderings corrected"),
    ("aws-lc-sys", "0.39.0", "RUSTSEC-2026-0044 to 0048"),
    ("bytes", "1.11.1", KNOWN),
    ("crossbeam-epoch", "0.9.20", KNOWN),
    ("h2", "0.4.16", "RUSTSEC-2026-0258: empty DATA frames"),
    ("hickory-proto", "0.26.1", KNOWN),
    ("hickory-resolver", "0.26.1", KNOWN),
    ("hyper", "1.11.0", "Content-Length before Transfer-Encoding was forwarded; no advisory says so"),
    ("lru", "0.18.2", KNOWN),
    ("metrics", "0.24.6", "label hash collisions, yanked"),
    ("metrics-exporter-prometheus", "0.18.3", "label hash collisions, yanked"),
    ("quinn-proto", "0.11.15", KNOWN),
    ("redb", "4.6.0", "repair could open a damaged database as an empty one"),
    ("rustls", "0.23.45", "RUSTSEC-2026-0285: messages accepted across encryption levels"),
    ("rustls-webpki", "0.103.13", "RUSTSEC-2026-0049, 0098, 0099, 0104"),
    ("scc", "3.8.4", KNOWN),
    ("tokio", "1.54.1", "1.54.0 was yanked"),
    ("tokio-postgres", "0.7.18", KNOWN),
    ("tracing-subscriber", "0.3.20", "escape sequences reached the terminal"),
];
/// Banned crates that stand in the lock file for features that are off: nothing of ours builds them.
const LOCKED_AND_UNUSED: &[&str] = &["ring"];

#[test]
fn modules_import_only_what_stands_below_them() {
    let mut wrong = Vec::new();
    for file in sources() {
        let Some(own) = layer_of(&file.module) else {
            wrong.push(format!("{}: give it a layer in tests/tidy.rs", file.name));
            continue;
        };
        for import in file.imports.union(&file.relatives) {
            let Some(other) = layer_of(import) else { continue };
            let (own_name, other_name) = (LAYERS[own].0, LAYERS[other].0);
            let strangers = [(own_name, other_name), (other_name, own_name)].contains(&STRANGERS);
            if other > own || strangers {
                wrong.push(format!("{} ({own_name}) imports {import} ({other_name})", file.name));
            }
        }
    }
    let modules = sources();
    for (layer, entries) in LAYERS {
        for entry in *entries {
            let named = |file: &Source| file.module == *entry || file.module.starts_with(&format!("{entry}/"));
            if !modules.iter().any(named) {
                wrong.push(format!("{entry} stands in layer {layer} of tests/tidy.rs and is no file"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_do_not_import_each_other_in_a_circle() {
    let files = sources();
    let modules: BTreeSet<String> = files.iter().map(|file| file.module.clone()).collect();
    // An import names an item; the file it is in is the longest module that the path begins with.
    let file_of = |import: &str| {
        let mut path = import;
        while !modules.contains(path) {
            path = path.rsplit_once('/')?.0;
        }
        Some(path.to_owned())
    };
    let mut left: BTreeMap<String, BTreeSet<String>> = files
        .iter()
        .map(|file| {
            let targets = file.imports.iter().filter_map(|import| file_of(import));
            // A parent names its children to build on them, and children use what their parent defines.
            let related = |other: &String| {
                let (shorter, longer) =
                    if other.len() < file.module.len() { (other, &file.module) } else { (&file.module, other) };
                longer == shorter || longer.starts_with(&format!("{shorter}/"))
            };
            (file.module.clone(), targets.filter(|target| !related(target)).collect())
        })
        .collect();
    // Take away what imports nothing that is left, until nothing changes: what remains imports in a circle.
    loop {
        let free: Vec<String> = left
            .iter()
            .filter(|(_, targets)| targets.iter().all(|target| !left.contains_key(target)))
            .map(|(module, _)| module.clone())
            .collect();
        if free.is_empty() {
            break;
        }
        free.iter().for_each(|module| drop(left.remove(module)));
    }
    let mut circle = Vec::new();
    let mut at = left.keys().next();
    while let Some(module) = at.filter(|module| !circle.contains(module)) {
        circle.push(module);
        at = left[module].iter().find(|target| left.contains_key(*target));
    }
    assert!(circle.is_empty(), "these import each other in a circle: {circle:?}");
}

#[test]
fn an_exception_says_why() {
    let [allow, expect, ignore] = ["allow", "expect", "ignore"];
    let mut wrong = Vec::new();
    for path in rust_files(&["src", "tests", "benches", "fuzz"]) {
        let text = std::fs::read_to_string(&path).unwrap();
        for (line, attribute) in attributes(&text) {
            let lint = [allow, expect].iter().any(|word| attribute.starts_with(&format!("{word}(")));
            if (lint && !attribute.contains("reason =")) || attribute == ignore {
                wrong.push(format!("{}:{line}: #[{attribute}] has no reason", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_has_one_idea() {
    let long: Vec<String> = rust_files(&["src", "tests", "benches", "fuzz"])
        .into_iter()
        .map(|path| (std::fs::read_to_string(&path).unwrap().lines().count(), path))
        .filter(|(lines, _)| *lines > MAX_LINES)
        .map(|(lines, path)| format!("{} has {lines} lines, more than {MAX_LINES}", path.display()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn locked_dependencies_are_no_older_than_is_safe() {
    let locked = locked();
    assert!(locked.len() > 100, "{} packages are not the whole lock file", locked.len());
    for (name, floor, why) in FLOORS {
        for (_, version) in locked.iter().filter(|(locked, _)| locked == name) {
            assert!(
                numbers(version) >= numbers(floor),
                "{name} {version} is locked, at least {floor} is needed: {why}"
            );
        }
    }
}

#[test]
fn no_banned_crate_is_locked() {
    let (locked, banned) = (locked(), banned());
    assert!(banned.len() > 5, "deny.toml bans more than {banned:?}");
    for (name, why) in banned.iter().filter(|(name, _)| !LOCKED_AND_UNUSED.contains(&&**name)) {
        assert!(!locked.iter().any(|(locked, _)| locked == name), "{name} is locked: {why}");
    }
}

/// One file of the library.
struct Source {
    /// As shown in messages.
    name: String,
    /// Path below `src` without the extension; `mod.rs` counts as its directory.
    module: String,
    /// What it names after `crate::` outside comments and tests, with `/` for `::`.
    imports: BTreeSet<String>,
    /// The same after `super::`.
    relatives: BTreeSet<String>,
}

fn sources() -> Vec<Source> {
    let root = root().join("src");
    rust_files(&["src"])
        .into_iter()
        .filter(|path| path.file_stem().is_some_and(|stem| stem != "tests"))
        .map(|path| {
            let below = path.strip_prefix(&root).unwrap().with_extension("");
            let module = below.to_str().unwrap().trim_end_matches("/mod").to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let (imports, relatives) = (imports(&text), relatives(&text, &module));
            Source { name: format!("src/{}", below.display()), module, imports, relatives }
        })
        .collect()
}

/// The layer of a file, or of what an import names.
fn layer_of(path: &str) -> Option<usize> {
    let entries = LAYERS.iter().enumerate().flat_map(|(layer, (_, modules))| modules.iter().map(move |m| (m, layer)));
    entries
        .filter(|(module, _)| path == **module || path.starts_with(&format!("{module}/")))
        .max_by_key(|(module, _)| module.len())
        .map(|(_, layer)| layer)
}

fn imports(text: &str) -> BTreeSet<String> {
    named_after("crate::", text, "")
}

/// What a file names of its folder.
fn relatives(text: &str, module: &str) -> BTreeSet<String> {
    named_after("super::", text, module.rsplit_once('/').map_or("", |(folder, _)| folder))
}

fn named_after(root: &str, text: &str, prefix: &str) -> BTreeSet<String> {
    let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut imports = BTreeSet::new();
    for (at, needle) in code.match_indices(root) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') || code[..at].ends_with("super::") {
            continue;
        }
        let (mut rest, mut prefix) = (&code[at + needle.len()..], prefix);
        while let Some(further_up) = rest.strip_prefix("super::") {
            (rest, prefix) = (further_up, prefix.rsplit_once('/').map_or("", |(folder, _)| folder));
        }
        collect_paths(rest, prefix, &mut imports);
    }
    imports
}

/// Reads `a::b`, `a::{b, c::d}` and the like, adding `a/b`, `a/c/d`; gives what follows.
fn collect_paths<'a>(text: &'a str, prefix: &str, into: &mut BTreeSet<String>) -> &'a str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let path =
        if prefix.is_empty() || word.is_empty() { format!("{prefix}{word}") } else { format!("{prefix}/{word}") };
    let Some(rest) = rest.strip_prefix("::") else {
        into.insert(path);
        return rest;
    };
    let Some(mut rest) = rest.strip_prefix('{') else { return collect_paths(rest, &path, into) };
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return after;
        }
        let before = rest.len();
        rest = collect_paths(rest, &path, into).trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest);
        if rest.len() == before {
            // Not a list of names after all.
            return rest;
        }
    }
}

/// Attributes with the line they begin in, as the text between the brackets.
fn attributes(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for opening in ["#[", "#!["] {
        for (at, _) in text.match_indices(opening) {
            let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
            // Elsewhere it is text about an attribute.
            if !text[line_start..at].trim().is_empty() {
                continue;
            }
            let inside = &text[at + opening.len()..];
            let mut depth = 1;
            let end = inside.find(|c| {
                depth += match c {
                    '[' => 1,
                    ']' => -1,
                    _ => 0,
                };
                depth == 0
            });
            found.push((text[..at].matches('\n').count() + 1, inside[..end.unwrap_or(inside.len())].trim().to_owned()));
        }
    }
    found
}

fn locked() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let field = |package: &str, name: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""));
        line.map(|value| value.trim_end_matches('"').to_owned())
    };
    text.split("[[package]]")
        .filter_map(|package| Some((field(package, "name")?, field(package, "version")?)))
        .collect()
}

/// What deny.toml bans, and why: lines of the form `{ crate = "name", reason = "why" },`.
fn banned() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let entry = |line: &str| {
        let (name, rest) = line.trim().strip_prefix("{ crate = \"")?.split_once('"')?;
        let reason = rest.strip_prefix(", reason = \"")?.strip_suffix("\" },")?;
        Some((name.to_owned(), reason.to_owned()))
    };
    text.lines().filter_map(entry).collect()
}

/// `1.54.1` as numbers that compare; what follows a `-` or `+` is left out.
fn numbers(version: &str) -> Vec<u64> {
    let release = version.split(['-', '+']).next().unwrap();
    release.split('.').map(|number| number.parse().unwrap_or_else(|_| panic!("{version} is no version"))).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(directories: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for directory in directories {
        collect_files(&root().join(directory), &mut files);
    }
    files.sort();
    files
}

fn collect_files(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The checks above are only as good as what they read.
mod readers {
    use super::*;

    #[test]
    fn imports_are_read_from_code_and_not_from_comments_and_tests() {
        let text = "//! crate::not::this\nuse crate::a::{B, c::{D, E}, f};\nuse crate::g;\nfn x() { crate::h::i(); my_crate::no(); }\n\
                    #[cfg(test)]\nmod tests {\n    use crate::nor::that;\n}\n";
        let expected = ["a/B", "a/c/D", "a/c/E", "a/f", "g", "h/i"];
        assert_eq!(imports(text), expected.map(str::to_owned).into());
    }

    #[test]
    fn imports_from_the_same_folder_are_read_as_paths() {
        let text = "use super::b::{C, D};\nuse super::super::e;\nfn x() { super::f::g() }\n";
        let expected = ["z/a/b/C", "z/a/b/D", "z/a/f/g", "z/e"];
        assert_eq!(relatives(text, "z/a/own"), expected.map(str::to_owned).into());
        assert_eq!(relatives("use super::b;\n", "own"), ["b".to_owned()].into());
    }

    #[test]
    fn the_most_particular_entry_decides_the_layer() {
        assert_eq!(layer_of("upstream/permit").map(|layer| LAYERS[layer].0), Some("pure cores"));
        assert_eq!(layer_of("upstream/permit/Permit").map(|layer| LAYERS[layer].0), Some("pure cores"));
        assert_eq!(layer_of("upstream/connection").map(|layer| LAYERS[layer].0), Some("mechanisms"));
        assert_eq!(layer_of("upstreams"), None);
    }

    #[test]
    fn attributes_are_read_over_several_lines_and_with_brackets() {
        let text = "#[a(\n    b[0],\n)]\nfn x() {\n    let y = \"#[c]\";\n    #[d]\n}\n";
        assert_eq!(attributes(text), [(1, "a(\n    b[0],\n)".to_owned()), (6, "d".to_owned())]);
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(numbers("0.103.13") > numbers("0.103.9"));
        assert!(numbers("1.54.1") > numbers("1.54.0"));
        assert_eq!(numbers("0.18.3+meta"), numbers("0.18.3"));
    }
}
