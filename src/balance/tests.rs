//! What every strategy promises, and what each does with its members.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;

use proptest::prelude::*;

use super::{Balancer, Key, MAX_MEMBERS, Options, Place, Spec, View, stable_hash};
use crate::config::model::StrategyKind;

/// Members as a test sets them.
#[derive(Debug, Clone)]
struct Members(Vec<Member>);

#[derive(Debug, Clone, Copy)]
struct Member {
    eligible: bool,
    in_rotation: bool,
    in_flight: u32,
    cost: f64,
    ramp: u32,
}

const UP: Member = Member { eligible: true, in_rotation: true, in_flight: 0, cost: 1000.0, ramp: 100 };
const DOWN: Member = Member { eligible: false, in_rotation: false, ..UP };
/// In rotation, and already tried by the request or full.
const EXCLUDED: Member = Member { eligible: false, ..UP };
/// Degraded, and acceptable for want of something better.
const SPARE: Member = Member { in_rotation: false, ..UP };

const OPTIONS: Options = Options { hash_balance_factor: 125, masters_that_suffice: None };

impl View for Members {
    fn eligible(&self, i: usize) -> bool {
        self.0[i].eligible
    }

    fn in_rotation(&self, i: usize) -> bool {
        self.0[i].in_rotation
    }

    fn in_flight(&self, i: usize) -> u32 {
        self.0[i].in_flight
    }

    fn cost(&self, i: usize) -> f64 {
        self.0[i].cost
    }

    fn ramp(&self, i: usize) -> u32 {
        self.0[i].ramp
    }
}

/// Members `a`, `b`, ... with these weights and all else equal.
fn specs(weights: &[u32]) -> Vec<Spec> {
    let spec = |(i, weight): (usize, &u32)| Spec {
        name: name(i),
        weight: *weight,
        priority: 0,
        country: None,
        location: None,
    };
    weights.iter().enumerate().map(spec).collect()
}

fn name(i: usize) -> String {
    char::from_u32('a' as u32 + i as u32).map_or_else(|| i.to_string(), String::from)
}

fn balancer(kind: StrategyKind, weights: &[u32]) -> Balancer {
    Balancer::new(kind, &specs(weights), OPTIONS)
}

fn key(hash: u64) -> Key {
    Key { hash: Some(hash), ..Key::default() }
}

/// Random numbers that are the same in every run.
struct Random(Cell<u64>);

impl Random {
    fn new() -> Self {
        Self(Cell::new(1))
    }

    fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(1));
        stable_hash(&self.0.get().to_le_bytes())
    }
}

/// The names picked by this many requests without a key, in order.
fn picked(balancer: &Balancer, members: &Members, requests: usize) -> String {
    let random = Random::new();
    let pick = |_| balancer.pick(&Key::default(), members, random.next()).map_or_else(|| "-".to_owned(), name);
    (0..requests).map(pick).collect()
}

/// How often each member is picked by this many requests without a key.
fn counts(balancer: &Balancer, members: &Members, requests: usize) -> Vec<usize> {
    let random = Random::new();
    let mut counts = vec![0; members.0.len()];
    for _ in 0..requests {
        if let Some(i) = balancer.pick(&Key::default(), members, random.next()) {
            counts[i] += 1;
        }
    }
    counts
}

fn view(members: &[Member]) -> Members {
    Members(members.to_vec())
}

/// Where each of the keys 0, 1, ... goes.
fn homes(balancer: &Balancer, members: &Members, keys: u64) -> Vec<Option<usize>> {
    (0..keys).map(|k| balancer.pick(&key(stable_hash(&k.to_le_bytes())), members, 0)).collect()
}

#[test]
fn weights_are_spread_as_nginx_spreads_them() {
    let balancer = balancer(StrategyKind::WeightedRoundRobin, &[5, 1, 1]);
    assert_eq!(picked(&balancer, &view(&[UP; 3]), 14), "aabacaaaabacaa");
}

#[test]
fn round_robin_takes_turns_and_ignores_weights() {
    assert_eq!(picked(&balancer(StrategyKind::RoundRobin, &[5, 1, 1]), &view(&[UP; 3]), 7), "abcabca");
}

