//! What the request path pays for its decisions, each alone.
//!
//! `cargo bench --bench micro` runs all, `cargo bench --bench micro -- pick/round-robin` some.

#![allow(clippy::unwrap_used, reason = "a benchmark may panic: nothing depends on it")]

use std::hint::black_box;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use baton::balance::affinity::Pins;
use baton::balance::{Balancer, Key, Options, Place, Spec, View, stable_hash};
use baton::config::model::{
    Access, ClientAddress, HostPattern, Http2, ListenAddress, Listener, ListenerLimits, Match, PathPattern, PathRules,
    Route, StrategyKind,
};
use baton::config::{self, System};
use baton::exchange::headers::{Forwarding, write_request_head};
use baton::exchange::local::Local;
use baton::exchange::pick::{Aim, Tried, Wish};
use baton::http::path;
use baton::http::request::Request;
use baton::http::scan::HeadScan;
use baton::limits::buckets::Buckets;
use baton::limits::gcra::Rule;
use baton::limits::networks::Networks;
use baton::proxy::http::entrance::Peer;
use baton::proxy::http::prepare::{Inlet, Scratch};
use baton::routing::RouteTable;
use baton::snapshot::Snapshot;
use baton::telemetry::registry::Registry;
use baton::upstream::admission::{Admission, AdmissionWord, Health, Tier};
use baton::whatsapp::{self, Provider};
use criterion::{Criterion, criterion_group, criterion_main};
use ipnet::IpNet;

/// Members whose state is in atomics, each on its own cache line, as the data path has it.
struct Members(Vec<Member>);

#[repr(align(128))]
struct Member {
    admission: AdmissionWord,
    in_flight: AtomicU32,
}

impl Members {
    fn new(count: u32) -> Self {
        let member = |i| Member {
            admission: AdmissionWord::new(Admission::new(Health::Healthy)),
            in_flight: AtomicU32::new(i % 4),
        };
        Self((0..count).map(member).collect())
    }
}

impl View for Members {
    fn eligible(&self, i: usize) -> bool {
        self.in_rotation(i)
    }

    fn in_rotation(&self, i: usize) -> bool {
        self.0[i].admission.read().tier() == Tier::Full
    }

    fn in_flight(&self, i: usize) -> u32 {
        self.0[i].in_flight.load(Ordering::Relaxed)
    }

    fn cost(&self, i: usize) -> f64 {
        1000.0 + f64::from(self.in_flight(i))
    }

    fn ramp(&self, _: usize) -> u32 {
        100
    }
}

fn specs(count: u32) -> Vec<Spec> {
    let spec = |i: u32| Spec {
        name: format!("master-{i}"),
        weight: 1 + i % 3,
        priority: i % 2,
        country: Some([*b"AE", *b"DE", *b"BR"][i as usize % 3]),
        location: None,
    };
    (0..count).map(spec).collect()
}

fn pick(c: &mut Criterion) {
    let mut group = c.benchmark_group("pick");
    for (kind, name) in StrategyKind::ALL {
        for count in [3, 32] {
            let members = Members::new(count);
            let options = Options { hash_balance_factor: 125, masters_that_suffice: None };
            let balancer = Balancer::new(kind, &specs(count), options);
            let place = Place::parse(Some(b"IN"), None);
            let mut key = Key { hash: Some(0), client: Some([192, 0, 2, 1].into()), place };
            let mut random = 0_u64;
            group.bench_function(format!("{name}/{count}"), |b| {
                b.iter(|| {
                    random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    key.hash = Some(random);
                    balancer.pick(black_box(&key), &members, random)
                });
            });
        }
    }
}

