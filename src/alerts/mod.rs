//! Alerts: what is wrong, since when, who looks after it, and whom it was told to.
//!
//! ```text
//! monitor's numbers ──▶ facts ──▶ book: rules ─▶ alerts ─▶ history ──▶ a file
//!                                   ▲ silences, acknowledgements       └──▶ whoever is to be told
//! ```
//!
//! All of it is told the time and what is, and does no more than think; `server/alerts` keeps it.

pub mod alert;
pub mod allowance;
pub mod book;
pub mod facts;
pub mod filter;
pub mod notices;
pub mod refresh;
pub mod silence;
pub mod subject;
pub mod window;

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use book::Book;

/// The book of alerts as the monitor's thread, the admin API and those who tell others share it.
#[derive(Debug)]
pub struct Alerts {
    book: Mutex<Book>,
    /// Counts changes.
    changed: watch::Sender<u64>,
}

impl Default for Alerts {
    fn default() -> Self {
        Self { book: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Alerts {
    /// Nobody may hold it over a wait.
    pub fn lock(&self) -> MutexGuard<'_, Book> {
        // What a panic has left behind is put right by the next look.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that there is something new in the book.
    pub fn tell(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Hears of it.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
