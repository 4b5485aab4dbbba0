//! Asks one master once how it is, over a connection of its own.
//!
//! The probe's connection is never one of the pool's: what is asked is whether a new request would be served. It is
//! dropped when the future is, so giving up leaves nothing behind. There is no time-out in here; the caller has the deadline.
//!
//! What a master sends is bounded by [`MAX_BODY_BYTES`] and reaches the evidence only quoted and cut.

use std::pin::pin;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::counter::Sign;
use super::probe_h2;
use super::reach::{Reached, Way, reach};
use crate::config::model::{HttpProbe, JsonProbe, MasterProtocol, Probe, ProxyVersion};
use crate::tls::client::{self, MasterTls};
use crate::upstream::master::Master;

/// A health page is a line or a small JSON object; whoever sends more has been pointed at the wrong path.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// Head of the answer; hyper's smallest buffer is 8 KiB.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// What is said of a longer body.
const TOO_LONG: &str = "with more than 64 KiB of body";
/// Characters of a master's own words that an evidence repeats.
const MAX_QUOTE: usize = 64;

/// What came of a probe, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub sign: Sign,
    /// Part of a sentence, such as `connect refused (127.0.0.1:9001)`; of one line, and safe to log.
    pub evidence: String,
}

impl Report {
    pub(super) fn failed(evidence: String) -> Self {
        Self { sign: Sign::Failed, evidence }
    }
}

/// Probes the master once, over TLS where requests are and behind a PROXY header where it expects one. Cancel-safe:
/// dropping it closes the connection.
pub async fn probe(
    master: &Master,
    tls: Option<&MasterTls>,
    protocol: MasterProtocol,
    probe: &Probe,
    proxy_protocol: Option<ProxyVersion>,
) -> Report {
    let asked = match reach(master, tls, protocol, proxy_protocol).await {
        Ok(Reached { stream, way, authority }) => ask(stream, way, probe, &authority).await,
        Err(evidence) => Err(evidence),
    };
    asked.unwrap_or_else(Report::failed)
}

async fn ask<S>(stream: S, way: Way, probe: &Probe, authority: &str) -> Result<Report, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match probe {
        Probe::Tcp => Ok(Report { sign: Sign::Healthy, evidence: format!("connected to {authority}") }),
        Probe::Http(probe) => {
            let host = probe.host.as_deref().unwrap_or(authority);
            let request =
                request(probe, host).map_err(|error| format!("health_check.http is no valid request: {error}"))?;
            if way.http2 {
                exchange_h2(stream, request, way, probe).await
            } else {
                exchange(stream, request, probe).await
            }
        }
    }
}

fn request(probe: &HttpProbe, host: &str) -> Result<Request<Empty<Bytes>>, http::Error> {
    let request = Request::builder()
        .method(probe.method.as_str())
        .uri(probe.path.as_str())
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("baton/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close");
    let with_headers = |request: http::request::Builder, (name, value): &(String, String)| request.header(name, value);
    probe.headers.iter().fold(request, with_headers).body(Empty::new())
}

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>, probe: &HttpProbe) -> Result<Report, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| describe(&error))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| describe(&error))?;
        judge(response.status().as_u16(), collect(response.into_body()), probe).await
    };
    let mut answer = pin!(answer);
    // One future for both, the connection first: what has arrived is seen in the poll in which the deadline is looked at,
    // so that a busy machine does not turn an answer into a time-out.
    tokio::select! {
        biased;
        _ = connection => answer.await,
        report = &mut answer => report,
    }
}

async fn exchange_h2<S>(
    stream: S,
    request: Request<Empty<Bytes>>,
    way: Way,
    probe: &HttpProbe,
) -> Result<Report, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = probe_h2::ask(stream, request.map(drop), way.scheme, MAX_HEAD_BYTES as u32, MAX_BODY_BYTES).await?;
    let body = std::future::ready(answer.body.map(Bytes::from).ok_or(TOO_LONG));
    judge(answer.status, body, probe).await
}

fn describe(error: &hyper::Error) -> String {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    if let Some(refusal) = cause.filter(|cause| client::is_refusal(cause)) {
        return format!("TLS failed: {}", client::problem(refusal));
    }
    let what = if error.is_incomplete_message() {
        "connection closed before an answer"
    } else if error.is_parse() || error.is_parse_too_large() {
        "the answer is not HTTP/1"
    } else {
        "connection broke"
    };
    what.to_owned()
}

