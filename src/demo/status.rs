//! What the demo reads from the admin API: generation and health.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use crate::demo::settings::MASTERS;
use crate::sample::client;

/// A status that takes longer is left out of this second's line.
const TIMEOUT: Duration = Duration::from_millis(500);

/// One reading of `/api/v1/status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub generation: u64,
    /// Why the newest configuration was refused.
    pub config_error: Option<String>,
    /// Health of each of the demo's masters in their order; `None` for one that the configuration no longer has.
    pub health: [Option<String>; MASTERS.len()],
}

#[derive(Deserialize)]
struct Document {
    generation: u64,
    #[serde(default)]
    config_error: Option<String>,
    #[serde(default)]
    upstreams: Vec<Upstream>,
}

#[derive(Deserialize)]
struct Upstream {
    #[serde(default)]
    masters: Vec<Master>,
}

#[derive(Deserialize)]
struct Master {
    name: String,
    health: String,
}

impl Status {
    /// Asks the admin API; `None` when there is no readable answer in half a second.
    pub async fn read(admin: SocketAddr) -> Option<Self> {
        let answer = tokio::time::timeout(TIMEOUT, client::get(admin, "/api/v1/status")).await.ok()?;
        Self::parse(&answer.ok()?.1)
    }

    fn parse(json: &[u8]) -> Option<Self> {
        let document: Document = serde_json::from_slice(json).ok()?;
        let masters: Vec<Master> = document.upstreams.into_iter().flat_map(|upstream| upstream.masters).collect();
        let health = MASTERS
            .map(|name| masters.iter().find(|master| master.name == name).map(|master| master.health.to_lowercase()));
        Some(Self { generation: document.generation, config_error: document.config_error, health })
    }

    /// Whether every master is there and healthy.
    #[must_use]
    pub fn all_healthy(&self) -> bool {
        self.health.iter().all(|health| health.as_deref() == Some("healthy"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_read_by_name_whatever_the_order() {
        let json = br#"{ "version": "1", "generation": 3, "upstreams": [ { "name": "bots", "masters": [
            { "name": "riyadh-1", "health": "failed" }, { "name": "dubai-1", "health": "healthy" } ] } ] }"#;
        let status = Status::parse(json).unwrap();
        assert_eq!(status.generation, 3);
        assert_eq!(status.health, [Some("healthy".into()), None, Some("failed".into())]);
        assert!(!status.all_healthy());
    }

    #[test]
    fn an_answer_of_another_shape_is_no_status() {
        assert_eq!(Status::parse(b"{}"), None);
        assert_eq!(Status::parse(b"not found"), None);
    }
}
