//! The configuration the demo runs with, written so that a reader can change it and learn something.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Names of the demo's masters, in the order of [`Settings::addresses`].
pub const MASTERS: [&str; 3] = ["dubai-1", "dubai-2", "riyadh-1"];

pub struct Settings {
    pub addresses: Vec<SocketAddr>,
    /// Directory for durable state.
    pub state: PathBuf,
    /// Give the last master three times the share of the others.
    pub weighted: bool,
}

impl Settings {
    #[must_use]
    pub fn yaml(&self) -> String {
        let strategy = if self.weighted { "weighted-round-robin" } else { "round-robin" };
        let masters: String = MASTERS
            .iter()
            .zip(&self.addresses)
            .enumerate()
            .map(|(index, (name, address))| {
                let weight = if self.weighted && index + 1 == MASTERS.len() { 3 } else { 1 };
                let country = if name.starts_with("riyadh") { "SA" } else { "AE" };
                format!("      - {{ name: {name}, address: \"{address}\", weight: {weight}, country: {country} }}\n")
            })
            .collect();
        format!(
            "\
# Change something and save: the running Baton takes it over without closing a connection.
listeners:
  - {{ name: gateway, address: \"127.0.0.1:0\" }}
routes:
  - {{ name: webhooks, match: {{ path_prefix: /webhook }}, upstream: bots, timeout: 10s }}
upstreams:
  - name: bots
    # round-robin, weighted-round-robin, priority, least-loaded, geo, ip-hash, consistent-hash, peak-ewma or random
    strategy: {strategy}
    masters:
{masters}    health_check:
      interval: 1s
      timeout: 500ms
      unhealthy_threshold: 2
      healthy_threshold: 2
      http: {{ path: /health, json: {{ pointer: /state, healthy: [CONNECTED], degraded: [OPENING] }} }}
    # Bots must expect the same webhook twice, so another master may be asked when one gives no answer.
    retry: {{ attempts: 3, per_try_timeout: 2s, non_idempotent: true, on_status: [500, 502, 503, 504] }}
state: {{ path: \"{state}\" }}
admin: {{ address: \"127.0.0.1:0\" }}
logging: {{ level: info, access_log: \"off\" }}
",
            state = self.state.display(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_right_and_draws_no_warning() {
        for weighted in [false, true] {
            let addresses =
                vec!["127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap(), "[::1]:3".parse().unwrap()];
            let yaml = Settings { addresses, state: "/tmp/x".into(), weighted }.yaml();
            let loaded = crate::config::parse(&yaml, "baton.yaml".as_ref(), &crate::config::System);
            let loaded = loaded.unwrap_or_else(|wrong| panic!("{wrong}"));
            assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
            assert_eq!(loaded.config.upstreams[0].masters.len(), MASTERS.len());
        }
    }

    #[test]
    fn weighting_changes_the_strategy_and_the_last_weight_only() {
        let addresses = vec!["127.0.0.1:1".parse().unwrap(); 3];
        let plain = Settings { addresses: addresses.clone(), state: "/tmp/x".into(), weighted: false }.yaml();
        let weighted = Settings { addresses, state: "/tmp/x".into(), weighted: true }.yaml();
        let changed: Vec<&str> =
            plain.lines().zip(weighted.lines()).filter(|(a, b)| a != b).map(|(_, b)| b.trim()).collect();
        assert_eq!(changed.len(), 2);
        assert_eq!(changed[0], "strategy: weighted-round-robin");
        assert!(changed[1].contains("name: riyadh-1") && changed[1].contains("weight: 3"));
    }
}
