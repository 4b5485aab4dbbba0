//! Where a key lives: weighted rendezvous hashing, with or without a bound on the load.
//!
//! Every member gets a score from the key, its name and its weight w, and the highest usable score wins. The score is
//! -w / ln(u), with a number u in (0, 1) that is uniform over keys and members: it is the highest with a chance of the
//! member's share of the weights (Schindelhauer and Schomaker, 2005).
//!
//! So each key has its own order of members. Taking one away moves only its own keys, and moves them to all others in
//! proportion to their weights, not to one neighbour as on a ring. Scores depend on names, not on positions, and on
//! nothing that differs between processes. The price is a look at every member, a few nanoseconds each.
//!
//! The bound (Mirrokni, Thorup, Zadimoghaddam, arXiv 1608.01350, in HAProxy's integer form) gives each member a number
//! of slots, `factor` percent of its fair share of what is in flight; a key whose member is full goes to the next in
//! the key's own order. Slots are computed over the members in rotation:
//!
//! ```text
//! total = ceil((in_flight + 1) * factor / 100)     q, r = total / W, total % W     W = sum of weights
//! slots = w * q + floor((before + w) * r / W) - floor(before * r / W), at least 1  before = weights of earlier members
//! ```

use std::net::IpAddr;

use super::set::Set;
use super::{Candidates, Spec, View, stable_hash};

#[derive(Debug)]
pub struct Rendezvous {
    members: Box<[Member]>,
    /// All weights are the same, so that comparing hashes is comparing scores.
    even: bool,
}

#[derive(Debug)]
struct Member {
    name_hash: u64,
    weight: u32,
}

/// The key of a client's address: the whole of an IPv4 address and the first 64 bits of an IPv6 one, as hosts choose
/// the rest freely and change it. An IPv4 address mapped into IPv6 counts as IPv4.
pub fn client_hash(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(address) => stable_hash(&address.octets()),
        IpAddr::V6(address) => stable_hash(&address.octets()[..8]),
    }
}

impl Rendezvous {
    pub fn new(specs: &[Spec]) -> Self {
        let member =
            |spec: &Spec| Member { name_hash: stable_hash(spec.name.as_bytes()), weight: spec.bounded_weight() };
        let members: Box<[Member]> = specs.iter().map(member).collect();
        let even = members.windows(2).all(|pair| pair[0].weight == pair[1].weight);
        Self { members, even }
    }

    /// The candidate with the highest score for the key.
    pub fn pick<V: View>(&self, key: u64, candidates: &Candidates<'_, V>) -> Option<usize> {
        self.best(key, |i| candidates.contain(i))
    }

    /// The first member in the key's order that is eligible, in rotation and not full. `None` when there is none, and
    /// when `factor` (percent) is 0, which switches the bound off.
    pub fn pick_bounded(&self, key: u64, factor: u32, view: &impl View) -> Option<usize> {
        if factor == 0 {
            return None;
        }
        let rotation = Set::of(self.members.len(), |i| view.in_rotation(i));
        let in_rotation = || self.members.iter().enumerate().filter(|(i, _)| rotation.contains(*i));
        let (in_flight, weights) = in_rotation().fold((0, 0), |(in_flight, weights), (i, member)| {
            (in_flight + u64::from(view.in_flight(i)), weights + u64::from(member.weight))
        });
        let slots = Slots::new(in_flight, factor, weights)?;
        let has_room = |i: usize| {
            let (in_flight, weight) = (u64::from(view.in_flight(i)), u64::from(self.members[i].weight));
            let before = || in_rotation().take_while(|(j, _)| *j < i).map(|(_, member)| u64::from(member.weight)).sum();
            in_flight < slots.at_least(weight) || in_flight < slots.of(before(), weight)
        };
        self.best(key, |i| rotation.contains(i) && view.eligible(i) && has_room(i))
    }

