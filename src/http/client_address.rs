//! Who the client is, by the word of trusted proxies and of nobody else.
//!
//! Each proxy adds the address it was reached from at the end of the header, so the list is read backwards, beginning at
//! the peer: every address that is a trusted proxy's has vouched for the one before it, and the first one that is not is
//! the client. What stands further left is only what that client claims. A value that is no address ends the search at the
//! last trusted proxy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use httparse::Header;

use crate::config::model::ClientAddress;

/// Trusted proxies that are believed one after another. Chains of proxies are short; a longer list is made to cost time.
const HOPS_MAX: usize = 64;

/// The address nearest to the client that can be believed. `peer` is who is connected.
pub fn client_address(
    fields: &[Header<'_>],
    source: ClientAddress,
    peer: IpAddr,
    trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let name = match source {
        ClientAddress::XForwardedFor => "x-forwarded-for",
        ClientAddress::Forwarded => "forwarded",
    };
    let lines = fields.iter().rev().filter(|field| field.name.eq_ignore_ascii_case(name));
    // A comma in quotes parts what belongs together. That is all right: neither part is an address then, and addresses
    // have no commas.
    let mut hops = lines.flat_map(|field| field.value.rsplit(|byte| *byte == b',')).take(HOPS_MAX);
    let mut client = peer;
    while trusted(client) {
        let Some(hop) = hops.next() else { break };
        let node = if source == ClientAddress::Forwarded { for_node(hop) } else { Some(hop) };
        match node.and_then(address) {
            Some(address) => client = address.to_canonical(),
            None => break,
        }
    }
    client
}

/// The value of `for` in one element of a `Forwarded` field, without its quotes (RFC 7239 section 4).
fn for_node(element: &[u8]) -> Option<&[u8]> {
    let mut found = None;
    for pair in element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii) {
        let Some((name, value)) = pair.split_at_checked(4) else { continue };
        if name.eq_ignore_ascii_case(b"for=") && found.replace(value).is_some() {
            return None;
        }
    }
    let value = found?;
    match value.strip_prefix(b"\"") {
        Some(quoted) => quoted.strip_suffix(b"\""),
        None => Some(value),
    }
}

/// An address, with a port or without: `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]:80`, `2001:db8::1` (RFC 7239 section 6,
/// and what `X-Forwarded-For` is seen to have).
fn address(node: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(node).ok()?.trim_ascii();
    if let Some(inner) = text.strip_prefix('[') {
        let (host, port) = inner.split_once(']')?;
        let fits = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return host.parse::<Ipv6Addr>().ok().filter(|_| fits).map(IpAddr::V6);
    }
    match text.split_once(':') {
        Some((host, port)) if is_port(port) => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        _ => text.parse().ok(),
    }
}

