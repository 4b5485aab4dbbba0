//! Whether a master may be used, as one atomic word.
//!
//! Everything that can take a master out of rotation writes here: probes, the request that saw it die, the watch on
//! silent masters, outlier ejection, the circuit breaker, the operator and failover. A request reads the word once and
//! decides from that reading, so it can never see half of a change, and the data path can stop using a master in the
//! same microsecond in which it sees it die, before the control plane has said anything.
//!
//! Each writer sets its own bits, with one compare-and-swap loop; no writer waits for another. Where one event settles what
//! another writer had raised, the bits fall in the same update: a verdict of the probes ends a suspicion, and a master that
//! comes back starts with a closed circuit and no ejection.
//!
//! The epoch is that of the failover by which the master was fenced last. Being made active or a standby leaves it alone: whoever
//! began something under one epoch and ends it under another knows that the master was fenced in between.

use crate::sync::atomic::{AtomicU64, Ordering};

/// What probes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Health {
    Unknown = 0,
    Healthy = 1,
    /// Serves what it already has, gets nothing new.
    Degraded = 2,
    Failed = 3,
}

/// What the circuit breaker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Circuit {
    Closed = 0,
    Open = 1,
    HalfOpen = 2,
}

/// What the operator says; it outranks every probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum OperatorState {
    Ready = 0,
    /// No new conversations.
    Drain = 1,
    /// Nothing at all; probes stopped.
    Maintenance = 2,
}

/// What failover says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    Active = 0,
    Standby = 1,
    Fenced = 2,
}

/// How usable a master is for one request, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// In rotation.
    Full,
    /// Degraded or draining: for what is pinned to it, or when nothing is in [`Tier::Full`].
    Reserved,
    /// Suspected or ejected: only when nothing better is left.
    Doubtful,
    /// Not to be used.
    Out,
}

const HEALTH: u64 = 0b11;
const DEAD: u64 = 1 << 2;
const SUSPECT: u64 = 1 << 3;
const EJECTED: u64 = 1 << 4;
const CIRCUIT_SHIFT: u32 = 5;
const CIRCUIT: u64 = 0b11 << CIRCUIT_SHIFT;
const TRIAL: u64 = 1 << 7;
const OPERATOR_SHIFT: u32 = 8;
const OPERATOR: u64 = 0b11 << OPERATOR_SHIFT;
const ROLE_SHIFT: u32 = 10;
const ROLE: u64 = 0b11 << ROLE_SHIFT;
const EPOCH_SHIFT: u32 = 32;

/// One reading of the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission(u64);

/// The word itself, shared by every worker and the control plane.
#[derive(Debug)]
pub struct AdmissionWord(AtomicU64);

impl Admission {
    /// A ready, active master with a closed circuit and this health.
    #[must_use]
    pub const fn new(health: Health) -> Self {
        Self(health as u64)
    }

    #[must_use]
    pub fn health(self) -> Health {
        match self.0 & HEALTH {
            0 => Health::Unknown,
            1 => Health::Healthy,
            2 => Health::Degraded,
            _ => Health::Failed,
        }
    }

    /// A request saw it refuse connections; only passing probes bring it back.
    #[must_use]
    pub fn dead(self) -> bool {
        self.0 & DEAD != 0
    }

    /// Silent for too long; a probe is deciding.
    #[must_use]
    pub fn suspect(self) -> bool {
        self.0 & SUSPECT != 0
    }

    #[must_use]
    pub fn ejected(self) -> bool {
        self.0 & EJECTED != 0
    }

    #[must_use]
    pub fn circuit(self) -> Circuit {
        match (self.0 & CIRCUIT) >> CIRCUIT_SHIFT {
            0 => Circuit::Closed,
            1 => Circuit::Open,
            _ => Circuit::HalfOpen,
        }
    }

    /// A half-open circuit's one trial is under way.
    #[must_use]
    pub fn trial(self) -> bool {
        self.0 & TRIAL != 0
    }

    #[must_use]
    pub fn operator(self) -> OperatorState {
        match (self.0 & OPERATOR) >> OPERATOR_SHIFT {
            0 => OperatorState::Ready,
            1 => OperatorState::Drain,
            _ => OperatorState::Maintenance,
        }
    }

