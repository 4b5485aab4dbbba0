//! A bot for trying things out: it answers every request, counts what it gets, remembers in which order each
//! conversation's messages arrived, and misbehaves on request.
//!
//! Paths of its own, everything else being a message to answer with 200:
//!
//! | request | answer |
//! |---|---|
//! | `GET /health` | `{"state":"CONNECTED"}`, or the state set as a fault |
//! | `GET /seen` | counts, and conversations, each with the sequence numbers in the order of arrival |
//! | `POST /fault` | replaces the faults by those in the body ([`Faults`]); `{}` ends them all |
//! | `GET` with `hub.challenge` | the challenge, as Meta's subscription handshake wants it |
//! | an upgrade to WebSocket | an echo |
//! | `/state`, `/activate`, `/deactivate` | its own state, and who serves: the hooks of a failover ([`super::hooks`]) |

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde::Deserialize;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::failover::hooks::signature;
use crate::sample::hooks::{HookFault, Own};
use crate::sample::log::{Line, Log};
use crate::sample::mark::{Mark, marks};
use crate::sample::memory::Memory;
use crate::sample::{MASTER_HEADER, signing, websocket};

/// Longest request body that is read, well above any webhook, and as large as states are by default.
const MAX_BODY_BYTES: usize = 16 << 20;
/// After accept fails (usually for want of file descriptors) the next try waits this long instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What `baton sample-master` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Address to listen on; with port 0 the kernel picks one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Name to answer with
    #[arg(long, default_value = "sample")]
    pub name: String,
    /// Answer 401 to messages that Meta's Cloud API would not have signed with this secret
    #[arg(long)]
    pub app_secret: Option<String>,
    /// Speak HTTP/2, without asking, as `protocol: http2` expects
    #[arg(long)]
    pub http2: bool,
    /// Obey only hooks that are signed with this secret
    #[arg(long)]
    pub hook_secret: Option<String>,
    /// Have a hook fail or lie
    #[arg(long, value_enum)]
    pub hook_fault: Option<HookFault>,
    /// Add a line for each message that is read to this file, which several masters may share
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
}

/// How a master misbehaves. Health, faults and `/seen` stay reachable; everything else follows these.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Answer messages with this status.
    pub status: Option<u16>,
    /// Answer messages this much later.
    pub delay_ms: u64,
    /// The state that `/health` reports.
    pub health: Option<String>,
    /// Close the connection where an answer is expected.
    pub close: bool,
    /// Have a hook fail or lie, such as `import-lies`.
    pub hook: Option<HookFault>,
}

/// Binds, prints `listening on ADDRESS` on standard output, and answers until the process ends.
///
/// # Errors
/// When the address cannot be bound, or the name does not fit into a header.
pub async fn run(args: Args) -> io::Result<()> {
    let Args { listen, name, app_secret, http2, hook_secret, hook_fault, log } = args;
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {listen}: {error}")))?;
    let mut master = Master::new(name, app_secret)?;
    master.own = Own::new(hook_secret);
    master.faults().hook = hook_fault;
    master.log = log.as_deref().map(Log::open).transpose()?;
    let master = Arc::new(master);
    writeln!(io::stdout(), "listening on {}", listener.local_addr()?)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(master.clone(), stream, http2))),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// One connection. Its errors concern nobody but its client, which sees them as a closed connection.
async fn serve(master: Arc<Master>, stream: TcpStream, http2: bool) {
    // Answers are single small writes; waiting for more to send would only add latency.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let master = master.clone();
        async move { master.answer(request).await }
    });
    if http2 {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        return;
    }
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let _ = connection.await;
}

struct Master {
    name: String,
    name_header: HeaderValue,
    app_secret: Option<String>,
    faults: Mutex<Faults>,
    memory: Mutex<Memory>,
    own: Own,
    log: Option<Log>,
}

/// Makes hyper close the connection without an answer.
#[derive(Debug)]
struct CloseConnection;

impl std::fmt::Display for CloseConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is closed on purpose")
    }
}

impl std::error::Error for CloseConnection {}

type Answer = Response<Full<Bytes>>;

