//! A WhatsApp gateway for trying things out: it sends webhooks at a fixed rate, whatever the answers do, and measures
//! what a real gateway would notice.
//!
//! The load is open: message *i* is due at `start + i / rate`, and its latency counts from that moment. A balancer that
//! stalls for a second is charged with everything that was due in that second, not with the one request that happened
//! to be under way. The timer wakes at whole milliseconds, so up to one millisecond of each latency is its own.
//!
//! Message *i* belongs to conversation `i mod conversations`, and a conversation to one connection, so that the messages
//! of a conversation are never in flight together and leave in order. Nothing is sent twice, with one exception: a
//! message of which not one byte was written, because the other side had closed the connection while it was idle, goes
//! out on a new connection.
//!
//! With a batch, a connection sends the next so many of its messages as one webhook when the last of them is due, and their
//! latency counts from then.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::sample::mark::Mark;
use crate::sample::tally::{Exchange, Outcome, Report, Tally};
use crate::sample::webhook::{self, STATUSES_MAX, Update};
use crate::sample::{CONVERSATION_HEADER, MASTER_HEADER, parse_duration, signing};
use crate::whatsapp::Provider;

/// An answer that takes longer counts as missing. Gateways give up after 5 s to 30 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer that is read.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Time to open connections before the first message is due.
const HEAD_START: Duration = Duration::from_millis(200);
/// Most updates in one webhook of Meta's.
const MAX_BATCH: u32 = 1000;
/// Connections opened at once, each with a task and a socket.
const MAX_CONNECTIONS: u32 = 10_000;

/// What `baton sample-gateway` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where to send webhooks, such as http://127.0.0.1:8080/webhook
    #[arg(long, value_name = "URL")]
    pub target: Uri,
    /// Whose webhooks: cloud-api, waha, evolution, wppconnect, wwebjs-api, gowa or twilio
    #[arg(long, default_value = "cloud-api", value_parser = parse_provider)]
    pub provider: Provider,
    /// Prove who sends as that gateway does, with this secret, key or token
    #[arg(long)]
    pub app_secret: Option<String>,
    /// Messages and statuses a second
    #[arg(long, default_value = "400")]
    pub rate: NonZeroU32,
    /// So many in each webhook; more than one with cloud-api only
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_BATCH)))]
    pub batch: u32,
    /// Statuses after each message, as if it were answered: sent, delivered, read
    #[arg(long, default_value = "0", value_parser = clap::value_parser!(u8).range(..=i64::from(STATUSES_MAX)))]
    pub statuses: u8,
    /// How long, such as 30s or 5m; without it until Ctrl-C
    #[arg(long, value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Conversations the webhooks belong to, in turn
    #[arg(long, default_value = "100")]
    pub conversations: NonZeroU32,
    /// Connections to send over; at most one for each conversation, which is also the default
    #[arg(long)]
    pub connections: Option<NonZeroU32>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Reads the name of a gateway, as configurations have it.
fn parse_provider(name: &str) -> Result<Provider, String> {
    let known = |(provider, known): &(Provider, &str)| (*known == name).then_some(*provider);
    let names = || Provider::ALL.map(|(_, name)| name).join(", ");
    Provider::ALL.iter().find_map(known).ok_or_else(|| format!("expected one of {}", names()))
}

/// What to send, where, and how fast.
#[derive(Clone)]
pub struct Plan {
    pub to: SocketAddr,
    /// `Host` header.
    pub host: String,
    /// Path and query.
    pub path: String,
    pub provider: Provider,
    /// Webhooks are signed with it.
    pub app_secret: Option<String>,
    /// Messages and statuses a second.
    pub rate: NonZeroU32,
    /// So many in each webhook, at least 1; what [`webhook::body`] says of other gateways than Meta's holds.
    pub batch: u32,
    /// Statuses after each message.
    pub statuses: u8,
    pub conversations: NonZeroU32,
    /// Used at once; more than there are conversations makes no difference.
    pub connections: NonZeroU32,
    /// `None` goes on until stopped.
    pub duration: Option<Duration>,
    /// How many exchanges the report may list one by one.
    pub keep_exchanges: usize,
}

