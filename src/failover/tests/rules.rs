//! What follows from what, case by case.

use super::world::{SECOND, World, pair, plan, shared_standby};
use crate::failover::ask::{Answer, Ask, Refusal};
use crate::failover::fleet::Told;
use crate::failover::record::{Manner, State, What};
use crate::upstream::admission::{Admission, Circuit, Health, OperatorState, Role};

use Role::{Active, Fenced, Standby};

type Change = fn(Admission) -> Admission;

fn ask(world: &mut World, ask: &Ask) -> Result<Answer, Refusal> {
    let answer = world.fleet.weigh(ask, &world.view())?;
    let acts = world.fleet.carry_out(&answer, "ann", "tuesday", &world.view());
    world.carry_out(acts);
    Ok(answer)
}

fn failover(target: Option<&str>) -> Ask {
    Ask::Failover { account: None, target: target.map(str::to_owned) }
}

fn refused(world: &mut World, it: &Ask) -> String {
    let before = (world.cells.clone(), world.roles(), world.journal.len());
    let why = ask(world, it).unwrap_err().to_string();
    assert_eq!((world.cells.clone(), world.roles(), world.journal.len()), before, "a refusal changes nothing");
    why
}

#[test]
fn the_most_preferred_master_is_active_and_the_others_stand_by() {
    let world = World::new(plan(&[&[], &[], &[]], &[("", &[0, 1, 2])], false));
    assert_eq!((world.roles(), world.cells[0]), (vec![Active, Standby, Standby], (Some(0), None)));
    assert_eq!(world.fleet.epoch(), 0);
}

#[test]
fn a_failed_owner_is_fenced_and_the_next_one_takes_over_with_its_pins() {
    let mut world = World::new(pair(false));
    world.pins.extend([(1, 0), (2, 0), (4, 1)]);
    world.health(0, Health::Failed);
    assert_eq!((world.roles(), world.cells[0]), (vec![Fenced, Active], (Some(1), None)));
    assert_eq!((world.words[0].epoch(), world.fleet.epoch()), (1, 1));
    assert!(world.pins.values().all(|master| *master == 1));
    let past = &world.past;
    let it = past.failovers().next().unwrap();
    assert_eq!(
        (it.state, it.manner, it.from.as_deref(), it.to.as_deref()),
        (State::Completed, Manner::Fence, Some("a"), Some("b"))
    );
    assert_eq!((it.pins.unwrap().count, it.pins.unwrap().checksum, &*it.cause), (2, 3, "a has failed"));
    assert_eq!(world.synced, world.journal.len(), "it is on disk before it is put into use");
}

#[test]
fn one_refused_connection_is_no_failure_until_a_probe_says_so() {
    let mut world = World::new(pair(false));
    world.confirmed[0] = false;
    world.words[0] = world.words[0].with_health(Health::Failed);
    world.pass(5 * SECOND);
    assert_eq!((world.cells[0].0, world.fleet.epoch(), world.hopeless[0]), (Some(0), 0, false));
    world.confirmed[0] = true;
    world.look();
    assert_eq!(world.cells[0].0, Some(1));
}

#[test]
fn a_fenced_master_stands_by_again_only_once_it_is_well() {
    let mut world = World::new(pair(false));
    world.health(0, Health::Failed);
    world.health(0, Health::Unknown);
    assert_eq!(world.role(0), Fenced);
    world.health(0, Health::Healthy);
    assert_eq!((world.role(0), world.cells[0].0), (Standby, Some(1)));
    assert_eq!(world.words[0].epoch(), 1, "whoever asked it before it was fenced can still tell");
}

#[test]
fn a_shared_standby_takes_over_what_fails_and_serves_one_beside_the_other() {
    let mut world = World::new(shared_standby());
    assert_eq!(world.roles(), [Active, Active, Standby]);
    world.health(0, Health::Failed);
    assert_eq!((world.roles(), world.cells[0].0, world.cells[1].0), (vec![Fenced, Active, Active], Some(2), Some(1)));
    world.health(1, Health::Failed);
    assert_eq!((world.cells[0].0, world.cells[1].0, world.fleet.epoch()), (Some(2), Some(2), 2));
    world.health(0, Health::Healthy);
    assert_eq!(world.roles(), [Standby, Fenced, Active]);
    // And when that fails, each account goes to whoever serves it.
    world.health(2, Health::Failed);
    assert_eq!((world.cells[0].0, world.cells[1].0), (Some(0), None));
    assert!(world.hopeless[1] && !world.hopeless[0]);
    world.health(1, Health::Healthy);
    assert_eq!((world.cells[1].0, world.hopeless[1]), (Some(1), false));
}

