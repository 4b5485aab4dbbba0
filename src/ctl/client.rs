//! One request to the admin API, over TCP or a Unix socket, and what its failures mean to the person who asked.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::Failure;
use crate::admin::{Document, backup};

/// Longest answer that is read; a page of anything is far below.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// For a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From the request to the end of its answer. Baton gives a request 30 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);

/// Where the admin API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `HOST:PORT`.
    Tcp(String),
    Unix(PathBuf),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |reason: &str| Err(format!("--admin {text}: {reason}"));
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { wrong("a path follows unix:") } else { Ok(Self::Unix(path.into())) };
        }
        let authority = match text.split_once("://") {
            Some(("http", rest)) => rest.trim_end_matches('/'),
            Some(("unix", path)) => return Ok(Self::Unix(path.into())),
            Some((scheme, _)) => return wrong(&format!("{scheme} is not spoken: write http://HOST:PORT or unix:PATH")),
            None => text,
        };
        let port = authority.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        match port {
            Some((host, _)) if !host.is_empty() && !host.contains(['/', '@', '?', ' ']) => {
                Ok(Self::Tcp(authority.to_owned()))
            }
            _ => wrong("write http://HOST:PORT or unix:PATH"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "http://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Asks one Baton.
pub struct Client {
    target: Target,
    authorization: Option<HeaderValue>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// What came of [`Client::download`].
pub struct Download {
    pub bytes: u64,
    pub pending: u64,
    pub dead_letters: u64,
}

type Error = Box<dyn std::error::Error + Send + Sync>;

impl Client {
    /// # Errors
    /// When the token cannot be one.
    pub fn new(target: Target, token: Option<String>) -> Result<Self, Failure> {
        let authorization = token
            .map(|token| {
                let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| {
                    Failure::Usage("the token (--token, BATON_TOKEN) has characters of no token".into())
                })?;
                value.set_sensitive(true);
                Ok(value)
            })
            .transpose()?;
        Ok(Self { target, authorization })
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let answer = self.ask(Method::GET, path, Bytes::new()).await?;
        self.read(&answer)
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::Failed(format!("cannot write JSON: {error}")))?;
        let answer = self.ask(Method::POST, path, body.into()).await?;
        self.read(&answer)
    }

    /// Posts a text as it is.
    pub async fn post_text<T: DeserializeOwned>(&self, path: &str, text: String) -> Result<T, Failure> {
        let answer = self.ask(Method::POST, path, text.into()).await?;
        self.read(&answer)
    }

    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let answer = self.ask(Method::DELETE, path, Bytes::new()).await?;
        self.read(&answer)
    }

    /// Opens the answer of a GET that comes bit by bit.
    pub async fn open(&self, path: &str) -> Result<Incoming, Failure> {
        let failed = |reason: &dyn fmt::Display| Failure::Failed(format!("{}: {reason}", self.target));
        let stream = self.stream().await?;
        let response = self.send(stream, Method::GET, path, Bytes::new());
        let response = match tokio::time::timeout(ANSWER_TIMEOUT, response).await {
            Ok(response) => response.map_err(|error| failed(&error))?,
            Err(_) => return Err(failed(&format_args!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))),
        };
        let (head, body) = response.into_parts();
        if head.status.is_success() {
            return Ok(body);
        }
        let answer = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| failed(&error))?;
        Err(self.refused(head.status, &answer.to_bytes()))
    }

    /// Writes the answer of a GET where it is told to, as it comes. A reader that has gone away wants no more of it.
    pub async fn copy(&self, path: &str, into: &mut impl io::Write) -> Result<(), Failure> {
        let mut body = self.open(path).await?;
        while let Some(frame) = body.frame().await {
            let broken = |error| Failure::Failed(format!("{}: the answer broke off: {error}", self.target));
            if let Ok(data) = frame.map_err(broken)?.into_data()
                && into.write_all(&data).is_err()
            {
                break;
            }
        }
        Ok(())
    }

    /// Writes the answer of a POST without a body where it is told to, as it comes.
    pub async fn download(&self, path: &str, into: &mut impl io::Write) -> Result<Download, Failure> {
        let failed = |reason: &dyn fmt::Display| Failure::Failed(format!("{}: {reason}", self.target));
        let stream = self.stream().await?;
        let response = self.send(stream, Method::POST, path, Bytes::new()).await.map_err(|error| failed(&error))?;
        let (head, mut body) = response.into_parts();
        if !head.status.is_success() {
            let answer = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| failed(&error))?;
            return Err(self.refused(head.status, &answer.to_bytes()));
        }
        let number = |name: &str| {
            let value = head.headers.get(name).and_then(|value| value.to_str().ok());
            value.and_then(|value| value.parse::<u64>().ok()).unwrap_or(0)
        };
        let (expected, mut bytes) = (number("content-length"), 0);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| failed(&format_args!("the copy broke off: {error}")))?;
            if let Ok(data) = frame.into_data() {
                bytes += data.len() as u64;
                into.write_all(&data).map_err(|error| Failure::Failed(format!("cannot write the copy: {error}")))?;
            }
        }
        if bytes != expected {
            return Err(failed(&format_args!("the copy broke off after {bytes} of {expected} bytes")));
        }
        Ok(Download { bytes, pending: number(backup::PENDING), dead_letters: number(backup::DEAD_LETTERS) })
    }

    fn read<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, Failure> {
        serde_json::from_slice(answer).map_err(|error| {
            Failure::Failed(format!("what answers at {} is no Baton of this version: {error}", self.target))
        })
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Failure> {
        let failed = |reason: &dyn fmt::Display| Failure::Failed(format!("{}: {reason}", self.target));
        let stream = self.stream().await?;
        let exchange = self.exchange(stream, method, path, body);
        let (status, answer) = match tokio::time::timeout(ANSWER_TIMEOUT, exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(failed(&error)),
            Err(_) => return Err(failed(&format_args!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))),
        };
        if status.is_success() { Ok(answer) } else { Err(self.refused(status, &answer)) }
    }

    /// What an answer other than a good one means.
    fn refused(&self, status: StatusCode, answer: &[u8]) -> Failure {
        let detail = serde_json::from_slice::<Document>(answer).map(|document| document.detail);
        let detail = detail.unwrap_or_else(|_| format!("status {status}, and nothing that a Baton would say"));
        Failure::Failed(match status {
            StatusCode::UNAUTHORIZED if self.authorization.is_none() => {
                "this needs a token: give one with --token or BATON_TOKEN; \
                 `baton token --role operator --config FILE` makes one"
                    .to_owned()
            }
            StatusCode::UNAUTHORIZED => format!("the token was refused: {detail}"),
            StatusCode::FORBIDDEN => format!("the token does not allow this: {detail}"),
            _ => detail,
        })
    }

    async fn stream(&self) -> Result<Box<dyn Stream>, Failure> {
        match tokio::time::timeout(CONNECT_TIMEOUT, self.connect()).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Failure::Failed(self.unreachable(&error.to_string()))),
            Err(_) => Err(Failure::Failed(self.unreachable("no answer"))),
        }
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match &self.target {
            Target::Tcp(authority) => Box::new(TcpStream::connect(authority).await?),
            Target::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    }

    fn unreachable(&self, reason: &str) -> String {
        format!(
            "nobody answers at {}: {reason}; does Baton run, and is this its `admin.address` (--admin, BATON_ADMIN)?",
            self.target
        )
    }

    async fn exchange(
        &self,
        stream: Box<dyn Stream>,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Error> {
        let response = self.send(stream, method, path, body).await?;
        let status = response.status();
        Ok((status, Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes()))
    }

    /// Sends a request; gives the head of the answer, whose body comes as it is read.
    async fn send(
        &self,
        stream: Box<dyn Stream>,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Error> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let host = match &self.target {
            Target::Tcp(authority) => authority,
            Target::Unix(_) => "localhost",
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, host)
            .header(header::CONNECTION, "close")
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(body))?;
        // It ends by itself after the answer; its errors reach the request and the body.
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_api_is_named_by_url_address_or_socket() {
        let tcp = |text: &str| Ok(Target::Tcp(text.to_owned()));
        assert_eq!("http://127.0.0.1:9900".parse(), tcp("127.0.0.1:9900"));
        assert_eq!("http://baton:9900/".parse(), tcp("baton:9900"));
        assert_eq!("[::1]:9900".parse(), tcp("[::1]:9900"));
        assert_eq!("unix:/run/baton.sock".parse(), Ok(Target::Unix("/run/baton.sock".into())));
        assert_eq!("unix:///run/baton.sock".parse(), Ok(Target::Unix("/run/baton.sock".into())));
        for wrong in ["", "9900", "https://a:1", "http://a", "http://a:b", "http://u@a:1", "http://a/b:1", "unix:"] {
            let error = wrong.parse::<Target>().unwrap_err();
            assert!(error.starts_with("--admin "), "{error}");
        }
    }
}