#[test]
fn round_robin_spares_no_neighbour_and_burdens_none() {
    let round_robin = balancer(StrategyKind::RoundRobin, &[1, 1, 1]);
    assert_eq!(counts(&round_robin, &view(&[UP, DOWN, UP]), 100), [50, 0, 50]);
    assert_eq!(counts(&round_robin, &view(&[UP, EXCLUDED, UP]), 100), [50, 0, 50]);
}

#[test]
fn slow_start_gives_a_share_of_the_turns() {
    let half = Member { ramp: 50, ..UP };
    assert_eq!(counts(&balancer(StrategyKind::RoundRobin, &[1, 1]), &view(&[half, UP]), 30), [10, 20]);
    assert_eq!(counts(&balancer(StrategyKind::WeightedRoundRobin, &[4, 1]), &view(&[half, UP]), 30), [20, 10]);
    let start = Member { ramp: 10, ..UP };
    assert_eq!(counts(&balancer(StrategyKind::Priority, &[1, 1]), &view(&[start, UP]), 22), [2, 20]);
}

#[test]
fn turns_come_out_even_when_many_workers_take_them() {
    let balancer = balancer(StrategyKind::WeightedRoundRobin, &[3, 2, 1]);
    let members = view(&[UP; 3]);
    let work = || (0..6000).filter_map(|_| balancer.pick(&Key::default(), &members, 0)).collect::<Vec<_>>();
    let picked = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
    });
    let count = |i| picked.iter().filter(|picked| **picked == i).count();
    assert_eq!((count(0), count(1), count(2)), (12_000, 8000, 4000));
}

fn two_levels(first: usize, second: usize, masters_that_suffice: Option<usize>) -> Balancer {
    let mut specs = specs(&vec![1; first + second]);
    specs[first..].iter_mut().for_each(|spec| spec.priority = 7);
    Balancer::new(StrategyKind::Priority, &specs, Options { masters_that_suffice, ..OPTIONS })
}

#[test]
fn the_next_level_gets_its_percentage_when_the_first_runs_short() {
    let four = |up: usize| {
        let mut members = vec![DOWN; 4];
        members[..up].fill(UP);
        members.extend([UP; 2]);
        counts(&two_levels(4, 2, None), &Members(members), 1000)
    };
    assert_eq!(four(4), [250, 250, 250, 250, 0, 0]);
    assert_eq!(four(3).iter().sum::<usize>() - four(3)[..3].iter().sum::<usize>(), 0);
    assert_eq!(four(2), [350, 350, 0, 0, 150, 150]);
    assert_eq!(four(1), [350, 0, 0, 0, 325, 325]);
    assert_eq!(four(0), [0, 0, 0, 0, 500, 500]);
}

#[test]
fn a_survivor_that_suffices_keeps_the_level() {
    let members = view(&[UP, DOWN, UP]);
    assert_eq!(counts(&two_levels(2, 1, None), &members, 100), [70, 0, 30]);
    assert_eq!(counts(&two_levels(2, 1, Some(1)), &members, 100), [100, 0, 0]);
}

#[test]
fn a_request_that_tried_a_whole_level_goes_to_the_next() {
    assert_eq!(counts(&two_levels(2, 2, None), &view(&[EXCLUDED, EXCLUDED, UP, UP]), 10), [0, 0, 5, 5]);
    assert_eq!(counts(&two_levels(2, 2, None), &view(&[EXCLUDED, UP, UP, UP]), 10), [0, 10, 0, 0]);
}

#[test]
fn the_least_loaded_is_the_one_with_most_room_for_its_weight() {
    let busy = |in_flight| Member { in_flight, ..UP };
    let pick =
        |weights: &[u32], members: &[Member]| picked(&balancer(StrategyKind::LeastLoaded, weights), &view(members), 1);
    assert_eq!(pick(&[1, 1, 1], &[busy(3), busy(2), busy(4)]), "b");
    assert_eq!(pick(&[4, 2, 1], &[busy(4), busy(4), busy(3)]), "a");
    assert_eq!(pick(&[1, 1], &[Member { ramp: 10, ..busy(1) }, busy(9)]), "b");
    assert_eq!(pick(&[1, 1], &[Member { ramp: 10, ..busy(1) }, busy(11)]), "a");
    assert_eq!(pick(&[1000, 1], &[busy(u32::MAX), busy(u32::MAX)]), "a");
}

