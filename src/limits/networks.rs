//! Which client addresses are let in, by network.
//!
//! The most specific network that an address is in decides, as in a routing table, so an exception is written beside its
//! rule in any order. An address that is in none is let in unless there is a list of those allowed. Networks are
//! flattened into disjoint ranges once; a look-up is a binary search, about a dozen steps for thousands of networks.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::model::Access;

/// Networks allowed and denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networks {
    v4: Ranges,
    v6: Ranges,
}

/// Where each range begins, from 0 up, and whether it is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ranges(Vec<(u128, bool)>);

impl Networks {
    #[must_use]
    pub fn new(access: &Access) -> Self {
        let otherwise = access.allow.is_empty();
        let family = |v4: bool| {
            let allowed = access.allow.iter().map(|network| (network, true));
            let denied = access.deny.iter().map(|network| (network, false));
            let networks = allowed.chain(denied).filter(|(network, _)| matches!(network, IpNet::V4(_)) == v4);
            Ranges::new(networks.map(|(network, allowed)| Block::of(network, allowed)).collect(), otherwise)
        };
        Self { v4: family(true), v6: family(false) }
    }

    /// Whether this address is let in. `None`, a Unix socket, always is: who may open one is said by its file's mode.
    #[must_use]
    pub fn admit(&self, address: Option<IpAddr>) -> bool {
        match address.map(|address| address.to_canonical()) {
            None => true,
            Some(IpAddr::V4(v4)) => self.v4.admit(u32::from(v4).into()),
            Some(IpAddr::V6(v6)) => self.v6.admit(v6.into()),
        }
    }
}

/// A network as numbers.
struct Block {
    first: u128,
    last: u128,
    allowed: bool,
}

impl Block {
    fn of(network: &IpNet, allowed: bool) -> Self {
        let number = |address: IpAddr| match address {
            IpAddr::V4(v4) => u32::from(v4).into(),
            IpAddr::V6(v6) => v6.into(),
        };
        Self { first: number(network.network()), last: number(network.broadcast()), allowed }
    }
}

impl Ranges {
    fn new(mut blocks: Vec<Block>, otherwise: bool) -> Self {
        // Two networks are apart or one is in the other; outer ones first, and of equal ones the denied one last, to win.
        blocks.sort_by_key(|block| (block.first, std::cmp::Reverse(block.last), std::cmp::Reverse(block.allowed)));
        let mut starts = vec![(0, otherwise)];
        let mut around: Vec<Block> = Vec::new();
        let close = |starts: &mut Vec<(u128, bool)>, around: &mut Vec<Block>, before: Option<u128>| {
            while let Some(block) = around.pop_if(|block| before.is_none_or(|first| block.last < first)) {
                if let Some(next) = block.last.checked_add(1) {
                    starts.push((next, around.last().map_or(otherwise, |outer| outer.allowed)));
                }
            }
        };
        for block in blocks {
            close(&mut starts, &mut around, Some(block.first));
            starts.push((block.first, block.allowed));
            around.push(block);
        }
        close(&mut starts, &mut around, None);
        // What was pushed last about a start is what holds from there.
        starts.reverse();
        starts.dedup_by_key(|(start, _)| *start);
        starts.reverse();
        starts.dedup_by_key(|(_, allowed)| *allowed);
        Self(starts)
    }

    fn admit(&self, address: u128) -> bool {
        let after = self.0.partition_point(|(start, _)| *start <= address);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, allowed)| *allowed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks(allow: &[&str], deny: &[&str]) -> Networks {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Networks::new(&Access { allow: parse(allow), deny: parse(deny) })
    }

    fn admits(networks: &Networks, address: &str) -> bool {
        networks.admit(Some(address.parse().unwrap()))
    }

    #[test]
    fn without_a_list_of_those_allowed_all_others_are() {
        let networks = networks(&[], &["10.0.0.0/8", "2001:db8::/32"]);
        for (address, admitted) in [("10.1.2.3", false), ("11.0.0.0", true), ("2001:db8::1", false), ("::1", true)] {
            assert_eq!(admits(&networks, address), admitted, "{address}");
        }
    }

    #[test]
    fn with_a_list_of_those_allowed_all_others_are_denied_in_both_families() {
        let networks = networks(&["192.0.2.0/24"], &[]);
        assert!(admits(&networks, "192.0.2.255") && admits(&networks, "::ffff:192.0.2.1"));
        assert!(!admits(&networks, "192.0.3.0") && !admits(&networks, "::1"));
        assert!(networks.admit(None));
    }

    #[test]
    fn an_exception_and_an_exception_to_it_hold_whichever_list_they_are_in() {
        let networks = networks(&["0.0.0.0/0", "10.1.2.3/32"], &["10.0.0.0/8", "255.255.255.255/32"]);
        let cases = [
            ("9.9.9.9", true),
            ("10.1.2.2", false),
            ("10.1.2.3", true),
            ("10.1.2.4", false),
            ("255.255.255.255", false),
        ];
        for (address, admitted) in cases {
            assert_eq!(admits(&networks, address), admitted, "{address}");
        }
    }

    /// Of all networks that the address is in, the one with the longest prefix; of two, the denied one.
    fn scan(access: &Access, address: IpAddr) -> bool {
        let longest =
            |networks: &[IpNet]| networks.iter().filter(|it| it.contains(&address)).map(IpNet::prefix_len).max();
        match (longest(&access.allow), longest(&access.deny)) {
            (None, None) => access.allow.is_empty(),
            (allowed, denied) => allowed > denied,
        }
    }

    fn network() -> impl Strategy<Value = IpNet> {
        let v4 = (any::<u32>(), 0_u8..=32).prop_map(|(bits, length)| {
            // Few distinct bits, so that networks lie in each other.
            IpNet::new(IpAddr::V4((bits & 0xc003_0003).into()), length).unwrap().trunc()
        });
        let v6 = (any::<u128>(), 0_u8..=128).prop_map(|(bits, length)| {
            IpNet::new(IpAddr::V6((bits & (0xc0 << 120 | 3 << 64 | 3)).into()), length).unwrap().trunc()
        });
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn a_search_finds_what_a_scan_over_all_networks_finds(
            allow in prop::collection::vec(network(), 0..20), deny in prop::collection::vec(network(), 0..20),
            random in prop::collection::vec(any::<u32>(), 10),
        ) {
            let access = Access { allow, deny };
            let networks = Networks::new(&access);
            let edges = access.allow.iter().chain(&access.deny).flat_map(|it| [it.network(), it.broadcast()]);
            let beside = edges.flat_map(|address| match address {
                IpAddr::V4(v4) => [0, 1, u32::MAX].map(|by| IpAddr::V4(u32::from(v4).wrapping_add(by).into())),
                IpAddr::V6(v6) => [0, 1, u128::MAX].map(|by| IpAddr::V6(u128::from(v6).wrapping_add(by).into())),
            });
            let random = random.into_iter().map(|bits| IpAddr::V4((bits & 0xc003_0003).into()));
            for address in beside.chain(random) {
                // An IPv4 address written as IPv6 is an IPv4 address.
                let address = address.to_canonical();
                prop_assert_eq!(networks.admit(Some(address)), scan(&access, address), "{}", address);
            }
        }
    }
}
