//! Deliveries of stored messages by upstream and master, to be read by whoever watches: what the `metrics` facade counts of them
//! can be shown and not be asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::registry::{NONE, OTHER, SERIES_MAX};
use crate::sync::atomic::{AtomicU64, Ordering};

/// Every master's deliveries.
#[derive(Debug, Default)]
pub struct Deliveries(Mutex<BTreeMap<Arc<[String; 2]>, Arc<Count>>>);

/// One master's; kept by whoever delivers to it.
#[derive(Debug, Default)]
pub struct Count {
    all: AtomicU64,
    failed: AtomicU64,
}

/// Attempts that ended since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delivered {
    pub all: u64,
    /// Those that were not answered with 2xx.
    pub failed: u64,
}

impl Deliveries {
    /// The cell of a master; of `none` where there was none to try, of `other` when there are too many.
    #[must_use]
    pub fn of(&self, upstream: &str, master: &str) -> Arc<Count> {
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut labels = [upstream.to_owned(), master.to_owned()];
        if cells.len() >= SERIES_MAX && !cells.contains_key(&labels) {
            labels = [OTHER.to_owned(), OTHER.to_owned()];
        }
        cells.entry(Arc::new(labels)).or_default().clone()
    }

    /// Each master's count.
    #[must_use]
    pub fn all(&self) -> Vec<(Arc<[String; 2]>, Delivered)> {
        let cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_a_master = cells.iter().filter(|(labels, _)| labels.last().is_some_and(|master| master != NONE));
        of_a_master.map(|(labels, cell)| (labels.clone(), cell.read())).collect()
    }
}

impl Count {
    /// An attempt ended.
    pub fn count(&self, delivered: bool) {
        // In this order, so that whoever reads in between finds no more failures than attempts.
        self.all.fetch_add(1, Ordering::Relaxed);
        if !delivered {
            self.failed.fetch_add(1, Ordering::Release);
        }
    }

    fn read(&self) -> Delivered {
        let failed = self.failed.load(Ordering::Acquire);
        Delivered { failed, all: self.all.load(Ordering::Relaxed) }
    }
}
