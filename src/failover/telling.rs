//! What is counted and told of failovers: in metrics, in the log, and to whoever listens.

use serde_json::json;

use super::fleet::Told;
use super::hooks::call::Hook;
use super::hooks::work::Tended;
use super::orchestrator::{Keeper, lock};
use super::recovery::Ended;
use crate::clock;
use crate::events::{Event, Kind, Severity};
use crate::telemetry::names;

impl Keeper {
    /// Tells what has changed about what is kept of an owner.
    pub(super) fn tended(&mut self, name: &(String, String), Tended { problem, restored }: &Tended) {
        let (upstream, account) = name;
        let of = if account.is_empty() { String::new() } else { format!(", account {account}") };
        let has_changed = self.lanes.note(name, problem.as_ref());
        if let Some(given) = restored {
            let what = Tended::sentence(given, clock::unix_millis());
            let message = format!("upstream {upstream}{of}: the owner had lost its state, and was given {what}");
            tracing::info!("{message}");
            let detail = json!({ "account": account, "state": given });
            self.events
                .publish(Event::new(Kind::StateRestored, Severity::Info, message).upstream(upstream).detail(detail));
        }
        match problem {
            Some(why) if has_changed => {
                let message = format!("upstream {upstream}{of}: the owner's state is not kept: {why}");
                tracing::warn!("{message}");
                let detail = json!({ "account": account, "why": why });
                self.events.publish(
                    Event::new(Kind::StateNotKept, Severity::Warning, message).upstream(upstream).detail(detail),
                );
            }
            None if has_changed => tracing::info!("upstream {upstream}{of}: the owner's state is kept again"),
            _ => {}
        }
    }

    /// Has every counter there from the beginning: an increase from nothing at all is seen by nobody.
    pub(super) fn count_from_nothing(&self, number: usize) {
        let (plan, cold) = (self.runners[number].fleet.plan(), &self.telemetry.cold);
        for outcome in ["completed", "undone", "stuck"] {
            cold.counter(&names::FAILOVERS, &[&plan.upstream, outcome]).increment(0);
        }
        let hooks = if plan.rules.hooks { &Hook::ALL[..] } else { &[] };
        for hook in hooks {
            for outcome in ["answered", "failed"] {
                cold.counter(&names::HOOK_CALLS, &[&plan.upstream, hook.word(), outcome]).increment(0);
            }
        }
        for master in &plan.masters {
            for outcome in ["recovered", "failed", "given-up"] {
                cold.counter(&names::RECOVERY_ATTEMPTS, &[&plan.upstream, &master.name, outcome]).increment(0);
            }
        }
    }

    /// Counts it, and tells it to the log and to whoever listens.
    pub(super) fn tell(&self, number: usize, told: &Told) {
        let runner = &self.runners[number];
        let (plan, cold) = (runner.fleet.plan(), &self.telemetry.cold);
        let upstream = &*plan.upstream;
        let counted = |outcome| cold.counter(&names::FAILOVERS, &[upstream, outcome]).increment(1);
        let event = match told {
            Told::Begun { epoch } => self.about(Kind::FailoverBegun, Severity::Warning, upstream, *epoch, "begins"),
            Told::Completed { epoch, micros } => {
                counted("completed");
                cold.histogram(&names::FAILOVER_DURATION, &[upstream]).record(*micros as f64 / 1e6);
                self.about(Kind::FailoverCompleted, Severity::Warning, upstream, *epoch, "has completed")
            }
            Told::Undone { epoch, .. } => {
                counted("undone");
                self.about(Kind::FailoverUndone, Severity::Warning, upstream, *epoch, "is undone")
            }
            Told::Stuck { group, why } => {
                counted("stuck");
                let group = plan.groups.get(*group).map_or("", |group| &group.name);
                let account = if group.is_empty() { String::new() } else { format!(" account {group} of") };
                let message = format!("nobody serves{account} upstream {upstream}: {why}");
                let detail = json!({ "account": group, "why": why });
                Event::new(Kind::FailoverStuck, Severity::Critical, message).detail(detail)
            }
            Told::Unstuck { .. } => return,
            Told::Recovery { master, ended } => {
                let master = &*plan.masters[*master].name;
                let (word, severity, what) = match ended {
                    Ended::Recovered => ("recovered", Severity::Info, "is back, and on trial"),
                    Ended::Failed => ("failed", Severity::Warning, "did not come back in time, or not for long"),
                    Ended::GivenUp => {
                        ("given-up", Severity::Critical, "failed too often, and stays out until `baton ctl reset`")
                    }
                };
                cold.counter(&names::RECOVERY_ATTEMPTS, &[upstream, master, word]).increment(1);
                let event = Event::new(Kind::MasterRecovery, severity, format!("master {master} of {upstream} {what}"));
                event.master(master).detail(json!({ "outcome": word }))
            }
        };
        match event.severity {
            Severity::Critical => tracing::error!("{}", event.message),
            Severity::Warning => tracing::warn!("{}", event.message),
            Severity::Info => tracing::info!("{}", event.message),
        }
        self.events.publish(event.upstream(upstream));
    }

    /// What a failover is about, as far as it has come.
    fn about(&self, kind: Kind, severity: Severity, upstream: &str, epoch: u32, what: &str) -> Event {
        let shared = lock(&self.shared);
        let found = shared.past.failovers().rev().find(|it| it.upstream == upstream && it.epoch == epoch);
        let title = format!("upstream {upstream}: failover {epoch} {what}");
        let Some(it) = found else { return Event::new(kind, severity, title) };
        let part = |before: &str, name: Option<&String>| name.map_or_else(String::new, |it| format!(" {before} {it}"));
        let account = Some(&it.group).filter(|group| !group.is_empty());
        let (from, to) = (part("from", it.from.as_ref()), part("to", it.to.as_ref()));
        let why = if it.why.is_empty() { String::new() } else { format!("; {}", it.why) };
        let message = format!("{title}{from}{to}{}: {}{why}", part("for account", account), it.cause);
        let detail = json!({
            "epoch": epoch,
            "account": it.group,
            "manner": it.manner.word(),
            "from": it.from,
            "to": it.to,
            "cause": it.cause,
            "by": it.by,
            "why": it.why,
            "state": it.given,
            "duration_ms": it.micros.map(|micros| micros as f64 / 1e3),
        });
        Event::new(kind, severity, message).detail(detail)
    }
}
