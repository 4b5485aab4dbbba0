//! The checker against small real servers on loopback that answer, refuse, hang and change their mind.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::clock::{self, Micros};
use crate::config::model::{HttpProbe, JsonProbe, Probe};
use crate::health::breaker::BreakerRule;
use crate::health::outlier::OutlierRule;
use crate::upstream::admission::{Health, OperatorState, Tier};
use crate::upstream::master::{Failure, Policy, Transition};

/// However busy the machine is, this is long enough.
const PATIENCE: Duration = Duration::from_secs(20);
const MS: Micros = 1_000;

#[derive(Debug, Clone, PartialEq)]
enum Manner {
    Answer(u16, &'static str),
    /// After this long.
    Late(Duration),
    Hang,
}

/// A bot that answers every connection's first request in its present manner.
struct Bot {
    address: SocketAddr,
    manner: watch::Sender<Manner>,
    asked: Arc<AtomicUsize>,
    task: Task,
}

impl Bot {
    async fn start(manner: Manner) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), manner)
    }

    fn on(listener: TcpListener, manner: Manner) -> Self {
        let address = listener.local_addr().unwrap();
        let (manner, receiver) = watch::channel(manner);
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let task = Task(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let manner = receiver.borrow().clone();
                tokio::spawn(serve(stream, manner));
            }
        }));
        Self { address, manner, asked, task }
    }

    fn becomes(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Stops listening; connections to the address are refused afterwards.
    async fn stop(self) -> SocketAddr {
        self.task.0.abort();
        until("the port is closed", async || TcpStream::connect(self.address).await.is_err()).await;
        self.address
    }
}

async fn serve(mut stream: TcpStream, manner: Manner) {
    let mut received = [0; 1024];
    let Ok(1..) = stream.read(&mut received).await else { return };
    match manner {
        Manner::Answer(status, body) => {
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = stream.write_all((head + body).as_bytes()).await;
        }
        Manner::Late(pause) => {
            tokio::time::sleep(pause).await;
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        }
        // Until the probe gives up.
        Manner::Hang => while matches!(stream.read(&mut received).await, Ok(1..)) {},
    }
}

/// Waits for a condition, for as long as it may take.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "in vain waited until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn check() -> HealthCheck {
    HealthCheck {
        interval: Duration::from_millis(40),
        timeout: PATIENCE,
        unhealthy_threshold: 3,
        healthy_threshold: 2,
        jitter_percent: 0,
        proxy_protocol: None,
        probe: Probe::Http(HttpProbe {
            method: "GET".into(),
            path: "/health".into(),
            host: None,
            headers: Vec::new(),
            expect_status: vec![(200, 299)],
            expect_body: None,
            json: None,
        }),
        suspect_after: Duration::from_millis(50),
        suspect_timeout: Duration::from_millis(300),
    }
}

/// One that probes so rarely that only what asks for a probe at once gets one within a test.
fn rare_check() -> HealthCheck {
    HealthCheck { interval: Duration::from_secs(3_600), ..check() }
}

/// A checker that watches one master, and what it said so far.
struct Watch {
    checker: Checker,
    master: Arc<Master>,
    check: Option<HealthCheck>,
    said: Arc<Mutex<Vec<String>>>,
}

impl Watch {
    fn new(address: SocketAddr, check: Option<HealthCheck>) -> Self {
        Self::with_policy(address, check, Policy::default())
    }