/// Judges an answer, whose body is looked at only where that matters.
async fn judge(
    status: u16,
    body: impl Future<Output = Result<Bytes, &'static str>>,
    probe: &HttpProbe,
) -> Result<Report, String> {
    if !probe.expect_status.iter().any(|(low, high)| (*low..=*high).contains(&status)) {
        return Err(format!("status {status}"));
    }
    let answered = Report { sign: Sign::Healthy, evidence: format!("status {status}") };
    if probe.expect_body.is_none() && probe.json.is_none() {
        return Ok(answered);
    }
    let body = body.await.map_err(|problem| format!("status {status} {problem}"))?;
    if let Some(text) = &probe.expect_body
        && memchr::memmem::find(&body, text.as_bytes()).is_none()
    {
        return Err(format!("status {status} without {} in the body", quoted(text)));
    }
    probe.json.as_ref().map_or(Ok(answered), |json| judge_json(&body, json))
}

async fn collect(body: Incoming) -> Result<Bytes, &'static str> {
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(TOO_LONG),
        Err(_) => Err("and connection broke within the body"),
    }
}

/// Maps the value a JSON probe points at.
fn judge_json(body: &[u8], probe: &JsonProbe) -> Result<Report, String> {
    let place = if probe.pointer.is_empty() { "the body" } else { &probe.pointer };
    let document: serde_json::Value = serde_json::from_slice(body).map_err(|_| "the body is not JSON".to_owned())?;
    let value = document.pointer(&probe.pointer).ok_or_else(|| format!("{place} is missing"))?;
    let text = match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
            return Err(format!("{place} is neither text nor a number nor true, false or null"));
        }
        plain => plain.to_string(),
    };
    let evidence = format!("{place} is {}", quoted(&text));
    if probe.healthy.contains(&text) {
        Ok(Report { sign: Sign::Healthy, evidence })
    } else if probe.degraded.contains(&text) {
        Ok(Report { sign: Sign::Degraded, evidence })
    } else {
        Err(evidence)
    }
}

