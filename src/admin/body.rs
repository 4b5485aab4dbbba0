//! What a request says, read strictly: a wrong one is answered with a sentence about what is wrong.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Longest reason for a change, in characters.
const REASON_CHARS_MAX: usize = 300;

/// Why somebody changes something, as the audit trail keeps it.
///
/// # Errors
/// It is too long, or more than a line.
pub fn reason_of(given: Option<&str>) -> Result<String, Problem> {
    let reason = given.unwrap_or_default();
    if reason.chars().count() > REASON_CHARS_MAX || reason.chars().any(char::is_control) {
        let detail = format!("reason: one line of up to {REASON_CHARS_MAX} characters");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    Ok(reason.to_owned())
}

/// A body of JSON, of at most [`super::BODY_BYTES_MAX`].
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            let detail = "the body has to be JSON, and Content-Type application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
        // The reader would take a list as well, its items being the fields in order.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "the body is not as expected: not a JSON object"));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            let status = if error.is_data() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST };
            Problem::new(status, format!("the body is not as expected: {error}"))
        })
    }
}
