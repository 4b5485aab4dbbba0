//! One master: everything about it that is shared between workers and outlives a reload.
//!
//! A master is identified by its upstream's name and its address, never by its weight, name or limits: a reload that
//! changes those hands the same `Arc<Master>` on with a new [`Policy`], so health, counts, averages and queues survive, and
//! one that changes the address makes a new master that starts unknown.
//!
//! Workers report what they see ([`Master::touched`], [`Master::succeeded`], [`Master::failed`], [`Master::watch`]) and read one
//! word to decide ([`Master::admission`]); none of that takes a lock or allocates. What they report changes the
//! word at once, where it must, and rings [`Master::attention`], on which the checker's task for this master sleeps.
//!
//! What counts against a master is a failure of the master: see [`Failure`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Notify;

use super::admission::{Admission, AdmissionWord, Circuit, Health, OperatorState, Role, Tier};
use super::latency::Latency;
use super::permit::Permits;
use super::silence::Silence;
use crate::clock::{self, Micros};
use crate::config::model::{self, Address};
use crate::health::breaker::{Breaker, BreakerRule};
use crate::health::outlier::{Outlier, OutlierRule};
use crate::health::slow_start;
use crate::sync::Padded;

/// After a probe has cleared a suspicion, a broken connection raises none for this long: the outlier detection counts it,
/// and probes on every one of them would be a load of their own.
const SUSPECT_AGAIN_AFTER: Micros = 1_000_000;

/// Shared state of one master.
#[derive(Debug)]
pub struct Master {
    id: u32,
    upstream: Arc<str>,
    address: Address,
    word: AdmissionWord,
    addresses: ArcSwap<Vec<SocketAddr>>,
    policy: ArcSwap<Policy>,
    /// `policy` has a breaker; saves the load on every success where there is none.
    breaker_on: AtomicBool,
    /// When it came back after a failure and began to warm up; 0 when it is warm.
    warming_since: AtomicU64,
    /// It has failed by what a request saw, and no probe has said so yet.
    unconfirmed: AtomicBool,
    /// When a probe last cleared a suspicion.
    cleared_at: AtomicU64,
    /// Stored messages that only it may get.
    stored: AtomicU64,
    attention: Notify,
    permits: Padded<Permits>,
    latency: Padded<Latency>,
    silence: Padded<Silence>,
    outlier: Padded<Outlier>,
    breaker: Padded<Breaker>,
}

/// What the configuration says about a master's treatment; may change at every reload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    pub max_in_flight: u32,
    pub max_queue: u32,
    pub outlier: OutlierRule,
    pub breaker: BreakerRule,
    /// The time over which the breaker counts.
    pub breaker_window: Micros,
    pub slow_start: Micros,
    /// `None` without a health check: a suspicion needs a probe that can clear it. 0 switches the watch on silence off.
    pub suspect_after: Option<Micros>,
    /// Failover says when it is active; until then it stands by.
    pub stands_by: bool,
}

/// How an attempt ended badly, from the master's side. A failure on a reused connection before the first byte of an answer
/// is none of these: the peer may have closed it while idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nothing listens there, or it has no address: out of rotation at once, until probes pass. Counts for neither outlier detection nor breaker,
    /// which would keep it out after it has come back.
    ConnectRefused,
    /// Counted, and suspect.
    ConnectTimeout,
    /// No route, no descriptor left. Counted, and suspect.
    ConnectOther,
    /// The connection broke. Counted, and suspect.
    Reset,
    /// No answer in the time of one attempt. Counted.
    Timeout,
    /// What came is not HTTP. Counted.
    BadResponse,
    /// An answer with a status that the configuration lists under `retry.on_status`. Counted.
    Declared,
    /// An answer with this status: 502, 503 and 504 are counted, 429 costs latency, and any other one is an answer like
    /// any: masters answer 4xx and 500 to particular messages while well.
    Status(u16),
}

/// What a report changed about a master's admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    Died,
    Suspected,
    Ejected,
    CircuitOpened,
    CircuitClosed,
}

