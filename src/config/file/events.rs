//! Keys about who hears of events.

use super::super::shape::{List, shape};
use super::super::units::{EventKind, FilePath, Int, Name, Secret, SeverityWord, Time, WebUrl};

shape! {
    /// What happens, told to others.
    struct Events {
        /// Programs that are sent each event.
        webhooks: List<EventWebhook> = "[]",
    }

    /// A program that is sent each event as a POST of JSON, one after the other. What it does not answer with 2xx is sent
    /// again with growing pauses; what cannot be told in time is counted and left out.
    struct EventWebhook {
        /// What it is called in metrics and in the log, unique among them.
        name: Name,
        /// Where it is. Over plain `http` everybody on the way reads the events.
        url: WebUrl,
        /// Signs each body: `X-Hub-Signature-256: sha256=` and the HMAC-SHA-256 of its bytes, in hexadecimal digits. Left out, nothing is signed.
        secret: Option<Secret>,
        /// Only these kinds. Left out, all.
        kinds: List<EventKind> = "[]",
        /// Only events that matter so much, or more.
        severity: SeverityWord = "info",
        /// Authorities of its certificate, in PEM. Left out, those of the system.
        ca: Option<FilePath>,
        /// What one request may take.
        timeout: Time = "5s",
        /// Requests for one event, at most. The pauses between them are 1 s at first and double up to a minute.
        attempts: Int<1, 100> = "8",
    }
}