    #[must_use]
    pub fn role(self) -> Role {
        match (self.0 & ROLE) >> ROLE_SHIFT {
            0 => Role::Active,
            1 => Role::Standby,
            _ => Role::Fenced,
        }
    }

    #[must_use]
    pub fn epoch(self) -> u32 {
        (self.0 >> EPOCH_SHIFT) as u32
    }

    /// How usable the master is at this reading.
    #[must_use]
    pub fn tier(self) -> Tier {
        if self.operator() == OperatorState::Maintenance
            || self.dead()
            || matches!(self.health(), Health::Failed | Health::Unknown)
            || self.role() != Role::Active
            || self.circuit() == Circuit::Open
            || (self.circuit() == Circuit::HalfOpen && self.trial())
        {
            Tier::Out
        } else if self.suspect() || self.ejected() {
            Tier::Doubtful
        } else if self.health() == Health::Degraded || self.operator() == OperatorState::Drain {
            Tier::Reserved
        } else {
            Tier::Full
        }
    }

    /// Whether requests that have got no byte of an answer should leave this master at once.
    #[must_use]
    pub fn abandoned(self) -> bool {
        self.dead() || self.health() == Health::Failed || self.role() == Role::Fenced
    }

    #[must_use]
    pub fn with_health(self, health: Health) -> Self {
        Self(self.0 & !HEALTH | health as u64)
    }

    #[must_use]
    pub fn with_dead(self, dead: bool) -> Self {
        self.with_bit(DEAD, dead)
    }

    #[must_use]
    pub fn with_suspect(self, suspect: bool) -> Self {
        self.with_bit(SUSPECT, suspect)
    }

    #[must_use]
    pub fn with_ejected(self, ejected: bool) -> Self {
        self.with_bit(EJECTED, ejected)
    }

    /// Sets the circuit and ends any trial.
    #[must_use]
    pub fn with_circuit(self, circuit: Circuit) -> Self {
        Self(self.0 & !(CIRCUIT | TRIAL) | (circuit as u64) << CIRCUIT_SHIFT)
    }

    #[must_use]
    pub fn with_trial(self, trial: bool) -> Self {
        self.with_bit(TRIAL, trial)
    }

    #[must_use]
    pub fn with_operator(self, state: OperatorState) -> Self {
        Self(self.0 & !OPERATOR | (state as u64) << OPERATOR_SHIFT)
    }

    #[must_use]
    pub fn with_role(self, role: Role, epoch: u32) -> Self {
        let kept = self.0 & !(ROLE | u64::from(u32::MAX) << EPOCH_SHIFT);
        Self(kept | (role as u64) << ROLE_SHIFT | u64::from(epoch) << EPOCH_SHIFT)
    }

    fn with_bit(self, bit: u64, on: bool) -> Self {
        Self(if on { self.0 | bit } else { self.0 & !bit })
    }
}

impl AdmissionWord {
    #[must_use]
    pub fn new(admission: Admission) -> Self {
        Self(AtomicU64::new(admission.0))
    }

    /// The word as it is now.
    #[must_use]
    pub fn read(&self) -> Admission {
        Admission(self.0.load(Ordering::Acquire))
    }

    /// Applies `change` and returns the readings before and after. Retries when another writer came in between, so
    /// `change` must depend on its argument alone.
    pub fn update(&self, change: impl Fn(Admission) -> Admission) -> (Admission, Admission) {
        let mut seen = self.0.load(Ordering::Acquire);
        loop {
            let next = change(Admission(seen)).0;
            match self.0.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return (Admission(seen), Admission(next)),
                Err(now) => seen = now,
            }
        }
    }

    /// Claims the one trial of a half-open circuit. Of any number of requests that ask at once, one gets it.
    pub fn claim_trial(&self) -> bool {
        let (before, _) = self.update(|a| if a.circuit() == Circuit::HalfOpen { a.with_trial(true) } else { a });
        before.circuit() == Circuit::HalfOpen && !before.trial()
    }
}
