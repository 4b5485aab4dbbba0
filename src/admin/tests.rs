mod spool;

use super::*;
use crate::telemetry::hot::ListenerSlot;
use crate::upstream::admission::{self, Admission};
use role::Role;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use view::{AccessLogDropped, CertificateView, ListenerView, MasterView, SpoolView, UpstreamView};

/// Longest wait for anything on loopback.
const PATIENCE: Duration = Duration::from_secs(20);

struct Fixed {
    ready: AtomicBool,
    store: Option<Store>,
}

impl Source for Fixed {
    fn status(&self) -> StatusView {
        let healthy = Admission::new(admission::Health::Healthy);
        let masters = vec![
            MasterView::new("dubai-1", "127.0.0.1:9001", healthy),
            MasterView::new("dubai-2", "127.0.0.1:9002", healthy.with_circuit(admission::Circuit::Open)),
        ];
        StatusView {
            version: "9.9.9".to_owned(),
            generation: 3,
            uptime_seconds: 12.5,
            health_score: 100,
            standing: None,
            routes: Vec::new(),
            workers: 2,
            config_error: Some("nonsense".to_owned()),
            rolled_back_to: None,
            set_at_run_time: false,
            listeners: vec![ListenerView {
                name: "gateway".to_owned(),
                address: "127.0.0.1:8080".to_owned(),
                tls: true,
                acme: None,
                certificate_errors: vec!["bot-key.pem: is not the key of bot.pem".to_owned()],
                certificates: vec![
                    CertificateView {
                        name: "bot.example".to_owned(),
                        names: vec!["bot.example".to_owned()],
                        expires: Some(2_000_000_000),
                    },
                    CertificateView {
                        name: "bot.example".to_owned(),
                        names: vec!["bot.example".to_owned()],
                        expires: Some(1_900_000_000),
                    },
                ],
                connections: 0,
                tunnels: 0,
            }],
            upstreams: vec![UpstreamView {
                name: "bots".to_owned(),
                strategy: "round-robin".to_owned(),
                active: Some("dubai-1".to_owned()),
                epoch: 0,
                standing: None,
                failover: None,
                masters,
            }],
            spool: SpoolView::default(),
            failover_journal_failed: false,
            access_log_dropped: AccessLogDropped { queue_full: 7, write_error: 0 },
            audit: view::AuditView::default(),
        }
    }

    fn promises(&self) -> Vec<(Key, model::Sla)> {
        let sla = model::Sla {
            objective: model::Objective(990_000),
            by: model::Basis::Requests,
            period: Duration::from_secs(7 * 86_400),
            maintenance: Vec::new(),
        };
        vec![(Key::Upstream("bots".into()), sla)]
    }

    fn failovers(&self) -> Vec<Failover> {
        Vec::new()
    }

    fn store(&self) -> Option<Store> {
        self.store.clone()
    }

    fn configuration(&self) -> config::Present {
        config::Present { path: "baton.yaml".into(), text: "upstreams: []\n".into(), generation: 3 }
    }

    fn ready(&self) -> Result<(), Vec<String>> {
        if self.ready.load(Ordering::Relaxed) { Ok(()) } else { Err(vec!["no worker listens yet".to_owned()]) }
    }
}

struct Nothing;

impl Operations for Nothing {
    fn set_operator_state(
        &self,
        upstream: &str,
        master: &str,
        _: OperatorState,
    ) -> Result<OperatorState, NoSuchMaster> {
        match (upstream, master) {
            ("bots", "dubai-1") => Ok(OperatorState::Ready),
            ("bots", _) => Err(NoSuchMaster::Master { upstream: upstream.to_owned(), master: master.to_owned() }),
            _ => Err(NoSuchMaster::Upstream(upstream.to_owned())),
        }
    }

    fn configure(&self, _: config::Order) -> oneshot::Receiver<Result<config::Applied, config::Refused>> {
        oneshot::channel().1
    }

    fn failover(&self, request: Request) -> oneshot::Receiver<Result<Done, Refused>> {
        let (reply, answer) = oneshot::channel();
        let why = if request.upstream == "bots" { Refused::NoFailover } else { Refused::NoUpstream };
        reply.send(Err(why)).unwrap();
        answer
    }
}