    fn with_policy(address: SocketAddr, check: Option<HealthCheck>, policy: Policy) -> Self {
        let suspect_after = check.as_ref().map(|check| clock::micros(check.suspect_after));
        let policy = Policy { suspect_after, ..policy };
        let master = Arc::new(Master::new(Arc::from("bots"), Address::Socket(address), policy));
        let said = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&said);
        let on_change = move |change: &Change| {
            if !matches!(change.event, Event::Probed { .. }) {
                hears.lock().unwrap().push(change.to_string());
            }
        };
        let checker = Checker::new(Handle::current(), Arc::new(on_change));
        let watch = Self { checker, master, check, said };
        watch.update();
        watch
    }

    fn update(&self) {
        let (master, check) = (Arc::clone(&self.master), self.check.clone());
        self.checker.update(vec![MonitoredMaster {
            master,
            name: "dubai-1".into(),
            check,
            tls: None,
            protocol: MasterProtocol::Http1,
        }]);
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    async fn until_health(&self, health: Health) {
        until(&format!("it is {health:?}"), async || self.master.admission().health() == health).await;
    }

    async fn until_said(&self, sentence: &str) {
        let start = Instant::now();
        while !self.said().iter().any(|said| said == sentence) {
            assert!(start.elapsed() < PATIENCE, "{sentence:?} is not among {:#?}", self.said());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test]
async fn a_new_master_is_probed_at_once_and_in_after_one_success() {
    let bot = Bot::start(Manner::Answer(200, "")).await;
    let watch = Watch::new(bot.address, Some(rare_check()));
    assert_eq!(watch.master.admission().tier(), Tier::Out);
    watch.until_health(Health::Healthy).await;
    watch.until_said("master dubai-1 of bots: healthy: status 200").await;
    assert_eq!(watch.master.share_percent(clock::now()), 100);
    assert_eq!(bot.asked(), 1);
}

#[tokio::test]
async fn a_new_master_that_refuses_is_failed_after_one_probe() {
    let address = Bot::start(Manner::Hang).await.stop().await;
    let watch = Watch::new(address, Some(rare_check()));
    watch.until_said(&format!("master dubai-1 of bots: failed: connect refused ({address})")).await;
    assert_eq!(watch.master.admission().health(), Health::Failed);
}

#[tokio::test]
async fn failing_probes_take_a_master_out_after_their_threshold_and_passing_ones_bring_it_back() {
    let bot = Bot::start(Manner::Answer(200, "")).await;
    let policy = Policy { slow_start: 3_600_000 * MS, ..Policy::default() };
    let watch = Watch::with_policy(bot.address, Some(check()), policy);
    watch.until_health(Health::Healthy).await;
    bot.becomes(Manner::Answer(500, ""));
    watch.until_said("master dubai-1 of bots: failed: 3 probes in a row: status 500").await;
    bot.becomes(Manner::Answer(200, ""));
    watch.until_said("master dubai-1 of bots: healthy: 2 probes in a row: status 200").await;
    assert_eq!(watch.master.share_percent(clock::now()), 10);
    assert_eq!(watch.said().len(), 3, "each change is told once: {:#?}", watch.said());
}

#[tokio::test]
async fn a_master_that_calls_itself_degraded_gets_nothing_new() {
    let bot = Bot::start(Manner::Answer(200, r#"{"state":"OPENING"}"#)).await;
    let mut check = check();
    if let Probe::Http(http) = &mut check.probe {
        http.json = Some(JsonProbe {
            pointer: "/state".into(),
            healthy: vec!["CONNECTED".into()],
            degraded: vec!["OPENING".into()],
            failed: Vec::new(),
        });
    }
    let watch = Watch::new(bot.address, Some(check));
    watch.until_said("master dubai-1 of bots: degraded: /state is \"OPENING\"").await;
    assert_eq!(watch.master.admission().tier(), Tier::Reserved);
    bot.becomes(Manner::Answer(200, r#"{"state":"CONNECTED"}"#));
    watch.until_said("master dubai-1 of bots: healthy: /state is \"CONNECTED\"").await;
    bot.becomes(Manner::Answer(200, r#"{"state":"CONFLICT"}"#));
    watch.until_said("master dubai-1 of bots: failed: 3 probes in a row: /state is \"CONFLICT\"").await;
}

#[tokio::test]
async fn a_silent_master_that_hangs_is_failed_by_one_probe() {
    let bot = Bot::start(Manner::Answer(200, "")).await;
    let watch = Watch::new(bot.address, Some(rare_check()));
    watch.until_health(Health::Healthy).await;
    bot.becomes(Manner::Hang);
    let sent = clock::now();
    let start = Instant::now();
    until("it is suspected", async || watch.master.watch(clock::now(), sent).is_some()).await;
    watch.until_health(Health::Failed).await;
    assert!(start.elapsed() >= check().suspect_after + check().suspect_timeout);
    watch.until_said("master dubai-1 of bots: suspected: requests wait and no byte comes").await;
    let said = watch.said().pop().unwrap_or_default();
    let expected = "master dubai-1 of bots: failed: silent, and then its probe: no answer in ";
    assert!(said.starts_with(expected), "{said}");
}

#[tokio::test]
async fn a_slow_master_that_answers_its_probe_is_cleared_and_watched_more_patiently() {
    let bot = Bot::start(Manner::Answer(200, "")).await;
    let watch = Watch::new(bot.address, Some(HealthCheck { suspect_timeout: PATIENCE, ..rare_check() }));
    watch.until_health(Health::Healthy).await;
    let sent = clock::now();
    until("it is suspected", async || watch.master.watch(clock::now(), sent).is_some()).await;
    watch.until_said("master dubai-1 of bots: no longer suspected: it answered a probe").await;
    assert_eq!(watch.master.admission().tier(), Tier::Full);
    let now = clock::now();
    assert_eq!(watch.master.suspect_at(now, now), Some(now + 100 * MS));
}

#[tokio::test]
async fn a_suspicion_shortens_the_probe_that_is_under_way_instead_of_starting_another() {
    let bot = Bot::start(Manner::Answer(200, "")).await;
    let mut watch = Watch::new(bot.address, Some(rare_check()));
    watch.until_health(Health::Healthy).await;
    bot.becomes(Manner::Hang);
    watch.check = Some(HealthCheck { timeout: Duration::from_secs(3_600), ..rare_check() });
    watch.update();
    until("a probe hangs", async || bot.asked() == 2).await;
    assert_eq!(watch.master.failed(clock::now(), Failure::Reset, None, || true), Some(Transition::Suspected));
    watch.until_health(Health::Failed).await;
    assert_eq!(bot.asked(), 2);
}

#[tokio::test]
async fn a_master_seen_dead_is_failed_at_once_and_comes_back_when_probes_pass() {
    let bot = Bot::start(Manner::Answer(200, "")).await;
    let check = HealthCheck { interval: Duration::from_millis(500), ..check() };
    let watch = Watch::new(bot.address, Some(check));
    watch.until_health(Health::Healthy).await;
    let address = bot.stop().await;
    watch.master.failed(clock::now(), Failure::ConnectRefused, None, || false);
    watch.until_said("master dubai-1 of bots: failed: a request was refused a connection").await;
    assert!(!watch.master.admission().dead());
    let _bot = Bot::on(TcpListener::bind(address).await.unwrap(), Manner::Answer(200, ""));
    watch.until_said("master dubai-1 of bots: healthy: 2 probes in a row: status 200").await;
}

#[tokio::test]
async fn an_unchecked_master_is_left_alone_until_it_is_seen_dead() {
    let bot = Bot::start(Manner::Answer(200, "")).await;
    let watch = Watch::new(bot.address, None);
    assert_eq!(watch.master.admission().tier(), Tier::Full);
    watch.master.failed(clock::now(), Failure::ConnectRefused, None, || false);
    let address = bot.address;
    watch.until_said(&format!("master dubai-1 of bots: healthy: connected to {address}")).await;
    assert_eq!(bot.asked(), 1);
}

#[tokio::test]
async fn maintenance_stops_the_probes_and_its_end_starts_from_unknown() {
    let bot = Bot::start(Manner::Answer(200, "")).await;
    let watch = Watch::new(bot.address, Some(check()));
    watch.until_health(Health::Healthy).await;
    watch.master.set_operator(OperatorState::Maintenance);
    let mut asked = bot.asked();
    // One may be under way still; then several intervals must pass without another.
    until("no probe comes for five intervals", async || {
        let before = std::mem::replace(&mut asked, bot.asked());
        tokio::time::sleep(check().interval * 5).await;
        before == asked && bot.asked() == asked
    })
    .await;
    bot.becomes(Manner::Answer(500, ""));
    watch.master.set_operator(OperatorState::Ready);
    watch.until_said("master dubai-1 of bots: failed: status 500").await;
}

#[tokio::test]
async fn an_update_without_a_change_keeps_timers_and_one_with_a_change_probes_at_once() {
    let bot = Bot::start(Manner::Answer(200, "")).await;
    let mut watch = Watch::new(bot.address, Some(rare_check()));
    watch.until_health(Health::Healthy).await;
    (0..10).for_each(|_| watch.update());
    watch.check = Some(HealthCheck { unhealthy_threshold: 1, ..rare_check() });
    bot.becomes(Manner::Answer(500, ""));
    watch.update();
    watch.until_said("master dubai-1 of bots: failed: status 500").await;
    assert_eq!(watch.master.admission().health(), Health::Failed);
    assert!(bot.asked() <= 3, "{} probes", bot.asked());
}

#[tokio::test]
async fn where_one_serves_alone_a_refusal_that_a_probe_contradicts_is_forgiven() {
    for (stands_by, expected) in [(true, Health::Healthy), (false, Health::Failed)] {
        let bot = Bot::start(Manner::Answer(200, "")).await;
        let policy = Policy { stands_by, ..Policy::default() };
        let watch = Watch::with_policy(bot.address, Some(rare_check()), policy);
        watch.until_health(Health::Healthy).await;
        let asked = bot.asked();
        watch.master.failed(clock::now(), Failure::ConnectRefused, None, || true);
        assert!(watch.master.admission().dead());
        until("it is probed again", async || bot.asked() > asked && watch.master.confirmed()).await;
        until("the probe is taken in", async || watch.master.admission().health() == expected).await;
        assert!(!watch.master.admission().dead());
    }
}

#[tokio::test]
async fn a_refusal_that_a_probe_confirms_is_a_failure_where_one_serves_alone() {
    let bot = Bot::start(Manner::Answer(200, "")).await;
    let policy = Policy { stands_by: true, ..Policy::default() };
    let watch = Watch::with_policy(bot.address, Some(rare_check()), policy);
    watch.until_health(Health::Healthy).await;
    bot.stop().await;
    watch.master.failed(clock::now(), Failure::ConnectRefused, None, || true);
    until("it has failed for certain", async || {
        watch.master.admission().health() == Health::Failed && watch.master.confirmed()
    })
    .await;
}

#[tokio::test]
async fn a_removed_master_is_not_probed_any_more() {
    let bot = Bot::start(Manner::Answer(200, "")).await;
    let watch = Watch::new(bot.address, Some(check()));
    watch.until_health(Health::Healthy).await;
    watch.checker.update(Vec::new());
    until("its task has let go of it", async || Arc::strong_count(&watch.master) == 1).await;
}

#[tokio::test]
async fn an_ejection_is_told_and_ends_by_itself() {
    let bot = Bot::start(Manner::Answer(200, "")).await;
    let outlier = OutlierRule { consecutive_failures: 2, base_ejection: 200 * MS, max_ejection: 200 * MS };
    let watch = Watch::with_policy(bot.address, None, Policy { outlier, ..Policy::default() });
    for _ in 0..2 {
        watch.master.failed(clock::now(), Failure::Timeout, None, || true);
    }
    assert_eq!(watch.master.admission().tier(), Tier::Doubtful);
    watch.until_said("master dubai-1 of bots: ejected: 2 failures in a row").await;
    watch.until_said("master dubai-1 of bots: back from ejection").await;
    assert_eq!(watch.master.admission().tier(), Tier::Full);
}

#[tokio::test]
async fn an_open_circuit_becomes_half_open_by_itself_and_its_trial_closes_it() {
    let bot = Bot::start(Manner::Answer(200, "")).await;
    let breaker = BreakerRule { failure_rate: 50, minimum_requests: 4, open_for: 200 * MS };
    let policy = Policy { breaker, breaker_window: 60_000 * MS, ..Policy::default() };
    let watch = Watch::with_policy(bot.address, None, policy);
    for _ in 0..4 {
        watch.master.failed(clock::now(), Failure::Timeout, None, || true);
    }
    watch.until_said("master dubai-1 of bots: circuit open: 4 of the last 4 requests failed").await;
    watch.until_said("master dubai-1 of bots: circuit half-open: the next request is on trial").await;
    let trial = watch.master.claim_trial();
    assert!(trial.is_some());
    watch.master.succeeded(clock::now(), MS, trial);
    watch.until_said("master dubai-1 of bots: circuit closed: the request on trial was answered").await;
}

#[tokio::test]
async fn a_name_that_cannot_be_looked_up_is_evidence() {
    let policy = Policy { suspect_after: Some(50 * MS), ..Policy::default() };
    // An empty label: refused without asking any name server.
    let address = Address::Name { host: "bot..invalid".into(), port: 1 };
    let master = Arc::new(Master::new(Arc::from("bots"), address, policy));
    let (said, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let on_change = move |change: &Change| {
        if !matches!(change.event, Event::Probed { .. }) {
            said.send(change.to_string()).unwrap_or_default();
        }
    };
    let checker = Checker::new(Handle::current(), Arc::new(on_change));
    let check = HealthCheck { timeout: PATIENCE, ..rare_check() };
    checker.update(vec![MonitoredMaster {
        master,
        name: "dubai-1".into(),
        check: Some(check),
        tls: None,
        protocol: MasterProtocol::Http1,
    }]);
    let first = tokio::time::timeout(PATIENCE, hears.recv()).await.unwrap().unwrap();
    assert!(first.starts_with("master dubai-1 of bots: failed: name lookup of bot..invalid failed"), "{first}");
}

#[test]
fn a_pause_of_the_checker_itself_is_not_the_masters_fault() {
    // The bot lives on, on a thread of its own, while the checker stands still.
    let (tell, told) = std::sync::mpsc::channel();
    let (_alive, over) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let elsewhere = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        elsewhere.block_on(async {
            tell.send(Bot::start(Manner::Late(Duration::from_millis(20))).await).unwrap();
            over.await.unwrap_or_default();
        });
    });
    let bot = told.recv().unwrap();
    let here = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    here.block_on(async {
        let check = HealthCheck { timeout: Duration::from_millis(100), ..rare_check() };
        let watch = Watch::new(bot.address, Some(check));
        // The connection is begun and the request not sent when everything here stops for longer than the time-out.
        tokio::task::yield_now().await;
        std::thread::sleep(Duration::from_millis(300));
        until("there is a verdict", async || watch.master.admission().health() != Health::Unknown).await;
        assert_eq!(watch.said(), ["master dubai-1 of bots: healthy: status 204"]);
    });
}
