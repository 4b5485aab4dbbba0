//! The thread that watches: once a second, and at once when something happens, it looks at everything and tells the monitor.
//!
//! A thread of its own, so that neither probes nor people who ask wait for it. What it costs is a read of every counter: a millisecond
//! a second with two thousand masters.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Control;
use super::alerts::Watchman;
use super::states::States;
use crate::clock;
use crate::config::model::StrategyKind;
use crate::events::{Next, Reader};
use crate::monitor::files::Files;
use crate::monitor::observation::{MasterNow, Observation, SpoolNow, UpstreamNow};
use crate::monitor::score::System;
use crate::sla;
use crate::snapshot::Upstream;
use crate::telemetry::deltas::Deltas;

/// Between two looks, also when there is news all the time.
const PAUSE: Duration = Duration::from_millis(100);

/// How far back lost log lines are looked for.
const MINUTE_MILLIS: u64 = 60_000;

/// The running thread. Dropping it ends it without waiting.
pub struct Watch {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// Starts watching.
///
/// # Errors
/// No thread could be made.
pub fn start(control: Arc<Control>) -> io::Result<Watch> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopping) = oneshot::channel();
    let watching = move || runtime.block_on(watch(&control, stopping));
    let thread = std::thread::Builder::new().name("monitor".to_owned()).spawn(watching)?;
    Ok(Watch { stop, thread })
}

impl Watch {
    /// Ends it.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the monitor had panicked");
        }
    }
}

async fn watch(control: &Control, mut stopping: oneshot::Receiver<()>) {
    let mut files = Files::new(&control.published.load().config.state_path);
    {
        let mut core = control.monitor.lock();
        files.load(clock::unix_millis() / 1000, |key, closed| core.restore(key, closed));
    }
    let mut watchman = Watchman::new(control);
    let mut books = sla::files::Files::new(&control.published.load().config.state_path);
    let ended = {
        let (mut ledger, now) = (control.sla.lock(), clock::unix_millis() / 1000);
        books.load(now, |closed| ledger.restore(&closed));
        ledger.restored(now)
    };
    books.keep(&ended);
    let mut states = States::load(&control.published.load());
    let mut eyes = Eyes::default();
    let mut news = control.events.read(None);
    loop {
        let seen = eyes.look(control);
        let closed = control.monitor.lock().observe(&seen);
        files.keep(&closed);
        // What a process that is being taken down sees is no fault.
        if !control.stopping.load(Ordering::Acquire) {
            watchman.look(control, &seen);
            states.look(&seen);
        }
        let met = super::sla::seen(&control.published.load(), &seen);
        let ended = control.sla.lock().observe(seen.at / 1000, met);
        books.keep(&ended);
        // On the second, so that each has its sample.
        let rest = Duration::from_millis(1000 - clock::unix_millis() % 1000);
        tokio::select! {
            _ = &mut stopping => break,
            () = tokio::time::sleep(rest) => {}
            () = something_new(&mut news) => tokio::time::sleep(PAUSE.min(rest)).await,
        }
    }
    if !control.upgraded.load(Ordering::Acquire) {
        watchman.finish(control);
    }
    let ended = control.sla.lock().finish();
    books.keep(&ended);
}

/// Waits for an event; for ever when there will be none. Cancel-safe.
async fn something_new(news: &mut Reader) {
    if news.next().await == Next::Closed {
        std::future::pending::<()>().await;
    }
}

/// What has been seen so far, as far as the next look needs it.
#[derive(Default)]
struct Eyes {
    deltas: Deltas,
    /// Lost log lines by time, a minute back.
    lost: VecDeque<(u64, u64)>,
}

impl Eyes {
    fn look(&mut self, control: &Control) -> Observation {
        let at = clock::unix_millis();
        let snapshot = control.published.load_full();
        let store = control.store();
        let stats = store.as_ref().map(crate::spool::store::Store::stats);
        let oldest = store.as_ref().and_then(|store| store.oldest().ok().flatten());
        let gates = snapshot.config.listeners.iter().filter_map(|listener| control.acceptor.address(&listener.name)?.1);
        let (mut certificates, mut stale) = (Vec::new(), 0);
        for gate in gates {
            let now = i64::try_from(at / 1000).unwrap_or(i64::MAX);
            let ends = gate.certificates().into_iter();
            certificates.extend(ends.filter_map(|facts| Some((facts.title().to_owned(), facts.not_after? - now))));
            stale += gate.stale().len() as u64;
        }
        Observation {
            at,
            news: self.deltas.look(&control.telemetry),
            routes: snapshot.config.routes.iter().map(|route| route.name.as_str().into()).collect(),
            upstreams: snapshot.upstreams.iter().map(|upstream| upstream_now(upstream)).collect(),
            system: System {
                spool_failed: stats.as_ref().and_then(|stats| stats.failed.as_ref()).map(ToString::to_string),
                spool_full: stats.as_ref().and_then(|stats| stats.full).map(|full| full.word().to_owned()),
                oldest_seconds: oldest.map_or(0.0, |accepted| at.saturating_sub(accepted) as f64 / 1000.0),
                config_rejected: control.config_error.lock().unwrap_or_else(PoisonError::into_inner).is_some(),
                certificates,
                stale_certificates: stale,
                log_lines_lost: self.lost_in_a_minute(control, at),
            },
            spool: stats.map_or_else(SpoolNow::default, |stats| SpoolNow {
                pending: stats.pending,
                dead_letters: stats.dead,
                disk_percent: percent(stats.disk_bytes, snapshot.config.spool.max_bytes),
            }),
        }
    }

    fn lost_in_a_minute(&mut self, control: &Control, at: u64) -> u64 {
        let dropped = control.access_log.dropped();
        let total = dropped.queue_full + dropped.write_error;
        self.lost.push_back((at, total));
        while self.lost.front().is_some_and(|(then, _)| then + MINUTE_MILLIS < at || *then > at) {
            self.lost.pop_front();
        }
        total.saturating_sub(self.lost.front().map_or(total, |(_, before)| *before))
    }
}

fn upstream_now(upstream: &Upstream) -> UpstreamNow {
    let masters = upstream.settings.masters.iter().zip(&upstream.masters);
    UpstreamNow {
        name: upstream.settings.name.as_str().into(),
        // These send everything to the best place on purpose.
        spreads: upstream.owners.is_none()
            && !matches!(upstream.settings.strategy, StrategyKind::Priority | StrategyKind::Geo),
        masters: masters
            .map(|(settings, master)| MasterNow {
                name: settings.name.as_str().into(),
                admission: upstream.standing_of(master),
                weight: settings.weight,
                in_flight: u64::from(master.permits().in_flight()),
                queued: u64::from(master.permits().queued()),
                pending: master.stored(),
                failures_in_row: master.failures_in_row(),
            })
            .collect(),
    }
}

fn percent(part: u64, whole: u64) -> u8 {
    u8::try_from(part.saturating_mul(100) / whole.max(1)).unwrap_or(u8::MAX)
}