#[test]
fn equally_loaded_members_take_turns() {
    let busy = |in_flight| Member { in_flight, ..UP };
    let least = balancer(StrategyKind::LeastLoaded, &[1, 1, 2, 1]);
    assert_eq!(counts(&least, &view(&[busy(1), busy(9), busy(2), busy(1)]), 9), [3, 0, 3, 3]);
}

const DUBAI: (f64, f64) = (25.2, 55.3);
const BERLIN: (f64, f64) = (52.5, 13.4);
const TOKYO: (f64, f64) = (35.7, 139.7);
const ANCHORAGE: (f64, f64) = (61.2, -149.9);

fn from_country(code: &str) -> Key {
    Key { place: Place::parse(Some(code.as_bytes()), None), ..Key::default() }
}

fn from_location(location: (f64, f64)) -> Key {
    Key { place: Some(Place { country: None, location: Some(location) }), ..Key::default() }
}

/// `a` in Dubai (AE), `b` in Berlin (DE), `c` in Japan without coordinates, `d` nowhere.
fn geo() -> Balancer {
    let mut specs = specs(&[1; 4]);
    (specs[0].country, specs[0].location) = (Some(*b"AE"), Some(DUBAI));
    (specs[1].country, specs[1].location) = (Some(*b"DE"), Some(BERLIN));
    specs[2].country = Some(*b"JP");
    Balancer::new(StrategyKind::Geo, &specs, OPTIONS)
}

#[test]
fn the_nearest_eligible_member_serves_a_place() {
    let (geo, all) = (geo(), view(&[UP; 4]));
    for (key, expected) in [
        (from_country("AE"), 0),
        (from_country("in"), 0),
        (from_country("FR"), 1),
        (from_country("KR"), 2),
        (from_country("AU"), 2),
        (from_location(BERLIN), 1),
        (from_location(TOKYO), 2),
        // Over the pole and across the date line, not around the map.
        (from_location(ANCHORAGE), 2),
    ] {
        assert_eq!(geo.pick(&key, &all, 0), Some(expected), "{key:?}");
    }
    assert_eq!(geo.pick(&from_country("FR"), &view(&[UP, DOWN, UP, UP]), 0), Some(0));
    assert_eq!(geo.pick(&from_country("FR"), &view(&[DOWN, DOWN, DOWN, UP]), 0), Some(3));
}

#[test]
fn a_member_of_the_same_country_comes_before_a_nearer_one_abroad() {
    let mut specs = specs(&[1; 2]);
    (specs[0].country, specs[0].location) = (Some(*b"DE"), Some((47.7, 9.2)));
    (specs[1].country, specs[1].location) = (Some(*b"DE"), Some(BERLIN));
    specs.push(Spec { country: Some(*b"PL"), location: Some((52.4, 14.6)), ..specs[0].clone() });
    let geo = Balancer::new(StrategyKind::Geo, &specs, OPTIONS);
    let place = Place { country: Some(*b"DE"), location: Some((52.4, 14.5)) };
    let key = Key { place: Some(place), ..Key::default() };
    assert_eq!(geo.pick(&key, &view(&[UP; 3]), 0), Some(1));
    assert_eq!(geo.pick(&from_location((52.4, 14.5)), &view(&[UP; 3]), 0), Some(2));
}

#[test]
fn equally_near_members_are_chosen_by_load_and_then_by_order() {
    let mut specs = specs(&[1; 3]);
    specs.iter_mut().for_each(|spec| spec.country = Some(*b"BR"));
    specs[0].location = Some(BERLIN);
    let geo = Balancer::new(StrategyKind::Geo, &specs, OPTIONS);
    let busy = |in_flight| Member { in_flight, ..UP };
    assert_eq!(geo.pick(&from_country("BR"), &view(&[busy(2), busy(1), busy(1)]), 0), Some(1));
}

#[test]
fn a_request_from_nowhere_known_takes_turns() {
    assert_eq!(picked(&geo(), &view(&[UP; 4]), 5), "abcda");
    let nowhere = [
        Place::parse(Some(b"XX"), Some(b"91,0")),
        Place::parse(Some(b"DEU"), None),
        Place::parse(Some(b""), Some(b"1.5")),
        Place::parse(None, Some(b"nan,0")),
        Place::parse(None, None),
    ];
    assert_eq!(nowhere, [None; 5]);
}