/// A number, or a word that stands for one.
fn is_port(text: &str) -> bool {
    let word = |rest: &str| {
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    text.strip_prefix('_').map_or_else(|| text.parse::<u16>().is_ok(), word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn client(source: ClientAddress, lines: &[&str]) -> String {
        let name = if source == ClientAddress::Forwarded { "Forwarded" } else { "X-Forwarded-For" };
        let fields: Vec<_> = lines.iter().map(|line| Header { name, value: line.as_bytes() }).collect();
        let trusted = |address: IpAddr| address.to_string().starts_with("10.") || address.to_string().starts_with("fd");
        client_address(&fields, source, "10.0.0.1".parse().unwrap(), trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_can_name_another_client() {
        let lines = [
            Header { name: "X-Forwarded-For", value: b"1.1.1.1, 2.2.2.2" },
            Header { name: "x-forwarded-for", value: b"10.0.0.2" },
        ];
        let with = |trusted: &dyn Fn(IpAddr) -> bool| {
            client_address(&lines, ClientAddress::XForwardedFor, "10.0.0.1".parse().unwrap(), trusted).to_string()
        };
        assert_eq!(with(&|_| false), "10.0.0.1");
        assert_eq!(with(&|address| address.to_string() == "10.0.0.1"), "10.0.0.2");
        assert_eq!(with(&|address| address.to_string().starts_with("10.")), "2.2.2.2");
    }

    #[test]
    fn addresses_are_read_with_ports_brackets_and_in_several_lines() {
        for (lines, found) in [
            (&["192.0.2.1"][..], "192.0.2.1"),
            (&["9.9.9.9, 192.0.2.1:4711"], "192.0.2.1"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["2001:db8::1,\tfd00::1 "], "2001:db8::1"),
            (&["::ffff:192.0.2.1"], "192.0.2.1"),
            (&["9.9.9.9", "192.0.2.1", "10.0.0.3, 10.0.0.2"], "192.0.2.1"),
            (&["10.0.0.3"], "10.0.0.3"),
        ] {
            assert_eq!(client(ClientAddress::XForwardedFor, lines), found, "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_address_ends_the_search_at_the_last_trusted_proxy() {
        for garbage in [
            "junk",
            "",
            "1.1.1",
            "01.1.1.1",
            "1.1.1.1:",
            "1.1.1.1:x",
            "1.1.1.1:99999",
            "[::1",
            "[::1]x",
            "[1.1.1.1]",
            "::1%eth0",
            "\u{661}.1.1.1",
            "for=1.1.1.1",
        ] {
            let line = format!("9.9.9.9, {garbage}, 10.0.0.2");
            assert_eq!(client(ClientAddress::XForwardedFor, &[&line]), "10.0.0.2", "{garbage}");
        }
    }

    #[test]
    fn forwarded_is_read_in_all_its_forms() {
        for (lines, found) in [
            (&["for=192.0.2.1"][..], "192.0.2.1"),
            (&["For=\"192.0.2.1:4711\";proto=https; by=10.0.0.2"], "192.0.2.1"),
            (&["proto=http ; FOR=\"[2001:db8::1]:4711\""], "2001:db8::1"),
            (&["for=\"[2001:db8::1]:_port\""], "2001:db8::1"),
            (&["for=9.9.9.9, for=192.0.2.1", "for=\"[fd00::1]\";host=\"a.b\", for=10.0.0.2"], "192.0.2.1"),
            (&["for=9.9.9.9, for=_hidden, for=10.0.0.2"], "10.0.0.2"),
            (&["for=9.9.9.9, for=unknown"], "10.0.0.1"),
            (&["for=9.9.9.9;for=8.8.8.8"], "10.0.0.1"),
            (&["for=\"9.9.9.9"], "10.0.0.1"),
            (&["for=9.9.9.9, by=10.0.0.2"], "10.0.0.1"),
            // A client cannot quote away what the proxy adds behind it.
            (&["for=\"evil, for=192.0.2.1"], "192.0.2.1"),
            (&["for=\"9.9.9.9, for=10.0.0.9\""], "10.0.0.1"),
        ] {
            assert_eq!(client(ClientAddress::Forwarded, lines), found, "{lines:?}");
        }
    }

    #[test]
    fn only_the_header_that_was_chosen_is_read() {
        let lines = [
            Header { name: "Forwarded", value: b"for=6.6.6.6" },
            Header { name: "X-Forwarded-For", value: b"192.0.2.1" },
        ];
        let with =
            |source| client_address(&lines, source, "10.0.0.1".parse().unwrap(), |a| a == IpAddr::from([10, 0, 0, 1]));
        assert_eq!(with(ClientAddress::XForwardedFor).to_string(), "192.0.2.1");
        assert_eq!(with(ClientAddress::Forwarded).to_string(), "6.6.6.6");
    }

    #[test]
    fn an_endless_list_of_proxies_is_believed_only_so_far() {
        let long = "10.9.9.9, ".repeat(1000) + "10.0.0.2";
        assert_eq!(client(ClientAddress::XForwardedFor, &[&format!("192.0.2.1, {long}")]), "10.9.9.9");
    }

    proptest! {
        #[test]
        fn whatever_is_claimed_the_last_untrusted_address_stands(claims in "[0-9a-f.:,;=\"\\[\\] forunkw_]{0,60}", proxies in 0usize..5) {
            let chain = ", 10.0.0.2".repeat(proxies);
            prop_assert_eq!(client(ClientAddress::XForwardedFor, &[&format!("{claims}, 192.0.2.1{chain}")]), "192.0.2.1");
            let chain = ", for=10.0.0.2".repeat(proxies);
            prop_assert_eq!(client(ClientAddress::Forwarded, &[&format!("{claims}, for=192.0.2.1{chain}")]), "192.0.2.1");
        }
    }
}
