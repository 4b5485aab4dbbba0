//! How a client is known where clients are counted: by address, an IPv6 address by its network, as one host has as many
//! addresses of that as it likes.

use std::net::IpAddr;

/// The part of an address that is counted as one client: IPv4 whole, IPv6 up to `v6_prefix` bits. `None`, a Unix socket,
/// is one client.
#[must_use]
pub fn identity(address: Option<IpAddr>, v6_prefix: u8) -> u128 {
    match address.map(|address| address.to_canonical()) {
        None => 0,
        // In the range of addresses that IPv6 keeps for IPv4, which no client of its own has.
        Some(IpAddr::V4(v4)) => v4.to_ipv6_mapped().into(),
        Some(IpAddr::V6(v6)) => {
            let host_bits = 128 - u32::from(v6_prefix.min(128));
            u128::from(v6) & u128::MAX.checked_shl(host_bits).unwrap_or(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(address: &str, prefix: u8) -> u128 {
        identity(Some(address.parse().unwrap()), prefix)
    }

    #[test]
    fn addresses_of_one_network_are_one_client_and_ipv4_addresses_are_each_their_own() {
        assert_eq!(id("2001:db8::1", 64), id("2001:db8::ffff:1", 64));
        assert_ne!(id("2001:db8::1", 64), id("2001:db8:0:1::1", 64));
        assert_ne!(id("2001:db8::1", 128), id("2001:db8::2", 128));
        assert_eq!(id("2001:db8::1", 0), id("::1", 0));
        assert_ne!(id("192.0.2.1", 64), id("192.0.2.2", 64));
        assert_eq!(id("192.0.2.1", 64), id("::ffff:192.0.2.1", 64));
        assert_eq!(identity(None, 64), identity(None, 64));
    }
}
