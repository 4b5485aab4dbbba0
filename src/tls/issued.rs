//! Certificates that an ACME server issued to a listener, and how it stands with the next one.
//!
//! The control plane puts them here and gates read them, so that a renewal is one atomic store and no reload. They are kept
//! by listener and outlive gates: while a changed order is under way, the old certificate serves.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use arc_swap::ArcSwapOption;

use super::sni::Loaded;

static LISTENERS: LazyLock<Mutex<HashMap<String, Arc<Issued>>>> = LazyLock::new(Mutex::default);

/// What was issued to one listener.
#[derive(Debug, Default)]
pub struct Issued {
    certificate: ArcSwapOption<Loaded>,
    progress: Mutex<Progress>,
}

/// How it stands with the next certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Why the last attempt failed; `None` after one that did not.
    pub error: Option<String>,
    /// When the next attempt is due, in seconds since 1970.
    pub next: Option<i64>,
}

impl Issued {
    /// The certificate in use.
    pub fn certificate(&self) -> Option<Arc<Loaded>> {
        self.certificate.load_full()
    }

    /// Serves this one from the next handshake on.
    pub fn publish(&self, certificate: Arc<Loaded>) {
        self.certificate.store(Some(certificate));
    }

    pub fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_progress(&self, progress: Progress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }
}

/// What was issued to the listener of this name.
#[must_use]
pub fn to_listener(name: &str) -> Arc<Issued> {
    let mut listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
    listeners.entry(name.to_owned()).or_default().clone()
}
