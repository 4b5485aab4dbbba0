//! What Baton says about itself: metrics, the access log and its own log.
//!
//! The data path counts in cells that its worker alone writes ([`hot`], [`registry`]); what happens seldom goes through
//! the `metrics` facade. Both end in one text that the admin listener serves.

pub mod access_log;
pub mod cold;
pub mod deliveries;
pub mod deltas;
pub mod escape;
pub mod exposition;
pub mod histogram;
pub mod hot;
pub mod logging;
pub mod names;
pub mod process;
pub mod registry;
pub mod scrape;

use std::sync::Arc;
use std::time::SystemTime;

use exposition::Exposition;

/// How a reload can end, as its metric says it.
pub const RELOAD_OUTCOMES: [&str; 3] = ["applied", "unchanged", "rejected"];

/// Outcomes of `baton_upgrades_total`.
const UPGRADE_OUTCOMES: [&str; 4] = ["completed", "failed", "timed-out", "refused"];

/// Every number of this process.
#[derive(Debug)]
pub struct Telemetry {
    /// Cells of the data path; each worker takes its own with [`registry::Registry::worker`].
    pub hot: Arc<registry::Registry>,
    /// What happens seldom.
    pub cold: cold::Cold,
    /// Deliveries of stored messages.
    pub deliveries: deliveries::Deliveries,
    started: SystemTime,
}

impl Telemetry {
    /// Starts counting. Make one as the process starts: its start time is taken here.
    pub fn new() -> Result<Self, metrics_exporter_prometheus::BuildError> {
        let cold = cold::Cold::new()?;
        // An increase is seen only where there was a value before.
        for outcome in RELOAD_OUTCOMES {
            drop(cold.counter(&names::CONFIG_RELOADS, &[outcome]));
        }
        for outcome in UPGRADE_OUTCOMES {
            drop(cold.counter(&names::UPGRADES, &[outcome]));
        }
        let deliveries = deliveries::Deliveries::default();
        Ok(Self { hot: registry::Registry::new(), cold, deliveries, started: SystemTime::now() })
    }

    /// The text of one scrape; `gauges` adds what describes the present state.
    #[must_use]
    pub fn render(&self, gauges: impl FnOnce(&mut Exposition)) -> String {
        let mut out = Exposition::new();
        scrape::write(&self.hot, &mut out);
        gauges(&mut out);
        out.family(&names::BUILD_INFO).integer(&[env!("CARGO_PKG_VERSION")], 1);
        process::write(self.started, &mut out);
        out.raw(&self.cold.render());
        out.finish()
    }
}