fn state(source: &Arc<Fixed>, telemetry: &Arc<Telemetry>) -> Arc<AdminState> {
    let key = token::Key { id: "a".to_owned(), secret: vec![7; 32], local: true };
    let ring = Keyring { keys: vec![key], audience: "baton-admin".to_owned() };
    // Nobody is to be told of anything here, so that its event loop never runs.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let receivers = Receivers::new(runtime.handle().clone(), Arc::default(), Arc::clone(telemetry));
    Arc::new(AdminState {
        source: Arc::clone(source) as _,
        operations: Arc::new(Nothing),
        telemetry: Arc::clone(telemetry),
        keys: Arc::new(ArcSwap::from_pointee(ring)),
        audit: Arc::default(),
        monitor: watched(),
        alerts: Arc::default(),
        receivers: Arc::new(receivers),
        generations: Arc::new(Generations::open(&std::env::temp_dir().join("no generations"))),
        sla: Arc::default(),
        backups: Arc::default(),
        events: Arc::default(),
        event_readers: events::places(),
        state_path: std::env::temp_dir(),
    })
}

/// A monitor that has seen two masters share sixty requests.
fn watched() -> Arc<Monitor> {
    use crate::monitor::observation::{MasterNow, Observation, UpstreamNow};
    use crate::telemetry::deltas::{Exchanges, News};
    let names = ["dubai-1", "dubai-2"];
    let master = |name: &&str| MasterNow {
        name: (*name).into(),
        admission: Admission::new(admission::Health::Healthy),
        weight: 1,
        in_flight: 0,
        queued: 0,
        pending: 0,
        failures_in_row: 0,
    };
    let exchanges = |name: &&str| {
        let labels = ["webhooks", "bots", *name].map(str::to_owned);
        (Arc::new(labels), Exchanges { requests: 30, ..Exchanges::default() })
    };
    let monitor = Arc::new(Monitor::default());
    let closed = monitor.lock().observe(&Observation {
        at: crate::clock::unix_millis(),
        news: News { exchanges: names.iter().map(exchanges).collect(), ..News::default() },
        upstreams: vec![UpstreamNow {
            name: "bots".into(),
            spreads: true,
            masters: names.iter().map(master).collect(),
        }],
        ..Observation::default()
    });
    assert!(closed.is_empty(), "nothing was there before");
    monitor
}

struct Running {
    address: SocketAddr,
    admin: Admin,
    source: Arc<Fixed>,
    telemetry: Arc<Telemetry>,
    keys: Arc<ArcSwap<Keyring>>,
}

impl Running {
    fn token(&self, role: Role) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        self.keys.load().issue("ann", role, now, 60).unwrap()
    }

    /// Sends a body as an operator.
    fn post(&self, path: &str, kind: &str, body: &str) -> Answer {
        let (token, length) = (self.token(Role::Operator), body.len());
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        exchange(connect(self.address), &request)
    }
}

fn running() -> Running {
    running_with(server::Patience::default())
}

fn running_with(patience: server::Patience) -> Running {
    running_on(None, patience)
}

fn running_on(store: Option<Store>, patience: server::Patience) -> Running {
    let source = Arc::new(Fixed { ready: AtomicBool::new(true), store });
    let telemetry = Arc::new(Telemetry::new().unwrap());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let state = state(&source, &telemetry);
    let keys = Arc::clone(&state.keys);
    let admin = server::start_with(Listener::Tcp(listener), state, patience).unwrap();
    Running { address, admin, source, telemetry, keys }
}