/// The one trial request of a half-open circuit. Dropped without a report, it leaves the trial to the next request.
#[derive(Debug)]
#[must_use]
pub struct Trial(Option<Arc<Master>>);

impl Policy {
    #[must_use]
    pub fn of(upstream: &model::Upstream) -> Self {
        let outlier = upstream.outlier_detection.as_ref().map(|outlier| OutlierRule {
            consecutive_failures: outlier.consecutive_failures,
            base_ejection: clock::micros(outlier.base_ejection),
            max_ejection: clock::micros(outlier.max_ejection),
        });
        let breaker = upstream.circuit_breaker.as_ref().map(|breaker| BreakerRule {
            failure_rate: breaker.failure_rate,
            minimum_requests: breaker.minimum_requests,
            open_for: clock::micros(breaker.open_for),
        });
        Self {
            max_in_flight: upstream.limits.max_in_flight,
            max_queue: upstream.limits.max_queue,
            outlier: outlier.unwrap_or_default(),
            breaker: breaker.unwrap_or_default(),
            breaker_window: upstream.circuit_breaker.as_ref().map_or(0, |breaker| clock::micros(breaker.window)),
            slow_start: clock::micros(upstream.slow_start),
            suspect_after: upstream.health_check.as_ref().map(|check| clock::micros(check.suspect_after)),
            stands_by: upstream.failover.is_some(),
        }
    }
}

