//! One master's watch: probes it, acts on what requests saw of it, and lets its ejections and open circuits run out.
//!
//! The task sleeps until the first of: the probe's answer or deadline, the next probe, the end of an ejection or of an open
//! circuit, a ring of [`Master::attention`], a new configuration. Whatever wakes it, it then looks at everything afresh, so no
//! event can be lost by coming together with another one.
//!
//! | seen | done |
//! |---|---|
//! | dead (a request was refused) | failed at once; probed at once with `suspect_timeout`, then at the fast pace; where one master serves alone and answers that probe, it was restarted: well at once |
//! | suspect (silence, a broken connection) | probed at once with `suspect_timeout`; answered: cleared, else failed at once |
//! | a probe's answer | counted; a verdict where the thresholds say so |
//! | maintenance | no probes |
//! | unknown | probed at once |
//!
//! There is never more than one probe under way: a suspicion that meets one shortens its deadline. A master without a health check is
//! not probed, unless it is dead: then it is connected to until that works.
//!
//! What a suspicion comes to depends on the probe. The kernel accepts connections for a process that hangs, so a `tcp` probe clears
//! every suspicion of silence; it takes an `http` one to find out a process that hangs.

use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::change::{Change, Event, OnChange};
use super::counter::{Counter, Sign};
use super::probe::{Report, probe};
use crate::clock::{self, Micros};
use crate::config::model::{HealthCheck, MasterProtocol, Probe};
use crate::tls::client::MasterTls;
use crate::upstream::admission::{Admission, Circuit, Health, OperatorState};
use crate::upstream::master::Master;

/// A changing or failed master is probed this many times faster than a settled one.
const FAST_FACTOR: u64 = 5;
/// But no faster than this, unless its interval is: a master that struggles is not to be pushed over.
const FAST_FLOOR: Micros = 250_000;
/// The pause after a probe that took its whole interval.
const MIN_PAUSE: Micros = 100_000;
/// A probe whose end is noticed this late was not watched: this task, or the whole machine, stood still meanwhile.
const STALL: Micros = 50_000;
/// What such a probe gets on top, once, so that a pause of ours does not fail every master at a time.
const GRACE: Micros = 500_000;
/// How often, and for how long, a dead master without a health check is tried.
const UNCHECKED_INTERVAL: Duration = Duration::from_secs(1);

/// What may change about a master from one generation to the next.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settings {
    pub(super) name: Arc<str>,
    pub(super) check: Option<Arc<HealthCheck>>,
    pub(super) tls: Option<Arc<MasterTls>>,
    pub(super) protocol: MasterProtocol,
}

/// The watch of one master.
pub(super) struct Monitor {
    master: Arc<Master>,
    settings: watch::Receiver<Settings>,
    on_change: Arc<OnChange>,
    counter: Counter,
    next_probe: Micros,
    running: Option<Running>,
    /// The admission as it was last reported, health aside.
    reported: Admission,
    random: u64,
}

struct Running {
    report: Pin<Box<dyn Future<Output = Report> + Send>>,
    started: Micros,
    deadline: Micros,
    /// Has got its [`GRACE`].
    excused: bool,
}

impl Monitor {
    pub(super) fn new(master: Arc<Master>, settings: watch::Receiver<Settings>, on_change: Arc<OnChange>) -> Self {
        let admission = master.admission();
        Self {
            counter: Counter::new(admission.health()),
            next_probe: clock::now(),
            running: None,
            // Of a fresh word, so that an ejection from before this watch began is told.
            reported: Admission::new(admission.health()),
            // Spreads probes; no secret hangs on it, and xorshift must not start at 0.
            random: RandomState::new().hash_one(master.id()) | 1,
            master,
            settings,
            on_change,
        }
    }