#[test]
fn places_are_read_from_header_values() {
    assert_eq!(Place::parse(Some(b" de "), None).unwrap().country, Some(*b"DE"));
    assert_eq!(Place::parse(None, Some(b"52.5, -13.4")).unwrap().location, Some((52.5, -13.4)));
}

/// The literals come from a calculation of the documented formula outside this program.
#[test]
fn keys_live_where_every_other_process_puts_them() {
    let members = view(&[UP; 5]);
    let consistent = balancer(StrategyKind::ConsistentHash, &[1; 5]);
    let weighted = balancer(StrategyKind::ConsistentHash, &[1, 2, 3, 4, 5]);
    let line = |balancer: &Balancer| -> String {
        homes(balancer, &members, 24).into_iter().map(|home| home.map_or_else(|| "-".to_owned(), name)).collect()
    };
    assert_eq!(line(&consistent), "cededcbcaaabbbbcaeacdebd");
    assert_eq!(line(&weighted), "dededebddcaddbbcaedcdebd");
    assert_eq!(stable_hash(b"baton"), 0x9f99_aa9a_06e6_a686);
}

#[test]
fn the_order_of_the_members_decides_nothing() {
    let mut specs = specs(&[1, 2, 3, 4]);
    let forwards = Balancer::new(StrategyKind::ConsistentHash, &specs, OPTIONS);
    specs.reverse();
    let backwards = Balancer::new(StrategyKind::ConsistentHash, &specs, OPTIONS);
    let members = view(&[UP; 4]);
    let mirrored: Vec<_> = homes(&backwards, &members, 1000).into_iter().map(|home| home.map(|i| 3 - i)).collect();
    assert_eq!(homes(&forwards, &members, 1000), mirrored);
}

#[test]
fn keys_are_shared_out_by_weight() {
    const KEYS: u64 = 40_000;
    for weights in [vec![1, 1, 1, 1], vec![1, 2, 5], vec![1000, 1000], vec![1, 3]] {
        let homes = homes(&balancer(StrategyKind::ConsistentHash, &weights), &view(&vec![UP; weights.len()]), KEYS);
        for (i, weight) in weights.iter().enumerate() {
            let share = homes.iter().filter(|home| **home == Some(i)).count() as f64 / KEYS as f64;
            let fair = f64::from(*weight) / f64::from(weights.iter().sum::<u32>());
            // Five standard deviations of a fair draw.
            let tolerance = 5.0 * (fair * (1.0 - fair) / KEYS as f64).sqrt();
            assert!((share - fair).abs() < tolerance, "{weights:?}: member {i} has {share}, fair is {fair}");
        }
    }
}

#[test]
fn the_keys_of_a_lost_member_are_spread_over_all_others() {
    let balancer = balancer(StrategyKind::ConsistentHash, &[1, 1, 1, 2]);
    let before = homes(&balancer, &view(&[UP; 4]), 10_000);
    let after = homes(&balancer, &view(&[DOWN, UP, UP, UP]), 10_000);
    let moved = before.iter().zip(&after).filter(|(before, _)| **before == Some(0));
    let mut counts = [0_u32; 4];
    moved.for_each(|(_, after)| counts[after.unwrap()] += 1);
    // About 2000 keys in the proportion 1 : 1 : 2, within five standard deviations.
    for (count, fair) in counts.into_iter().zip([0, 500, 500, 1000]) {
        assert!(count.abs_diff(fair) < 130, "{counts:?}");
    }
}

#[test]
fn one_client_network_has_one_home() {
    let balancer = balancer(StrategyKind::IpHash, &[1; 5]);
    let members = view(&[UP; 5]);
    let home = |client: &str| {
        let key = Key { client: client.parse().ok(), hash: Some(stable_hash(client.as_bytes())), ..Key::default() };
        balancer.pick(&key, &members, 0)
    };
    for i in 1..200 {
        assert_eq!(home(&format!("2001:db8::{i:x}")), home("2001:db8::ffff"));
        assert_eq!(home(&format!("192.0.2.{i}")), home(&format!("::ffff:192.0.2.{i}")));
    }
    let homes: std::collections::HashSet<_> = (1..200).map(|i| home(&format!("192.0.2.{i}"))).collect();
    assert_eq!(homes.len(), 5);
}