fn listener() -> Listener {
    let never = Duration::MAX;
    Listener {
        name: "gateway".to_owned(),
        address: ListenAddress::Unix("gateway".into()),
        tcp: None,
        proxy_protocol: None,
        tls: None,
        trusted_proxies: Vec::new(),
        access: None,
        client_address: ClientAddress::default(),
        paths: PathRules::default(),
        limits: ListenerLimits {
            handshakes: 512,
            handshake_timeout: Duration::from_secs(10),
            connections: 1,
            connections_per_client: 0,
            client_ipv6_prefix: 64,
            header_bytes: 1,
            body_bytes: 1,
            header_timeout: never,
            body_timeout: never,
            idle_timeout: never,
            min_rate: 0,
            lifetime: Duration::ZERO,
            requests_per_connection: 0,
            tunnel_timeout: never,
        },
        http2: Http2 { enabled: true, max_concurrent_streams: 128 },
    }
}

fn route(i: usize) -> Route {
    let host = match i % 10 {
        0 => HostPattern::Wildcard(format!(".tenant{}.bot.example", i / 10)),
        _ => HostPattern::Exact(format!("tenant{}.bot.example", i / 10)),
    };
    let matcher = Match {
        hosts: vec![host],
        path: PathPattern::Prefix(format!("/webhook/{}", i % 10)),
        methods: vec!["GET".to_owned(), "POST".to_owned()],
        headers: Vec::new(),
    };
    let (listeners, timeout) = (Vec::new(), Duration::MAX);
    let (name, passage) = (format!("route-{i}"), Default::default());
    Route {
        name,
        listeners,
        matcher,
        delivery: baton::config::model::Delivery::Inline,
        whatsapp: None,
        to: baton::config::model::Destination::Upstream(0),
        timeout,
        rate_limit: None,
        access: None,
        passage,
        sla: None,
    }
}

fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    let single = Route { matcher: Match::default(), ..route(0) };
    let table = RouteTable::build(&[single], &[listener()]);
    group.bench_function("any/1", |b| {
        b.iter(|| table.lookup(0, black_box(b"tenant0.bot.example"), black_box("/webhook/7/a"), "POST", &[]));
    });
    for count in [10, 1000] {
        let routes: Vec<Route> = (0..count).map(route).collect();
        let table = RouteTable::build(&routes, &[listener()]);
        let tenant = count / 10 - 1;
        let exact = format!("tenant{tenant}.bot.example:8080");
        let wildcard = format!("a.tenant{tenant}.bot.example:8080");
        group.bench_function(format!("exact/{count}"), |b| {
            b.iter(|| table.lookup(0, black_box(exact.as_bytes()), black_box("/webhook/7/a"), "POST", &[]).unwrap());
        });
        group.bench_function(format!("wildcard/{count}"), |b| {
            b.iter(|| table.lookup(0, black_box(wildcard.as_bytes()), black_box("/webhook/0/a"), "POST", &[]).unwrap());
        });
    }
}

/// A request's part of a rate limit, and of a list of networks.
fn limits(c: &mut Criterion) {
    let rule = Rule::new(100_000, Duration::from_secs(1), 1_000_000);
    let mut now = 0;
    for keys in [1, 65_536_u64] {
        let buckets = Buckets::new(65_536);
        let mut i = 0_u64;
        c.bench_function(&format!("limits/rate/{keys}"), |b| {
            b.iter(|| {
                (i, now) = ((i + 7919) % keys, now + 10);
                buckets.take(stable_hash(&i.to_le_bytes()), &rule, now)
            });
        });
    }
    for count in [10_u32, 2000] {
        let network = |i: u32| IpNet::new(IpAddr::V4((i << 16 | 10 << 8).into()), 24).unwrap();
        let networks = Networks::new(&Access { allow: Vec::new(), deny: (0..count).map(network).collect() });
        let mut address = 0_u32;
        c.bench_function(&format!("limits/networks/{count}"), |b| {
            b.iter(|| {
                address = address.wrapping_add(0x0123_4567);
                networks.admit(Some(IpAddr::V4(address.into())))
            });
        });
    }
}

