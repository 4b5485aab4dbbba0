//! More load than Baton or its masters can carry: what is too much is turned away early and told when to come back, those who
//! keep to their limits are served, and whoever looks after it all gets answers.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use baton::sample::client;
use hyper::Method;
use rustix::process::Signal;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::kit::config::PROBES;
use crate::kit::http::Client;
use crate::kit::load::measured;
use crate::kit::raw::{Raw, RawMaster, header};
use crate::kit::{Baton, Config, alone, among_others, eventually, masters};

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Reads a refusal to its end and leaves the connection where the next request may begin.
async fn expect_overloaded(client: &mut Raw, connection: &str) {
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(header(&head, "retry-after"), Some("1"));
    assert_eq!(header(&head, "connection"), Some(connection));
    client.take(header(&head, "content-length").unwrap().parse().unwrap()).await;
}

#[tokio::test]
async fn requests_beyond_what_a_worker_takes_on_are_refused_before_their_bodies_are_received() {
    let _machine = among_others().await;
    let master = RawMaster::bind().await;
    let config = Config::empty().workers(1).master("a", master.address, "").top("overload: { requests: 2 }");
    let baton = Baton::start_unprobed(&config).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = Raw::connect(baton.address()).await;
        client.send(GET).await;
        let mut upstream = master.accept().await;
        upstream.head().await;
        held.push((client, upstream));
    }
    let mut client = Raw::connect(baton.address()).await;
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n").await;
    expect_overloaded(&mut client, "keep-alive").await;
    let mut large = Raw::connect(baton.address()).await;
    large.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n").await;
    large.head().await;
    assert_eq!(baton.metric("baton_refused_total", &[("reason", "body-too-large")]).await, 1.0);
    assert_eq!(baton.metric("baton_refused_total", &[("reason", "overloaded")]).await, 1.0);

    // One that ends makes room, and the body of the refused one is passed over.
    let (mut first, mut upstream) = held.remove(0);
    upstream.send(OK).await;
    first.expect(OK).await;
    client.send("a".repeat(50_000) + GET).await;
    upstream.head().await;
    upstream.send(OK).await;
    client.expect(OK).await;
}

