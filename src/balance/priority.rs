//! Priority levels: the most preferred members take everything as long as enough of them are in rotation.
//!
//! The shares are Envoy's, in integer percent:
//!
//! ```text
//! health(p) = min(100, F * in_rotation(p) / members(p))       F = overprovisioning factor in percent
//! total     = min(100, sum of health)
//! load(p)   = min(100 - loads above, health(p) * 100 / total, rounded to nearest)
//! ```
//!
//! and what rounding leaves over goes to the first level that has health. F is 140, or 100 * members / masters that
//! suffice: with two members of which one suffices, losing one moves nothing to the next level.
//!
//! There is no panic mode: with nothing in rotation anywhere, the eligible members of the most preferred level that
//! has any are used; which those are is the caller's decision.

use super::rotation::{Cursor, Rotation};
use super::{Spec, View};

/// Overprovisioning factor in percent when the number of masters that suffice is not given; Envoy's default.
const OVERPROVISIONING_PERCENT: usize = 140;

/// Shares are percent, so a period has 100 slots.
const SLOTS: usize = 100;

/// Slots are visited in steps of this size. Coprime to 100, so that a period visits each once, and near the golden
/// section of it, so that the slots of a level are spread over the period.
const STRIDE: usize = 61;

#[derive(Debug)]
pub struct Priority {
    /// Most preferred first.
    levels: Box<[Rotation]>,
    masters_that_suffice: Option<usize>,
    slots: Cursor,
}

impl Priority {
    pub fn new(specs: &[Spec], masters_that_suffice: Option<usize>) -> Self {
        let mut priorities: Vec<u32> = specs.iter().map(|spec| spec.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        let level = |priority| {
            let members = specs.iter().enumerate().filter(move |(_, spec)| spec.priority == priority);
            Rotation::new(members.map(|(i, spec)| (i, spec.bounded_weight())))
        };
        let levels = priorities.into_iter().map(level).collect();
        Self { levels, masters_that_suffice, slots: Cursor::default() }
    }

    pub fn pick(&self, view: &impl View, random: u64) -> Option<usize> {
        let health = |level: &Rotation| {
            let (up, members) = level.in_rotation(view);
            health(up, members, self.masters_that_suffice)
        };
        let slot = || self.slots.next(SLOTS) * STRIDE % SLOTS;
        let chosen = choose(&self.levels, health, slot).and_then(|level| level.pick_in_rotation(view, random));
        // The level's members may all have been tried, or have gone since they were counted.
        let in_turn = |pick: &dyn Fn(&Rotation) -> Option<usize>| self.levels.iter().find_map(pick);
        chosen
            .or_else(|| in_turn(&|level| level.pick_in_rotation(view, random)))
            .or_else(|| in_turn(&|level| level.pick_any(view, random)))
    }
}

/// A level's health in percent.
fn health(in_rotation: usize, members: usize, masters_that_suffice: Option<usize>) -> usize {
    let percent = match masters_that_suffice {
        // 100 * members / suffice percent of in_rotation / members, without rounding in between.
        Some(suffice) => 100 * in_rotation / suffice.max(1),
        None => OVERPROVISIONING_PERCENT * in_rotation / members.max(1),
    };
    percent.min(100)
}

/// The level that a slot (0 to 99) falls to, or `None` when none has health. The slot is drawn only when needed.
fn choose<L>(levels: &[L], health: impl Fn(&L) -> usize, slot: impl FnOnce() -> usize) -> Option<&L> {
    let (first, healthiest) = levels.split_first()?;
    let first_health = health(first);
    if first_health == 100 {
        return Some(first);
    }
    let total = healthiest.iter().fold(first_health, |sum, level| (sum + health(level)).min(100));
    if total == 0 {
        return None;
    }
    let slot = slot();
    let mut loads = 0;
    let mut first_with_health = None;
    for level in levels {
        let health = health(level);
        loads += ((health * 100 + total / 2) / total).min(100 - loads);
        if slot < loads {
            return Some(level);
        }
        if health > 0 && first_with_health.is_none() {
            first_with_health = Some(level);
        }
    }
    first_with_health
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slots of a period that fall to each level.
    fn loads(health: &[usize]) -> Vec<usize> {
        let levels: Vec<usize> = (0..health.len()).collect();
        let mut loads = vec![0; levels.len()];
        for slot in 0..SLOTS {
            if let Some(level) = choose(&levels, |level| health[*level], || slot) {
                loads[*level] += 1;
            }
        }
        loads
    }

    fn loads_of_percents(healthy_percents: &[usize]) -> Vec<usize> {
        let health: Vec<usize> = healthy_percents.iter().map(|percent| health(*percent, 100, None)).collect();
        loads(&health)
    }

    #[test]
    fn loads_follow_the_published_table() {
        assert_eq!(loads_of_percents(&[72, 100]), [100, 0]);
        assert_eq!(loads_of_percents(&[71, 100]), [99, 1]);
        assert_eq!(loads_of_percents(&[50, 100]), [70, 30]);
        assert_eq!(loads_of_percents(&[25, 100]), [35, 65]);
        assert_eq!(loads_of_percents(&[25, 25]), [50, 50]);
        assert_eq!(loads_of_percents(&[25, 25, 100]), [35, 35, 30]);
        assert_eq!(loads_of_percents(&[25, 25, 20]), [36, 36, 28]);
        assert_eq!(loads_of_percents(&[10, 10, 10]), [34, 33, 33]);
        assert_eq!(loads_of_percents(&[5, 65]), [7, 93]);
        assert_eq!(loads_of_percents(&[50, 60]), [70, 30]);
    }

    #[test]
    fn nothing_in_rotation_gives_no_level() {
        assert_eq!(loads_of_percents(&[0, 0]), [0, 0]);
        assert_eq!(loads_of_percents(&[]), [0; 0]);
    }

    #[test]
    fn a_level_without_health_gets_nothing() {
        assert_eq!(loads_of_percents(&[0, 10, 10, 10]), [0, 34, 33, 33]);
        assert_eq!(loads_of_percents(&[0, 100]), [0, 100]);
    }

    #[test]
    fn one_of_two_suffices_so_losing_one_moves_nothing() {
        let first = |up| health(up, 2, Some(1));
        assert_eq!(loads(&[first(2), 100]), [100, 0]);
        assert_eq!(loads(&[first(1), 100]), [100, 0]);
        assert_eq!(loads(&[first(0), 100]), [0, 100]);
    }

    #[test]
    fn two_of_three_suffice_so_losing_two_moves_half() {
        let first = |up| health(up, 3, Some(2));
        assert_eq!(loads(&[first(2), 100]), [100, 0]);
        assert_eq!(loads(&[first(1), 100]), [50, 50]);
    }

    #[test]
    fn a_period_visits_every_slot_once() {
        let mut seen: Vec<usize> = (0..SLOTS).map(|turn| turn * STRIDE % SLOTS).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..SLOTS).collect::<Vec<_>>());
    }
}
