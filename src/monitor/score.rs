//! Health scores: 100 when nothing is wrong, 0 when nobody is served, and in between the points that each fault takes off, so that
//! a score can always be explained by its reasons.
//!
//! | what | points |
//! |---|---:|
//! | no master of the upstream can be used | 100 |
//! | masters that do not serve as they should, by their share of the weight | up to 60 |
//! | only one of several masters is left | 10 |
//! | requests that fail, in the last minute | 4 for each percent, up to 40 |
//! | retries that the budget did not allow, in the last minute | 5 |
//!
//! Masters that the operator has taken out are no fault as long as others are left. The whole has the lowest score of its upstreams,
//! less what is wrong with Baton itself ([`System`]).

use crate::upstream::admission::{Admission, Health, OperatorState, Role, Tier};

/// Failed requests below this share, in percent, take nothing off.
const ERRORS_FROM: f64 = 0.1;
/// Requests below which a share of errors says little; then only failures of all of them count.
const REQUESTS_MIN: u64 = 20;
/// A message that has waited for longer than this, in seconds, and the points that it takes off.
const BACKLOG: [(f64, u8); 3] = [(3600.0, 30), (300.0, 20), (60.0, 10)];

const DAY: i64 = 86_400;

/// Something that took points off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    pub points: u8,
    /// A sentence without an end.
    pub text: String,
}

/// A score and why it is not higher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Score {
    /// 0 to 100.
    pub points: u8,
    /// Those that took most first.
    pub reasons: Vec<Reason>,
}

/// A master as its score sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing<'a> {
    pub name: &'a str,
    pub weight: u32,
    pub admission: Admission,
}

/// An upstream's last minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Minute {
    pub requests: u64,
    pub errors: u64,
    /// Retries that the budget did not allow.
    pub over_budget: u64,
}

/// What can be wrong with Baton itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct System {
    /// Why no message can be stored any more.
    pub spool_failed: Option<String>,
    /// The limit that keeps messages out.
    pub spool_full: Option<String>,
    /// Age of the oldest message that waits.
    pub oldest_seconds: f64,
    pub config_rejected: bool,
    /// Certificates in use, each by what it is called, with the seconds until its end.
    pub certificates: Vec<(String, i64)>,
    /// Listeners whose certificate files cannot be used any more.
    pub stale_certificates: u64,
    /// Lines that the access log has lost in the last minute.
    pub log_lines_lost: u64,
}

impl Score {
    fn of(mut reasons: Vec<Reason>, from: u8) -> Self {
        reasons.retain(|reason| reason.points > 0);
        reasons.sort_by(|one, other| other.points.cmp(&one.points).then_with(|| one.text.cmp(&other.text)));
        let lost = reasons.iter().fold(0u8, |lost, reason| lost.saturating_add(reason.points));
        Self { points: from.saturating_sub(lost), reasons }
    }
}

/// How usable a master is, or would be as soon as it has to take over.
fn ability(admission: Admission) -> Tier {
    match admission.role() {
        Role::Standby => admission.with_role(Role::Active, admission.epoch()).tier(),
        Role::Active | Role::Fenced => admission.tier(),
    }
}

/// How much of its work a master does or could do, in percent, and in a word why not all of it.
#[must_use]
pub fn of_master(admission: Admission) -> (u8, &'static str) {
    if admission.role() == Role::Fenced {
        return (0, "was taken over from and is fenced");
    }
    match (admission.operator(), ability(admission)) {
        (OperatorState::Maintenance, _) => (0, "is in maintenance"),
        (OperatorState::Drain, Tier::Out) => (0, "is drained and cannot be used"),
        (OperatorState::Drain, _) => (50, "is drained"),
        (OperatorState::Ready, Tier::Full) => (100, ""),
        (OperatorState::Ready, Tier::Reserved) => (50, "is degraded"),
        (OperatorState::Ready, Tier::Doubtful) if admission.suspect() => (25, "is silent"),
        (OperatorState::Ready, Tier::Doubtful) => (25, "was ejected for its failures"),
        (OperatorState::Ready, Tier::Out) => (0, why_out(admission)),
    }
}

fn why_out(admission: Admission) -> &'static str {
    if admission.dead() {
        "refuses connections"
    } else {
        match admission.health() {
            Health::Unknown => "was not probed yet",
            Health::Failed => "fails its probes",
            Health::Healthy | Health::Degraded if admission.role() == Role::Fenced => "is fenced",
            Health::Healthy | Health::Degraded => "has an open circuit",
        }
    }
}