struct Answer {
    status: u16,
    /// In lower case.
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends one request, reads to the end of the connection.
fn exchange(mut stream: impl Read + Write, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

fn ask(address: SocketAddr, method: &str, path: &str) -> Answer {
    exchange(connect(address), &format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"))
}

fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path)
}

#[test]
fn status_joins_the_state_with_what_the_workers_counted() {
    let running = running();
    let worker = running.telemetry.hot.worker();
    let series = worker.series("webhooks", "bots", "dubai-1");
    (0..9).for_each(|_| series.record(200, 1200));
    series.record(502, 1200);
    worker.listener("gateway").add(ListenerSlot::Accepted, 4);

    let answer = get(running.address, "/api/v1/status");
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    let status = answer.json();
    assert_eq!((&status["generation"], &status["uptime_seconds"]), (&3.into(), &12.5.into()));
    assert_eq!(status["config_error"], "nonsense");
    assert_eq!(status["listeners"][0]["connections"], 4);
    let upstream = &status["upstreams"][0];
    assert_eq!((&upstream["strategy"], &upstream["active"]), (&"round-robin".into(), &"dubai-1".into()));
    let [first, second] = [&upstream["masters"][0], &upstream["masters"][1]];
    assert_eq!((&first["requests"], &first["failures"], &first["latency_ms"]), (&10.into(), &1.into(), &1.2.into()));
    assert_eq!(
        (&first["health"], &first["circuit"], &first["usable"]),
        (&"healthy".into(), &"closed".into(), &true.into())
    );
    assert_eq!((&first["operator_state"], &first["role"]), (&"ready".into(), &"active".into()));
    assert_eq!(
        (&second["circuit"], &second["usable"], &second["requests"]),
        (&"open".into(), &false.into(), &0.into())
    );
    assert_eq!(
        status["spool"],
        serde_json::json!({ "pending": 0, "dead_letters": 0, "oldest_seconds": 0.0, "duplicates": 0, "full": null, "failed": null })
    );
    let read: StatusView = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(read.upstreams[0].masters.len(), 2);
}

#[test]
fn a_scrape_has_counts_gauges_cold_series_and_the_process() {
    let running = running();
    running.telemetry.hot.worker().series("webhooks", "bots", "dubai-1").record(200, 1200);
    running.telemetry.cold.counter(&crate::telemetry::names::CONFIG_RELOADS, &["applied"]).increment(1);
    let answer = get(running.address, "/metrics");
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    for line in [
        "baton_requests_total{route=\"webhooks\",upstream=\"bots\",master=\"dubai-1\",code=\"2xx\"} 1",
        "baton_master_health{upstream=\"bots\",master=\"dubai-1\"} 1",
        "baton_master_circuit{upstream=\"bots\",master=\"dubai-2\"} 1",
        "baton_master_usable{upstream=\"bots\",master=\"dubai-2\"} 0",
        "baton_config_generation 3",
        "baton_config_rejected 1",
        "baton_config_reloads_total{outcome=\"applied\"} 1",
        "baton_access_log_dropped_total{reason=\"queue-full\"} 7",
        "baton_workers 2",
        "baton_certificate_expiry_timestamp_seconds{listener=\"gateway\",name=\"bot.example\"} 1900000000",
    ] {
        assert!(answer.body.lines().any(|l| l == line), "{line} is not in\n{}", answer.body);
    }
}

#[test]
fn every_sample_of_a_scrape_belongs_to_one_family_with_help_and_type() {
    let running = running();
    let worker = running.telemetry.hot.worker();
    worker.series("webhooks", "bots", "dubai-1").record(200, 1200);
    worker.listener("gateway").increment(ListenerSlot::Accepted);
    let _ = (worker.upstream("bots"), worker.master("bots", "dubai-1"));
    let cold = &running.telemetry.cold;
    cold.counter(&crate::telemetry::names::CONFIG_RELOADS, &["applied"]).increment(1);
    cold.counter(&crate::telemetry::names::MASTER_EJECTIONS, &["bots", "dubai-1"]).increment(1);
    cold.counter(&crate::telemetry::names::HEALTH_PROBES, &["bots", "dubai-1", "healthy"]).increment(1);
    cold.counter(&crate::telemetry::names::ACME_ORDERS, &["bot.example", "issued"]).increment(1);
    cold.counter(&crate::telemetry::names::DELIVERED, &["bots", "delivered"]).increment(1);
    cold.counter(&crate::telemetry::names::EVENT_WEBHOOKS, &["pager", "delivered"]).increment(1);
    cold.counter(&crate::telemetry::names::ALERT_NOTIFICATIONS, &["ops", "delivered"]).increment(1);
    cold.counter(&crate::telemetry::names::DELIVERY_ATTEMPTS, &["bots", "dubai-1", "delivered"]).increment(1);
    cold.counter(&crate::telemetry::names::FAILOVERS, &["bots", "completed"]).increment(1);
    cold.counter(&crate::telemetry::names::RECOVERY_ATTEMPTS, &["bots", "dubai-1", "failed"]).increment(1);
    cold.counter(&crate::telemetry::names::HOOK_CALLS, &["bots", "export", "answered"]).increment(1);
    cold.histogram(&crate::telemetry::names::FAILOVER_DURATION, &["bots"]).record(0.1);
    cold.gauge(&crate::telemetry::names::SPOOL_STRANDED, &[]).set(0.0);
    cold.gauge(&crate::telemetry::names::DELIVERY_WINDOW, &["bots"]).set(1.0);
    cold.gauge(&crate::telemetry::names::DELIVERIES_IN_FLIGHT, &["bots"]).set(1.0);
    cold.histogram(&crate::telemetry::names::HEALTH_PROBE_DURATION, &["bots", "dubai-1"]).record(0.1);
    let text = get(running.address, "/metrics").body;

    let mut seen = std::collections::HashSet::new();
    let (mut help, mut family, mut kind) = (String::new(), String::new(), String::new());
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split(' ').next().unwrap().to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            (family, kind) = rest.split_once(' ').map(|(name, kind)| (name.to_owned(), kind.to_owned())).unwrap();
            assert_eq!(help, family, "a family begins with its help");
            assert!(seen.insert(family.clone()), "{family} is there twice");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.iter().any(|suffix| name == format!("{family}{suffix}")), "{line} in {family}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
    for metric in crate::telemetry::names::ALL {
        assert!(seen.contains(metric.name), "{} is not exposed", metric.name);
    }
}

#[test]
fn readiness_gives_its_reasons_and_liveness_needs_none() {
    let running = running();
    assert_eq!((get(running.address, "/readyz").status, get(running.address, "/healthz").body.as_str()), (200, "ok\n"));
    running.source.ready.store(false, Ordering::Relaxed);
    let answer = get(running.address, "/readyz");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json(), serde_json::json!({ "ready": false, "reasons": ["no worker listens yet"] }));
    assert_eq!(get(running.address, "/healthz").status, 200);
}