#[test]
fn with_nobody_left_it_is_stuck_until_somebody_comes() {
    let mut world = World::new(pair(false));
    world.health(1, Health::Failed);
    world.health(0, Health::Failed);
    assert_eq!((world.cells[0].0, world.hopeless[0]), (None, true));
    assert!(
        world.told.iter().any(|told| matches!(told, Told::Stuck { why, .. } if why == "a has failed, b has failed"))
    );
    assert_eq!(world.past.failovers().next().unwrap().state, State::Stuck);
    world.pass(25 * SECOND);
    world.health(1, Health::Healthy);
    assert_eq!((world.cells[0].0, world.hopeless[0], world.fleet.epoch()), (Some(1), false, 1));
}

#[test]
fn while_a_first_probe_is_under_way_nothing_is_lost_yet() {
    let mut world = World::new(pair(false));
    world.health(1, Health::Unknown);
    world.health(0, Health::Failed);
    assert!(!world.hopeless[0] && world.cells[0].0.is_none());
    world.health(1, Health::Healthy);
    assert_eq!(world.cells[0].0, Some(1));
    world.health(0, Health::Unknown);
    world.health(1, Health::Failed);
    world.pass(11 * SECOND);
    assert!(world.hopeless[0], "but it is not waited for beyond the deadline");
}

#[test]
fn the_failed_master_that_returns_in_the_middle_may_have_it_back() {
    let mut world = World::new(pair(false));
    world.health(1, Health::Failed);
    world.health(0, Health::Failed);
    world.health(0, Health::Healthy);
    assert_eq!((world.roles(), world.cells[0].0), (vec![Active, Standby], Some(0)));
}

#[test]
fn a_candidate_that_fails_during_the_hand_over_is_undone_and_the_next_one_tried() {
    let mut world = World::new(plan(&[&[], &[], &[]], &[("", &[0, 1, 2])], false));
    world.pins.extend([(1, 0), (2, 0), (9, 1)]);
    world.words[0] = world.words[0].with_health(Health::Failed);
    let mut queue = world.fleet.look(&world.view());
    let mut failed = false;
    while !queue.is_empty() {
        let act = queue.remove(0);
        let moves_pins = format!("{act:?}").contains("Pins {");
        if moves_pins && !std::mem::replace(&mut failed, true) {
            world.words[1] = world.words[1].with_health(Health::Failed);
        }
        let follows = world.carry_out_one(act);
        queue.extend(follows);
    }
    assert!(failed);
    assert_eq!((world.cells[0].0, world.role(1)), (Some(2), Standby));
    assert_eq!(world.pins, [(1, 2), (2, 2), (9, 1)].into());
    let past = &world.past;
    let it = past.failovers().next().unwrap();
    assert_eq!(it.passed, [("b".to_owned(), "it has failed".to_owned())]);
    assert_eq!(world.fleet.epoch(), 1, "it is one failover all the same");
}

#[test]
fn a_step_that_fails_is_undone_and_tried_again() {
    let mut world = World::new(pair(false));
    world.pins.insert(1, 0);
    world.pins_fail = true;
    world.health(0, Health::Failed);
    assert_eq!((world.cells[0].0, world.pins[&1], world.hopeless[0]), (None, 0, true));
    world.pins_fail = false;
    world.pass(SECOND);
    assert_eq!((world.cells[0].0, world.pins[&1], world.hopeless[0]), (Some(1), 1, false));
}

#[test]
fn a_disk_that_takes_nothing_keeps_nobody_from_being_served() {
    let mut world = World::new(pair(false));
    world.disk_fails = true;
    world.health(0, Health::Failed);
    assert_eq!(world.cells[0].0, Some(1));
}

#[test]
fn an_owner_that_only_answers_badly_is_left_conversation_by_conversation_and_then_fenced() {
    let mut world = World::new(pair(false));
    world.pins.insert(1, 0);
    world.change(0, |it| it.with_ejected(true));
    assert_eq!((world.cells[0], world.roles()), ((Some(1), Some(0)), vec![Active, Active]));
    world.pass(SECOND);
    assert_eq!(world.cells[0].1, Some(0));
    world.has_left[0] = true;
    world.pass(SECOND);
    assert_eq!((world.cells[0], world.role(0), world.pins[&1]), ((Some(1), None), Fenced, 1));
    world.change(0, |it| it.with_ejected(false));
    assert_eq!(world.role(0), Standby);
}

#[test]
fn an_owner_that_answers_badly_stays_where_there_is_nobody_else() {
    let mut world = World::new(pair(false));
    world.health(1, Health::Failed);
    world.change(0, |it| it.with_circuit(Circuit::Open));
    assert_eq!((world.cells[0], world.hopeless[0], world.fleet.epoch()), ((Some(0), None), true, 0));
    world.change(0, |it| it.with_circuit(Circuit::HalfOpen));
    assert!(!world.hopeless[0]);
}

