//! The container files agree with each other and with the program: what is mounted exists, what is scraped is served,
//! what is drawn is counted. No container engine is needed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use baton::telemetry::names::{ALL, Kind, Metric};
use serde_json::Value;

/// Labels that Prometheus adds to every series.
const SCRAPE_LABELS: [&str; 2] = ["job", "instance"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A YAML file as the JSON that it means, `<<` merged.
fn yaml(path: &str) -> Value {
    let mut value: serde_yaml::Value = serde_yaml::from_str(&text(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    value.apply_merge().unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::to_value(value).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn list<'a>(value: &'a Value, what: &str) -> &'a Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("{what} is no list: {value}"))
}

fn string<'a>(value: &'a Value, what: &str) -> &'a str {
    value.as_str().unwrap_or_else(|| panic!("{what} is no text: {value}"))
}

fn services() -> BTreeMap<String, Value> {
    let compose = yaml("docker-compose.yml");
    compose["services"].as_object().unwrap().iter().map(|(name, service)| (name.clone(), service.clone())).collect()
}

/// The mounts of a service as (from, to).
fn mounts(service: &Value) -> Vec<(String, String)> {
    let volumes = service["volumes"].as_array().cloned().unwrap_or_default();
    let split = |volume: &Value| {
        let mut parts = string(volume, "volume").split(':');
        (parts.next().unwrap().to_owned(), parts.next().expect("a volume names its place").to_owned())
    };
    volumes.iter().map(split).collect()
}

/// Instructions of the Dockerfile with their arguments, continuation lines joined.
fn instructions() -> Vec<(String, Vec<String>)> {
    let joined = text("Dockerfile").replace("\\\n", " ");
    let lines = joined.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            (words.next().unwrap(), words.collect())
        })
        .collect()
}

/// What the Dockerfile copies from the repository.
fn copied() -> BTreeSet<String> {
    let copies = instructions()
        .into_iter()
        .filter(|(word, arguments)| word == "COPY" && !arguments.iter().any(|argument| argument.starts_with("--from")));
    copies.flat_map(|(_, arguments)| arguments[..arguments.len() - 1].to_vec()).collect()
}

fn port(address: &str) -> &str {
    address.rsplit_once(':').unwrap_or_else(|| panic!("{address} has no port")).1
}

#[test]
fn every_service_has_an_image_with_a_fixed_version_or_is_built_here() {
    for (name, service) in services() {
        if service["build"].is_null() {
            let image = string(&service["image"], &name);
            let tag = image.rsplit_once(':').unwrap_or_else(|| panic!("{name}: {image} has no version")).1;
            assert!(tag.contains('.'), "{name}: {image} names no exact version");
        } else {
            let directory = root().join(string(&service["build"], &name));
            assert!(directory.join("Dockerfile").exists(), "{name} is built from a directory without a Dockerfile");
        }
    }
}

#[test]
fn every_mount_is_a_file_of_the_repository_or_a_declared_volume() {
    let compose = yaml("docker-compose.yml");
    for (name, service) in services() {
        for (from, _) in mounts(&service) {
            match from.strip_prefix("./") {
                Some(path) => assert!(root().join(path).exists(), "{name} mounts {from}, which does not exist"),
                None => assert!(
                    compose["volumes"].get(&from).is_some(),
                    "{name} mounts the volume {from}, which is not declared"
                ),
            }
        }
    }
}

#[test]
fn the_build_gets_every_file_it_copies_and_every_target_of_the_manifest() {
    let allowed: HashSet<String> =
        text(".dockerignore").lines().filter_map(|line| line.strip_prefix('!')).map(str::to_owned).collect();
    let copied = copied();
    for path in &copied {
        assert!(root().join(path).exists(), "the Dockerfile copies {path}, which does not exist");
        let top = Path::new(path).iter().next().unwrap().to_string_lossy().into_owned();
        assert!(allowed.contains(&top), ".dockerignore keeps {path} from the build");
    }
    // Cargo refuses a manifest that names a target without its file, also when it does not build it.
    let manifest = text("Cargo.toml");
    for line in manifest.lines() {
        if let Some(path) = line.strip_prefix("path = \"").and_then(|rest| rest.strip_suffix('"')) {
            assert!(
                copied.iter().any(|part| Path::new(path).starts_with(part)),
                "the manifest names {path}, which the Dockerfile does not copy"
            );
        }
    }
}

