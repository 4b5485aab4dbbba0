//! Smooth weighted round robin: members take turns, each as often as its weight says, spread as evenly as possible.
//!
//! The order is nginx's: at each step every member's balance grows by its weight, the largest balance (the first of
//! equals) takes the turn and pays the sum of all weights. After as many steps as the weights sum up to, each member
//! has had exactly its weight's number of turns and the order repeats. Keeping balances would mean a lock, so the
//! repeating order is computed once for each vector of effective weights and walked with one atomic cursor.
//!
//! An effective weight is the configured one times the slow start in steps of a tenth, and 0 outside the rotation.
//! Every pick compares the vector that the table was built for with the present one and builds a new table when they
//! differ. Two workers may do that at once; both build the same table, so it does not matter whose is kept.
//!
//! A turn that falls to a member which is not eligible for this request is skipped and counts as taken. So the others
//! keep their proportions, instead of the next in line getting the whole share of a full or tried member.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::{Spec, View};
use crate::sync::Padded;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Turns in a table at most. Weights with a larger sum (after division by their common divisor) are scaled down, which
/// changes a share by less than one turn in 4096 and leaves the smallest weight its turn. Bounds the table to 8 KiB and its construction, which looks at
/// every member for every turn, to about 0.1 ms for 32 members.
const MAX_TURNS: u64 = 4096;

/// Turns skipped in a row before the request is placed by a weighted draw instead. Reached when the members that hold
/// nearly all turns are not eligible; a draw then costs less than walking to the next turn of the rest.
const MAX_SKIPS: usize = 32;

/// Percent of slow start in a step: a member that starts changes the table nine times.
const RAMP_STEP: u32 = 10;

/// Members taking turns.
#[derive(Debug)]
pub struct Rotation {
    members: Box<[Member]>,
    table: ArcSwap<Table>,
    cursor: Cursor,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    index: u16,
    weight: u32,
}

/// Counts turns; every pick of every worker writes it.
#[derive(Debug, Default)]
pub struct Cursor(Padded<AtomicU64>);

#[derive(Debug)]
struct Table {
    /// What the turns were computed from, in the order of the members.
    effective: Box<[u32]>,
    /// Indices of members; empty when the last one left the rotation while this was built.
    turns: Box<[u16]>,
}

impl Rotation {
    /// Members `0..members` with equal weights.
    pub fn even(members: usize) -> Self {
        Self::new((0..members).map(|i| (i, 1)))
    }

    /// All members with their weights.
    pub fn weighted(specs: &[Spec]) -> Self {
        Self::new(specs.iter().map(Spec::bounded_weight).enumerate())
    }

    /// These members, by index, with these weights, which are above 0.
    pub fn new(members: impl IntoIterator<Item = (usize, u32)>) -> Self {
        let members: Box<[Member]> = members
            .into_iter()
            .filter_map(|(index, weight)| Some(Member { index: u16::try_from(index).ok()?, weight }))
            .collect();
        let full = members.iter().map(|member| member.weight * (100 / RAMP_STEP)).collect();
        let table = ArcSwap::from_pointee(Table::new(full, &members));
        Self { members, table, cursor: Cursor::default() }
    }

    /// Whoever's turn it is; when nobody in rotation is eligible, any eligible member.
    pub fn pick(&self, view: &impl View, random: u64) -> Option<usize> {
        self.pick_in_rotation(view, random).or_else(|| self.pick_any(view, random))
    }

    /// Whoever's turn it is among the eligible members in rotation.
    pub fn pick_in_rotation(&self, view: &impl View, random: u64) -> Option<usize> {
        let table = self.table(view)?;
        let turns = table.turns.len();
        for _ in 0..turns.min(MAX_SKIPS) {
            let i = usize::from(table.turns[self.cursor.next(turns)]);
            if view.eligible(i) {
                return Some(i);
            }
        }
        self.draw(random, |i| view.in_rotation(i) && view.eligible(i))
    }