/// In quotes, with control characters escaped, and not too long.
fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(MAX_QUOTE).collect();
    if cut.len() < text.len() { format!("{cut:?}...") } else { format!("{cut:?}") }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::model::Address;
    use crate::upstream::master::Policy;

    fn http() -> HttpProbe {
        HttpProbe {
            method: "GET".into(),
            path: "/health?deep=1".into(),
            host: None,
            headers: vec![("x-probe".into(), "1".into())],
            expect_status: vec![(200, 299)],
            expect_body: None,
            json: None,
        }
    }

    fn json(pointer: &str) -> HttpProbe {
        let json = JsonProbe {
            pointer: pointer.into(),
            healthy: vec!["CONNECTED".into(), "true".into(), "1".into()],
            degraded: vec!["OPENING".into()],
            failed: vec!["CONFLICT".into()],
        };
        HttpProbe { json: Some(json), ..http() }
    }

    fn master(address: Address) -> Master {
        Master::new(Arc::from("bots"), address, Policy::default())
    }

    /// The report about a master that sends these bytes and closes, and what it was sent.
    async fn report_on(sent: Vec<u8>, asked: HttpProbe) -> (Report, String, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut received = [0; 1024];
            let count = stream.read(&mut received).await.unwrap();
            // The probe may have seen enough before everything is sent.
            let _ = stream.write_all(&sent).await;
            String::from_utf8_lossy(&received[..count]).into_owned()
        });
        let report =
            probe(&master(Address::Socket(address)), None, MasterProtocol::Http1, &Probe::Http(asked), None).await;
        (report, server.await.unwrap(), address)
    }

    async fn verdict(sent: impl AsRef<[u8]>, asked: HttpProbe) -> (Sign, String) {
        let (report, _, _) = report_on(sent.as_ref().to_vec(), asked).await;
        (report.sign, report.evidence)
    }

    fn answer(status: u16, body: &str) -> String {
        format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    fn failed(evidence: &str) -> (Sign, String) {
        (Sign::Failed, evidence.to_owned())
    }

    #[tokio::test]
    async fn it_asks_what_the_configuration_says_over_a_connection_of_its_own() {
        let (report, received, address) = report_on(answer(204, "").into_bytes(), http()).await;
        assert_eq!((report.sign, report.evidence.as_str()), (Sign::Healthy, "status 204"));
        assert!(received.starts_with("GET /health?deep=1 HTTP/1.1\r\n"), "{received}");
        for line in [format!("host: {address}\r\n"), "x-probe: 1\r\n".into(), "connection: close\r\n".into()] {
            assert!(received.contains(&line), "{received}");
        }
        let asked = HttpProbe { host: Some("bot.example".into()), ..http() };
        let (_, received, _) = report_on(answer(204, "").into_bytes(), asked).await;
        assert!(received.contains("host: bot.example\r\n"), "{received}");
    }

    #[tokio::test]
    async fn a_status_outside_the_expected_ranges_fails() {
        assert_eq!(verdict(answer(500, ""), http()).await, failed("status 500"));
        let asked = HttpProbe { expect_status: vec![(200, 200), (401, 403)], ..http() };
        assert_eq!(verdict(answer(403, ""), asked).await.0, Sign::Healthy);
    }

    #[tokio::test]
    async fn the_expected_text_must_be_in_the_body() {
        let asked = HttpProbe { expect_body: Some("ready".into()), ..http() };
        assert_eq!(verdict(answer(200, "it is ready now"), asked.clone()).await.0, Sign::Healthy);
        assert_eq!(verdict(answer(200, "not yet"), asked).await, failed("status 200 without \"ready\" in the body"));
    }

    #[tokio::test]
    async fn a_json_value_maps_to_a_health() {
        let ask = |body: &'static str| verdict(answer(200, body), json("/state"));
        assert_eq!(ask(r#"{"state":"CONNECTED"}"#).await, (Sign::Healthy, "/state is \"CONNECTED\"".to_owned()));
        assert_eq!(ask(r#"{"state":true}"#).await.0, Sign::Healthy);
        assert_eq!(ask(r#"{"state":1}"#).await.0, Sign::Healthy);
        assert_eq!(ask(r#"{"state":"OPENING"}"#).await, (Sign::Degraded, "/state is \"OPENING\"".to_owned()));
        assert_eq!(ask(r#"{"state":"CONFLICT"}"#).await, failed("/state is \"CONFLICT\""));
        assert_eq!(ask(r#"{"state":"NEW"}"#).await, failed("/state is \"NEW\""));
        assert_eq!(ask(r#"{"state":null}"#).await, failed("/state is \"null\""));
        assert_eq!(ask("{}").await, failed("/state is missing"));
        assert_eq!(ask("CONNECTED").await, failed("the body is not JSON"));
        assert_eq!(verdict(answer(200, "true"), json("")).await.0, Sign::Healthy);
    }

    #[tokio::test]
    async fn a_master_cannot_write_into_the_log() {
        let body = serde_json::json!({ "state": format!("a\n\u{1b}[31m{}", "x".repeat(500)) }).to_string();
        let (_, evidence) = verdict(answer(200, &body), json("/state")).await;
        assert!(evidence.chars().all(|letter| !letter.is_control()) && evidence.len() < 120, "{evidence}");
    }

    #[tokio::test]
    async fn a_body_without_end_is_read_up_to_the_limit() {
        let mut sent = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        sent.resize(2 * MAX_BODY_BYTES, b' ');
        assert_eq!(verdict(sent, json("/state")).await, failed("status 200 with more than 64 KiB of body"));
    }

    #[tokio::test]
    async fn what_is_not_an_answer_fails() {
        assert_eq!(verdict("", http()).await, failed("connection closed before an answer"));
        assert_eq!(verdict("SSH-2.0-OpenSSH\r\n\r\n", http()).await, failed("the answer is not HTTP/1"));
        let cut = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
        assert_eq!(verdict(cut, json("")).await, failed("status 200 and connection broke within the body"));
    }

    #[tokio::test]
    async fn a_head_without_end_is_refused() {
        let sent = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(4 * MAX_HEAD_BYTES));
        assert_eq!(verdict(sent, http()).await, failed("the answer is not HTTP/1"));
    }

    #[tokio::test]
    async fn connecting_is_enough_for_a_tcp_probe_and_a_refusal_names_the_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let master = master(Address::Socket(address));
        let report = probe(&master, None, MasterProtocol::Http1, &Probe::Tcp, None).await;
        assert_eq!((report.sign, report.evidence), (Sign::Healthy, format!("connected to {address}")));
        drop(listener);
        let report = probe(&master, None, MasterProtocol::Http1, &Probe::Tcp, None).await;
        assert_eq!((report.sign, report.evidence), (Sign::Failed, format!("connect refused ({address})")));
    }

    #[tokio::test]
    async fn a_name_is_looked_up_before_its_first_probe() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let master = master(Address::Name { host: "localhost".into(), port });
        assert!(master.addresses().is_empty());
        assert_eq!(probe(&master, None, MasterProtocol::Http1, &Probe::Tcp, None).await.sign, Sign::Healthy);
        assert!(master.addresses().iter().any(|address| address.port() == port));
    }

    #[tokio::test]
    async fn a_unix_socket_is_probed_like_any_other() {
        let directory = std::env::temp_dir().join(format!("baton-probe-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("bot.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut received = [0; 1024];
            let count = stream.read(&mut received).await.unwrap();
            stream.write_all(answer(200, "").as_bytes()).await.unwrap();
            String::from_utf8_lossy(&received[..count]).into_owned()
        });
        let master = master(Address::Unix(path.clone()));
        assert_eq!(probe(&master, None, MasterProtocol::Http1, &Probe::Http(http()), None).await.sign, Sign::Healthy);
        assert!(server.await.unwrap().contains("host: localhost\r\n"));
        std::fs::remove_dir_all(&directory).unwrap();
        let report = probe(&master, None, MasterProtocol::Http1, &Probe::Http(http()), None).await;
        assert_eq!(report.evidence, format!("connect failed: entity not found (unix:{})", path.display()));
    }
}