impl Plan {
    /// 400 messages of Meta's a second, unsigned and each a webhook, over 100 conversations and as many connections, without an end.
    #[must_use]
    pub fn new(to: SocketAddr, path: &str) -> Self {
        let [rate, hundred] = const { [NonZeroU32::new(400).unwrap(), NonZeroU32::new(100).unwrap()] };
        Self {
            to,
            host: to.to_string(),
            path: path.to_owned(),
            provider: Provider::CloudApi,
            app_secret: None,
            rate,
            batch: 1,
            statuses: 0,
            conversations: hundred,
            connections: hundred,
            duration: None,
            keep_exchanges: 0,
        }
    }
}

/// Runs the command and prints the result.
///
/// # Errors
/// When the target cannot be looked up, or standard output cannot be written.
pub async fn run(args: Args) -> io::Result<()> {
    let (host, path) = (args.target.authority().map(ToString::to_string), args.target.path_and_query());
    let (Some(host), Some("http")) = (host, args.target.scheme_str()) else {
        return Err(io::Error::other(format!("--target {}: expected http://host:port/path", args.target)));
    };
    let address = (args.target.host().unwrap_or_default(), args.target.port_u16().unwrap_or(80));
    let Some(to) = tokio::net::lookup_host(address).await?.next() else {
        return Err(io::Error::other(format!("--target {}: the name has no address", args.target)));
    };
    if args.batch > 1 && args.provider != Provider::CloudApi {
        return Err(io::Error::other("--batch: only cloud-api puts several messages into one webhook"));
    }
    let gateway = Gateway::start(Plan {
        to,
        host,
        path: path.map_or("/", |path| path.as_str()).to_owned(),
        provider: args.provider,
        app_secret: args.app_secret,
        rate: args.rate,
        batch: args.batch,
        statuses: args.statuses,
        conversations: args.conversations,
        connections: args.connections.unwrap_or(args.conversations),
        duration: args.duration,
        keep_exchanges: 0,
    });
    let report = tokio::select! {
        report = gateway.finished() => report,
        _ = tokio::signal::ctrl_c() => gateway.stop().await,
    };
    let mut out = io::stdout();
    if args.json { writeln!(out, "{}", serde_json::to_string_pretty(&report)?) } else { write!(out, "{report}") }
}

/// A run under way. Dropping it ends all its connections at once.
pub struct Gateway {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    workers: tokio::sync::Mutex<JoinSet<()>>,
}

struct Shared {
    plan: Plan,
    /// Tells this run's messages from those of another one.
    run: u64,
    start: Instant,
    ledger: Mutex<Ledger>,
}

#[derive(Default)]
struct Ledger {
    total: Tally,
    window: Tally,
    exchanges: Vec<Exchange>,
}

impl Gateway {
    /// Opens the connections; the first message is due 200 ms later.
    ///
    /// Must be called in a tokio runtime.
    #[must_use]
    pub fn start(plan: Plan) -> Self {
        let run = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        let connections = plan.connections.min(plan.conversations).get().min(MAX_CONNECTIONS);
        let start = Instant::now() + HEAD_START;
        let shared = Arc::new(Shared { plan, run, start, ledger: Mutex::default() });
        let stop = watch::Sender::new(false);
        let mut workers = JoinSet::new();
        for index in 0..connections {
            let worker = Worker { shared: shared.clone(), index, connections, stop: stop.subscribe() };
            workers.spawn(worker.run());
        }
        Self { shared, stop, workers: tokio::sync::Mutex::new(workers) }
    }