impl Master {
    fn new(name: String, app_secret: Option<String>) -> io::Result<Self> {
        let name_header = HeaderValue::from_str(&name)
            .map_err(|_| io::Error::other(format!("name {name:?} has characters that no header may carry")))?;
        Ok(Self {
            name,
            name_header,
            app_secret,
            faults: Mutex::default(),
            memory: Mutex::default(),
            own: Own::default(),
            log: None,
        })
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, mut request: Request<Incoming>) -> Result<Answer, CloseConnection> {
        if let Some(accept) = websocket::accept(request.headers()) {
            return Ok(self.upgrade(&mut request, &accept));
        }
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, MAX_BODY_BYTES).collect().await else {
            return Ok(self.respond(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", "the body is too long or was cut\n"));
        };
        let body = body.to_bytes();
        let fault = self.faults().hook;
        if let Some(hook) = self.own.answer((&head.method, head.uri.path()), &head.headers, &body, fault).await {
            let mut answer = self.respond(hook.status, "application/octet-stream", hook.body);
            if let Some(digest) = hook.digest.and_then(|digest| HeaderValue::try_from(digest).ok()) {
                answer.headers_mut().insert(HeaderName::from_static(signature::DIGEST), digest);
            }
            return Ok(answer);
        }
        match (&head.method, head.uri.path()) {
            (&Method::GET | &Method::HEAD, "/health") => Ok(self.health()),
            (&Method::GET, "/seen") => Ok(self.seen()),
            (&Method::POST, "/fault") => Ok(self.set_faults(&body)),
            (&Method::GET, _) if let Some(challenge) = challenge(head.uri.query()) => {
                Ok(self.respond(StatusCode::OK, "text/plain", challenge))
            }
            _ => self.message(&head.headers, &body).await,
        }
    }

    fn upgrade(&self, request: &mut Request<Incoming>, accept: &str) -> Answer {
        let upgraded = hyper::upgrade::on(request);
        tokio::spawn(async move {
            if let Ok(stream) = upgraded.await {
                let _ = websocket::echo(TokioIo::new(stream)).await;
            }
        });
        let mut response = self.respond(StatusCode::SWITCHING_PROTOCOLS, "", "");
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_TYPE);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::from_str(accept) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        response
    }

    fn health(&self) -> Answer {
        let state = self.faults().health.clone().unwrap_or_else(|| "CONNECTED".into());
        self.json(StatusCode::OK, &json!({ "state": state }))
    }

    fn seen(&self) -> Answer {
        let mut seen = self.memory().seen(&self.name);
        seen["own"] = self.own.seen();
        self.json(StatusCode::OK, &seen)
    }

    fn set_faults(&self, body: &[u8]) -> Answer {
        match serde_json::from_slice::<Faults>(body) {
            Ok(faults) if faults.status.is_none_or(|status| (200..=599).contains(&status)) => {
                *self.faults() = faults;
                self.json(StatusCode::OK, &json!({ "master": self.name }))
            }
            Ok(_) => self.respond(StatusCode::BAD_REQUEST, "text/plain", "status: expected 200 to 599\n"),
            Err(error) => self.respond(StatusCode::BAD_REQUEST, "text/plain", format!("{error}\n")),
        }
    }

