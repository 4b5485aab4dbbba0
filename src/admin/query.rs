//! The query of a request, read as strictly as its body.

use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Rows of a page, unless `limit` says otherwise.
const PAGE: usize = 100;
/// Rows of a page at most.
const PAGE_MAX: usize = 1000;

/// The parameters of a query.
#[derive(Debug)]
pub struct Parameters<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let read = Query::<T>::try_from_uri(&parts.uri);
        read.map(|Query(parameters)| Self(parameters)).map_err(|rejection| wrong(&rejection.body_text()))
    }
}

/// How many rows a page has.
///
/// # Errors
/// It is none, or more than one page has.
pub fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(PAGE) {
        limit @ 1..=PAGE_MAX => Ok(limit),
        _ => Err(wrong(&format!("limit: from 1 to {PAGE_MAX}"))),
    }
}

/// A parameter, or a cursor, that is not what it should be.
pub fn wrong(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}