    /// Asks `usable` only about members whose score is higher than those of all usable ones so far, which are about as
    /// many as the number of members has binary digits.
    fn best(&self, key: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
        if self.even {
            let mut best = None;
            for (i, member) in self.members.iter().enumerate() {
                let hash = mix(key, member.name_hash);
                if best.is_none_or(|(highest, _)| hash > highest) && usable(i) {
                    best = Some((hash, i));
                }
            }
            return best.map(|(_, i)| i);
        }
        let mut best = None;
        let mut highest = 0.0;
        for (i, member) in self.members.iter().enumerate() {
            let uniform = uniform(mix(key, member.name_hash));
            let weight = f64::from(member.weight);
            // -ln(u) is at least 1 - u, which settles most comparisons without the logarithm.
            if weight <= highest * (1.0 - uniform) {
                continue;
            }
            let score = -weight / uniform.ln();
            if score > highest && usable(i) {
                (highest, best) = (score, Some(i));
            }
        }
        best
    }
}

/// How many requests each member may have in flight.
#[derive(Debug)]
struct Slots {
    quotient: u64,
    remainder: u64,
    weights: u64,
}

impl Slots {
    /// `None` without members.
    fn new(in_flight: u64, factor: u32, weights: u64) -> Option<Self> {
        let total = (in_flight + 1).saturating_mul(u64::from(factor)).div_ceil(100);
        Some(Self { quotient: total.checked_div(weights)?, remainder: total.checked_rem(weights)?, weights })
    }

    /// The slots of a member with this weight, wherever it stands.
    fn at_least(&self, weight: u64) -> u64 {
        (weight * self.quotient).max(1)
    }

    fn of(&self, before: u64, weight: u64) -> u64 {
        let share = |weights: u64| weights * self.remainder / self.weights;
        (weight * self.quotient + share(before + weight) - share(before)).max(1)
    }
}

/// A number in (0, 1). Of 52 bits, so that neither end is reached by rounding.
fn uniform(hash: u64) -> f64 {
    ((hash >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

/// One hash of a key and a member: two multiplications and shifts, which are enough as both come well mixed. Part of
/// the format, like the seed.
fn mix(key: u64, name_hash: u64) -> u64 {
    let mut x = key ^ name_hash.rotate_left(32);
    x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    x ^ (x >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(weights: &[u64], factor: u32, in_flight: &[u64]) -> Vec<u64> {
        let slots = Slots::new(in_flight.iter().sum(), factor, weights.iter().sum()).unwrap();
        let mut before = 0;
        let mut of = |weight: &u64| {
            let result = slots.of(before, *weight);
            before += weight;
            result
        };
        weights.iter().map(&mut of).collect()
    }

    #[test]
    fn slots_follow_the_published_vectors() {
        assert_eq!(slots(&[1, 1, 1], 125, &[3, 3, 3]), [4, 4, 5]);
        assert_eq!(slots(&[1, 1, 1], 125, &[6, 2, 1]), [4, 4, 5]);
        assert_eq!(slots(&[2, 1, 1], 150, &[5, 2, 2]), [7, 4, 4]);
    }

    #[test]
    fn an_idle_member_always_has_a_slot() {
        assert_eq!(slots(&[1, 1, 1], 100, &[0, 0, 0]), [1, 1, 1]);
    }

    #[test]
    fn an_ipv6_client_is_its_first_64_bits_and_a_mapped_ipv4_client_is_ipv4() {
        let hash = |address: &str| client_hash(address.parse().unwrap());
        assert_eq!(hash("2001:db8:1:2::1"), hash("2001:db8:1:2:ffff::9"));
        assert_ne!(hash("2001:db8:1:2::1"), hash("2001:db8:1:3::1"));
        assert_eq!(hash("::ffff:192.0.2.7"), hash("192.0.2.7"));
        assert_ne!(hash("192.0.2.7"), hash("192.0.2.8"));
    }
}