/// The score of an upstream.
#[must_use]
pub fn of_upstream(masters: &[Standing<'_>], minute: &Minute) -> Score {
    let reason = |points: u8, text: String| Reason { points, text };
    let usable = |standing: &&Standing<'_>| standing.admission.tier() != Tier::Out;
    if !masters.iter().any(|standing| usable(&standing)) {
        let taken_out = masters.iter().all(|standing| standing.admission.operator() == OperatorState::Maintenance);
        let text = if taken_out { "every master is in maintenance" } else { "no master can be used" };
        return Score::of(vec![reason(100, text.to_owned())], 100);
    }
    let mut reasons = Vec::new();
    let serving: Vec<_> =
        masters.iter().filter(|standing| standing.admission.operator() == OperatorState::Ready).collect();
    let whole: f64 = serving.iter().map(|standing| f64::from(standing.weight.max(1))).sum();
    for standing in &serving {
        let (does, why) = of_master(standing.admission);
        let lost = 60.0 * f64::from(standing.weight.max(1)) / whole * f64::from(100 - does) / 100.0;
        if does < 100 {
            reasons.push(reason((lost.round() as u8).max(1), format!("{} {why}", standing.name)));
        }
    }
    let mut full = masters.iter().filter(|standing| ability(standing.admission) == Tier::Full);
    if let (true, Some(last), None) = (masters.len() > 1, full.next(), full.next()) {
        reasons.push(reason(10, format!("only {} is left", last.name)));
    }
    reasons.extend(errors(minute));
    if minute.over_budget > 0 {
        reasons.push(reason(5, "requests fail faster than the retry budget allows".to_owned()));
    }
    Score::of(reasons, 100)
}

fn errors(minute: &Minute) -> Option<Reason> {
    let Minute { requests, errors, .. } = *minute;
    let enough = requests >= REQUESTS_MIN || errors == requests;
    if errors == 0 || !enough {
        return None;
    }
    let percent = 100.0 * errors as f64 / requests as f64;
    let points = (4.0 * percent).clamp(1.0, 40.0).round() as u8;
    (percent >= ERRORS_FROM).then(|| Reason { points, text: format!("{percent:.1} % of the requests fail") })
}

/// The score of the whole: `upstreams` are the scores of all of them by name.
#[must_use]
pub fn of_system<'a>(upstreams: impl Iterator<Item = (&'a str, &'a Score)>, system: &System) -> Score {
    let mut worst: Option<(&str, &Score)> = None;
    for (name, score) in upstreams {
        if worst.is_none_or(|(_, least)| score.points < least.points) {
            worst = Some((name, score));
        }
    }
    let mut reasons = Vec::new();
    let mut reason = |points, text: String| reasons.push(Reason { points, text });
    if let Some((name, score)) = worst.filter(|(_, score)| score.points < 100) {
        let why = score.reasons.first().map_or("", |reason| &reason.text);
        reason(100 - score.points, format!("upstream {name}: {why}"));
    }
    if let Some(cause) = &system.spool_failed {
        reason(50, format!("no message can be stored: {cause}"));
    } else if let Some(limit) = &system.spool_full {
        reason(30, format!("no further message can be stored: the limit of {limit} is reached"));
    }
    if let Some((_, points)) = BACKLOG.iter().find(|(seconds, _)| system.oldest_seconds > *seconds) {
        reason(*points, format!("a stored message has waited for {:.0} min", system.oldest_seconds / 60.0));
    }
    if system.config_rejected {
        reason(5, "the newest configuration was refused; an older one is in use".to_owned());
    }
    for (name, seconds) in &system.certificates {
        match *seconds {
            ..=0 => reason(30, format!("the certificate for {name} has ended")),
            1.. if *seconds < 3 * DAY => reason(10, format!("the certificate for {name} ends in {} h", seconds / 3600)),
            1.. if *seconds < 14 * DAY => {
                reason(5, format!("the certificate for {name} ends in {} days", seconds / DAY));
            }
            _ => {}
        }
    }
    if system.stale_certificates > 0 {
        reason(5, "certificate files cannot be used any more; earlier ones still are".to_owned());
    }
    if system.log_lines_lost > 0 {
        reason(2, format!("the access log has lost {} lines in the last minute", system.log_lines_lost));
    }
    Score::of(reasons, 100)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WELL: Admission = Admission::new(Health::Healthy);
    const FAILED: Admission = Admission::new(Health::Failed);

    fn upstream(masters: &[(u32, Admission)], minute: Minute) -> Score {
        let names = ["a", "b", "c", "d", "e", "f"];
        let standing = |(name, (weight, admission)): (&&'static str, &(u32, Admission))| Standing {
            name,
            weight: *weight,
            admission: *admission,
        };
        of_upstream(&names.iter().zip(masters).map(standing).collect::<Vec<_>>(), &minute)
    }

    fn said(score: &Score) -> Vec<(u8, &str)> {
        score.reasons.iter().map(|reason| (reason.points, &*reason.text)).collect()
    }

    #[test]
    fn nothing_wrong_is_a_hundred_without_a_reason() {
        let score = upstream(&[(1, WELL), (1, WELL)], Minute { requests: 1000, errors: 0, over_budget: 0 });
        assert_eq!((score.points, said(&score)), (100, vec![]));
        assert_eq!(upstream(&[(1, WELL)], Minute::default()).points, 100);
    }

    #[test]
    fn nobody_to_answer_is_nothing() {
        let score = upstream(&[(1, FAILED), (1, FAILED)], Minute { requests: 100, errors: 100, over_budget: 3 });
        assert_eq!((score.points, said(&score)), (0, vec![(100, "no master can be used")]));
        let parked = WELL.with_operator(OperatorState::Maintenance);
        assert_eq!(said(&upstream(&[(1, parked)], Minute::default())), [(100, "every master is in maintenance")]);
    }

    #[test]
    fn what_is_missing_counts_by_its_weight() {
        let score = upstream(&[(2, WELL), (1, WELL), (1, FAILED)], Minute::default());
        assert_eq!((score.points, said(&score)), (85, vec![(15, "c fails its probes")]));
        let score = upstream(&[(1, WELL), (1, WELL.with_dead(true))], Minute::default());
        assert_eq!((score.points, said(&score)), (60, vec![(30, "b refuses connections"), (10, "only a is left")]));
        let score = upstream(&[(1, WELL), (1, Admission::new(Health::Degraded)), (1, WELL)], Minute::default());
        assert_eq!(said(&score), [(10, "b is degraded")]);
    }

    #[test]
    fn what_the_operator_took_out_is_no_fault_while_others_are_left() {
        let drained = WELL.with_operator(OperatorState::Drain);
        assert_eq!(upstream(&[(1, WELL), (1, WELL), (1, drained)], Minute::default()).points, 100);
        let parked = FAILED.with_operator(OperatorState::Maintenance);
        assert_eq!(said(&upstream(&[(1, WELL), (1, parked)], Minute::default())), [(10, "only a is left")]);
    }

    #[test]
    fn a_standby_is_as_good_as_it_would_be_and_a_fenced_master_is_missing() {
        let standby = WELL.with_role(Role::Standby, 1);
        assert_eq!(upstream(&[(1, WELL), (1, standby)], Minute::default()).points, 100);
        let broken = FAILED.with_role(Role::Standby, 1);
        let score = upstream(&[(1, WELL), (1, broken)], Minute::default());
        assert_eq!(said(&score), [(30, "b fails its probes"), (10, "only a is left")]);
        let fenced = WELL.with_role(Role::Fenced, 2);
        assert_eq!(
            said(&upstream(&[(1, fenced), (1, WELL)], Minute::default()))[0].1,
            "a was taken over from and is fenced"
        );
        assert_eq!(upstream(&[(1, standby)], Minute::default()).points, 0);
    }

    #[test]
    fn errors_count_by_their_share() {
        let with = |requests, errors| {
            let masters = [(1, WELL), (1, WELL)];
            upstream(&masters, Minute { requests, errors, over_budget: 0 }).points
        };
        assert_eq!(with(1000, 10), 96);
        assert_eq!(with(100, 50), 60);
        assert_eq!(with(100_000, 50), 100);
        // One of three says little; three of three say enough.
        assert_eq!((with(3, 1), with(3, 3)), (100, 60));
    }

    #[test]
    fn the_whole_is_as_well_as_its_worst_upstream_and_baton_itself() {
        let (fine, half) = (Score::of(vec![], 100), upstream(&[(1, WELL), (1, FAILED)], Minute::default()));
        let both = || [("north", &fine), ("south", &half)].into_iter();
        let score = of_system(both(), &System::default());
        assert_eq!((score.points, said(&score)), (60, vec![(40, "upstream south: b fails its probes")]));
        let system = System {
            oldest_seconds: 400.0,
            config_rejected: true,
            certificates: vec![("bot.example".to_owned(), 2 * DAY), ("far.example".to_owned(), 90 * DAY)],
            ..System::default()
        };
        let score = of_system([("north", &fine)].into_iter(), &system);
        let expected = [
            (20, "a stored message has waited for 7 min"),
            (10, "the certificate for bot.example ends in 48 h"),
            (5, "the newest configuration was refused; an older one is in use"),
        ];
        assert_eq!((score.points, said(&score).as_slice()), (65, expected.as_slice()));
    }

    fn admission() -> impl Strategy<Value = Admission> {
        let health = prop::sample::select(vec![Health::Unknown, Health::Healthy, Health::Degraded, Health::Failed]);
        let operator =
            prop::sample::select(vec![OperatorState::Ready, OperatorState::Drain, OperatorState::Maintenance]);
        (health, operator, any::<[bool; 3]>()).prop_map(|(health, operator, [dead, suspect, ejected])| {
            let admission = Admission::new(health).with_dead(dead).with_suspect(suspect).with_ejected(ejected);
            admission.with_operator(operator)
        })
    }

    proptest! {
        #[test]
        fn a_score_is_what_its_reasons_leave(
            masters in prop::collection::vec((0u32..5, admission()), 1..6),
            requests in 0u64..1000, errors in 0u64..1000, over_budget in 0u64..3,
        ) {
            let minute = Minute { requests: requests.max(errors), errors, over_budget };
            let score = upstream(&masters, minute);
            let lost: u32 = score.reasons.iter().map(|reason| u32::from(reason.points)).sum();
            prop_assert_eq!(u32::from(score.points), 100u32.saturating_sub(lost));
            prop_assert!(score.points < 100 || score.reasons.is_empty());
            prop_assert!(score.reasons.is_sorted_by_key(|reason| 255 - reason.points));
            let out = masters.iter().all(|(_, admission)| admission.tier() == Tier::Out);
            prop_assert!(!out || score.points == 0);
        }
    }
}
