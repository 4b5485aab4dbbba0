//! How well an upstream's load is spread over its masters: 0 when one has everything, 100 when each has its share.
//!
//! Jain's fairness index (R. Jain, D. Chiu, W. Hawe, *A Quantitative Measure of Fairness and Discrimination*, DEC-TR-301, 1984) over the
//! load of each master divided by its weight, `x`:
//!
//! ```text
//! J = (x1 + ... + xn)^2 / (n * (x1^2 + ... + xn^2))        1/n <= J <= 1
//! quality = 100 * (n * J - 1) / (n - 1)
//! ```
//!
//! so that the value means the same whatever the number of masters. Two masters at 60 and 40 % have 92; at 75 and 25 % 60.

/// Requests for each master below which chance alone would look like imbalance.
const REQUESTS_MIN: u64 = 20;

/// How far from its share, in percent of that, a master is named as a reason.
const NAMED_BEYOND: f64 = 25.0;

/// One master's part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load<'a> {
    pub master: &'a str,
    pub weight: u32,
    pub requests: u64,
}

/// The quality with what is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// 0 to 100.
    pub quality: u8,
    /// Sentences; none when every master has about its share.
    pub reasons: Vec<String>,
}

/// The quality of a distribution over masters that all could have got more. `None` for fewer than two, or where there was too little
/// to say anything.
#[must_use]
pub fn distribution(loads: &[Load<'_>]) -> Option<Distribution> {
    let requests: u64 = loads.iter().map(|load| load.requests).sum();
    let count = loads.len();
    if count < 2 || requests < REQUESTS_MIN * count as u64 {
        return None;
    }
    let relative = |load: &Load<'_>| load.requests as f64 / f64::from(load.weight.max(1));
    let sum: f64 = loads.iter().map(relative).sum();
    let squares: f64 = loads.iter().map(|load| relative(load).powi(2)).sum();
    let times_jain = sum * sum / squares;
    let quality = 100.0 * (times_jain - 1.0) / (count as f64 - 1.0);
    let weights: f64 = loads.iter().map(|load| f64::from(load.weight.max(1))).sum();
    let reason = |load: &Load<'_>| {
        let due = 100.0 * f64::from(load.weight.max(1)) / weights;
        let got = 100.0 * load.requests as f64 / requests as f64;
        let off = (got - due).abs() * 100.0 / due > NAMED_BEYOND;
        off.then(|| format!("{} got {got:.0} % of the requests where its share is {due:.0} %", load.master))
    };
    Some(Distribution {
        quality: quality.round().clamp(0.0, 100.0) as u8,
        reasons: loads.iter().filter_map(reason).collect(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quality(loads: &[(u32, u64)]) -> Option<u8> {
        let load = |(weight, requests): &(u32, u64)| Load { master: "m", weight: *weight, requests: *requests };
        distribution(&loads.iter().map(load).collect::<Vec<_>>()).map(|distribution| distribution.quality)
    }

    #[test]
    fn each_its_share_is_a_hundred_and_all_to_one_is_nothing() {
        assert_eq!(quality(&[(1, 100), (1, 100), (1, 100)]), Some(100));
        assert_eq!(quality(&[(3, 300), (1, 100)]), Some(100));
        assert_eq!(quality(&[(1, 300), (1, 0), (1, 0)]), Some(0));
        assert_eq!(quality(&[(1, 60), (1, 40)]), Some(92));
        assert_eq!(quality(&[(1, 75), (1, 25)]), Some(60));
    }

    #[test]
    fn too_little_says_nothing() {
        assert_eq!(quality(&[]), None);
        assert_eq!(quality(&[(1, 1000)]), None);
        assert_eq!(quality(&[(1, 39), (1, 0)]), None);
        assert_eq!(quality(&[(1, 40), (1, 0)]), Some(0));
    }

    #[test]
    fn a_master_with_more_or_less_than_its_share_is_named() {
        let load = |master, requests| Load { master, weight: 1, requests };
        let found = distribution(&[load("a", 200), load("b", 100), load("c", 0)]).unwrap();
        let expected = [
            "a got 67 % of the requests where its share is 33 %".to_owned(),
            "c got 0 % of the requests where its share is 33 %".to_owned(),
        ];
        assert_eq!((found.quality, found.reasons.as_slice()), (40, expected.as_slice()));
        assert_eq!(distribution(&[load("a", 110), load("b", 90)]).unwrap().reasons, Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds_and_does_not_depend_on_the_order(
            mut loads in prop::collection::vec((0u32..10, 0u64..10_000), 2..20),
        ) {
            let forwards = quality(&loads);
            loads.reverse();
            prop_assert_eq!(forwards, quality(&loads));
            prop_assert!(forwards.is_none_or(|quality| quality <= 100));
        }

        #[test]
        fn moving_load_from_the_busiest_to_the_idlest_does_not_lower_it(
            loads in prop::collection::vec(100u64..10_000, 2..10), part in 0.0f64..0.5,
        ) {
            let before = quality(&loads.iter().map(|load| (1, *load)).collect::<Vec<_>>()).unwrap();
            let mut moved = loads;
            moved.sort_unstable();
            let (last, gap) = (moved.len() - 1, moved[moved.len() - 1] - moved[0]);
            let amount = (gap as f64 * part) as u64;
            moved[last] -= amount;
            moved[0] += amount;
            let after = quality(&moved.iter().map(|load| (1, *load)).collect::<Vec<_>>()).unwrap();
            prop_assert!(after >= before, "{before} to {after} by {amount}");
        }
    }
}
