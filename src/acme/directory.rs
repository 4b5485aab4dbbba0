//! The way to the ACME server: HTTPS with the authorities of this system, or with those the configuration names.
//!
//! A connection for each request: there are a dozen of them every few weeks.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Limited;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::ClientConfig;

use crate::net::outbound;

/// For a request, from the name lookup to the head of the answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Answers are documents of a few kilobytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// A client of an ACME server.
pub struct Client {
    tls: Arc<ClientConfig>,
}

/// The server could not be reached, or what answered spoke no HTTP.
#[derive(Debug)]
pub struct Unreachable(pub String);

impl std::fmt::Display for Unreachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreachable {}

impl Client {
    /// A client that trusts the authorities in `ca`, or those of this system.
    ///
    /// # Errors
    /// Why there are none.
    pub fn new(ca: Option<&PathBuf>) -> Result<Self, String> {
        outbound::trusting(ca.map(PathBuf::as_path)).map(|tls| Self { tls })
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let tls = self.tls.clone();
        Box::pin(async move {
            let server = request.uri().authority().map(ToString::to_string).unwrap_or_default();
            let unreachable = |problem: String| Error::Other(Box::new(Unreachable(format!("{server}: {problem}"))));
            match tokio::time::timeout(REQUEST_TIMEOUT, outbound::send(request, Some(tls))).await {
                Ok(Ok(response)) => {
                    let (head, body) = response.into_parts();
                    Ok(Response::from_parts(head, Limited::new(body, ANSWER_BYTES_MAX)).into())
                }
                Ok(Err(error)) => Err(unreachable(error.to_string())),
                Err(_) => Err(unreachable(format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()))),
            }
        })
    }
}