#[test]
fn errors_are_problem_documents() {
    let running = running();
    let answer = get(running.address, "/api/v2/status");
    assert_eq!(answer.status, 404);
    assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
    assert_eq!(
        answer.json(),
        serde_json::json!({
            "type": "about:blank", "title": "Not Found", "status": 404, "detail": "there is nothing at /api/v2/status",
        })
    );
    let answer = ask(running.address, "DELETE", "/api/v1/status");
    assert_eq!((answer.status, &answer.json()["detail"]), (405, &"/api/v1/status does not take DELETE".into()));
    assert!(answer.head.contains("allow: get,head"), "{}", answer.head);
    let long = get(running.address, &format!("/{}", "x".repeat(4000)));
    assert_eq!((long.status, long.json()["detail"].as_str().map(str::len)), (404, Some(500)));
}

const STATE: &str = "/api/v1/upstreams/bots/masters/dubai-1/operator-state";

#[test]
fn a_state_is_set_and_the_one_before_told() {
    let running = running();
    let answer = running.post(STATE, "application/json", r#"{"state":"drain","reason":"new version"}"#);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let said = answer.json();
    for (key, value) in [("upstream", "bots"), ("master", "dubai-1"), ("before", "ready"), ("operator_state", "drain")]
    {
        assert_eq!(said[key], value, "{said}");
    }
    for (path, detail) in [
        ("/api/v1/upstreams/bots/masters/paris/operator-state", "upstream bots has no master paris"),
        ("/api/v1/upstreams/cats/masters/paris/operator-state", "there is no upstream cats"),
    ] {
        let answer = running.post(path, "application/json", r#"{"state":"drain"}"#);
        assert_eq!((answer.status, &answer.json()["detail"]), (404, &detail.into()));
    }
}

#[test]
fn a_wrong_body_is_answered_with_what_is_wrong() {
    let running = running();
    let json = "application/json";
    let long = format!(r#"{{"state":"drain","reason":"{}"}}"#, "x".repeat(301));
    let huge = " ".repeat(BODY_BYTES_MAX + 1);
    for (kind, body, status, word) in [
        (json, "", 400, "object"),
        (json, "{", 400, "EOF"),
        (json, "[\"drain\"]", 400, "object"),
        (json, "{}", 422, "state"),
        (json, r#"{"state":"asleep"}"#, 422, "`ready`, `drain`, `maintenance`"),
        (json, r#"{"state":"drain","force":true}"#, 422, "force"),
        (json, r#"{"state":"drain","reason":"a\nb"}"#, 422, "reason"),
        (json, &*long, 422, "reason"),
        (json, &*huge, 413, "length limit"),
        ("text/plain", r#"{"state":"drain"}"#, 415, "application/json"),
    ] {
        let answer = running.post(STATE, kind, body);
        let short: String = body.chars().take(40).collect();
        assert_eq!(answer.status, status, "{short}: {}", answer.body);
        assert!(answer.head.contains("application/problem+json"), "{}", answer.head);
        assert!(answer.json()["detail"].as_str().unwrap().contains(word), "{short}: {}", answer.body);
    }
}

#[test]
fn who_may_not_is_told_what_to_show() {
    let running = running();
    let answer = ask(running.address, "POST", STATE);
    assert_eq!(answer.status, 401);
    assert!(answer.head.contains("www-authenticate: bearer realm=\"baton\"\r\n"), "{}", answer.head);
    let with = |token: &str| {
        let head =
            format!("POST {STATE} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer {token}");
        exchange(connect(running.address), &format!("{head}\r\n\r\n"))
    };
    let answer = with(&running.token(Role::Viewer));
    assert_eq!(answer.status, 403);
    assert!(answer.head.contains("error=\"insufficient_scope\", scope=\"operator\""), "{}", answer.head);
    let answer = with("x.y.z");
    assert_eq!(answer.status, 401);
    assert!(answer.head.contains("error=\"invalid_token\""), "{}", answer.head);
    assert!(answer.head.contains("application/problem+json"), "{}", answer.head);
}

#[test]
fn another_keyring_counts_at_once() {
    let running = running();
    let token = running.token(Role::Operator);
    let body = r#"{"state":"drain"}"#;
    assert_eq!(running.post(STATE, "application/json", body).status, 200);
    running.keys.store(Arc::default());
    let request = format!(
        "POST {STATE} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    assert_eq!(exchange(connect(running.address), &request).status, 401);
}

#[test]
fn the_dashboard_needs_no_token_loads_its_own_files_alone_and_everything_else_loads_nothing() {
    let running = running();
    let page = get(running.address, "/");
    let files: Vec<&str> = page.body.split("\"/assets/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(files.len() > 2, "{}", page.body);
    for file in files {
        assert_eq!(get(running.address, &format!("/assets/{file}")).status, 200, "{file}");
    }
    assert!(page.head.contains("content-security-policy: default-src 'none'; script-src 'self';"), "{}", page.head);
    assert_eq!(get(running.address, "/assets/..%2fmod.rs").status, 404);
    let status = get(running.address, "/api/v1/status");
    assert!(status.head.contains("content-security-policy: default-src 'none'; frame-ancestors"), "{}", status.head);
}

#[test]
fn an_endless_header_is_refused() {
    let running = running();
    let mut stream = connect(running.address);
    let line = format!("x-filler: {}\r\n", "x".repeat(1000));
    stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n").unwrap();
    // The answer and the end may come at any time from here on.
    let refused = (0..10_000).any(|_| stream.write_all(line.as_bytes()).is_err());
    assert!(refused, "ten megabytes of headers were taken");
}

#[test]
fn a_client_that_does_not_finish_its_headers_is_disconnected() {
    let header = Duration::from_millis(50);
    let running = running_with(server::Patience { header, ..Default::default() });
    let mut stream = connect(running.address);
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost:").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn a_client_that_never_reads_loses_its_place() {
    let soon = Duration::from_millis(50);
    let running = running_with(server::Patience { age: soon, finish: soon, ..Default::default() });
    let mut stream = connect(running.address);
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    // Pipelined requests whose answers fill every buffer between here and there; then the connection is cut.
    let requests = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".repeat(1000);
    let cut = (0..10_000).find_map(|_| stream.write_all(&requests).err()).expect("a connection that is cut");
    assert!(matches!(cut.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), "{cut}");
}

#[test]
fn a_body_that_nobody_asked_for_is_not_read() {
    let running = running();
    let request = "POST /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000000\r\n\r\nx";
    assert_eq!(exchange(connect(running.address), request).status, 405);
}

#[test]
fn stopping_closes_idle_connections_and_ends_the_thread() {
    let running = running();
    let mut idle = connect(running.address);
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
    let mut first = [0; 1];
    idle.read_exact(&mut first).unwrap();
    assert!(running.admin.stop(PATIENCE));
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"ok\n"));
    assert_eq!(TcpStream::connect(running.address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn more_connections_than_places_wait_and_are_served_in_the_end() {
    let running = running();
    let held: Vec<TcpStream> = (0..server::CONNECTIONS_MAX)
        .map(|_| {
            let mut stream = connect(running.address);
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
            stream.read_exact(&mut [0; 1]).unwrap();
            stream
        })
        .collect();
    let mut late = connect(running.address);
    late.write_all(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").unwrap();
    late.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let waiting = late.read(&mut [0; 1]).unwrap_err();
    assert!(matches!(waiting.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{waiting}");
    drop(held);
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    late.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn a_unix_socket_serves_the_same() {
    let path = std::env::temp_dir().join(format!("baton-admin-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let source = Arc::new(Fixed { ready: AtomicBool::new(true), store: None });
    let state = state(&source, &Arc::new(Telemetry::new().unwrap()));
    let admin = start(Listener::Unix(listener), state).unwrap();
    let stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let answer = exchange(stream, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
    assert!(admin.stop(PATIENCE));
    std::fs::remove_file(&path).unwrap();
}