#[test]
fn who_does_not_leave_until_the_deadline_is_left_behind() {
    let mut world = World::new(pair(false));
    ask(&mut world, &failover(None)).unwrap();
    world.pass(9 * SECOND);
    assert_eq!(world.cells[0], (Some(1), Some(0)));
    world.pass(2 * SECOND);
    assert_eq!((world.cells[0], world.roles()), ((Some(1), None), vec![Standby, Active]));
}

#[test]
fn maintenance_hands_over_to_whoever_is_there() {
    let mut world = World::new(pair(false));
    world.change(1, |it| it.with_operator(OperatorState::Drain));
    world.change(0, |it| it.with_operator(OperatorState::Maintenance));
    assert_eq!(world.cells[0].0, Some(1));
    world.has_left[0] = true;
    world.pass(SECOND);
    assert_eq!(world.roles(), [Standby, Active]);
}

#[test]
fn an_old_owner_that_fails_while_conversations_leave_it_is_fenced() {
    let mut world = World::new(pair(false));
    ask(&mut world, &failover(None)).unwrap();
    world.health(0, Health::Failed);
    assert_eq!((world.cells[0], world.roles()), ((Some(1), None), vec![Fenced, Active]));
    assert_eq!(world.words[0].epoch(), 1);
}

#[test]
fn a_new_owner_that_fails_while_conversations_come_to_it_is_followed_by_the_old_one() {
    let mut world = World::new(pair(false));
    ask(&mut world, &failover(None)).unwrap();
    world.health(1, Health::Failed);
    assert_eq!((world.cells[0], world.roles()), ((Some(0), None), vec![Active, Fenced]));
    assert_eq!(world.fleet.epoch(), 2);
}

#[test]
fn failback_waits_for_an_operator_unless_it_is_automatic() {
    for automatic in [false, true] {
        let mut world = World::new(pair(automatic));
        world.health(0, Health::Failed);
        world.pass(SECOND);
        world.health(0, Health::Healthy);
        world.pass(59 * SECOND);
        assert_eq!(world.cells[0].0, Some(1), "it is not stable yet");
        world.pass(2 * SECOND);
        assert_eq!(world.cells[0].0, Some(if automatic { 0 } else { 1 }));
    }
}

#[test]
fn automatic_failback_leaves_what_an_operator_chose() {
    let mut world = World::new(pair(true));
    ask(&mut world, &failover(Some("b"))).unwrap();
    world.has_left[0] = true;
    world.pass(200 * SECOND);
    assert_eq!(world.cells[0].0, Some(1));
    let records = world.journal.len();
    world.restart(records);
    world.pass(200 * SECOND);
    assert_eq!(world.cells[0].0, Some(1), "also after a restart");
    ask(&mut world, &Ask::Failback { account: None }).unwrap();
    assert_eq!(world.cells[0].0, Some(0));
}

#[test]
fn a_flapping_master_is_held_back_and_given_up_in_the_end() {
    let mut world = World::new(plan(&[&[], &[], &[]], &[("", &[0, 1, 2])], true));
    let mut held = 0;
    for _ in 0..5 {
        world.health(0, Health::Failed);
        world.health(0, Health::Healthy);
        held += u32::from(world.fleet.standbys(0, &world.view()) == 1);
        world.pass(20 * SECOND);
    }
    assert_eq!(held, 4, "the first return is believed");
    world.health(0, Health::Failed);
    world.health(0, Health::Healthy);
    world.pass(1000 * SECOND);
    assert_eq!((world.role(0), world.cells[0].0), (Fenced, Some(1)));
    assert_eq!(refused(&mut world, &failover(Some("a"))), "a has failed too often: `reset` it first");
    // It is still better than nobody.
    world.health(2, Health::Failed);
    world.health(1, Health::Failed);
    assert_eq!((world.role(0), world.cells[0].0), (Active, Some(0)));
}

#[test]
fn a_reset_lets_a_given_up_master_stand_by_also_after_a_restart() {
    let mut world = World::new(pair(false));
    world.health(0, Health::Failed);
    world.pass(1000 * SECOND);
    world.health(0, Health::Healthy);
    let records = world.journal.len();
    world.restart(records);
    assert_eq!(world.role(0), Fenced);
    let answer = ask(&mut world, &Ask::Reset { master: Some("a".into()) });
    assert_eq!((answer, world.role(0)), (Ok(Answer::Resets(vec![0])), Standby));
    assert_eq!(ask(&mut world, &Ask::Reset { master: None }), Ok(Answer::Resets(Vec::new())));
}