    /// Time since the run started, the clock of [`Exchange`]; zero before the first message is due.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.shared.start.elapsed()
    }

    /// Everything so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.shared.ledger().total.clone()
    }

    /// What happened since the last call.
    #[must_use]
    pub fn take_window(&self) -> Tally {
        let now = self.elapsed();
        let mut ledger = self.shared.ledger();
        ledger.window.note_silence(now);
        let next = ledger.window.successor();
        std::mem::replace(&mut ledger.window, next)
    }

    /// Waits for the end of the plan. Cancel-safe: the run goes on.
    pub async fn finished(&self) -> Report {
        let mut workers = self.workers.lock().await;
        while workers.join_next().await.is_some() {}
        let ledger = self.shared.ledger();
        let elapsed = self.shared.plan.duration.map_or(self.elapsed(), |planned| planned.min(self.elapsed()));
        Report::new(&ledger.total, elapsed, ledger.exchanges.clone())
    }

    /// Sends nothing new and waits for the answers still due, at most ten seconds.
    pub async fn stop(&self) -> Report {
        self.stop.send_replace(true);
        self.finished().await
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, exchange: Exchange) {
        let mut ledger = self.ledger();
        ledger.total.record(&exchange);
        ledger.window.record(&exchange);
        if ledger.exchanges.len() < self.plan.keep_exchanges {
            ledger.exchanges.push(exchange);
        }
    }

    fn note_closed(&self) {
        let mut ledger = self.ledger();
        ledger.total.connections_closed += 1;
        ledger.window.connections_closed += 1;
    }
}

/// One connection and the conversations that use it.
struct Worker {
    shared: Arc<Shared>,
    index: u32,
    connections: u32,
    stop: watch::Receiver<bool>,
}

impl Worker {
    async fn run(mut self) {
        let mut connection = self.connect().await.ok();
        let mut messages = due(&self.shared.plan, self.index, self.connections);
        let (run, statuses) = (self.shared.run, self.shared.plan.statuses);
        let batch = self.shared.plan.batch.max(1) as usize;
        loop {
            let mut intended = Duration::ZERO;
            let updates: Vec<_> = (messages.by_ref().take(batch))
                .map(|(at, conversation, sequence)| {
                    intended = at;
                    Update::at(Mark { run, conversation, sequence }, statuses)
                })
                .collect();
            if updates.is_empty() {
                return;
            }
            let at = self.shared.start + intended;
            tokio::select! {
                biased;
                _ = self.stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep_until(at), if at > Instant::now() => {}
                () = std::future::ready(()), if at <= Instant::now() => {}
            }
            let sent = self.shared.start.elapsed();
            let sending = self.send(&mut connection, &updates);
            let outcome = match tokio::time::timeout(ANSWER_TIMEOUT, sending).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(failure)) => {
                    connection = None;
                    Outcome::Unanswered(failure.to_string())
                }
                Err(_) => {
                    connection = None;
                    Outcome::Unanswered(format!("nothing within {ANSWER_TIMEOUT:?}"))
                }
            };
            let ended = self.shared.start.elapsed();
            for Update { mark: Mark { conversation, sequence, .. }, .. } in updates {
                let outcome = outcome.clone();
                self.shared.record(Exchange { conversation, sequence, intended, sent, ended, outcome });
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let stream = TcpStream::connect(self.shared.plan.to).await.map_err(Failure::Connect)?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Failure::Http)?;
        // It ends when the sender is dropped; what goes wrong on it reaches the request in flight.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn send(
        &self,
        connection: &mut Option<SendRequest<Full<Bytes>>>,
        updates: &[Update],
    ) -> Result<Outcome, Failure> {
        let mut request = self.request(updates)?;
        if connection.as_ref().is_some_and(|sender| sender.is_closed()) {
            self.shared.note_closed();
            *connection = None;
        }
        loop {
            let fresh = connection.is_none();
            let sender = match connection {
                Some(sender) => sender,
                None => connection.insert(self.connect().await?),
            };
            let mut refused = match sender.try_send_request(request).await {
                Ok(response) => return self.read(response).await,
                Err(refused) => refused,
            };
            let unsent = refused.take_message();
            self.shared.note_closed();
            match unsent {
                Some(unsent) if !fresh => {
                    request = unsent;
                    *connection = None;
                }
                _ => return Err(Failure::Http(refused.into_error())),
            }
        }
    }

    fn request(&self, updates: &[Update]) -> Result<Request<Full<Bytes>>, Failure> {
        let Plan { host, path, provider, app_secret, .. } = &self.shared.plan;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let body = webhook::body(*provider, updates, now);
        let mut request = Request::post(path)
            .header(header::HOST, host)
            .header(header::USER_AGENT, HeaderValue::from_static("baton-sample-gateway"))
            .header(header::CONTENT_TYPE, HeaderValue::from_static(webhook::content_type(*provider)));
        if let [first, ..] = updates {
            request = request.header(CONVERSATION_HEADER, webhook::sender(first.mark.conversation));
        }
        let sign = |secret: &String| signing::header(*provider, secret, &format!("http://{host}{path}"), &body, now);
        if let Some((name, value)) = app_secret.as_ref().and_then(sign) {
            request = request.header(name, value);
        }
        request.body(Full::new(Bytes::from(body))).map_err(Failure::Request)
    }

    async fn read(&self, response: hyper::Response<hyper::body::Incoming>) -> Result<Outcome, Failure> {
        let status = response.status().as_u16();
        let name = response.headers().get(MASTER_HEADER).and_then(|name| name.to_str().ok());
        let master = name.map(str::to_owned);
        match Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await {
            Ok(_) => Ok(Outcome::Answered { status, master }),
            Err(error) => {
                self.shared.note_closed();
                Err(Failure::Body(error))
            }
        }
    }
}