#[test]
fn a_request_without_a_key_is_placed_by_its_client_and_without_one_takes_turns() {
    let members = view(&[UP; 5]);
    let consistent = balancer(StrategyKind::ConsistentHash, &[1; 5]);
    let client = Key { client: "192.0.2.1".parse().ok(), ..Key::default() };
    let by_ip = balancer(StrategyKind::IpHash, &[1; 5]).pick(&client, &members, 0);
    assert_eq!(consistent.pick(&client, &members, 0), by_ip);
    assert_eq!(picked(&consistent, &members, 6), "abcdea");
    assert_eq!(picked(&balancer(StrategyKind::IpHash, &[1; 5]), &members, 6), "abcdea");
}

#[test]
fn a_full_member_passes_its_keys_on_until_it_has_room() {
    let consistent = balancer(StrategyKind::ConsistentHash, &[1; 3]);
    let free = homes(&consistent, &view(&[UP; 3]), 300);
    // Six of nine in flight: four slots are its share at 125 %.
    let full = [6, 2, 1].map(|in_flight| Member { in_flight, ..UP });
    let moved = homes(&consistent, &view(&full), 300);
    for (before, after) in free.iter().zip(&moved) {
        assert_ne!(*after, Some(0));
        assert!(before == after || *before == Some(0));
    }
    let unbounded = Options { hash_balance_factor: 0, ..OPTIONS };
    let unbounded = Balancer::new(StrategyKind::ConsistentHash, &specs(&[1; 3]), unbounded);
    assert_eq!(homes(&unbounded, &view(&full), 300), free);
}

#[test]
fn when_every_member_with_room_was_tried_a_full_one_serves() {
    let consistent = balancer(StrategyKind::ConsistentHash, &[1; 3]);
    let members = view(&[Member { in_flight: 100, ..UP }, EXCLUDED, EXCLUDED]);
    assert_eq!(homes(&consistent, &members, 3), [Some(0); 3]);
}

#[test]
fn the_lower_product_of_latency_and_queue_wins() {
    let member = |cost, in_flight, ramp| Member { cost, in_flight, ramp, ..UP };
    let ewma = balancer(StrategyKind::PeakEwma, &[1; 2]);
    let pick = |a, b| counts(&ewma, &view(&[a, b]), 20);
    assert_eq!(pick(member(100.0, 3, 100), member(300.0, 0, 100)), [0, 20]);
    assert_eq!(pick(member(100.0, 1, 100), member(300.0, 0, 100)), [20, 0]);
    assert_eq!(pick(member(100.0, 0, 20), member(300.0, 0, 100)), [0, 20]);
    assert_eq!(pick(member(0.0, 0, 100), member(1.0, 0, 100)), [20, 0]);
    assert_eq!(pick(member(0.0, 1, 100), member(1e9, 200, 100)), [0, 20]);
}

#[test]
fn equal_members_are_drawn_equally_often() {
    const DRAWS: usize = 30_000;
    for kind in [StrategyKind::PeakEwma, StrategyKind::Random] {
        let counts = counts(&balancer(kind, &[1; 3]), &view(&[UP; 3]), DRAWS);
        for count in counts {
            // Five standard deviations around a third.
            assert!(count.abs_diff(DRAWS / 3) < 5 * 82, "{kind:?}: {count}");
        }
    }
}

#[test]
fn of_two_drawn_at_random_the_one_with_fewer_requests_wins() {
    let busy = |in_flight| Member { in_flight, ..UP };
    let counts = counts(&balancer(StrategyKind::Random, &[1; 3]), &view(&[busy(5), busy(1), busy(3)]), 3000);
    assert_eq!(counts[0], 0);
    assert!(counts[1].abs_diff(2000) < 150 && counts[2].abs_diff(1000) < 150, "{counts:?}");
}

#[test]
fn a_starting_member_is_drawn_less_often() {
    let start = Member { ramp: 10, ..UP };
    let counts = counts(&balancer(StrategyKind::Random, &[1; 2]), &view(&[start, UP]), 10_000);
    // It keeps a tenth of the draws, half of which were its own to begin with.
    assert!(counts[0].abs_diff(500) < 120, "{counts:?}");
}

#[test]
fn a_member_outside_the_rotation_serves_only_when_nobody_inside_can() {
    for (kind, _) in StrategyKind::ALL {
        let balancer = balancer(kind, &[1; 3]);
        assert_eq!(counts(&balancer, &view(&[SPARE, UP, DOWN]), 50), [0, 50, 0], "{kind:?}");
        assert_eq!(counts(&balancer, &view(&[SPARE, EXCLUDED, DOWN]), 50), [50, 0, 0], "{kind:?}");
    }
}

