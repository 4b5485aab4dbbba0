//! Programs that are sent each event, one after the other, in its order.
//!
//! Each has a task that goes through the bus at its own pace, so what waits for a slow one is what the bus keeps; what is
//! overwritten there is counted as dropped. None holds up another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use metrics::Counter;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::post::Post;
use crate::config::model::EventWebhook;
use crate::events::{Bus, Event, Next, Reader};
use crate::net::outbound;
use crate::telemetry::{Telemetry, names};

/// The event's kind, for receivers that pick before they parse.
const KIND: &str = "baton-event";
/// The event's number: the same in each attempt.
const KEY: &str = "idempotency-key";

/// All webhooks of the configuration. Dropping it ends them.
pub struct Webhooks {
    runtime: Handle,
    events: Arc<Bus>,
    telemetry: Arc<Telemetry>,
    running: Mutex<Vec<Running>>,
}

struct Running {
    webhook: EventWebhook,
    /// Number of the last event that is done with.
    position: Arc<AtomicU64>,
    /// Events that it was not told, since it is configured so.
    untold: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Webhooks {
    /// None yet; tasks will run on this event loop.
    #[must_use]
    pub fn new(runtime: Handle, events: Arc<Bus>, telemetry: Arc<Telemetry>) -> Self {
        Self { runtime, events, telemetry, running: Mutex::default() }
    }

    /// Tells exactly these from now on. One that did not change goes on undisturbed; one that did goes on with the event it
    /// was at.
    pub fn update(&self, webhooks: &[EventWebhook]) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *running);
        for webhook in webhooks {
            let known = before.iter().position(|known| known.webhook.name == webhook.name);
            let known = known.map(|index| before.swap_remove(index));
            match known {
                Some(known) if known.webhook == *webhook => running.push(known),
                known => running.push(self.start(webhook, known.map(|it| it.position.load(Ordering::Relaxed)))),
            }
        }
    }

    /// How many events each was not told, since it is configured as it is.
    #[must_use]
    pub fn untold(&self) -> Vec<(String, u64)> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().map(|it| (it.webhook.name.clone(), it.untold.load(Ordering::Relaxed))).collect()
    }

    fn start(&self, webhook: &EventWebhook, after: Option<u64>) -> Running {
        let reader = self.events.read(after);
        let position = Arc::new(AtomicU64::new(reader.position()));
        let untold: Arc<AtomicU64> = Arc::default();
        let counter = |outcome| self.telemetry.cold.counter(&names::EVENT_WEBHOOKS, &[&webhook.name, outcome]);
        let teller = Teller {
            webhook: webhook.clone(),
            reader,
            position: position.clone(),
            untold: untold.clone(),
            delivered: counter("delivered"),
            failed: counter("failed"),
            dropped: counter("dropped"),
        };
        Running { webhook: webhook.clone(), position, untold, task: self.runtime.spawn(teller.run()) }
    }

    /// Gives what has been told to the bus before it was closed this much time to be delivered.
    pub async fn finish(&self, within: Duration) {
        let running = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        let all = async {
            for mut running in running {
                let _ = (&mut running.task).await;
            }
        };
        let _ = tokio::time::timeout(within, all).await;
    }
}

struct Teller {
    webhook: EventWebhook,
    reader: Reader,
    position: Arc<AtomicU64>,
    untold: Arc<AtomicU64>,
    delivered: Counter,
    failed: Counter,
    dropped: Counter,
}

impl Teller {
    async fn run(mut self) {
        let name = self.webhook.name.clone();
        let post = match self.post() {
            Ok(post) => post,
            Err(error) => {
                tracing::error!("event webhook {name} cannot be told anything: {error}");
                return;
            }
        };
        loop {
            match self.reader.next().await {
                Next::Event(event) if self.webhook.wants(&event) => self.tell(&post, &event).await,
                Next::Event(_) => {}
                Next::Missed(count) => {
                    let count = count.unwrap_or(1);
                    self.dropped.increment(count);
                    self.untold.fetch_add(count, Ordering::Relaxed);
                    tracing::warn!("event webhook {name} is too slow: {count} events are dropped");
                }
                Next::Closed => return,
            }
            self.position.store(self.reader.position(), Ordering::Relaxed);
        }
    }

    fn post(&self) -> Result<Post, String> {
        let EventWebhook { url, secret, ca, timeout, attempts, .. } = &self.webhook;
        let over_tls = url.scheme_str() == Some("https");
        Ok(Post {
            url: url.clone(),
            secret: secret.as_ref().map(|secret| secret.0.clone()),
            tls: if over_tls { Some(outbound::trusting(ca.as_deref())?) } else { None },
            timeout: *timeout,
            attempts: *attempts,
        })
    }

    async fn tell(&self, post: &Post, event: &Event) {
        let (name, id, place) = (&self.webhook.name, event.id, self.webhook.place());
        let mut headers = HeaderMap::new();
        headers.insert(KIND, HeaderValue::from_static(event.kind.word()));
        headers.insert(KEY, id.into());
        let body = Bytes::from(serde_json::json!(event).to_string());
        let failing = |attempt, reason: &str| {
            if attempt == 1 {
                tracing::warn!("event webhook {name} ({place}) does not take event {id}: {reason}; trying again");
            }
        };
        match post.deliver(&headers, body, failing).await {
            Ok(()) => self.delivered.increment(1),
            Err(reason) => {
                self.failed.increment(1);
                self.untold.fetch_add(1, Ordering::Relaxed);
                let attempts = post.attempts;
                tracing::error!(
                    "event webhook {name} ({place}) is not told event {id} after {attempts} attempts: {reason}"
                );
            }
        }
    }
}