impl Master {
    /// A new master: unknown, and so out of rotation, until its first probe when it is checked, else healthy.
    #[must_use]
    pub fn new(upstream: Arc<str>, address: Address, policy: Policy) -> Self {
        static NEXT_ID: AtomicU32 = AtomicU32::new(0);
        let health = if policy.suspect_after.is_some() { Health::Unknown } else { Health::Healthy };
        let role = if policy.stands_by { Role::Standby } else { Role::Active };
        let addresses = match address {
            Address::Socket(address) => vec![address],
            Address::Name { .. } | Address::Unix(_) => Vec::new(),
        };
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            upstream,
            address,
            word: AdmissionWord::new(Admission::new(health).with_role(role, 0)),
            addresses: ArcSwap::from_pointee(addresses),
            policy: ArcSwap::from_pointee(policy),
            breaker_on: AtomicBool::new(policy.breaker.failure_rate != 0),
            warming_since: AtomicU64::new(0),
            unconfirmed: AtomicBool::new(false),
            cleared_at: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            attention: Notify::new(),
            permits: Padded(Permits::new(policy.max_in_flight, policy.max_queue)),
            latency: Padded(Latency::new()),
            silence: Padded(Silence::new()),
            outlier: Padded(Outlier::new()),
            breaker: Padded(Breaker::new(policy.breaker_window)),
        }
    }

    /// Unique in this process; dense enough to index a table.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The upstream's name.
    #[must_use]
    pub fn upstream(&self) -> &str {
        &self.upstream
    }

    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Where to connect to: the configured address, or what its name resolved to last; empty for a Unix socket and for a name
    /// that has not been resolved yet. Do not hold the guard across an await.
    #[must_use]
    pub fn addresses(&self) -> Guard<Arc<Vec<SocketAddr>>> {
        self.addresses.load()
    }

    /// Takes over what the name resolves to now.
    pub fn set_addresses(&self, addresses: Vec<SocketAddr>) {
        self.addresses.store(Arc::new(addresses));
        self.attention.notify_one();
    }

    #[must_use]
    pub fn policy(&self) -> Policy {
        **self.policy.load()
    }

    /// Takes a reloaded configuration over. A master that is no longer checked and has no verdict yet becomes healthy.
    pub fn set_policy(&self, policy: Policy) {
        let held = self.policy();
        if held == policy {
            return;
        }
        self.policy.store(Arc::new(policy));
        self.permits.set_limits(policy.max_in_flight, policy.max_queue);
        self.breaker.set_window(policy.breaker_window);
        self.breaker_on.store(policy.breaker.failure_rate != 0, Ordering::Relaxed);
        if policy.breaker.failure_rate == 0 {
            self.breaker.reset(&self.word);
        }
        if policy.suspect_after.is_none() {
            self.word.update(|admission| match admission.health() {
                Health::Unknown | Health::Degraded => admission.with_health(Health::Healthy).with_suspect(false),
                Health::Healthy | Health::Failed => admission.with_suspect(false),
            });
        }
        self.attention.notify_one();
    }

    /// Whether it may be used, as it is now.
    #[must_use]
    pub fn admission(&self) -> Admission {
        self.word.read()
    }

    #[must_use]
    pub fn permits(&self) -> &Permits {
        &self.permits
    }

    #[must_use]
    pub fn latency(&self) -> &Latency {
        &self.latency
    }

    /// Requests and failures the breaker has in its window.
    #[must_use]
    pub fn breaker_counts(&self, now: Micros) -> (u64, u64) {
        self.breaker.counts(now)
    }

    /// The share of its weight it should get while it warms up, in percent.
    #[must_use]
    pub fn share_percent(&self, now: Micros) -> u32 {
        let since = self.warming_since.load(Ordering::Relaxed);
        if since == 0 {
            return 100;
        }
        let percent = slow_start::percent(now.saturating_sub(since), self.policy.load().slow_start);
        if percent == 100 {
            // It may have failed and come back meanwhile: only this warming is over.
            let _ = self.warming_since.compare_exchange(since, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
        percent
    }

    /// Rung on every change the checker has to look at. One task waits on it.
    pub fn attention(&self) -> &Notify {
        &self.attention
    }

    /// Claims the trial of a half-open circuit; `None` when the circuit is not half-open or another request has it.
    #[must_use]
    pub fn claim_trial(self: &Arc<Self>) -> Option<Trial> {
        self.word.claim_trial().then(|| Trial(Some(Arc::clone(self))))
    }

    /// A byte of an answer came.
    pub fn touched(&self, now: Micros) {
        self.silence.touched(now);
    }

    /// An exchange was answered, this long after it was sent.
    pub fn succeeded(&self, now: Micros, latency: Micros, trial: Option<Trial>) -> Option<Transition> {
        self.latency.observe(now, latency);
        self.answered(now, trial)
    }

    /// An attempt failed. `others_usable` says whether the upstream has another usable master: without one, this one
    /// is not ejected.
    pub fn failed(
        &self,
        now: Micros,
        failure: Failure,
        trial: Option<Trial>,
        others_usable: impl Fn() -> bool,
    ) -> Option<Transition> {
        match failure {
            Failure::ConnectRefused => {
                self.latency.charge_failure(now);
                let opened = trial.and_then(|trial| self.record(now, true, Some(trial)));
                self.die().or(opened)
            }
            Failure::Status(502..=504) | Failure::Timeout | Failure::BadResponse | Failure::Declared => {
                self.counted(now, trial, others_usable)
            }
            Failure::Status(429) => {
                self.latency.charge_failure(now);
                self.answered(now, trial)
            }
            Failure::Status(_) => self.answered(now, trial),
            Failure::ConnectTimeout | Failure::ConnectOther | Failure::Reset => {
                let suspected = self.broke(now);
                self.counted(now, trial, others_usable).or(suspected)
            }
        }
    }

    /// Looks at requests that have got no byte yet, the oldest of which the caller sent at `waiting_since`: has the master
    /// been silent for too long? Called by each worker about its own requests.
    pub fn watch(&self, now: Micros, waiting_since: Micros) -> Option<Transition> {
        let suspect_after = self.policy.load().suspect_after.filter(|after| *after > 0)?;
        if self.word.read().suspect() || !self.silence.suspicious(now, waiting_since, suspect_after) {
            return None;
        }
        self.silence.raise_alarm();
        self.suspect()
    }

    /// When [`Master::watch`] would suspect it if no byte came; `None` when it is never suspected.
    #[must_use]
    pub fn suspect_at(&self, now: Micros, waiting_since: Micros) -> Option<Micros> {
        let suspect_after = self.policy.load().suspect_after.filter(|after| *after > 0)?;
        Some(self.silence.suspect_at(now, waiting_since, suspect_after))
    }

    /// The operator's word. Leaving maintenance, a checked master starts unknown again: nobody looked at it meanwhile.
    pub fn set_operator(&self, state: OperatorState) {
        let checked = self.policy.load().suspect_after.is_some();
        self.apply(|admission| {
            let back = admission.operator() == OperatorState::Maintenance && state != OperatorState::Maintenance;
            let admission = if back && checked {
                admission.with_health(Health::Unknown).with_dead(false).with_suspect(false)
            } else {
                admission
            };
            admission.with_operator(state)
        });
        self.attention.notify_one();
    }

    /// Failover's word; with the epoch in which it is fenced by this.
    pub fn set_role(&self, role: Role, fenced_in: Option<u32>) {
        self.apply(|admission| admission.with_role(role, fenced_in.unwrap_or(admission.epoch())));
        self.attention.notify_one();
    }

    /// Whether a probe has seen that it failed, and not a request alone, which may have come in the moment of a restart.
    #[must_use]
    pub fn confirmed(&self) -> bool {
        !self.unconfirmed.load(Ordering::Acquire)
    }

    /// A probe has ended: what it says goes for what requests saw before.
    pub fn confirm(&self) {
        self.unconfirmed.store(false, Ordering::Release);
    }

    /// The checker's verdict; the admission before and after. One that was failed and comes back starts afresh: what the
    /// process before it did to its circuit and to the row of failures is over, and it warms up.
    pub fn set_health(&self, health: Health, now: Micros) -> (Admission, Admission) {
        let recovers = |admission: Admission| {
            admission.health() == Health::Failed && matches!(health, Health::Healthy | Health::Degraded)
        };
        if recovers(self.word.read()) {
            self.outlier.succeeded();
            self.breaker.reset(&self.word);
            if self.policy.load().slow_start > 0 {
                self.warming_since.store(now.max(1), Ordering::Relaxed);
            }
        }
        self.apply(|admission| {
            let ejected = admission.ejected() && !recovers(admission);
            admission.with_health(health).with_suspect(false).with_ejected(ejected)
        })
    }

    /// The checker's answer to a death, which a probe has not `confirmed` yet, or to a suspicion that it has: failed at once.
    pub fn condemn(&self, confirmed: bool) -> (Admission, Admission) {
        self.silence.confirmed();
        // First: whoever sees it failed also sees that this is not sure.
        self.unconfirmed.store(!confirmed, Ordering::Release);
        self.apply(|admission| admission.with_health(Health::Failed).with_dead(false).with_suspect(false))
    }

    /// A probe was answered: whatever silence or broken connection raised, the master lives. Whether it was suspect.
    pub fn clear_suspicion(&self, now: Micros) -> bool {
        self.silence.answered(now);
        let (before, _) = self.word.update(|admission| admission.with_suspect(false));
        if before.suspect() {
            self.cleared_at.store(now, Ordering::Relaxed);
        }
        before.suspect()
    }

    /// Whether it is suspect for its silence rather than for a broken connection.
    #[must_use]
    pub fn silent(&self) -> bool {
        self.silence.alarmed()
    }

    /// Lets time pass: ends an ejection, makes an open circuit half-open. The checker alone calls it, again by
    /// [`Master::next_tick`]; returns the admission before and after.
    pub fn tick(&self, now: Micros) -> (Admission, Admission) {
        let before = self.word.read();
        self.outlier.tick(&self.word, now);
        self.breaker.tick(&self.word, now);
        (before, self.word.read())
    }

    /// When [`Master::tick`] has something to do next.
    #[must_use]
    pub fn next_tick(&self) -> Option<Micros> {
        let admission = self.word.read();
        let outlier = self.outlier.next_tick(admission.ejected());
        let breaker = self.breaker.next_tick(admission.circuit());
        outlier.into_iter().chain(breaker).min()
    }

    fn answered(&self, now: Micros, trial: Option<Trial>) -> Option<Transition> {
        self.outlier.succeeded();
        self.record(now, false, trial)
    }

    fn counted(&self, now: Micros, trial: Option<Trial>, others_usable: impl Fn() -> bool) -> Option<Transition> {
        self.latency.charge_failure(now);
        let ejected = self.eject(now, others_usable);
        self.record(now, true, trial).or(ejected)
    }

    /// Tells the breaker.
    fn record(&self, now: Micros, failed: bool, trial: Option<Trial>) -> Option<Transition> {
        let on_trial = trial.is_some();
        if let Some(mut trial) = trial {
            trial.0 = None;
        }
        if !self.breaker_on.load(Ordering::Relaxed) {
            // A worker that still held the rule of before may have opened the circuit after it was switched off. Nothing
            // else would close it then, and the trial just used would be its last.
            return (on_trial && self.breaker.reset(&self.word)).then_some(Transition::CircuitClosed);
        }
        let rule = self.policy.load().breaker;
        let changed = self.breaker.record(&self.word, now, &rule, failed, on_trial)?;
        self.attention.notify_one();
        if changed == Circuit::Closed {
            return Some(Transition::CircuitClosed);
        }
        self.permits.wake_all_for_repick();
        Some(Transition::CircuitOpened)
    }

    fn eject(&self, now: Micros, others_usable: impl Fn() -> bool) -> Option<Transition> {
        let rule = self.policy.load().outlier;
        self.outlier.failed(&self.word, now, &rule, others_usable).then(|| {
            self.attention.notify_one();
            Transition::Ejected
        })
    }

    fn die(&self) -> Option<Transition> {
        // Of a failed master it is no news, and probing it for every refused request would be a load of its own.
        let news = |admission: Admission| admission.health() != Health::Failed && !admission.dead();
        let (before, _) = self.apply(|admission| if news(admission) { admission.with_dead(true) } else { admission });
        news(before).then(|| {
            self.attention.notify_one();
            Transition::Died
        })
    }

    /// Stored messages that wait for it and that no other master may get, as of the last second.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    /// Says how many there are.
    pub fn set_stored(&self, messages: u64) {
        self.stored.store(messages, Ordering::Relaxed);
    }

    /// Failures since the last success; 0 without outlier detection.
    #[must_use]
    pub fn failures_in_row(&self) -> u32 {
        self.outlier.in_row()
    }

    /// A fresh connection broke or did not come about.
    fn broke(&self, now: Micros) -> Option<Transition> {
        self.policy.load().suspect_after?;
        let cleared_at = self.cleared_at.load(Ordering::Relaxed);
        if cleared_at != 0 && now.saturating_sub(cleared_at) < SUSPECT_AGAIN_AFTER {
            return None;
        }
        self.suspect()
    }

    fn suspect(&self) -> Option<Transition> {
        let news = |admission: Admission| {
            matches!(admission.health(), Health::Healthy | Health::Degraded)
                && !admission.dead()
                && !admission.suspect()
                && admission.operator() != OperatorState::Maintenance
        };
        let (before, _) =
            self.word.update(|admission| if news(admission) { admission.with_suspect(true) } else { admission });
        news(before).then(|| {
            self.attention.notify_one();
            Transition::Suspected
        })
    }

    /// Changes the word; those who queue for a master that thereby goes out of use pick again.
    fn apply(&self, change: impl Fn(Admission) -> Admission) -> (Admission, Admission) {
        let (before, after) = self.word.update(change);
        if after.tier() == Tier::Out && before.tier() != Tier::Out {
            self.permits.wake_all_for_repick();
        }
        (before, after)
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Some(master) = self.0.take() {
            let half_open = |admission: Admission| admission.circuit() == Circuit::HalfOpen;
            master.word.update(|admission| if half_open(admission) { admission.with_trial(false) } else { admission });
        }
    }
}

#[cfg(test)]
mod tests;