#[test]
fn members_beyond_the_limit_are_never_picked() {
    let weights = vec![1; MAX_MEMBERS + 5];
    let mut members = Members(vec![DOWN; MAX_MEMBERS + 5]);
    for (kind, _) in StrategyKind::ALL {
        let balancer = balancer(kind, &weights);
        members.0[MAX_MEMBERS..].fill(UP);
        assert_eq!(balancer.pick(&key(1), &members, 2), None, "{kind:?}");
        members.0[MAX_MEMBERS - 1] = UP;
        assert_eq!(balancer.pick(&key(1), &members, 2), Some(MAX_MEMBERS - 1), "{kind:?}");
        members.0[MAX_MEMBERS - 1] = DOWN;
    }
}

fn any_kind() -> impl Strategy<Value = StrategyKind> {
    prop::sample::select(StrategyKind::ALL.map(|(kind, _)| kind).to_vec())
}

fn any_key() -> impl Strategy<Value = Key> {
    let place = prop::sample::select(vec![None, Place::parse(Some(b"AE"), None), Place::parse(None, Some(b"10,10"))]);
    let client = prop::option::of(any::<IpAddr>());
    (prop::option::of(any::<u64>()), client, place).prop_map(|(hash, client, place)| Key { hash, client, place })
}

prop_compose! {
    fn any_spec()(
        weight in 1_u32..=1000,
        priority in 0_u32..4,
        country in prop::sample::select(vec![None, Some(*b"AE"), Some(*b"DE")]),
        location in prop::option::of((-90.0..90.0, -180.0..180.0)),
    ) -> Spec {
        Spec { name: String::new(), weight, priority, country, location }
    }
}

prop_compose! {
    fn any_member()(
        eligible in any::<bool>(),
        in_rotation in any::<bool>(),
        in_flight in prop::sample::select(vec![0, 1, 2, 100, u32::MAX]),
        cost in prop::sample::select(vec![0.0, 1.0, 500.0, 1e12]),
        ramp in 10_u32..=100,
    ) -> Member {
        Member { eligible, in_rotation, in_flight, cost, ramp }
    }
}

fn any_members() -> impl Strategy<Value = (Vec<Spec>, Members)> {
    prop::collection::vec((any_spec(), any_member()), 0..40).prop_map(|members| {
        let (mut specs, members): (Vec<Spec>, Vec<Member>) = members.into_iter().unzip();
        specs.iter_mut().enumerate().for_each(|(i, spec)| spec.name = name(i));
        (specs, Members(members))
    })
}

/// A view that changes its mind at every question, and remembers whom it has called eligible.
struct Wavering {
    random: Random,
    eligible: RefCell<Vec<bool>>,
}

impl View for Wavering {
    fn eligible(&self, i: usize) -> bool {
        let eligible = self.random.next().is_multiple_of(4);
        self.eligible.borrow_mut()[i] |= eligible;
        eligible
    }

    fn in_rotation(&self, _: usize) -> bool {
        self.random.next().is_multiple_of(3)
    }

    fn in_flight(&self, _: usize) -> u32 {
        (self.random.next() >> 40) as u32
    }

    fn cost(&self, _: usize) -> f64 {
        f64::from_bits(self.random.next())
    }

    fn ramp(&self, _: usize) -> u32 {
        (self.random.next() % 200) as u32
    }
}