/// When which message of which conversation is due on connection `index`: (time since the start, conversation, sequence).
fn due(plan: &Plan, index: u32, connections: u32) -> impl Iterator<Item = (Duration, u32, u64)> + use<> {
    let (rate, conversations, end) = (NonZeroU64::from(plan.rate), plan.conversations.get(), plan.duration);
    (0u64..)
        .flat_map(move |round| {
            (index..conversations).step_by(connections as usize).map(move |conversation| (round, conversation))
        })
        .map(move |(round, conversation)| {
            let number = round * u64::from(conversations) + u64::from(conversation);
            let nanoseconds = u128::from(number) * 1_000_000_000 / u128::from(rate.get());
            (Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)), conversation, round)
        })
        .take_while(move |(at, ..)| end.is_none_or(|end| *at < end))
}

/// Why there is no answer.
#[derive(Debug)]
enum Failure {
    Connect(io::Error),
    Request(hyper::http::Error),
    Http(hyper::Error),
    Body(Box<dyn std::error::Error + Send + Sync>),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "no connection: {}", error.kind()),
            Self::Request(error) => write!(f, "the request cannot be sent: {error}"),
            Self::Http(error) => error.fmt(f),
            Self::Body(error) => write!(f, "the answer broke off: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn plan(to: SocketAddr, rate: u32, conversations: u32, connections: u32, duration: Duration) -> Plan {
        let number = |n| NonZeroU32::new(n).unwrap();
        let (rate, conversations, connections) = (number(rate), number(conversations), number(connections));
        Plan {
            rate,
            conversations,
            connections,
            duration: Some(duration),
            keep_exchanges: 10_000,
            ..Plan::new(to, "/hook")
        }
    }

    #[test]
    fn together_the_connections_send_every_message_once_and_on_time() {
        let nowhere = "127.0.0.1:1".parse().unwrap();
        let plan = plan(nowhere, 400, 100, 7, Duration::from_secs(2));
        let mut all: Vec<_> = (0..7).flat_map(|index| due(&plan, index, 7)).collect();
        all.sort_unstable();
        assert_eq!(all.len(), 800);
        for (number, (at, conversation, sequence)) in all.into_iter().enumerate() {
            assert_eq!(at, Duration::from_micros(2_500) * number as u32);
            assert_eq!((conversation as usize, sequence as usize), (number % 100, number / 100));
        }
    }

    #[test]
    fn a_gateway_is_named_as_in_configurations() {
        assert_eq!(parse_provider("waha"), Ok(Provider::Waha));
        assert!(parse_provider("WAHA").unwrap_err().contains("wwebjs-api"));
    }

    #[tokio::test]
    async fn a_batch_is_one_webhook_and_the_last_one_may_be_smaller() {
        let to = server(|_| Some("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
        let plan = Plan { batch: 4, ..plan(to, 100, 2, 1, Duration::from_millis(100)) };
        let report = Gateway::start(plan).finished().await;
        assert_eq!((report.succeeded, report.failed), (10, 0));
        let mut sent: Vec<_> = report.exchanges.iter().map(|exchange| exchange.intended.as_millis()).collect();
        sent.dedup();
        assert_eq!(sent, [30, 70, 90]);
    }

    /// Answers each request on each connection with what `respond` gives for its number; `None` closes.
    async fn server(respond: fn(u32) -> Option<&'static str>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut buffer = vec![0; 16_384];
                    for number in 0.. {
                        // A webhook is far smaller than a segment of the loopback device, so one read has all of it.
                        let (Ok(1..), Some(answer)) = (stream.read(&mut buffer).await, respond(number)) else { return };
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn answers_are_counted_by_status_and_master() {
        let to = server(|number| match number {
            0 => Some("HTTP/1.1 200 OK\r\nx-master: a\r\ncontent-length: 2\r\n\r\nok"),
            _ => Some("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"),
        })
        .await;
        let report = Gateway::start(plan(to, 100, 2, 2, Duration::from_millis(100))).finished().await;
        assert_eq!((report.succeeded, report.failed, report.connections_closed), (2, 8, 0));
        assert_eq!(report.by_status, [(200, 2), (503, 8)].into());
        assert_eq!(report.by_master, [("a".into(), 2)].into());
        assert_eq!(report.exchanges.len(), 10);
    }

    #[tokio::test]
    async fn a_connection_closed_instead_of_an_answer_is_a_failure() {
        let to = server(|_| None).await;
        let report = Gateway::start(plan(to, 100, 1, 1, Duration::from_millis(50))).finished().await;
        assert_eq!((report.succeeded, report.failed, report.connections_closed), (0, 5, 5));
        assert_eq!(report.unanswered.values().sum::<u64>(), 5);
    }

    #[tokio::test]
    async fn a_connection_closed_between_messages_is_counted_and_costs_no_message() {
        let to = server(|_| Some("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")).await;
        let report = Gateway::start(plan(to, 100, 1, 1, Duration::from_millis(50))).finished().await;
        // Nobody is left to notice what happens after the last message.
        assert_eq!((report.succeeded, report.failed, report.connections_closed), (5, 0, 4));
    }

    #[tokio::test]
    async fn a_stall_is_charged_with_everything_that_waited_behind_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let stall = Duration::from_millis(300);
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 16_384];
            for number in 0.. {
                if !matches!(stream.read(&mut buffer).await, Ok(1..)) {
                    return;
                }
                if number == 1 {
                    tokio::time::sleep(stall).await;
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            }
        });
        let report = Gateway::start(plan(to, 100, 1, 1, Duration::from_millis(300))).finished().await;
        assert_eq!(report.succeeded, 30);
        assert!(report.max >= stall && report.largest_gap >= stall.mul_f64(0.9), "{report}");
        let late = report.exchanges.iter().filter(|exchange| exchange.latency() >= stall / 2).count();
        assert!(late >= 14, "{late} of 30 felt a stall of half the run");
    }

    #[tokio::test]
    async fn a_run_without_an_end_stops_when_asked() {
        let to = server(|_| Some("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
        let gateway = Gateway::start(Plan { duration: None, ..plan(to, 200, 4, 4, Duration::ZERO) });
        while gateway.tally().succeeded < 10 {
            tokio::task::yield_now().await;
        }
        let window = gateway.take_window();
        assert!(window.succeeded >= 10);
        let report = gateway.stop().await;
        assert_eq!(report.failed, 0);
        assert_eq!(report.succeeded, window.succeeded + gateway.take_window().succeeded);
    }
}