    async fn message(&self, headers: &HeaderMap, body: &[u8]) -> Result<Answer, CloseConnection> {
        if let Some(secret) = &self.app_secret
            && headers.get(signing::HUB_SIGNATURE).is_none_or(|given| given != signing::hub(secret, body).as_str())
        {
            self.memory().note_unsigned();
            return Ok(self.respond(StatusCode::UNAUTHORIZED, "text/plain", "the signature is missing or wrong\n"));
        }
        let marks = marks(body);
        let faults = self.faults().clone();
        let status = faults.status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::OK);
        if self.log(&marks, headers, status).is_err() {
            return Ok(self.respond(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "the log cannot be written\n"));
        }
        let requests = self.memory().note(&marks);
        self.own.note(marks.len() as u64);
        if faults.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(faults.delay_ms)).await;
        }
        if faults.close {
            return Err(CloseConnection);
        }
        Ok(self.json(status, &json!({ "master": self.name, "requests": requests })))
    }

    fn log(&self, marks: &[Mark], headers: &HeaderMap, status: StatusCode) -> io::Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        let lines: Vec<_> = marks.iter().map(|mark| Line::new(&self.name, mark, headers, status.as_u16())).collect();
        log.add(&lines)
    }

    fn json(&self, status: StatusCode, value: &serde_json::Value) -> Answer {
        self.respond(status, "application/json", value.to_string())
    }

    fn respond(&self, status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
        let mut response = Response::new(Full::new(body.into()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(HeaderName::from_static(MASTER_HEADER), self.name_header.clone());
        response
    }
}

/// The value of `hub.challenge` in a query; Meta sends digits, which need no decoding.
fn challenge(query: Option<&str>) -> Option<String> {
    query?.split('&').find_map(|pair| pair.strip_prefix("hub.challenge=")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::client;
    use crate::sample::mark::Mark;
    use crate::sample::webhook::{self, Update};
    use crate::whatsapp::Provider;

    fn body(conversation: u32, sequence: u64) -> String {
        let update = Update::at(Mark { run: 1, conversation, sequence }, 0);
        String::from_utf8(webhook::body(Provider::CloudApi, &[update], 0)).unwrap()
    }

    async fn started(name: &str) -> SocketAddr {
        started_with(name, None).await
    }

    async fn started_with(name: &str, app_secret: Option<&str>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let master = Arc::new(Master::new(name.into(), app_secret.map(str::to_owned)).unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(master.clone(), stream, false));
            }
        });
        address
    }

    fn text((status, body): (StatusCode, Bytes)) -> (u16, String) {
        (status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn every_path_is_answered_with_the_name_and_a_count() {
        let at = started("a").await;
        assert_eq!(text(client::get(at, "/x").await.unwrap()), (200, r#"{"master":"a","requests":1}"#.into()));
        assert_eq!(text(client::post(at, "/", "{}").await.unwrap()), (200, r#"{"master":"a","requests":2}"#.into()));
    }

    #[tokio::test]
    async fn the_subscription_handshake_echoes_the_challenge() {
        let at = started("a").await;
        let answer = client::get(at, "/webhook?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=x").await;
        assert_eq!(text(answer.unwrap()), (200, "1158201444".into()));
    }

    #[tokio::test]
    async fn messages_are_remembered_in_the_order_of_arrival() {
        let at = started("a").await;
        for sequence in [0, 2, 1] {
            client::post(at, "/webhook", &body(5, sequence)).await.unwrap();
        }
        let (_, seen) = client::get(at, "/seen").await.unwrap();
        let seen: serde_json::Value = serde_json::from_slice(&seen).unwrap();
        assert_eq!(seen["conversations"], json!({ "971500000005": [0, 2, 1] }));
        assert_eq!((&seen["requests"], &seen["messages"]), (&json!(3), &json!(3)));
        assert_eq!((&seen["repeated"], &seen["overtaken"]), (&json!(0), &json!(1)));
    }

    #[tokio::test]
    async fn with_a_secret_only_what_is_signed_is_a_message() {
        let at = started_with("a", Some("s3cret")).await;
        assert_eq!(client::post(at, "/webhook", &body(1, 0)).await.unwrap().0, 401);
        let seen = text(client::get(at, "/seen").await.unwrap()).1;
        let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
        assert_eq!((&seen["unsigned"], &seen["messages"]), (&json!(1), &json!(0)));

        let body = body(1, 0);
        let signed = |secret| {
            let mut headers = HeaderMap::new();
            headers.insert(signing::HUB_SIGNATURE, signing::hub(secret, body.as_bytes()).parse().unwrap());
            headers
        };
        let master = Master::new("a".into(), Some("s3cret".into())).unwrap();
        assert_eq!(master.message(&signed("s3cret"), body.as_bytes()).await.unwrap().status(), 200);
        assert_eq!(master.message(&signed("another"), body.as_bytes()).await.unwrap().status(), 401);
        assert_eq!(master.message(&signed("s3cret"), b"{}").await.unwrap().status(), 401);
    }

    #[tokio::test]
    async fn faults_replace_each_other_and_end_with_an_empty_object() {
        let at = started("a").await;
        client::post(at, "/fault", r#"{"status":503,"health":"TIMEOUT"}"#).await.unwrap();
        assert_eq!(client::get(at, "/").await.unwrap().0, 503);
        assert_eq!(text(client::get(at, "/health").await.unwrap()), (200, r#"{"state":"TIMEOUT"}"#.into()));

        client::post(at, "/fault", r#"{"close":true}"#).await.unwrap();
        assert_eq!(text(client::get(at, "/health").await.unwrap()), (200, r#"{"state":"CONNECTED"}"#.into()));
        client::get(at, "/").await.expect_err("the connection should have been closed");

        client::post(at, "/fault", "{}").await.unwrap();
        assert_eq!(client::get(at, "/").await.unwrap().0, 200);
    }

    #[tokio::test]
    async fn an_unknown_or_impossible_fault_is_refused() {
        let at = started("a").await;
        for wrong in [r#"{"delay":1}"#, r#"{"status":99}"#, "nothing"] {
            assert_eq!(client::post(at, "/fault", wrong).await.unwrap().0, 400, "{wrong}");
        }
    }
}