    /// Any eligible member, by a draw that respects the weights.
    pub fn pick_any(&self, view: &impl View, random: u64) -> Option<usize> {
        self.draw(random, |i| view.eligible(i))
    }

    /// How many members are in rotation, of how many.
    pub fn in_rotation(&self, view: &impl View) -> (usize, usize) {
        (self.members.iter().filter(|member| view.in_rotation(member.index())).count(), self.members.len())
    }

    /// The table for the present weights; `None` when nobody is in rotation. That is not worth a table: a caller who
    /// goes through tiers asks so before each request while all members are in a lower one, whose table is kept.
    fn table(&self, view: &impl View) -> Option<Guard<Arc<Table>>> {
        let table = self.table.load();
        if self.members.iter().zip(&table.effective).all(|(member, built_for)| member.effective(view) == *built_for) {
            return Some(table);
        }
        if !self.members.iter().any(|member| view.in_rotation(member.index())) {
            return None;
        }
        let effective = self.members.iter().map(|member| member.effective(view)).collect();
        let fresh = Arc::new(Table::new(effective, &self.members));
        self.table.store(Arc::clone(&fresh));
        Some(Guard::from_inner(fresh))
    }

    fn draw(&self, random: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let mut chosen = None;
        let mut total = 0;
        let mut random = random;
        for member in self.members.iter().filter(|member| usable(member.index())) {
            // Weighted reservoir: each one replaces the choice so far with the chance of its share so far.
            total += u64::from(member.weight);
            if below(&mut random, total) < u64::from(member.weight) {
                chosen = Some(member.index());
            }
        }
        chosen
    }
}

impl Member {
    fn index(self) -> usize {
        usize::from(self.index)
    }

    fn effective(self, view: &impl View) -> u32 {
        let i = self.index();
        if view.in_rotation(i) { self.weight * (view.ramp(i) / RAMP_STEP).clamp(1, 100 / RAMP_STEP) } else { 0 }
    }
}

impl Cursor {
    /// The next of `turns` turns; `turns` is not 0.
    pub fn next(&self, turns: usize) -> usize {
        // Relaxed: the count orders nothing but itself.
        (self.0.fetch_add(1, Ordering::Relaxed) % turns as u64) as usize
    }
}

impl Table {
    fn new(effective: Box<[u32]>, members: &[Member]) -> Self {
        let turns = turns(&effective).into_iter().map(|position| members[position].index).collect();
        Self { effective, turns }
    }
}

/// The positions of `weights` in the order of their turns, for one period.
fn turns(weights: &[u32]) -> Vec<usize> {
    let weights = reduced(weights);
    let sum: i64 = weights.iter().map(|(_, weight)| weight).sum();
    if weights.iter().all(|(_, weight)| *weight == 1) {
        return weights.into_iter().map(|(position, _)| position).collect();
    }
    let mut balances = vec![0; weights.len()];
    let mut turns = Vec::new();
    for _ in 0..sum {
        let mut first = 0;
        for (i, (_, weight)) in weights.iter().enumerate() {
            balances[i] += weight;
            if balances[i] > balances[first] {
                first = i;
            }
        }
        balances[first] -= sum;
        turns.push(weights[first].0);
    }
    turns
}

