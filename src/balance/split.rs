//! Which of several upstreams gets a request, by weight.

use crate::config::model::Share;
use crate::ids;

/// Keeps the choice of an upstream apart from that of a master in it, which goes by the same hash.
const SALT: u64 = 0x5370_6c69_7421_0001;

/// The upstream for this number, which is the hash of what is to stay together, or random. Equal numbers get equal
/// upstreams. When the last share grows at the cost of those before it, numbers move into it and none moves back.
///
/// Those of an upstream that nobody answers for are dealt to the others by their weights, and return when it does; where nobody
/// answers for any of them, they stay.
#[must_use]
pub fn choose(shares: &[Share], number: u64, answers: impl Fn(usize) -> bool) -> Option<usize> {
    let chosen = among(shares, number, |_| true)?;
    if answers(chosen) {
        return Some(chosen);
    }
    among(shares, number, |upstream| upstream != chosen && answers(upstream)).or(Some(chosen))
}

fn among(shares: &[Share], number: u64, counts: impl Fn(usize) -> bool) -> Option<usize> {
    let shares = || shares.iter().filter(|share| counts(share.upstream));
    let total: u64 = shares().map(|share| u64::from(share.weight)).sum();
    // The number's place on a line as long as the sum of the weights (Lemire 2019, without the rejection: the bias is
    // below 2^-32).
    let mut place = ((u128::from(ids::mix(number ^ SALT)) * u128::from(total)) >> 64) as u64;
    for share in shares() {
        match place.checked_sub(u64::from(share.weight)) {
            None => return Some(share.upstream),
            Some(left) => place = left,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shares(weights: &[u32]) -> Vec<Share> {
        weights.iter().enumerate().map(|(upstream, weight)| Share { upstream, weight: *weight }).collect()
    }

    #[test]
    fn every_upstream_gets_its_share() {
        let shares = shares(&[900, 0, 100]);
        let mut counts = [0; 3];
        (0..100_000).for_each(|number| counts[choose(&shares, number, |_| true).unwrap()] += 1);
        assert_eq!(counts[1], 0);
        // Six standard deviations of a binomial distribution are 570.
        assert!((9_430..=10_570).contains(&counts[2]), "{counts:?}");
    }

    #[test]
    fn a_growing_canary_takes_conversations_and_gives_none_back() {
        let (before, after) = (shares(&[95, 5]), shares(&[80, 20]));
        let chosen = |shares: &[Share], number| choose(shares, number, |_| true);
        assert!((0..10_000).all(|number| chosen(&before, number) == Some(0) || chosen(&after, number) == Some(1)));
    }

    #[test]
    fn what_nobody_answers_for_is_dealt_to_the_others_and_returns() {
        let shares = shares(&[60, 30, 10]);
        let mut dealt = [0; 3];
        for number in 0..100_000 {
            let (usual, now) = (choose(&shares, number, |_| true), choose(&shares, number, |upstream| upstream != 1));
            match usual {
                Some(1) => dealt[now.unwrap()] += 1,
                usual => assert_eq!(now, usual),
            }
            assert_eq!(choose(&shares, number, |_| false), usual);
        }
        let all = f64::from(dealt[0] + dealt[2]);
        assert!(dealt[1] == 0 && (0.8..0.92).contains(&(f64::from(dealt[0]) / all)), "{dealt:?}");
    }

    #[test]
    fn a_share_of_nothing_stays_one() {
        let shares = shares(&[100, 0]);
        assert!((0..1000).all(|number| choose(&shares, number, |upstream| upstream != 0) == Some(0)));
    }

    proptest! {
        #[test]
        fn there_is_always_one_with_a_weight(weights in prop::collection::vec(0..1_000_000_u32, 1..5), number: u64) {
            let chosen = choose(&shares(&weights), number, |upstream| number >> (upstream % 64) & 1 == 1);
            prop_assert_eq!(chosen.is_some(), weights.iter().any(|weight| *weight > 0));
            prop_assert!(chosen.is_none_or(|chosen| weights[chosen] > 0));
        }
    }
}
