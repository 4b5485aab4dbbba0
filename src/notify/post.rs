//! One POST of JSON, signed, and made again as long as it fails.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use rustls::ClientConfig;

use super::retry::pause;
use crate::ids::random_u64;
use crate::net::outbound;
use crate::whatsapp::signature::sign_cloud_api;

/// As Meta signs its webhooks: `sha256=` and the HMAC-SHA-256 of the body's bytes in lower-case hexadecimal digits.
pub const SIGNATURE: &str = "x-hub-signature-256";
const ATTEMPT: &str = "baton-attempt";

/// Where requests go and how.
#[derive(Clone)]
pub struct Post {
    pub url: Uri,
    pub secret: Option<String>,
    /// For `https`; [`outbound::trusting`].
    pub tls: Option<Arc<ClientConfig>>,
    /// For one attempt.
    pub timeout: Duration,
    /// At most; the first one counts.
    pub attempts: u32,
}

impl Post {
    /// Sends a body until it is answered with 2xx. Headers are sent besides the signature and the attempt's number. `failed`
    /// hears of each attempt that failed and is followed by another one. Dropping it gives up.
    ///
    /// # Errors
    /// Why the last attempt failed.
    pub async fn deliver(&self, headers: &HeaderMap, body: Bytes, failed: impl Fn(u32, &str)) -> Result<(), String> {
        let mut attempt = 1;
        loop {
            match self.attempt(attempt, headers, body.clone()).await {
                Ok(()) => return Ok(()),
                Err(reason) if attempt >= self.attempts => return Err(reason),
                Err(reason) => failed(attempt, &reason),
            }
            tokio::time::sleep(pause(attempt, random_u64())).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, number: u32, headers: &HeaderMap, body: Bytes) -> Result<(), String> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = headers.clone();
        let fields = request.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        fields.insert(header::USER_AGENT, HeaderValue::from_static(concat!("baton/", env!("CARGO_PKG_VERSION"))));
        fields.insert(ATTEMPT, number.into());
        if let Some(secret) = &self.secret
            && let Ok(signature) = HeaderValue::from_bytes(&sign_cloud_api(secret.as_bytes(), &body))
        {
            fields.insert(SIGNATURE, signature);
        }
        match tokio::time::timeout(self.timeout, outbound::send(request, self.tls.clone())).await {
            Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
            Ok(Ok(answer)) => Err(format!("it answered {}", answer.status().as_u16())),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", self.timeout.as_secs_f32())),
        }
    }
}
