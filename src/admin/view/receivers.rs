//! What the admin API says about receivers of alerts.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::alerts::alert::severity_word;
use crate::config::model::Receiver;
use crate::notify::receivers::Numbers;

/// One of `GET /api/v1/alerts/receivers`. Numbers are since it is configured as it is, in this process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReceiverView {
    pub name: String,
    /// `webhook`, `slack`, `alertmanager` or `email`.
    pub kind: String,
    /// Where it is, without what may be secret.
    pub place: String,
    /// It is told of alerts that matter so much, or more.
    pub severity: String,
    /// The last notification.
    pub last: Option<LastNotification>,
    /// Notifications that it took.
    pub delivered: u64,
    /// Notifications that it did not take, every attempt failing.
    pub failed: u64,
    /// Alerts that had to wait, as it had been told as much as its rate allows.
    pub held: u64,
    /// Alerts that were left out, as too many waited.
    pub dropped: u64,
    /// Alerts that wait to be told.
    pub waiting: u64,
}

/// How a notification ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastNotification {
    /// In milliseconds since 1970.
    pub at: u64,
    pub delivered: bool,
    /// Why it was not.
    pub error: Option<String>,
}

/// Answer of `POST /api/v1/alerts/receivers/{name}/test`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReceiverTest {
    pub receiver: String,
    pub delivered: bool,
    /// Why it was not.
    pub error: Option<String>,
    /// What it took.
    pub seconds: Option<f64>,
}

impl ReceiverView {
    #[must_use]
    pub fn new(receiver: &Receiver, numbers: &Numbers) -> Self {
        let Numbers { last, delivered, failed, held, dropped, waiting } = numbers;
        Self {
            name: receiver.name.clone(),
            kind: receiver.way.word().to_owned(),
            place: receiver.way.place(),
            severity: severity_word(receiver.severity).to_owned(),
            last: last.as_ref().map(|last| LastNotification {
                at: last.at,
                delivered: last.error.is_none(),
                error: last.error.clone(),
            }),
            delivered: *delivered,
            failed: *failed,
            held: *held,
            dropped: *dropped,
            waiting: *waiting,
        }
    }
}
