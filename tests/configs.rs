//! The configuration as its users meet it: what is printed for each kind of mistake, that every example is right, and that
//! parser, schema and documentation say the same.
//!
//! Expected outputs are files. After an intended change, `UPDATE_GOLDENS=1 cargo test --test configs` writes them anew;
//! read the difference before you keep it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in a test a panic is the report")]

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use baton::config::{self, Diagnostics, Loaded, Lookup};
use proptest::prelude::*;
use serde_json::Value;

/// The same environment on every machine.
struct Fixed;

impl Lookup for Fixed {
    fn variable(&self, name: &str) -> Option<String> {
        let value = match name {
            "HOST" => "127.0.0.1",
            "PORT" => "8080",
            "TOKEN" => "hunter2",
            "INJECTION" => "8080, tls: {}\nadmin: {}",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn read(&self, path: &Path, _limit: u64) -> io::Result<Vec<u8>> {
        let text = match path.to_str() {
            Some("/etc/tls/cert.pem") => "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n",
            Some("/etc/tls/key.pem") => "-----BEGIN EC PRIVATE KEY-----\nMA==\n-----END EC PRIVATE KEY-----\n",
            Some("/etc/tls/crl.pem") => "-----BEGIN X509 CRL-----\nMA==\n-----END X509 CRL-----\n",
            Some("/run/secrets/token") => "hunter2\n",
            // ENOENT, in the words of the operating system.
            _ => return Err(io::Error::from_raw_os_error(2)),
        };
        Ok(text.as_bytes().to_vec())
    }
}

/// Everything that a text names exists; for examples, whose secrets and certificates are the reader's.
struct Everything;

impl Lookup for Everything {
    fn variable(&self, _name: &str) -> Option<String> {
        // Fits everything: a port, a name, a secret.
        Some("8080".into())
    }

    fn read(&self, path: &Path, _limit: u64) -> io::Result<Vec<u8>> {
        let pem = path.extension().is_some_and(|ending| ending == "pem");
        let text = if pem {
            "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n"
        } else {
            "a secret that is long enough to sign with\n"
        };
        Ok(text.as_bytes().to_vec())
    }
}

fn parse(text: &str) -> Result<Loaded, Diagnostics> {
    config::parse(text, Path::new("baton.yaml"), &Fixed)
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Files of a directory with an ending, in order.
fn files(directory: &str, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(root().join(directory)) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|found| found == ending)).collect();
    files.sort();
    files
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Compares with a file, or writes it when asked to.
fn assert_golden(path: &Path, actual: &str) {
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} is not what it was; UPDATE_GOLDENS=1 cargo test --test configs writes it anew\n--- now\n{actual}",
        path.display()
    );
}

#[test]
fn every_kind_of_mistake_is_said_as_expected() {
    let files = files("tests/configs/bad", "yaml");
    assert!(files.len() > 20, "{files:?}");
    for path in files {
        let name = Path::new(path.file_name().unwrap());
        let diagnostics = config::parse(&read(&path), name, &Fixed).expect_err(&path.to_string_lossy());
        let output = format!("{diagnostics}\n");
        let lines = diagnostics.lines(1000);
        assert!(lines.iter().all(|line| line.starts_with(name.to_str().unwrap()) && !line.contains('\n')), "{lines:?}");
        assert!(!format!("{output}{lines:?}").contains("hunter2"), "a secret is shown:\n{output}{lines:?}");
        assert_golden(&path.with_extension("txt"), &output);
    }
}

#[test]
fn valid_texts_mean_what_is_expected() {
    for path in files("tests/configs/good", "yaml") {
        let name = Path::new(path.file_name().unwrap());
        let loaded = config::parse(&read(&path), name, &Fixed).unwrap_or_else(|error| panic!("{error}"));
        assert_golden(&path.with_extension("txt"), &format!("{:#?}\n\n{}\n", loaded.config, loaded.warnings));
    }
}

