//! Which of several upstreams gets a request, by weight.

use crate::config::model::Share;
use crate::ids;

/// Keeps the choice of an upstream apart from that of a master in it, which goes by the same hash.
const SALT: u64 = 0x5370_6c69_7421_0001;

/// The upstream for this number, which is the hash of what is to stay together, or random. Equal numbers get equal
/// upstreams. When the last share grows at the cost of those before it, numbers move into it and none moves back.
#[must_use]
pub fn choose(shares: &[Share], number: u64) -> Option<usize> {
    let total: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
    // The number's place on a line as long as the sum of the weights (Lemire 2019, without the rejection: the bias is
    // below 2^-32).
    let mut place = ((u128::from(ids::mix(number ^ SALT)) * u128::from(total)) >> 64) as u64;
    for share in shares {
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
        (0..100_000).for_each(|number| counts[choose(&shares, number).unwrap()] += 1);
        assert_eq!(counts[1], 0);
        // Six standard deviations of a binomial distribution are 570.
        assert!((9_430..=10_570).contains(&counts[2]), "{counts:?}");
    }

    #[test]
    fn a_growing_canary_takes_conversations_and_gives_none_back() {
        let (before, after) = (shares(&[95, 5]), shares(&[80, 20]));
        assert!((0..10_000).all(|number| choose(&before, number) == Some(0) || choose(&after, number) == Some(1)));
    }

    proptest! {
        #[test]
        fn there_is_always_one_with_a_weight(weights in prop::collection::vec(0..1_000_000_u32, 1..5), number: u64) {
            let chosen = choose(&shares(&weights), number);
            prop_assert_eq!(chosen.is_some(), weights.iter().any(|weight| *weight > 0));
            prop_assert!(chosen.is_none_or(|chosen| weights[chosen] > 0));
        }
    }
}