/// The weights above 0 with their positions, in lowest terms and with a sum of about [`MAX_TURNS`] at most.
fn reduced(weights: &[u32]) -> Vec<(usize, i64)> {
    let divisor = u64::from(weights.iter().copied().fold(0, gcd).max(1));
    let sum = weights.iter().map(|weight| u64::from(*weight) / divisor).sum::<u64>();
    let scaled = |weight: u32| {
        let weight = u64::from(weight) / divisor;
        if sum <= MAX_TURNS { weight } else { (weight * MAX_TURNS / sum).max(1) }
    };
    let positive = weights.iter().enumerate().filter(|(_, weight)| **weight > 0);
    positive.map(|(position, weight)| (position, scaled(*weight).cast_signed())).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A number below `limit`, and `random` stirred for the next one.
pub fn below(random: &mut u64, limit: u64) -> u64 {
    *random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
    ((u128::from(*random) * u128::from(limit)) >> 64) as u64
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cell::Cell;

    use super::*;

    struct Members {
        in_rotation: Cell<bool>,
        eligible: Cell<[bool; 3]>,
        ramp: Cell<u32>,
    }

    impl Members {
        fn new(eligible: [bool; 3]) -> Self {
            Self { in_rotation: Cell::new(true), eligible: Cell::new(eligible), ramp: Cell::new(100) }
        }
    }

    impl View for Members {
        fn eligible(&self, i: usize) -> bool {
            self.eligible.get()[i]
        }

        fn in_rotation(&self, _: usize) -> bool {
            self.in_rotation.get()
        }

        fn in_flight(&self, _: usize) -> u32 {
            0
        }

        fn cost(&self, _: usize) -> f64 {
            0.0
        }

        fn ramp(&self, _: usize) -> u32 {
            self.ramp.get()
        }
    }

    #[test]
    fn the_table_is_rebuilt_for_a_step_of_slow_start_and_not_for_excluded_members() {
        let rotation = Rotation::new([(0, 3), (1, 2), (2, 1)]);
        let members = Members::new([true; 3]);
        let built = || Arc::as_ptr(&rotation.table(&members).unwrap());
        let first = built();
        members.eligible.set([true, false, false]);
        assert_eq!(built(), first);
        members.ramp.set(59);
        let second = Guard::into_inner(rotation.table(&members).unwrap());
        assert_ne!(Arc::as_ptr(&second), first);
        members.ramp.set(50);
        assert_eq!(built(), Arc::as_ptr(&second));
    }

    #[test]
    fn an_empty_rotation_leaves_the_table_as_it_is() {
        let rotation = Rotation::new([(0, 3), (1, 2), (2, 1)]);
        let members = Members::new([true; 3]);
        let first = Guard::into_inner(rotation.table(&members).unwrap());
        members.in_rotation.set(false);
        assert!(rotation.table(&members).is_none());
        members.in_rotation.set(true);
        assert!(Arc::ptr_eq(&first, &rotation.table(&members).unwrap()));
    }

    #[test]
    fn weights_too_large_for_the_table_keep_their_shares_within_a_turn() {
        let weights = [9973, 7919, 1, 3];
        let order = turns(&weights);
        let sum = f64::from(weights.iter().sum::<u32>());
        assert!(order.len() as u64 <= MAX_TURNS + weights.len() as u64);
        for (position, weight) in weights.into_iter().enumerate() {
            let count = order.iter().filter(|turn| **turn == position).count() as f64;
            let fair = f64::from(weight) / sum * order.len() as f64;
            assert!((count - fair).abs() <= 1.0 + 1e-3 * fair, "member {position} has {count} turns, fair is {fair}");
        }
    }

    #[test]
    fn weights_are_taken_in_lowest_terms() {
        assert_eq!(turns(&[20, 0, 10]), [0, 2, 0]);
        assert_eq!(turns(&[7, 7]), [0, 1]);
        assert!(turns(&[0, 0]).is_empty());
        assert!(turns(&[]).is_empty());
    }

    #[test]
    fn when_the_frequent_members_are_excluded_the_rare_ones_keep_their_proportions() {
        let rotation = Rotation::new([(0, 1000), (1, 3), (2, 1)]);
        let members = Members::new([false, true, true]);
        let mut counts = [0_u32; 3];
        for random in 0..4000_u64 {
            let i = rotation.pick(&members, random.wrapping_mul(0x9e37_79b9_7f4a_7c15)).unwrap();
            counts[i] += 1;
        }
        // Three quarters, within five standard deviations of a draw.
        assert!(counts[0] == 0 && counts[1].abs_diff(3000) < 5 * 28, "{counts:?}");
    }
}