#[test]
fn the_image_runs_without_rights_and_builds_from_the_lock_file() {
    let instructions = instructions();
    let last = |wanted: &str| instructions.iter().rfind(|(word, _)| word == wanted).map(|(_, rest)| rest.join(" "));
    assert_eq!(last("USER").as_deref(), Some("nonroot"));
    assert!(instructions.iter().any(|(word, rest)| word == "RUN" && rest.join(" ").contains("--release --locked")));
    for (word, rest) in &instructions {
        if word == "FROM" {
            assert!(rest[0].contains(':'), "{} has no version", rest[0]);
        }
    }
}

#[test]
fn the_ports_of_the_image_are_those_of_its_configuration() {
    let config = yaml("config/containers.yaml");
    let listeners = list(&config["listeners"], "listeners").iter().map(|listener| &listener["address"]);
    let served: BTreeSet<String> = listeners
        .chain([&config["admin"]["address"]])
        .map(|address| port(string(address, "address")).to_owned())
        .collect();
    let exposed = instructions().into_iter().filter(|(word, _)| word == "EXPOSE").flat_map(|(_, ports)| ports);
    assert_eq!(exposed.collect::<BTreeSet<_>>(), served);
    let ports = services()["baton"]["ports"].clone();
    let published: BTreeSet<String> =
        list(&ports, "ports").iter().map(|p| port(string(p, "port")).to_owned()).collect();
    assert_eq!(published, served);
}

#[test]
fn every_master_of_the_configuration_is_a_service_that_listens_there() {
    let config = yaml("config/containers.yaml");
    let services = services();
    for upstream in list(&config["upstreams"], "upstreams") {
        for master in list(&upstream["masters"], "masters") {
            let address = string(&master["address"], "address");
            let (host, port) = address.rsplit_once(':').unwrap();
            let service = services.get(host).unwrap_or_else(|| panic!("no service is called {host}"));
            let command: Vec<&str> =
                list(&service["command"], host).iter().map(|word| string(word, "command")).collect();
            assert_eq!(command, ["sample-master", "--listen", &format!("0.0.0.0:{port}"), "--name", host]);
        }
    }
}

#[test]
fn prometheus_scrapes_the_admin_listener_and_grafana_asks_prometheus() {
    let admin = yaml("config/containers.yaml")["admin"]["address"].clone();
    let scraped = yaml("config/prometheus/prometheus.yml");
    let target = string(&scraped["scrape_configs"][0]["static_configs"][0]["targets"][0], "target").to_owned();
    assert_eq!(target, format!("baton:{}", port(string(&admin, "admin"))));

    let services = services();
    let source = yaml("config/grafana/provisioning/datasources/prometheus.yml")["datasources"][0].clone();
    let (host, asked) = string(&source["url"], "url").strip_prefix("http://").unwrap().rsplit_once(':').unwrap();
    let published = string(&services[host]["ports"][0], "port").to_owned();
    assert_eq!(port(&published), asked);
}

#[test]
fn grafana_finds_the_dashboards_where_they_are_mounted() {
    let provider = yaml("config/grafana/provisioning/dashboards/baton.yml")["providers"][0].clone();
    let path = string(&provider["options"]["path"], "path").to_owned();
    let grafana = services()["grafana"].clone();
    let from = mounts(&grafana).into_iter().find(|(_, to)| *to == path).expect("the dashboards are mounted").0;
    let home = string(&grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"], "home").to_owned();
    let file = home.strip_prefix(&format!("{path}/")).expect("the home dashboard is one of them").to_owned();
    assert!(root().join(from).join(file).exists());
}

/// The dashboards with their file names.
fn dashboards() -> Vec<(String, Value)> {
    let directory = root().join("config/grafana/dashboards");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = files
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        })
        .collect();
    assert!(!found.is_empty());
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// Every value of a key, at any depth.
fn values<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                if name == key {
                    found.push(inner);
                }
                values(inner, key, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| values(item, key, found)),
        _ => {}
    }
}

/// Every expression in a dashboard and in the alerts, with its origin.
fn expressions() -> Vec<(String, String)> {
    let mut sources = dashboards();
    for file in ["alerts.yml", "sla.yml"] {
        sources.push((file.to_owned(), yaml(&format!("config/prometheus/{file}"))));
    }
    let mut all = Vec::new();
    for (name, source) in &sources {
        for key in ["expr", "definition"] {
            let mut found = Vec::new();
            values(source, key, &mut found);
            all.extend(found.into_iter().map(|expr| (name.clone(), string(expr, "expression").to_owned())));
        }
    }
    all
}