fn admission(c: &mut Criterion) {
    let word = AdmissionWord::new(Admission::new(Health::Healthy));
    c.bench_function("admission/tier", |b| b.iter(|| black_box(&word).read().tier()));
}

fn pins(c: &mut Criterion) {
    let mut group = c.benchmark_group("pins");
    for count in [1000, 1_000_000] {
        let pins = Pins::new(count, u64::MAX);
        let hash = |i: u64| stable_hash(&i.to_le_bytes());
        (0..count as u64).for_each(|i| pins.set(hash(i), 1, i));
        let mut i = 0_u64;
        group.bench_function(format!("get/{count}"), |b| {
            b.iter(|| {
                i = (i + 7919) % count as u64;
                pins.get(hash(i), i)
            });
        });
        group.bench_function(format!("set-when-full/{count}"), |b| {
            b.iter(|| {
                i += 1;
                pins.set(hash(i + (1 << 40)), 1, i);
            });
        });
    }
}

/// A webhook as a gateway posts it, without its body.
const HEAD: &[u8] = b"POST /webhook/7?token=1f3a HTTP/1.1\r\n\
    Host: bots.example.com\r\n\
    User-Agent: facebookexternalua\r\n\
    Accept: */*\r\n\
    Accept-Encoding: deflate, gzip\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 512\r\n\
    X-Hub-Signature: sha1=1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3e4f\r\n\
    X-Hub-Signature-256: sha256=1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b\r\n\r\n";

fn head(c: &mut Criterion) {
    let mut group = c.benchmark_group("head");
    group.bench_function("scan", |b| b.iter(|| HeadScan::default().find_end(black_box(HEAD)).unwrap()));
    group.bench_function("parse", |b| b.iter(|| Request::parse(black_box(HEAD)).unwrap().framing));
    let request = Request::parse(HEAD).unwrap();
    let rules = PathRules::default();
    for (name, target) in [("clean", request.target), ("encoded", "/api/files/true_12345%40c.us_3EB0.jpeg")] {
        group.bench_function(format!("path/{name}"), |b| {
            b.iter(|| path::judge(black_box(target), &rules).unwrap().len());
        });
    }
    let forwarding = Forwarding {
        client: "192.0.2.1",
        node: "192.0.2.1",
        https: true,
        trusted: false,
        request_id: b"0123456789abcdef0123456789abcdef",
        host: None,
        prefix: "",
    };
    let mut out = Vec::new();
    group.bench_function("write", |b| {
        b.iter(|| {
            out.clear();
            write_request_head(black_box(&request), request.target, &forwarding, request.framing, true, &mut out);
        });
    });
}

const CONFIG: &str = "
listeners: [{ name: gateway, address: '127.0.0.1:0' }]
routes: [{ name: webhooks, match: { path_prefix: /webhook }, upstream: bots }]
upstreams:
  - name: bots
    masters:
      - { name: a, address: '127.0.0.1:1' }
      - { name: b, address: '127.0.0.1:2' }
      - { name: c, address: '127.0.0.1:3' }
";