    /// Runs until the checker lets go of the master.
    pub(super) async fn run(mut self) {
        let master = Arc::clone(&self.master);
        loop {
            self.look();
            let wake_at = self.wake_at();
            tokio::select! {
                biased;
                report = answer(self.running.as_mut()) => self.settle(report),
                changed = self.settings.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.running = None;
                    self.next_probe = clock::now();
                }
                () = master.attention().notified() => {}
                () = sleep_for(wake_at) => {}
            }
        }
    }

    /// Looks at the master and does what is due.
    fn look(&mut self) {
        let now = clock::now();
        self.master.tick(now);
        let admission = self.master.admission();
        if admission.dead() {
            // What an older probe still says was said by the process that is gone.
            self.running = None;
            self.next_probe = now;
            self.fail("a request was refused a connection".to_owned(), false);
        } else if admission.health() != self.counter.health() {
            // Changed by the operator or a reload: nothing counted so far applies.
            self.running = None;
            self.next_probe = now;
            self.counter = Counter::new(admission.health());
            self.report(Event::Health(admission.health()), String::new());
        }
        self.report_changes();
        self.end_probe(now);
        self.drive_probe(now);
    }

    /// Starts, hastens or stops the probe.
    fn drive_probe(&mut self, now: Micros) {
        let admission = self.master.admission();
        if admission.operator() == OperatorState::Maintenance {
            self.running = None;
            return;
        }
        let Some(check) = self.check() else { return };
        if self.running.is_none() && (admission.suspect() || self.next_probe <= now) {
            let (master, asked) = (Arc::clone(&self.master), Arc::clone(&check));
            let Settings { tls, protocol, .. } = self.settings.borrow().clone();
            self.running = Some(Running {
                report: Box::pin(async move {
                    probe(&master, tls.as_deref(), protocol, &asked.probe, asked.proxy_protocol).await
                }),
                started: now,
                deadline: now.saturating_add(clock::micros(check.timeout)),
                excused: false,
            });
        }
        let hurries = admission.suspect() || !self.master.confirmed();
        if let Some(running) = self.running.as_mut().filter(|_| hurries) {
            running.deadline = running.deadline.min(now.saturating_add(clock::micros(check.suspect_timeout)));
        }
    }

    /// Gives the probe up if its time is over.
    fn end_probe(&mut self, now: Micros) {
        let Some(running) = self.running.as_mut().filter(|running| running.deadline <= now) else { return };
        if now - running.deadline > STALL && !running.excused {
            running.excused = true;
            running.deadline = now.saturating_add(GRACE);
            return;
        }
        let waited = Duration::from_micros(now.saturating_sub(running.started));
        let address = self.master.address();
        self.settle(Report::failed(format!("no answer in {} ms ({address})", waited.as_millis())));
    }

    /// Takes a probe's outcome in.
    fn settle(&mut self, report: Report) {
        let Some(running) = self.running.take() else { return };
        let Some(check) = self.check() else { return };
        let now = clock::now();
        let micros = now.saturating_sub(running.started);
        // Forgiven before it is confirmed: at no moment does it look as if a probe had failed.
        if !self.master.confirmed() && report.sign != Sign::Failed && self.master.policy().stands_by {
            self.forgive(report.sign, now);
        }
        self.master.confirm();
        self.report(Event::Probed { sign: report.sign, micros }, String::new());
        if report.sign == Sign::Failed && self.master.admission().suspect() {
            let reason = if self.master.silent() { "silent" } else { "a connection broke" };
            self.fail(format!("{reason}, and then its probe: {}", report.evidence), true);
        } else {
            if report.sign != Sign::Failed {
                self.master.clear_suspicion(now);
            }
            let (fall, rise) = (check.unhealthy_threshold, check.healthy_threshold);
            let row = self.counter.contrary() + 1;
            if let Some(health) = self.counter.observe(report.sign, fall, rise) {
                self.master.set_health(health, now);
                let evidence =
                    if row == 1 { report.evidence } else { format!("{row} probes in a row: {}", report.evidence) };
                self.report(Event::Health(health), evidence);
            }
        }
        let pause = self.pause(&check);
        self.next_probe = running.started.saturating_add(pause).max(now.saturating_add(MIN_PAUSE.min(pause)));
    }

    /// A request came in the moment in which the master was restarted.
    fn forgive(&mut self, sign: Sign, now: Micros) {
        let health = if sign == Sign::Degraded { Health::Degraded } else { Health::Healthy };
        self.counter = Counter::new(health);
        self.master.set_health(health, now);
        self.report(Event::Health(health), "a request was refused, and the probe after it answered".to_owned());
    }

    /// Failed at once, thresholds aside.
    fn fail(&mut self, evidence: String, confirmed: bool) {
        self.master.condemn(confirmed);
        if self.counter.condemn() {
            self.report(Event::Health(Health::Failed), evidence);
        }
    }

    /// From the start of one probe to the start of the next.
    fn pause(&mut self, check: &HealthCheck) -> Micros {
        let settled =
            matches!(self.counter.health(), Health::Healthy | Health::Degraded) && self.counter.contrary() == 0;
        let interval = clock::micros(check.interval);
        let pause = if settled { interval } else { fast(interval) };
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        spread(pause, check.jitter_percent, self.random)
    }

    /// How to probe it now, if at all.
    fn check(&self) -> Option<Arc<HealthCheck>> {
        let check = self.settings.borrow().check.clone();
        check.or_else(|| (self.counter.health() == Health::Failed).then(|| Arc::new(unchecked())))
    }

    fn wake_at(&self) -> Micros {
        let probed = self.check().is_some() && self.master.admission().operator() != OperatorState::Maintenance;
        let probe = match &self.running {
            Some(running) => Some(running.deadline),
            None => probed.then_some(self.next_probe),
        };
        probe.into_iter().chain(self.master.next_tick()).min().unwrap_or(Micros::MAX)
    }

    /// Reports what the data path, or time, changed since the last look.
    fn report_changes(&mut self) {
        let (before, after) = (self.reported, self.master.admission());
        self.reported = after;
        if before.suspect() != after.suspect() && after.health() != Health::Failed {
            let event = if after.suspect() { Event::Suspected } else { Event::Cleared };
            let evidence = match (after.suspect(), self.master.silent()) {
                (true, true) => "requests wait and no byte comes",
                (true, false) => "a new connection broke",
                (false, _) => "it answered a probe",
            };
            self.report(event, evidence.to_owned());
        }
        if before.ejected() != after.ejected() {
            let failures = self.master.policy().outlier.consecutive_failures;
            let evidence = if after.ejected() { format!("{failures} failures in a row") } else { String::new() };
            self.report(if after.ejected() { Event::Ejected } else { Event::Returned }, evidence);
        }
        if before.circuit() != after.circuit() {
            let evidence = match (before.circuit(), after.circuit()) {
                (Circuit::HalfOpen, Circuit::Open) => "the request on trial failed".to_owned(),
                (Circuit::HalfOpen, Circuit::Closed) => "the request on trial was answered".to_owned(),
                (_, Circuit::Open) => {
                    let (requests, failures) = self.master.breaker_counts(clock::now());
                    format!("{failures} of the last {requests} requests failed")
                }
                (_, Circuit::HalfOpen) => "the next request is on trial".to_owned(),
                (_, Circuit::Closed) => "the master is back".to_owned(),
            };
            self.report(Event::Circuit(after.circuit()), evidence);
        }
    }

    fn report(&self, event: Event, evidence: String) {
        let name = Arc::clone(&self.settings.borrow().name);
        let change =
            Change { master: Arc::clone(&self.master), name, event, evidence, admission: self.master.admission() };
        match event {
            Event::Health(Health::Failed | Health::Degraded) | Event::Ejected | Event::Circuit(Circuit::Open) => {
                tracing::warn!("{change}");
            }
            // A bot that thinks for a second is suspected for a millisecond; that is no news to an operator.
            Event::Suspected | Event::Cleared | Event::Probed { .. } => tracing::debug!("{change}"),
            Event::Health(_) | Event::Returned | Event::Circuit(_) => tracing::info!("{change}"),
        }
        (self.on_change)(&change);
    }
}