/// The metrics an expression reads, each with the labels it selects by.
fn selectors(expression: &str) -> Vec<(&str, Vec<&str>)> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = ["baton_", "process_"].iter().filter_map(|prefix| rest.find(prefix)).min() {
        let length = rest[start..].find(|c| !word(c)).unwrap_or(rest.len() - start);
        let name = &rest[start..start + length];
        rest = &rest[start + length..];
        let labels =
            rest.strip_prefix('{').and_then(|inner| inner.split_once('}')).map_or_else(Vec::new, |(inner, _)| {
                inner.split(',').filter_map(|matcher| matcher.split(['=', '!']).next()).collect()
            });
        found.push((name, labels));
    }
    found
}

/// The metric that a series belongs to; a histogram has three kinds of series.
fn metric(series: &str) -> Option<&'static Metric> {
    ALL.iter().copied().find(|metric| match metric.kind {
        Kind::Histogram => {
            series.strip_prefix(metric.name).is_some_and(|part| matches!(part, "_bucket" | "_sum" | "_count"))
        }
        _ => metric.name == series,
    })
}

#[test]
fn every_expression_reads_metrics_and_labels_that_exist() {
    let mut read = BTreeSet::new();
    for (origin, expression) in expressions() {
        for (series, labels) in selectors(&expression) {
            let metric = metric(series).unwrap_or_else(|| panic!("{origin}: {series} does not exist: {expression}"));
            read.insert(metric.name);
            for label in labels {
                assert!(
                    metric.labels.contains(&label) || SCRAPE_LABELS.contains(&label),
                    "{origin}: {series} has no label {label}: {expression}"
                );
            }
        }
        for grouped in expression.split(" by (").skip(1) {
            for label in grouped.split(')').next().unwrap().split(',').map(str::trim) {
                let known = label == "le"
                    || selectors(&expression).iter().all(|(series, _)| metric(series).unwrap().labels.contains(&label));
                assert!(known, "{origin}: no series has the label {label}: {expression}");
            }
        }
    }
    assert!(read.contains("baton_requests_total") && read.contains("baton_request_duration_seconds"));
}

#[test]
fn every_metric_is_drawn_or_watched_somewhere() {
    // Constant facts about a process: of use in joins and tables, not as a graph.
    let facts = ["baton_build_info", "process_start_time_seconds"];
    let expressions = expressions();
    let read: HashSet<&str> = expressions
        .iter()
        .flat_map(|(_, expression)| selectors(expression))
        .filter_map(|(series, _)| metric(series))
        .map(|metric| metric.name)
        .collect();
    let missing: Vec<&str> =
        ALL.iter().map(|metric| metric.name).filter(|name| !read.contains(name) && !facts.contains(name)).collect();
    assert!(missing.is_empty(), "neither config/grafana/dashboards nor config/prometheus/alerts.yml shows {missing:?}");
}

#[test]
fn the_panels_of_a_dashboard_have_their_own_ids_and_places_and_the_provisioned_source() {
    let source = yaml("config/grafana/provisioning/datasources/prometheus.yml")["datasources"][0]["uid"].clone();
    for (name, dashboard) in dashboards() {
        let mut uids = Vec::new();
        let mut sources = Vec::new();
        values(&dashboard, "datasource", &mut sources);
        for each in sources {
            uids.push(each["uid"].clone());
        }
        assert!(uids.iter().all(|uid| *uid == source), "{name} asks a source that is not provisioned");

        let (mut ids, mut taken) = (HashSet::new(), HashSet::new());
        for panel in list(&dashboard["panels"], "panels") {
            let title = string(&panel["title"], "title");
            assert!(ids.insert(panel["id"].as_u64()), "{name}: the id of {title} is used twice");
            let at =
                |key: &str| panel["gridPos"][key].as_u64().unwrap_or_else(|| panic!("{name}: {title} has no {key}"));
            assert!(at("x") + at("w") <= 24, "{name}: {title} is wider than the grid");
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(taken.insert((x, y)), "{name}: {title} covers another panel");
                }
            }
        }
    }
}