#[tokio::test]
async fn bodies_beyond_the_memory_for_them_are_refused_and_requests_without_one_are_not() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let config = Config::of(&masters).workers(1).top("overload: { body_bytes: 64KiB }");
    let baton = Baton::start(&config).await;
    let post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 40000\r\n\r\n";
    let mut first = Raw::connect(baton.address()).await;
    first.send(post.to_owned() + "a").await;
    let mut second = Raw::connect(baton.address()).await;
    eventually("the first body holds its memory", async || {
        second.send(post.to_owned() + &"a".repeat(40_000)).await;
        let head = second.head().await;
        second.take(header(&head, "content-length").unwrap().parse().unwrap()).await;
        head.starts_with("HTTP/1.1 503 ").then_some(())
    })
    .await;
    assert_eq!(Client::connect(baton.address()).await.get("/").await.status, 200);

    drop(first);
    eventually("its memory is free again", async || {
        second.send(post.to_owned() + &"a".repeat(40_000)).await;
        let head = second.head().await;
        second.take(header(&head, "content-length").unwrap().parse().unwrap()).await;
        head.starts_with("HTTP/1.1 200 ").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_is_no_request_in_progress() {
    let _machine = among_others().await;
    let master = RawMaster::bind().await;
    let config = Config::empty().workers(1).master("a", master.address, "").top("overload: { requests: 1 }");
    let baton = Baton::start_unprobed(&config).await;
    let mut tunnel = Raw::connect(baton.address()).await;
    tunnel.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    assert!(tunnel.head().await.starts_with("HTTP/1.1 101 "));
    let mut client = Raw::connect(baton.address()).await;
    client.send(GET).await;
    let mut other = master.accept().await;
    other.head().await;
    other.send(OK).await;
    client.expect(OK).await;
}

#[tokio::test]
async fn a_worker_that_lags_turns_new_requests_away_until_it_has_caught_up() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let config = Config::of(&masters).workers(1).top("overload: { lag: 60ms }");
    let baton = Baton::start(&config).await;
    let mut client = Client::connect(baton.address()).await;
    assert_eq!(client.get("/").await.status, 200);

    // It gets the processor for a moment at a time, as on a machine that others keep busy.
    let process = rustix::process::Pid::from_raw(baton.process.id()).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let ended = over.clone();
    let hindrance = std::thread::spawn(move || {
        while !ended.load(Ordering::Relaxed) {
            rustix::process::kill_process(process, Signal::STOP).unwrap();
            std::thread::sleep(Duration::from_millis(150));
            rustix::process::kill_process(process, Signal::CONT).unwrap();
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    eventually("a request is turned away", async || {
        let answer = client.get("/").await;
        assert!([200, 503].contains(&answer.status), "{}", answer.status);
        (answer.status == 503).then_some(())
    })
    .await;
    over.store(true, Ordering::Relaxed);
    hindrance.join().unwrap();
    assert!(baton.metric("baton_refused_total", &[("reason", "overloaded")]).await >= 1.0);
    eventually("it takes on requests again", async || (client.get("/").await.status == 200).then_some(())).await;
}

/// How long a flood lasts.
const FLOOD: Duration = Duration::from_secs(2);

/// What a look at the admin listener may take meanwhile.
const ADMIN: Duration = Duration::from_millis(500);

/// What a polite client waits for an answer at most.
const POLITE: Duration = Duration::from_millis(500);

async fn connect_from(address: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::from(address), 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Answers by what they are.
#[derive(Default)]
struct Answers {
    ok: AtomicU64,
    refused: AtomicU64,
}

impl Answers {
    fn count(&self, status: u16) {
        match status {
            200 => &self.ok,
            429 | 503 => &self.refused,
            other => panic!("a flood is answered {other}"),
        }
        .fetch_add(1, Ordering::Relaxed);
    }

    /// Answers 200, all answers.
    fn totals(&self) -> (u64, u64) {
        let ok = self.ok.load(Ordering::Relaxed);
        (ok, ok + self.refused.load(Ordering::Relaxed))
    }
}

/// Clients that ask again and again on kept connections, as fast as answers come, on a thread of their own.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    answers: Arc<Answers>,
}

impl Flood {
    fn start(to: SocketAddr, from: impl Iterator<Item = [u8; 4]>) -> Self {
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(Answers::default()));
        let clients: Vec<_> = from.map(|address| ask(to, address, stop.clone(), answers.clone())).collect();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
            let mut tasks = runtime.block_on(async { clients.into_iter().collect::<JoinSet<()>>() });
            while runtime.block_on(tasks.join_next()).transpose().expect("every request is answered").is_some() {}
        });
        Self { stop, thread, answers }
    }

    /// Answers 200, all answers.
    fn end(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("every request is answered");
        self.answers.totals()
    }
}

async fn ask(to: SocketAddr, from: [u8; 4], stop: Arc<AtomicBool>, answers: Arc<Answers>) {
    let mut client = Client::over(connect_from(from, to).await).await;
    while !stop.load(Ordering::Relaxed) {
        let answer = client.send(Method::POST, "/", &[], "a message").await.expect("a kept connection");
        answers.count(answer.status);
        // Without any pause this would measure how much processor time the test itself takes.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Asks fifty times a second; gives the answers and the longest wait.
async fn polite(to: SocketAddr, from: [u8; 4]) -> (Answers, Duration) {
    let mut client = Client::over(connect_from(from, to).await).await;
    let (answers, mut longest) = (Answers::default(), Duration::ZERO);
    let started = Instant::now();
    while started.elapsed() < FLOOD {
        let asked = Instant::now();
        answers.count(client.post("/", "a message").await.status);
        longest = longest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (answers, longest)
}

/// Looks at the admin listener all the time; gives the longest wait.
async fn look_after(baton: &Baton) -> Duration {
    let mut longest = Duration::ZERO;
    let started = Instant::now();
    while started.elapsed() < FLOOD {
        for path in ["/healthz", "/readyz", "/metrics", "/api/v1/status"] {
            let asked = Instant::now();
            let (status, _) = client::get(baton.admin, path).await.expect("an answer");
            assert_eq!(status, 200, "{path}");
            longest = longest.max(asked.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    longest
}

async fn expect_probes_undisturbed(baton: &Baton) {
    assert!(baton.metric("baton_health_probes_total", &[("outcome", "healthy")]).await >= 3.0);
    for outcome in ["degraded", "failed"] {
        assert_eq!(baton.metric("baton_health_probes_total", &[("outcome", outcome)]).await, 0.0, "{outcome}");
    }
    assert_eq!(baton.health("a").await, "healthy");
}

#[tokio::test]
async fn one_client_that_floods_takes_nothing_from_those_who_keep_to_their_rate() {
    let _machine = alone().await;
    let ((polites, admin), patience) = measured(async || {
        let masters = masters(["a"]).await;
        let config = Config::of(&masters)
            .upstream(PROBES)
            .listener("limits: { connections_per_client: 100 }")
            .route("rate_limit: { key: client-ip, rate: 100/s, burst: 20 }");
        let baton = Baton::start(&config).await;
        let flood = Flood::start(baton.address(), (0..100).map(|_| [127, 0, 0, 2]));
        let looked = look_after(&baton);
        let (one, two) = (polite(baton.address(), [127, 0, 0, 3]), polite(baton.address(), [127, 0, 0, 4]));
        let (one, two, admin) = tokio::join!(one, two, looked);
        let (ok, all) = flood.end();
        // 100/s and the burst for two seconds and a little, out of thousands.
        assert!(all > 1000 && ok < 400, "{ok} of {all}");
        expect_probes_undisturbed(&baton).await;
        ([one, two], admin)
    })
    .await;
    for (answers, longest) in polites {
        let (ok, all) = answers.totals();
        assert!(all > 10 && ok == all, "{ok} of {all}");
        assert!(longest <= patience.limit(POLITE), "a polite client waited for {longest:?}");
    }
    assert!(admin <= patience.limit(ADMIN), "the admin listener took {admin:?}");
}

#[tokio::test]
async fn a_flood_from_everywhere_is_shed_and_a_polite_client_fares_no_worse_than_the_others() {
    let _machine = alone().await;
    let (result, patience) = measured(async || {
        let masters = masters(["a"]).await;
        // 32 at once for 50 ms each are 640 a second; two hundred clients ask for thousands.
        masters[0].fault(r#"{"delay_ms":50}"#).await;
        let config = Config::of(&masters).upstream(PROBES).top("overload: { requests: 16 }");
        let baton = Baton::start(&config).await;
        let flood = Flood::start(baton.address(), (0..200).map(|last| [127, 0, 1, last]));
        let (polite, admin) = tokio::join!(polite(baton.address(), [127, 0, 0, 3]), look_after(&baton));
        let flooders = flood.end();
        expect_probes_undisturbed(&baton).await;
        // When it is over, everything is as before.
        let mut client = Client::connect(baton.address()).await;
        assert_eq!(client.post("/", "a message").await.status, 200);
        let refused = baton.metric("baton_refused_total", &[("reason", "overloaded")]).await;
        (flooders, polite, admin, refused)
    })
    .await;
    let ((ok, all), (polite, longest), admin, refused) = result;
    assert!(ok > 100 && all > 2 * ok, "{ok} of {all}");
    assert!(refused > 100.0, "{refused}");
    let (polite_ok, polite_all) = polite.totals();
    // As many as those who flood get of as many requests, but for chance: three times the spread of such a count.
    let (share, asked) = (ok as f64 / all as f64, polite_all as f64);
    let chance = 3.0 * (asked * share * (1.0 - share)).sqrt();
    assert!(
        polite_ok > 0 && polite_ok as f64 >= asked * share - chance,
        "{polite_ok} of {polite_all} beside {ok} of {all}"
    );
    assert!(longest <= patience.limit(POLITE), "a polite client waited for {longest:?}");
    assert!(admin <= patience.limit(ADMIN), "the admin listener took {admin:?}");
}