/// The probe's answer; never, when there is none under way.
async fn answer(running: Option<&mut Running>) -> Report {
    match running {
        Some(running) => running.report.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn sleep_for(until: Micros) {
    sleep(Duration::from_micros(until.saturating_sub(clock::now()))).await;
}

fn fast(interval: Micros) -> Micros {
    (interval / FAST_FACTOR).max(FAST_FLOOR).min(interval)
}

/// The pause, longer or shorter by up to `percent` of it.
fn spread(pause: Micros, percent: u32, random: u64) -> Micros {
    let most = pause.saturating_mul(u64::from(percent.min(100))) / 100;
    let moved = random % most.saturating_mul(2).saturating_add(1);
    pause.saturating_sub(most).saturating_add(moved)
}

/// How a dead master without a health check is watched.
fn unchecked() -> HealthCheck {
    HealthCheck {
        interval: UNCHECKED_INTERVAL,
        timeout: UNCHECKED_INTERVAL,
        unhealthy_threshold: 1,
        healthy_threshold: 1,
        jitter_percent: 10,
        proxy_protocol: None,
        probe: Probe::Tcp,
        suspect_after: UNCHECKED_INTERVAL,
        suspect_timeout: UNCHECKED_INTERVAL,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Micros = 1_000_000;

    #[test]
    fn a_changing_master_is_probed_faster_within_bounds() {
        assert_eq!(fast(5 * SECOND), SECOND);
        assert_eq!(fast(SECOND), FAST_FLOOR);
        assert_eq!(fast(FAST_FLOOR / 5), FAST_FLOOR / 5);
    }

    proptest! {
        #[test]
        fn jitter_stays_within_its_share_of_the_pause(
            pause in 0..3_600 * SECOND, percent in 0..=100_u32, random in any::<u64>(),
        ) {
            let most = pause * u64::from(percent) / 100;
            let spread = spread(pause, percent, random);
            prop_assert!(spread >= pause - most && spread <= pause + most);
        }
    }
}
