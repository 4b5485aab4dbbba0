//! What masters own goes over with the rest, or nothing does.

use super::world::{Own, SECOND, World, pair, plan, shared_standby, with_hooks};
use crate::failover::ask::Ask;
use crate::failover::fleet::{Act, Step, Told};
use crate::failover::record::State;
use crate::upstream::admission::{Health, Role};

use Role::{Active, Fenced, Standby};

fn ask(world: &mut World, target: Option<&str>) {
    let ask = Ask::Failover { account: None, target: target.map(str::to_owned) };
    let answer = world.fleet.weigh(&ask, &world.view()).unwrap();
    let acts = world.fleet.carry_out(&answer, "ann", "", &world.view());
    world.carry_out(acts);
}

fn three() -> World {
    World::new(with_hooks(plan(&[&[], &[], &[]], &[("", &[0, 1, 2])], false)))
}

fn last(world: &World) -> (State, Option<String>) {
    let it = world.past.failovers().last().unwrap();
    (it.state, it.to.clone())
}

#[test]
fn a_failed_owner_is_followed_by_one_that_has_what_was_kept_of_it() {
    let mut world = World::new(with_hooks(pair(false)));
    world.own[0][0].state = 7;
    world.tend();
    world.own[0][0].state = 9;
    world.health(0, Health::Failed);
    assert_eq!((world.cells[0], world.roles()), ((Some(1), None), vec![Fenced, Active]));
    assert_eq!(world.own[0][1], Own { active: true, state: 7 });
    assert!(world.past.failovers().last().unwrap().given.is_some());
    world.health(0, Health::Healthy);
    world.tend();
    assert!(!world.own[0][0].active, "it hears that it does not serve any more");
}

#[test]
fn requests_wait_until_the_state_is_there() {
    let mut world = World::new(with_hooks(pair(false)));
    world.words[0] = world.words[0].with_health(Health::Failed);
    let mut queue = world.fleet.look(&world.view());
    let mut given = false;
    while !queue.is_empty() {
        let act = queue.remove(0);
        given |= matches!(act, Act::Do { step: Step::Give(_), .. });
        let gets_owner = matches!(act, Act::Hand { owner: Some(_), .. });
        assert!(given || !gets_owner, "it is handed over before its state is");
        let follows = world.carry_out_one(act);
        queue.extend(follows);
    }
    assert!(given && world.cells[0].0 == Some(1));
}

#[test]
fn a_master_whose_hooks_fail_is_passed_over_for_the_next_one() {
    let mut world = three();
    world.hooks_are_slow = true;
    world.hooks_fail = true;
    world.health(0, Health::Failed);
    world.hooks_fail = false;
    let acts = world.answer_hooks();
    world.carry_out(acts);
    assert_eq!(world.cells[0].0, None, "its answer has not come yet");
    let acts = world.answer_hooks();
    world.carry_out(acts);
    assert_eq!((world.cells[0].0, world.own[0][1].active, world.own[0][2].active), (Some(2), false, true));
    let it = world.past.failovers().last().unwrap();
    assert_eq!((it.passed.len(), &*it.passed[0].0, &*it.passed[0].1), (1, "b", "b does not import"));
}

#[test]
fn with_every_hook_failing_it_is_stuck_until_one_works() {
    let mut world = three();
    world.hooks_fail = true;
    world.health(0, Health::Failed);
    assert_eq!((world.cells[0].0, world.hopeless[0], last(&world)), (None, true, (State::Stuck, None)));
    world.pass(30 * SECOND);
    assert_eq!(world.cells[0].0, None);
    world.hooks_fail = false;
    world.pass(2 * SECOND);
    assert!(world.cells[0].0.is_some() && !world.hopeless[0]);
    assert_eq!(world.fleet.epoch(), 1, "it is one failover all the same");
}

#[test]
fn hooks_that_take_all_the_time_make_it_stuck_and_are_waited_for() {
    let mut world = three();
    world.hooks_are_slow = true;
    world.hooks_fail = true;
    world.health(0, Health::Failed);
    world.now += 11 * SECOND;
    world.hooks_fail = false;
    let acts = world.answer_hooks();
    world.carry_out(acts);
    assert_eq!((world.cells[0].0, world.hopeless[0]), (None, true));
    let acts = world.answer_hooks();
    world.carry_out(acts);
    assert_eq!((world.cells[0].0, world.hopeless[0]), (Some(2), false));
}