#[test]
fn a_failover_to_a_master_that_cannot_serve_is_refused_with_the_reason() {
    let mut world = World::new(shared_standby());
    assert_eq!(refused(&mut world, &failover(Some("x"))), "upstream bots has no master x");
    let of = |account: &str, target: &str| Ask::Failover { account: Some(account.into()), target: Some(target.into()) };
    assert_eq!(refused(&mut world, &of("3", "c")), "no master of upstream bots serves account 3");
    assert_eq!(refused(&mut world, &of("1", "b")), "b does not serve account 1");
    assert_eq!(refused(&mut world, &of("1", "a")), "a is active already");
    assert_eq!(refused(&mut world, &failover(Some("a"))), "a is active for every account that it serves");
    let states: [(Change, &str); 4] = [
        (|it| it.with_health(Health::Failed), "c has failed"),
        (|it| it.with_operator(OperatorState::Maintenance), "c is in maintenance"),
        (|it| it.with_operator(OperatorState::Drain), "c is being drained: make it `ready` first"),
        (|it| it.with_suspect(true), "c is silent, and being probed"),
    ];
    for (change, why) in states {
        let before = world.words[2];
        world.words[2] = change(before);
        assert_eq!(refused(&mut world, &of("1", "c")), why);
        assert_eq!(refused(&mut world, &failover(None)), format!("nobody can take over from a: {why}"));
        world.words[2] = before;
    }
    assert!(matches!(ask(&mut world, &of("1", "c")), Ok(Answer::Moves(moves)) if moves.len() == 1));
    assert_eq!(refused(&mut world, &of("1", "a")), "conversations are still leaving a: wait until it has ended");
}

#[test]
fn a_failover_without_an_account_moves_all_that_the_target_serves() {
    let mut world = World::new(shared_standby());
    let answer = ask(&mut world, &failover(Some("c"))).unwrap();
    assert!(matches!(answer, Answer::Moves(moves) if moves.len() == 2));
    assert_eq!((world.cells[0], world.cells[1]), ((Some(2), Some(0)), (Some(2), Some(1))));
    world.has_left.fill(true);
    world.pass(SECOND);
    ask(&mut world, &Ask::Failback { account: None }).unwrap();
    assert_eq!((world.cells[0], world.cells[1]), ((Some(0), Some(2)), (Some(1), Some(2))));
    world.has_left.fill(true);
    world.pass(SECOND);
    assert_eq!(world.roles(), [Active, Active, Standby]);
    assert_eq!(refused(&mut world, &Ask::Failback { account: None }), "a, b is active already");
}

#[test]
fn weighing_changes_nothing() {
    let world = World::new(pair(false));
    let answer = world.fleet.weigh(&failover(None), &world.view());
    assert!(matches!(answer, Ok(Answer::Moves(moves)) if moves.len() == 1 && moves[0].to == 1));
    assert_eq!((world.cells[0], world.fleet.epoch()), ((Some(0), None), 0));
}

#[test]
fn a_new_configuration_keeps_owners_by_address_and_account() {
    let mut world = World::new(shared_standby());
    world.health(0, Health::Failed);
    // Without its first master, the standby first, and the second account together with a third one.
    let mut next = plan(&[&["1", "2", "3"], &["2", "3"]], &[("1", &[0]), ("2", &[0, 1])], false);
    next.groups[1].accounts.push("3".into());
    (next.masters[0].address, next.masters[1].address) = ("127.0.0.1:2".into(), "127.0.0.1:1".into());
    let fleet = world.fleet.clone().replan(next);
    let words = vec![world.words[2], world.words[1]];
    world.words = words;
    world.confirmed.truncate(2);
    world.masters = vec!["a".into(), "b".into()];
    world.fleet = fleet;
    world.journal.clear();
    let acts = world.fleet.adopt(&world.view());
    let handed: Vec<String> = acts.iter().map(|act| format!("{act:?}")).filter(|act| act.starts_with("Hand")).collect();
    assert_eq!(
        handed,
        ["Hand { group: 0, owner: Some(0), leaving: None }", "Hand { group: 1, owner: Some(1), leaving: None }"]
    );
    assert_eq!(world.fleet.epoch(), 1);
}

#[test]
fn an_owner_that_the_configuration_has_no_more_is_replaced() {
    let mut world = World::new(pair(false));
    let mut next = plan(&[&[]], &[("", &[0])], false);
    next.masters[0] = world.fleet.plan().masters[1].clone();
    world.fleet = world.fleet.clone().replan(next);
    world.words.remove(0);
    world.masters.remove(0);
    world.cells[0] = (None, None);
    let acts = world.fleet.adopt(&world.view());
    world.carry_out(acts);
    assert_eq!((world.cells[0].0, world.role(0)), (Some(0), Active));
    assert!(world.journal.iter().any(|it| matches!(&it.what, What::Assigned { owner, .. } if owner == "b")));
}