proptest! {
    #[test]
    fn whoever_is_picked_is_eligible_and_in_rotation_if_anyone_eligible_is(
        kind in any_kind(),
        (specs, members) in any_members(),
        keys in prop::collection::vec((any_key(), any::<u64>()), 1..20),
        options in (prop::sample::select(vec![0, 100, 125, 200]), prop::option::of(0_usize..5)),
    ) {
        let options = Options { hash_balance_factor: options.0, masters_that_suffice: options.1 };
        let balancer = Balancer::new(kind, &specs, options);
        let best = members.0.iter().filter(|member| member.eligible).map(|member| member.in_rotation).max();
        for (key, random) in keys {
            let picked = balancer.pick(&key, &members, random).map(|i| members.0[i]);
            prop_assert_eq!(picked.map(|member| (member.eligible, member.in_rotation)), best.map(|best| (true, best)));
        }
    }

    #[test]
    fn members_that_change_while_they_are_looked_at_confuse_nobody(
        kind in any_kind(),
        (specs, _) in any_members(),
        keys in prop::collection::vec((any_key(), any::<u64>()), 1..20),
    ) {
        let balancer = Balancer::new(kind, &specs, OPTIONS);
        let view = Wavering { random: Random::new(), eligible: RefCell::new(vec![false; specs.len()]) };
        for (key, random) in keys {
            view.eligible.borrow_mut().fill(false);
            if let Some(i) = balancer.pick(&key, &view, random) {
                prop_assert!(view.eligible.borrow()[i]);
            }
        }
    }

    #[test]
    fn over_a_period_everyone_has_exactly_its_weight(
        members in prop::collection::vec((1_usize..=20, prop::sample::select(vec![UP, UP, DOWN])), 1..20),
        periods in 1_usize..4,
    ) {
        let weights: Vec<u32> = members.iter().map(|(weight, _)| *weight as u32).collect();
        let states = Members(members.iter().map(|(_, state)| *state).collect());
        let expected: Vec<usize> =
            members.iter().map(|(weight, state)| if state.eligible { weight * periods } else { 0 }).collect();
        let balancer = balancer(StrategyKind::WeightedRoundRobin, &weights);
        prop_assert_eq!(counts(&balancer, &states, expected.iter().sum()), expected);
    }

    #[test]
    fn members_excluded_for_a_while_leave_the_others_their_proportions(
        members in prop::collection::vec((1_usize..=5, prop::sample::select(vec![UP, UP, EXCLUDED])), 1..6),
    ) {
        let weights: Vec<u32> = members.iter().map(|(weight, _)| *weight as u32).collect();
        let states = Members(members.iter().map(|(_, state)| *state).collect());
        let expected: Vec<usize> =
            members.iter().map(|(weight, state)| if state.eligible { *weight } else { 0 }).collect();
        let balancer = balancer(StrategyKind::WeightedRoundRobin, &weights);
        prop_assert_eq!(counts(&balancer, &states, expected.iter().sum()), expected);
    }

    #[test]
    fn a_removed_member_moves_only_its_own_keys(
        weights in prop::collection::vec(1_u32..=5, 2..12),
        gone in any::<prop::sample::Index>(),
        state in prop::sample::select(vec![DOWN, EXCLUDED]),
    ) {
        let gone = gone.index(weights.len());
        let mut specs = specs(&weights);
        let mut members = Members(vec![UP; weights.len()]);
        let unbounded = Options { hash_balance_factor: 0, ..OPTIONS };
        let balancer = Balancer::new(StrategyKind::ConsistentHash, &specs, unbounded);
        let before = homes(&balancer, &members, 200);
        members.0[gone] = state;
        let while_down = homes(&balancer, &members, 200);
        specs.remove(gone);
        members.0.remove(gone);
        let removed = homes(&Balancer::new(StrategyKind::ConsistentHash, &specs, unbounded), &members, 200);
        for ((before, while_down), removed) in before.into_iter().zip(while_down).zip(removed) {
            prop_assert!(before == while_down || before == Some(gone));
            prop_assert_eq!(removed.map(|i| if i >= gone { i + 1 } else { i }), while_down);
        }
    }

    #[test]
    fn no_member_gets_more_than_its_bound(
        weights in prop::collection::vec(1_u32..=5, 1..12),
        factor in 100_u32..=200,
        requests in 1_u64..300,
    ) {
        let options = Options { hash_balance_factor: factor, ..OPTIONS };
        let balancer = Balancer::new(StrategyKind::ConsistentHash, &specs(&weights), options);
        let mut members = Members(vec![UP; weights.len()]);
        // The same key again and again, as from one busy conversation.
        for _ in 0..requests {
            let i = balancer.pick(&key(42), &members, 0).unwrap();
            members.0[i].in_flight += 1;
        }
        let total: f64 = f64::from(weights.iter().sum::<u32>());
        for (weight, member) in weights.iter().zip(&members.0) {
            let bound = (requests as f64 * f64::from(factor) / 100.0).ceil() * f64::from(*weight) / total;
            prop_assert!(f64::from(member.in_flight) <= bound.ceil() + 1.0, "{} of {bound}", member.in_flight);
        }
    }
}
