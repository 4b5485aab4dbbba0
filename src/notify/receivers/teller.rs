//! The task that tells one receiver: it looks at the book whenever that changes, and each second, and tells what its core says.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::channel::Channel;
use super::standing::Standing;
use crate::alerts::Alerts;
use crate::alerts::notices::{Notice, Notices};
use crate::alerts::refresh::{Batch, Refresh};
use crate::clock::{UnixMillis, unix_millis};
use crate::config::model::{Receiver, Way};

/// Between two looks, also when nothing happens: silences end by the clock.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What decides, by the receiver's kind.
enum Core {
    Notices(Notices),
    Refresh(Refresh),
}

/// What is to be told at once.
enum Parcel {
    Notice(Notice),
    Batch(Batch),
}

pub struct Teller {
    receiver: Receiver,
    core: Core,
    channel: Option<Channel>,
    alerts: Arc<Alerts>,
    standing: Arc<Standing>,
    stop: watch::Receiver<bool>,
}

impl Teller {
    pub fn new(receiver: &Receiver, alerts: Arc<Alerts>, standing: Arc<Standing>, stop: watch::Receiver<bool>) -> Self {
        let core = match receiver.way {
            Way::Alertmanager(_) => Core::Refresh(Refresh::new(receiver)),
            Way::Webhook(..) | Way::Slack(_) | Way::Email(_) => Core::Notices(Notices::new(receiver)),
        };
        Self { receiver: receiver.clone(), core, channel: None, alerts, standing, stop }
    }

    /// Until it is to stop; what it is about to tell then, it still tells.
    pub async fn run(mut self) {
        let mut changed = self.alerts.watch();
        let mut stop = self.stop.clone();
        while !*stop.borrow_and_update() {
            let (parcel, next) = self.look();
            if let Some(parcel) = parcel {
                self.tell(parcel).await;
                continue;
            }
            let until = next.map_or(LOOK_EVERY, |next| Duration::from_millis(next.saturating_sub(unix_millis())));
            tokio::select! {
                // It lives as long as the book, which this task holds.
                _ = changed.changed() => {}
                ended = stop.changed() => if ended.is_err() { return },
                () = tokio::time::sleep(until.min(LOOK_EVERY)) => {}
            }
        }
    }

    fn look(&mut self) -> (Option<Parcel>, Option<UnixMillis>) {
        let now = unix_millis();
        let mut book = self.alerts.lock();
        match &mut self.core {
            Core::Notices(notices) => {
                let look = notices.look(now, &mut book);
                drop(book);
                self.standing.seen(notices.waiting(), look.held, look.dropped);
                if look.dropped > 0 {
                    tracing::warn!(
                        "{} alerts are not told to receiver {}: too many wait",
                        look.dropped,
                        self.receiver.name
                    );
                }
                (look.notice.map(Parcel::Notice), look.next)
            }
            Core::Refresh(refresh) => {
                let (batch, next) = refresh.look(now, &book);
                drop(book);
                self.standing.seen(refresh.waiting(), 0, 0);
                (batch.map(Parcel::Batch), next)
            }
        }
    }

    async fn tell(&mut self, parcel: Parcel) {
        let outcome = self.deliver(&parcel).await;
        let now = unix_millis();
        self.standing.told(now, &outcome);
        if let Err(reason) = &outcome {
            let (name, place) = (&self.receiver.name, self.receiver.way.place());
            tracing::error!("receiver {name} ({place}) is not told of alerts: {reason}");
        }
        let mut book = self.alerts.lock();
        match (&mut self.core, &parcel, outcome.is_ok()) {
            (Core::Notices(notices), Parcel::Notice(notice), true) => notices.delivered(now, &mut book, notice),
            (Core::Notices(notices), Parcel::Notice(notice), false) => notices.failed(now, &mut book, notice),
            (Core::Refresh(refresh), Parcel::Batch(batch), true) => refresh.delivered(now, &mut book, batch),
            (Core::Refresh(refresh), _, _) => refresh.failed(now),
            (Core::Notices(_), Parcel::Batch(_), _) => {}
        }
    }

    async fn deliver(&mut self, parcel: &Parcel) -> Result<(), String> {
        if self.channel.is_none() {
            // Authorities may come back: they are read until they can be.
            self.channel = Some(Channel::open(&self.receiver, self.receiver.attempts)?);
        }
        let Some(channel) = &self.channel else { return Err("there is no way to it".to_owned()) };
        let (name, place) = (&self.receiver.name, self.receiver.way.place());
        let failing = |attempt, reason: &str| {
            if attempt == 1 {
                tracing::warn!("receiver {name} ({place}) does not take a notification: {reason}; trying again");
            }
        };
        match parcel {
            Parcel::Notice(notice) => channel.tell(notice, failing).await,
            Parcel::Batch(batch) => channel.refresh(batch, failing).await,
        }
    }
}
