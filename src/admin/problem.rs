//! Errors of the admin API, as problem documents (RFC 9457).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Longest detail, in characters: it may repeat what a client sent.
const DETAIL_CHARS_MAX: usize = 500;

/// An error that a client sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub status: StatusCode,
    pub detail: String,
    challenge: Option<String>,
    errors: Option<serde_json::Value>,
}

/// The document, as it is sent and as `baton ctl` reads it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Document {
    pub r#type: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// What is wrong, one by one, where there is more to say than a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<serde_json::Value>,
}

impl Problem {
    /// `detail` says what is wrong with this request, in a sentence.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), challenge: None, errors: None }
    }

    /// With everything that is wrong.
    #[must_use]
    pub fn errors(self, errors: serde_json::Value) -> Self {
        Self { errors: Some(errors), ..self }
    }

    /// With what the client has to show, for `WWW-Authenticate`.
    #[must_use]
    pub fn challenge(self, challenge: String) -> Self {
        Self { challenge: Some(challenge), ..self }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = Document {
            r#type: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.chars().take(DETAIL_CHARS_MAX).collect(),
            errors: self.errors,
        };
        let mut response = (self.status, Json(document)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(challenge) = self.challenge.and_then(|challenge| HeaderValue::try_from(challenge).ok()) {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