/// What a request costs before its first system call to a master.
fn request(c: &mut Criterion) {
    let config = config::parse(CONFIG, Path::new("baton.yaml"), &System).unwrap().config;
    let published = Arc::new(ArcSwap::from_pointee(Snapshot::build(config, vec![vec![None; 3]], None)));
    let local = Local::new(&published, Registry::new().worker());
    let peer = Peer::new(Some([192, 0, 2, 1].into()));
    let mut group = c.benchmark_group("request");
    group.bench_function("generation", |b| b.iter(|| local.generation()));
    let generation = local.generation();
    let (ids, generation) = (&local.ids, &*generation);
    let inlet = Inlet { generation, position: 0, peer: &peer, https: true, ids, logged: true };
    let mut scratch = Scratch::default();
    group.bench_function("prepare", |b| {
        b.iter(|| inlet.prepare(black_box(HEAD), 512, &mut scratch).unwrap().upstream);
    });
    for (name, rule) in [
        ("rate-limit", "rate_limit: { key: client-ip, rate: 100000/s, burst: 1000000 }"),
        ("access", "access: { allow: [192.0.2.0/24], deny: [192.0.2.128/25] }"),
    ] {
        let text = CONFIG.replace("upstream: bots }", &format!("upstream: bots, {rule} }}"));
        let config = config::parse(&text, Path::new("baton.yaml"), &System).unwrap().config;
        let published = Arc::new(ArcSwap::from_pointee(Snapshot::build(config, vec![vec![None; 3]], None)));
        let local = Local::new(&published, Registry::new().worker());
        let generation = &*local.generation();
        let inlet = Inlet { generation, position: 0, peer: &peer, https: true, ids, logged: true };
        group.bench_function(format!("prepare/{name}"), |b| {
            // Admitted or not: at this pace some of the requests are over the rate.
            b.iter(|| inlet.prepare(black_box(HEAD), 512, &mut scratch).is_ok());
        });
    }
    let tried = Tried::default();
    let upstream = &generation.upstreams[0].shared;
    group.bench_function("pick", |b| {
        b.iter(|| {
            let wish = Wish { aim: Aim::default(), tried: &tried, now: 1 };
            baton::exchange::pick::pick(upstream, black_box(&wish), || local.random()).unwrap().position
        });
    });
    let permits = upstream.masters[0].permits();
    group.bench_function("place", |b| {
        b.iter(|| {
            assert!(permits.try_acquire());
            permits.release();
        });
    });
}

/// What a webhook's body says about itself.
fn webhooks(c: &mut Criterion) {
    let samples: Vec<String> = serde_json::from_str(include_str!("../tests/corpus/whatsapp/samples.json")).unwrap();
    let question = "Is the 15:30 slot still free?";
    let batch = |count: usize| {
        let message =
            |i| format!(r#"{{"from":"9715012{i:05}","id":"wamid.{i}","type":"text","text":{{"body":"hello"}}}}"#);
        let contact = |i| format!(r#"{{"profile":{{"name":"Layla"}},"wa_id":"9715012{i:05}"}}"#);
        let list = |one: &dyn Fn(usize) -> String| (0..count).map(one).collect::<Vec<_>>().join(",");
        let value = format!(r#"{{"contacts":[{}],"messages":[{}]}}"#, list(&contact), list(&message));
        format!(r#"{{"object":"o","entry":[{{"id":"1","changes":[{{"field":"messages","value":{value}}}]}}]}}"#)
    };
    let mut group = c.benchmark_group("webhook");
    for (name, provider, body) in [
        ("decode/text-1.2k", Provider::CloudApi, samples[0].replace(question, &question.repeat(22))),
        ("decode/status", Provider::CloudApi, samples[3].clone()),
        ("decode/waha", Provider::Waha, samples[6].clone()),
        ("decode/waha-media-3M", Provider::Waha, samples[6].replace(question, &"A".repeat(3 << 20))),
        ("decode/batch-1000", Provider::CloudApi, batch(1000)),
    ] {
        let mut updates = Vec::new();
        group.bench_function(name, |b| {
            b.iter(|| {
                updates.clear();
                whatsapp::decode(provider, black_box(body.as_bytes()), &mut updates).unwrap();
                updates.len()
            });
        });
    }
    let body = batch(1000);
    let (mut updates, mut out) = (Vec::new(), Vec::new());
    whatsapp::decode(Provider::CloudApi, body.as_bytes(), &mut updates).unwrap();
    group.bench_function("write/1000-parts", |b| {
        b.iter(|| {
            out.clear();
            for update in &updates {
                whatsapp::write_part(Provider::CloudApi, black_box(body.as_bytes()), &update.part, &mut out);
            }
            out.len()
        });
    });
}

criterion_group!(benches, head, request, pick, lookup, limits, admission, pins, webhooks);
criterion_main!(benches);