#[test]
fn an_owner_that_is_well_gets_nothing_new_while_its_state_goes_over() {
    let mut world = World::new(with_hooks(pair(false)));
    world.pins.insert(1, 0);
    ask(&mut world, None);
    assert_eq!((world.cells[0], world.role(0)), ((None, Some(0)), Active), "what it has begun it may end");
    world.own[0][0].state = 5;
    world.has_left[0] = true;
    world.pass(SECOND);
    assert_eq!((world.cells[0], world.roles()), ((Some(1), None), vec![Standby, Active]));
    assert_eq!(world.own[0], [Own { active: false, state: 5 }, Own { active: true, state: 5 }]);
    assert_eq!((last(&world).0, world.pins[&1]), (State::Completed, 1));
    assert!(world.past.failovers().last().unwrap().left_micros.is_some());
}

#[test]
fn what_does_not_end_is_not_waited_for_beyond_half_of_the_deadline() {
    let mut world = World::new(with_hooks(pair(false)));
    ask(&mut world, None);
    world.pass(4 * SECOND);
    assert_eq!(world.cells[0], (None, Some(0)));
    world.pass(2 * SECOND);
    assert_eq!(world.cells[0], (Some(1), None));
}

#[test]
fn an_owner_that_is_well_goes_on_where_its_state_cannot_go_over() {
    let mut world = World::new(with_hooks(pair(false)));
    world.hooks_fail = true;
    ask(&mut world, None);
    world.has_left[0] = true;
    world.pass(SECOND);
    assert_eq!((world.cells[0], world.roles()), ((Some(0), None), vec![Active, Standby]));
    assert_eq!((last(&world).0, world.own[0][0].active), (State::Undone, true));
}

#[test]
fn a_next_owner_that_fails_after_it_was_told_is_told_otherwise() {
    let mut world = World::new(with_hooks(pair(false)));
    world.hooks_are_slow = true;
    ask(&mut world, None);
    world.has_left[0] = true;
    world.look();
    world.now += SECOND;
    world.look();
    assert!(world.own[0][1].active && !world.own[0][0].active);
    world.words[1] = world.words[1].with_health(Health::Failed);
    world.hooks_are_slow = false;
    world.pass(SECOND);
    assert_eq!((world.cells[0], last(&world).0), ((Some(0), None), State::Undone));
    assert!(world.own[0][0].active && !world.own[0][1].active);
}

#[test]
fn an_owner_that_dies_before_its_state_went_over_is_fenced() {
    let mut world = World::new(with_hooks(pair(false)));
    ask(&mut world, None);
    world.health(0, Health::Failed);
    assert_eq!((world.cells[0], world.roles()), ((Some(1), None), vec![Fenced, Active]));
    assert_eq!(world.fleet.epoch(), 2);
}

#[test]
fn a_failback_that_hooks_fail_is_tried_again_after_longer_and_longer() {
    let mut world = World::new(with_hooks(pair(true)));
    world.health(0, Health::Failed);
    world.health(0, Health::Healthy);
    world.hooks_fail = true;
    world.has_left[0] = true;
    let mut epochs = Vec::new();
    for _ in 0..300 {
        world.pass(SECOND);
        world.has_left[0] = true;
        if epochs.last() != Some(&world.fleet.epoch()) {
            epochs.push(world.fleet.epoch());
        }
    }
    assert!((3..=12).contains(&epochs.len()), "{epochs:?}");
    world.hooks_fail = false;
    world.has_left[0] = true;
    world.pass(70 * SECOND);
    world.has_left[0] = true;
    world.pass(SECOND);
    assert_eq!(world.cells[0], (Some(0), None));
}

#[test]
fn one_account_fails_over_while_the_hooks_of_another_hang() {
    let mut world = World::new(with_hooks(shared_standby()));
    world.hooks_are_slow = true;
    world.health(0, Health::Failed);
    assert_eq!(world.cells[0].0, None);
    world.hooks_are_slow = false;
    world.health(1, Health::Failed);
    assert_eq!((world.cells[0].0, world.cells[1].0), (None, Some(2)));
    let acts = world.answer_hooks();
    world.carry_out(acts);
    assert_eq!(world.cells[0].0, Some(2));
}

#[test]
fn a_new_configuration_in_the_middle_of_it_leaves_the_owner_and_says_so() {
    let mut world = World::new(with_hooks(pair(false)));
    world.hooks_are_slow = true;
    ask(&mut world, None);
    let same = world.fleet.plan().clone();
    world.fleet = world.fleet.clone().replan(same);
    // Whoever was told something is told anew by then.
    world.own[0][0].active = true;
    let acts = world.fleet.adopt(&world.view());
    world.carry_out(acts);
    assert_eq!((world.cells[0], last(&world).0), ((Some(0), None), State::Undone));
    assert!(world.told.iter().any(|told| matches!(told, Told::Undone { .. })));
}