#[test]
fn every_example_is_right_and_without_a_warning() {
    let files = files("config", "yaml");
    assert!(files.len() >= 5, "{files:?}");
    for path in files {
        let loaded = config::parse(&read(&path), &path, &Everything).unwrap_or_else(|error| panic!("{error}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    }
}

#[test]
fn every_configuration_in_the_documentation_is_right() {
    let mut checked = 0;
    for path in files(".", "md").into_iter().chain(files("docs", "md")) {
        let text = read(&path);
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let Some(indent) = line.find("```yaml") else { continue };
            let block: Vec<&str> = lines
                .by_ref()
                .map(|(_, line)| line.get(indent..).unwrap_or(""))
                .take_while(|line| !line.starts_with("```"))
                .collect();
            let origin = PathBuf::from(format!("{}, block in line {}", path.display(), number + 1));
            config::parse(&block.join("\n"), &origin, &Everything).unwrap_or_else(|error| panic!("{error}"));
            checked += 1;
        }
    }
    assert!(checked > 0);
}

#[test]
fn the_reference_lists_what_the_parser_knows() {
    const BEGIN: &str = "<!-- begin of the keys: UPDATE_GOLDENS=1 cargo test --test configs -->\n";
    const END: &str = "<!-- end of the keys -->";
    let path = root().join("docs/configuration.md");
    let text = read(&path);
    let begin = text.find(BEGIN).expect("the mark before the keys") + BEGIN.len();
    let end = text.find(END).expect("the mark after the keys");
    assert_golden(&path, &format!("{}{}\n{}", &text[..begin], config::reference(), &text[end..]));
}

#[test]
fn a_file_is_loaded_and_one_that_cannot_be_read_is_named() {
    let loaded = config::load(&root().join("config/baton.yaml")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.config.upstreams[0].masters.len(), 3);
    let error = config::load(Path::new("/nowhere/baton.yaml")).unwrap_err().to_string();
    assert_eq!(
        error,
        "error: cannot read `/nowhere/baton.yaml`: No such file or directory (os error 2)\n\n1 error in /nowhere/baton.yaml"
    );
}

#[test]
fn a_file_that_is_not_text_is_refused_with_the_line() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("not-text.yaml");
    std::fs::write(&path, b"listeners: []\nroutes: \xff\n").unwrap();
    let error = config::load(&path).unwrap_err().to_string();
    assert!(error.contains("line 2 is not UTF-8"), "{error}");
}

#[test]
fn line_endings_and_marks_of_other_editors_change_nothing() {
    let text = read(&root().join("config/baton.yaml"));
    let expected = parse(&text).unwrap().config;
    for text in [text.replace('\n', "\r\n"), format!("\u{feff}{text}"), format!("---\n{text}...\n")] {
        assert_eq!(parse(&text).unwrap_or_else(|error| panic!("{error}")).config, expected);
    }
}

#[test]
fn a_text_beyond_the_limit_is_refused_unread() {
    let error = parse(&"#".repeat(config::TEXT_BYTES_MAX + 1)).unwrap_err().to_string();
    assert!(error.contains("larger than 1048576 bytes"), "{error}");
}

#[test]
fn the_hash_changes_with_the_text_and_with_what_it_names() {
    let text = |port: &str| {
        format!(
            "listeners: [{{ name: a, address: \"127.0.0.1:{port}\" }}]\nroutes: [{{ name: a, upstream: a }}]\n\
             upstreams: [{{ name: a, masters: [{{ name: a, address: \"127.0.0.1:1\" }}] }}]"
        )
    };
    let hash = |text: &str, lookup: &dyn Lookup| config::parse(text, Path::new("a"), lookup).unwrap().hash;
    struct Port(&'static str);
    impl Lookup for Port {
        fn variable(&self, _name: &str) -> Option<String> {
            Some(self.0.into())
        }
        fn read(&self, _path: &Path, _limit: u64) -> io::Result<Vec<u8>> {
            Err(io::Error::from(io::ErrorKind::NotFound))
        }
    }
    assert_eq!(hash(&text("1"), &Port("2")), hash(&text("1"), &Port("3")));
    assert_ne!(hash(&text("1"), &Port("2")), hash(&text("2"), &Port("2")));
    assert_eq!(hash(&text("${P}"), &Port("2")), hash(&text("${P}"), &Port("2")));
    assert_ne!(hash(&text("${P}"), &Port("2")), hash(&text("${P}"), &Port("3")));
}

#[test]
fn a_change_is_told_in_words() {
    let load = |text: &str| parse(text).unwrap_or_else(|error| panic!("{error}")).config;
    let text = read(&root().join("config/baton.yaml"));
    let old = load(&text);
    assert_eq!(config::diff(&old, &old), Vec::<String>::new());
    let new = text
        .replace("timeout: 30s  ", "timeout: 20s  ")
        .replace("name: bot-3", "name: bot-4")
        .replace("address: 127.0.0.1:9001", "address: \"bot-1:9001\"")
        .replace("strategy: round-robin", "strategy: least-loaded")
        .replace("http: { path: /health }", "tcp: {}")
        .replace("access_log: stdout", "access_log: off")
        .replace("name: webhooks", "name: hooks\n    match: { hosts: [bot.example] }");
    assert_eq!(
        config::diff(&old, &load(&new)),
        [
            "logging.access_log stdout -> off",
            "route webhooks removed",
            "route hooks added",
            "upstream bots: health_check.http.expect_status [200-299] -> none",
            "upstream bots: health_check.http.method GET -> none",
            "upstream bots: health_check.http.path /health -> none",
            "upstream bots: health_check.tcp none -> {}",
            "upstream bots: strategy round-robin -> least-loaded",
            "upstream bots: master bot-1: address 127.0.0.1:9001 -> bot-1:9001",
            "upstream bots: master bot-3 removed",
            "upstream bots: master bot-4 added",
        ]
    );
    let mut reordered = old.clone();
    reordered.upstreams[0].masters.reverse();
    assert_eq!(config::diff(&old, &reordered).len(), 1);
}

/// One value that the schema allows, for a whole configuration.
fn example(schema: &Value, definitions: &Value) -> Value {
    let first = |list: &Value| list.get(0).cloned();
    if let Some(name) = schema["$ref"].as_str() {
        let definition = &definitions[name.trim_start_matches("#/$defs/")];
        let properties = definition["properties"].as_object().unwrap();
        let entry = |(key, schema): (&String, &Value)| (key.clone(), example(schema, definitions));
        return Value::Object(properties.iter().map(entry).collect());
    }
    if schema["type"] == "array" {
        return Value::Array(vec![example(&schema["items"], definitions)]);
    }
    if let Some(options) = schema["anyOf"].as_array() {
        return example(options.last().unwrap(), definitions);
    }
    first(&schema["examples"])
        .or_else(|| first(&schema["enum"]))
        .or_else(|| schema.get("default").cloned())
        .or_else(|| schema.get("minimum").cloned())
        .unwrap_or_else(|| match &schema["type"] {
            Value::String(kind) if kind == "boolean" => true.into(),
            _ if schema["pattern"].as_str().is_some_and(|pattern| pattern.starts_with("^\\+")) => {
                "+971501234567".into()
            }
            _ if schema["pattern"].as_str().is_some_and(|pattern| pattern.contains("A-Z")) => "AE".into(),
            _ => "a/b".into(),
        })
}

/// Gets a key's path, its schema, its value, and a function that puts the whole configuration together with another value.
type Check<'a> = dyn FnMut(&str, &Value, &Value, &dyn Fn(Value) -> Value) + 'a;

/// Calls `check` for a value and everything in it.
fn visit(
    schema: &Value,
    definitions: &Value,
    path: &str,
    value: &Value,
    rebuild: &dyn Fn(Value) -> Value,
    check: &mut Check<'_>,
) {
    check(path, schema, value, rebuild);
    if let Some(name) = schema["$ref"].as_str() {
        let definition = &definitions[name.trim_start_matches("#/$defs/")];
        for (key, schema) in definition["properties"].as_object().unwrap() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let rebuild = |changed: Value| {
                let mut object = value.clone();
                object[key] = changed;
                rebuild(object)
            };
            visit(schema, definitions, &path, &value[key], &rebuild, check);
        }
    } else if schema["type"] == "array" {
        let rebuild = |changed: Value| rebuild(Value::Array(vec![changed]));
        visit(&schema["items"], definitions, &format!("{path}[0]"), &value[0], &rebuild, check);
    } else if let Some(options) = schema["anyOf"].as_array() {
        let last = options.last().unwrap();
        if last.get("$ref").is_some() {
            visit(last, definitions, path, value, rebuild, check);
        }
    }
}

/// Messages about one key in a JSON text.
fn messages_at(value: &Value, path: &str) -> Vec<String> {
    match parse(&value.to_string()) {
        Ok(_) => Vec::new(),
        Err(diagnostics) => {
            let here = diagnostics.iter().filter(|diagnostic| diagnostic.path == path);
            here.map(|diagnostic| diagnostic.message.clone()).collect()
        }
    }
}

#[test]
fn schema_and_parser_agree_on_every_key() {
    let schema: Value = serde_json::from_str(&config::schema()).unwrap();
    let definitions = &schema["$defs"];
    let whole = example(&schema, definitions);
    let mut keys = 0;
    visit(&schema, definitions, "", &whole, &|value| value, &mut |path, schema, value, rebuild| {
        keys += 1;
        let refused = |value: Value| !messages_at(&rebuild(value), path).is_empty();
        let shape_errors = |messages: Vec<String>| {
            messages.into_iter().filter(|message| message.contains("expected") || message.contains("unknown")).count()
        };
        assert_eq!(shape_errors(messages_at(&whole, path)), 0, "{path}: the schema's own example is refused");
        // A type of value that the schema does not have here.
        let takes_mappings = schema.get("$ref").is_some() || schema.get("anyOf").is_some();
        let wrong = if takes_mappings { "?".into() } else { serde_json::json!({ "a": 1 }) };
        assert!(refused(wrong.clone()), "{path}: {wrong} is accepted");
        if let Some(list) = schema["enum"].as_array() {
            for word in list {
                assert_eq!(shape_errors(messages_at(&rebuild(word.clone()), path)), 0, "{path}: {word} is refused");
            }
            assert!(refused("nonsense".into()), "{path}");
        }
        for (bound, step) in [("minimum", -1), ("maximum", 1)] {
            if let Some(number) = schema[bound].as_i64() {
                assert_eq!(shape_errors(messages_at(&rebuild(number.into()), path)), 0, "{path}: {bound}");
                assert!(refused((number + step).into()), "{path}: beyond the {bound}");
            }
        }
        if let Some(pattern) = schema["pattern"].as_str() {
            assert!(refused("\u{7}".into()), "{path}: {pattern}");
        }
        if let Some(default) = schema.get("default") {
            assert_eq!(shape_errors(messages_at(&rebuild(default.clone()), path)), 0, "{path}: its default is refused");
        }
        if let Some(name) = schema["$ref"].as_str() {
            let definition = &definitions[name.trim_start_matches("#/$defs/")];
            let mut more = value.clone();
            more["zzz"] = 1.into();
            let below = if path.is_empty() { "zzz".to_owned() } else { format!("{path}.zzz") };
            assert_eq!(messages_at(&rebuild(more), &below), ["unknown key `zzz`"]);
            let required: Vec<&str> =
                definition["required"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
            for key in definition["properties"].as_object().unwrap().keys() {
                let mut less = value.clone();
                less.as_object_mut().unwrap().remove(key);
                let missing = format!("missing key `{key}`");
                let messages = messages_at(&rebuild(less), path);
                assert_eq!(
                    messages.contains(&missing),
                    required.contains(&key.as_str()),
                    "{path}: {key}: {messages:?}"
                );
            }
        }
    });
    assert!(keys > 100, "{keys}");
}

#[test]
fn a_sample_with_every_key_has_every_key_of_the_schema() {
    let schema: Value = serde_json::from_str(&config::schema()).unwrap();
    let text = read(&root().join("tests/configs/good/every-key.yaml"));
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        for key in definition["properties"].as_object().unwrap().keys() {
            assert!(text.contains(&format!("{key}:")), "{name} has {key}");
        }
    }
}

/// Places of keys in the sample with every key: byte ranges.
fn key_places(text: &str) -> Vec<std::ops::Range<usize>> {
    let is_key = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    let bytes = text.as_bytes();
    let mut places = Vec::new();
    for (colon, _) in text.match_indices(':') {
        let begin = (0..colon).rev().find(|&at| !is_key(bytes[at])).map_or(0, |at| at + 1);
        let before = text[..begin].trim_end_matches(' ');
        let starts = before.is_empty() || before.ends_with(['\n', '{', ',', '-']);
        let ends = matches!(bytes.get(colon + 1), Some(b' ' | b'\n'));
        if begin < colon && starts && ends {
            places.push(begin..colon);
        }
    }
    places
}

fn every_key_of_the_schema() -> BTreeSet<String> {
    let schema: Value = serde_json::from_str(&config::schema()).unwrap();
    let objects = schema["$defs"].as_object().unwrap().values();
    objects.flat_map(|object| object["properties"].as_object().unwrap().keys()).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_slip_in_any_key_is_answered_with_the_key_that_was_meant(
        place in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        letter in "[a-z_]",
        slip in 0..4,
    ) {
        let text = read(&root().join("tests/configs/good/every-key.yaml"));
        let places = key_places(&text);
        prop_assert!(places.len() > 100);
        let place = places[place.index(places.len())].clone();
        let key = &text[place.clone()];
        let at = at.index(key.len());
        let mut letters: Vec<char> = key.chars().collect();
        match slip {
            0 => { letters.remove(at); }
            1 => letters.insert(at, letter.chars().next().unwrap()),
            2 => letters[at] = letter.chars().next().unwrap(),
            _ => { let last = letters.len() - 1; letters.swap(at, (at + 1).min(last)); }
        }
        let wrong: String = letters.into_iter().collect();
        prop_assume!(wrong != key && wrong.len() > 1 && !every_key_of_the_schema().contains(&wrong));
        let changed = format!("{}{wrong}{}", &text[..place.start], &text[place.end..]);
        let diagnostics = parse(&changed).expect_err(&wrong);
        let line = text[..place.start].matches('\n').count() + 1;
        let found = diagnostics.iter().any(|diagnostic| {
            let helped = diagnostic.notes.iter().any(|(_, text)| text.starts_with("did you mean"));
            diagnostic.line == line && diagnostic.message == format!("unknown key `{wrong}`") && helped
        });
        prop_assert!(found, "{wrong} for {key}:\n{diagnostics}");
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        let _ = parse(&text).map_err(|error| error.to_string());
    }

    #[test]
    fn nothing_that_looks_like_yaml_makes_the_parser_panic(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "listeners", "routes", "upstreams", "masters", "name", "match", "tls", "a", "é", "${", "}", "${PORT}", "${file:",
                ":", ": ", "- ", "-", "\n", "\n  ", "\n    ", "[", "]", "{", ", ", "\"", "'", "&a ", "*a", "!!str ", "|\n", ">-\n",
                "? ", "# ", "%YAML 1.2\n", "---", "...", "\t", "\u{0}", "\u{feff}", "\r\n", "<<", "~", "0", "5s", "32KiB", "off",
            ]),
            0..60,
        ),
    ) {
        let _ = parse(&parts.concat()).map_err(|error| error.to_string());
    }

    #[test]
    fn a_cut_or_broken_configuration_never_panics(
        cut in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        put in prop::sample::select(vec!["", ":", "[", "{", "\"", "\n", "- ", "é", "\t", "*x", "&x ", "|"]),
    ) {
        let text: Vec<char> = read(&root().join("tests/configs/good/every-key.yaml")).chars().collect();
        let mut text = text[..cut.index(text.len())].to_vec();
        let at = at.index(text.len() + 1);
        text.splice(at..at, put.chars());
        let _ = parse(&text.into_iter().collect::<String>()).map_err(|error| error.to_string());
    }
}
