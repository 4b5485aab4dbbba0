//! One call of one hook at one master: signed, within a time, and with no more of the answer read than is allowed.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::signature::{self, Said, sha256};
use crate::clock::{self, UnixMillis};
use crate::config::model::{Hooks, MasterProtocol, ProxyVersion};
use crate::config::{show_size, show_time};
use crate::health::reach::{Reached, reach};
use crate::tls::client::MasterTls;
use crate::upstream::master::Master;

/// Head of an answer.
const HEAD_MAX: usize = 16 << 10;

/// The time of the last call: each one is later than the one before, whatever the clock does.
static LAST: AtomicU64 = AtomicU64::new(0);

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    Export,
    Import,
    Activate,
    Deactivate,
}

/// A master, and how it is reached.
#[derive(Debug, Clone)]
pub struct Target {
    pub name: String,
    pub master: Arc<Master>,
    pub tls: Option<Arc<MasterTls>>,
    pub protocol: MasterProtocol,
    pub proxy_protocol: Option<ProxyVersion>,
}

/// What calls are about.
#[derive(Debug)]
pub struct Caller {
    pub upstream: String,
    /// The first of the accounts.
    pub account: String,
    pub hooks: Hooks,
}

/// An answer that may be looked at.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// As the master gives it.
    pub digest: Option<String>,
    /// Empty but for a state.
    pub body: Bytes,
}

impl Hook {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Export, Self::Import, Self::Activate, Self::Deactivate];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Export => "export",
            Self::Import => "import",
            Self::Activate => "activate",
            Self::Deactivate => "deactivate",
        }
    }
}

impl Caller {
    /// Where the hook is; `None` where it is not to be called.
    #[must_use]
    pub fn path(&self, hook: Hook) -> Option<&str> {
        match hook {
            Hook::Export => self.hooks.export.as_deref(),
            Hook::Import => self.hooks.import.as_deref(),
            Hook::Activate => self.hooks.activate.as_deref(),
            Hook::Deactivate => self.hooks.deactivate.as_deref(),
        }
    }

    /// Calls the hook at this path, and gives what is answered in time. Dropping it closes the connection.
    ///
    /// # Errors
    /// Why there is no answer that may be looked at, as part of a sentence. Nothing of what the master said is in it.
    pub async fn call(
        &self,
        (hook, path): (Hook, &str),
        to: &Target,
        epoch: u32,
        body: Bytes,
        within: Duration,
    ) -> Result<Answer, String> {
        let exchange = async {
            let Target { master, tls, protocol, proxy_protocol, .. } = to;
            let reached = reach(master, tls.as_deref(), *protocol, *proxy_protocol).await?;
            let Reached { stream, way, authority } = reached;
            let request = self.request(hook, path, &authority, epoch, body)?;
            if way.http2 {
                let request = absolute(request, way.scheme, &authority)?;
                let builder = http2::Builder::new(TokioExecutor::new());
                let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broke)?;
                let answer = async { self.read(hook, sender.send_request(request).await.map_err(broke)?).await };
                let mut answer = pin!(answer);
                tokio::select! {
                    biased;
                    _ = connection => answer.await,
                    answer = &mut answer => answer,
                }
            } else {
                let mut builder = http1::Builder::new();
                builder.max_buf_size(HEAD_MAX);
                let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broke)?;
                let answer = async { self.read(hook, sender.send_request(request).await.map_err(broke)?).await };
                let mut answer = pin!(answer);
                tokio::select! {
                    biased;
                    _ = connection => answer.await,
                    answer = &mut answer => answer,
                }
            }
        };
        let late = || format!("no answer within {}", show_time(within));
        tokio::time::timeout(within, exchange).await.unwrap_or_else(|_| Err(late()))
    }

    fn request(
        &self,
        hook: Hook,
        path: &str,
        authority: &str,
        epoch: u32,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, String> {
        let method = if hook == Hook::Export { Method::GET } else { Method::POST };
        let (digest, time) = (sha256(&body), later(clock::unix_millis()));
        let Self { upstream, account, hooks } = self;
        let said = Said { method: method.as_str(), path, upstream, account, epoch, time, digest: &digest };
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, value: &str| {
            let value = HeaderValue::from_bytes(value.as_bytes());
            let value = value.map_err(|_| format!("{name} cannot be said in a header"))?;
            headers.insert(name, value);
            Ok::<(), String>(())
        };
        put(HOST.as_str(), authority)?;
        put(USER_AGENT.as_str(), concat!("baton/", env!("CARGO_PKG_VERSION")))?;
        put(signature::UPSTREAM, upstream)?;
        put(signature::ACCOUNT, account)?;
        put(signature::EPOCH, &epoch.to_string())?;
        put(signature::TIME, &time.to_string())?;
        put(signature::DIGEST, &digest)?;
        if let Some(secret) = &hooks.secret {
            put(signature::SIGNATURE, &said.sign(secret.as_ref()))?;
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = Uri::try_from(path).map_err(|_| format!("{path} cannot be asked for"))?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    async fn read(&self, hook: Hook, response: Response<Incoming>) -> Result<Answer, String> {
        let (head, body) = response.into_parts();
        let digest = head.headers.get(signature::DIGEST).and_then(|value| value.to_str().ok());
        // More than a digest has is none.
        let digest = digest.filter(|digest| digest.len() == 64).map(str::to_ascii_lowercase);
        let status = head.status.as_u16();
        if hook != Hook::Export || !head.status.is_success() {
            return Ok(Answer { status, digest, body: Bytes::new() });
        }
        let max = self.hooks.max_bytes;
        let large = || format!("its state is larger than {} (hooks.max_bytes)", show_size(max as u64));
        if body.size_hint().lower() > max as u64 {
            return Err(large());
        }
        match Limited::new(body, max).collect().await {
            Ok(body) => Ok(Answer { status, digest, body: body.to_bytes() }),
            Err(error) if error.is::<LengthLimitError>() => Err(large()),
            Err(_) => Err("connection broke within its state".to_owned()),
        }
    }
}

/// HTTP/2 has scheme and host in the URI.
fn absolute(mut request: Request<Full<Bytes>>, scheme: &str, authority: &str) -> Result<Request<Full<Bytes>>, String> {
    request.headers_mut().remove(HOST);
    let path = request.uri().path_and_query().cloned().ok_or("there is no path")?;
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
    *request.uri_mut() = uri.map_err(|_| format!("{authority} cannot be asked"))?;
    Ok(request)
}

fn later(now: UnixMillis) -> UnixMillis {
    let next = |last: u64| now.max(last.saturating_add(1));
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
    next(last.unwrap_or(0))
}

/// What became of a connection, without what the other side has said.
#[expect(clippy::needless_pass_by_value, reason = "it stands where an error is mapped")]
fn broke(error: hyper::Error) -> String {
    if error.is_parse() || error.is_parse_too_large() {
        "the answer is not HTTP".to_owned()
    } else if error.is_incomplete_message() {
        "connection closed before an answer".to_owned()
    } else {
        "connection broke".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_later_than_the_one_before_whatever_the_clock_does() {
        let future = clock::unix_millis() + 1_000_000_000;
        let times = [later(future), later(future), later(5), later(future + 10)];
        assert!(times.windows(2).all(|two| two[0] < two[1]), "{times:?}");
    }
}
