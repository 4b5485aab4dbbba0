//! The PROXY protocol, versions 1 and 2: a balancer's word about whose connection it passes on.
//!
//! Follows <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>, section 2. Reading is strict about what a sender has
//! to write and passes over what it may add (TLVs, addresses of families that are not TCP over IP). Whether a sender is to
//! be believed is not decided here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::model::ProxyVersion;

/// The longest header of version 1, its line end included.
const V1_BYTES_MAX: usize = 107;
/// The longest header of version 2: the addresses of Unix sockets, and as much again for TLVs.
pub const HEADER_BYTES_MAX: usize = 536;

const V1_BEGIN: &[u8] = b"PROXY ";
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;

const PROXY: u8 = 0x21;
const LOCAL: u8 = 0x20;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// The two ends of a connection, as its client sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

/// A header that has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// `None` when it tells nothing about a client: the sender's own connection, or one of another kind.
    pub ends: Option<Ends>,
    /// Bytes it takes up.
    pub length: usize,
}

/// Not a header, or one beyond the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAHeader;

/// Reads the header that `bytes` begin with; `None` while there has to be more.
///
/// # Errors
/// [`NotAHeader`], at the first byte that shows it.
pub fn read(bytes: &[u8]) -> Result<Option<Header>, NotAHeader> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(byte, expected)| byte == expected);
    if bytes.is_empty() {
        Ok(None)
    } else if begins(SIGNATURE) {
        read_v2(bytes)
    } else if begins(V1_BEGIN) {
        read_v1(bytes)
    } else {
        Err(NotAHeader)
    }
}

fn read_v1(bytes: &[u8]) -> Result<Option<Header>, NotAHeader> {
    let looked_at = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = looked_at.windows(2).position(|pair| pair == b"\r\n") else {
        return if looked_at.len() < V1_BYTES_MAX { Ok(None) } else { Err(NotAHeader) };
    };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| NotAHeader)?;
    let mut words = line.split(' ').skip(1);
    let ends = match words.next() {
        Some("TCP4") => Some(v1_ends::<Ipv4Addr>(&mut words)?),
        Some("TCP6") => Some(v1_ends::<Ipv6Addr>(&mut words)?),
        // What follows says nothing that may be relied on.
        Some("UNKNOWN") => return Ok(Some(Header { ends: None, length: end + 2 })),
        _ => return Err(NotAHeader),
    };
    if words.next().is_some() { Err(NotAHeader) } else { Ok(Some(Header { ends, length: end + 2 })) }
}

fn v1_ends<'a, T: std::str::FromStr + Into<IpAddr>>(
    words: &mut impl Iterator<Item = &'a str>,
) -> Result<Ends, NotAHeader> {
    let mut address = || words.next().and_then(|word| word.parse::<T>().ok()).map(Into::into).ok_or(NotAHeader);
    let (source, destination) = (address()?, address()?);
    let mut port = || words.next().and_then(v1_port).ok_or(NotAHeader);
    let (source_port, destination_port) = (port()?, port()?);
    Ok(Ends {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

/// Digits alone, without zeros before them.
fn v1_port(word: &str) -> Option<u16> {
    let canonical = word == "0" || (!word.starts_with('0') && word.bytes().all(|byte| byte.is_ascii_digit()));
    word.parse().ok().filter(|_| canonical)
}

fn read_v2(bytes: &[u8]) -> Result<Option<Header>, NotAHeader> {
    if bytes.get(12).is_some_and(|command| ![PROXY, LOCAL].contains(command)) {
        return Err(NotAHeader);
    }
    // No family or transport beyond those that the specification has.
    if bytes.get(13).is_some_and(|family| family >> 4 > 3 || family & 0xf > 2) {
        return Err(NotAHeader);
    }
    let Some(&fixed) = bytes.first_chunk::<V2_FIXED>() else { return Ok(None) };
    let length = V2_FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > HEADER_BYTES_MAX {
        return Err(NotAHeader);
    }
    let Some(block) = bytes.get(V2_FIXED..length) else { return Ok(None) };
    let ends = match (fixed[12], fixed[13]) {
        (PROXY, TCP4) => Some(v2_ends::<4, Ipv4Addr>(block)?),
        (PROXY, TCP6) => Some(v2_ends::<16, Ipv6Addr>(block)?),
        _ => None,
    };
    Ok(Some(Header { ends, length }))
}

fn v2_ends<const N: usize, T: From<[u8; N]> + Into<IpAddr>>(block: &[u8]) -> Result<Ends, NotAHeader> {
    let (source, rest) = block.split_first_chunk::<N>().ok_or(NotAHeader)?;
    let (destination, rest) = rest.split_first_chunk::<N>().ok_or(NotAHeader)?;
    let &[a, b, c, d] = rest.first_chunk().ok_or(NotAHeader)?;
    Ok(Ends {
        source: SocketAddr::new(T::from(*source).into(), u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(T::from(*destination).into(), u16::from_be_bytes([c, d])),
    })
}

/// Appends a header; without ends, one that says that nothing is known of the client.
pub fn write(version: ProxyVersion, ends: Option<Ends>, out: &mut Vec<u8>) {
    let ends = ends.map(one_family);
    match version {
        ProxyVersion::V1 => out.extend_from_slice(v1_line(ends).as_bytes()),
        ProxyVersion::V2 => write_v2(ends, out),
    }
}

/// The header of a connection that is the sender's own, such as a probe.
pub fn write_local(version: ProxyVersion, out: &mut Vec<u8>) {
    match version {
        ProxyVersion::V1 => out.extend_from_slice(v1_line(None).as_bytes()),
        ProxyVersion::V2 => out.extend_from_slice(&[SIGNATURE, &[LOCAL, 0, 0, 0][..]].concat()),
    }
}

fn v1_line(ends: Option<Ends>) -> String {
    let Some(Ends { source, destination }) = ends else { return "PROXY UNKNOWN\r\n".to_owned() };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {} {} {} {}\r\n", source.ip(), destination.ip(), source.port(), destination.port())
}

fn write_v2(ends: Option<Ends>, out: &mut Vec<u8>) {
    out.extend_from_slice(SIGNATURE);
    out.push(PROXY);
    let Some(Ends { source, destination }) = ends else { return out.extend_from_slice(&[0, 0, 0]) };
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            out.extend_from_slice(&[TCP4, 0, 12]);
            out.extend_from_slice(&[one.octets(), other.octets()].concat());
        }
        (one, other) => {
            out.extend_from_slice(&[TCP6, 0, 36]);
            out.extend_from_slice(&[v6(one).octets(), v6(other).octets()].concat());
        }
    }
    out.extend_from_slice(&[source.port().to_be_bytes(), destination.port().to_be_bytes()].concat());
}

/// Both ends in IPv4 where both are, else both in IPv6: a header has one family.
fn one_family(Ends { source, destination }: Ends) -> Ends {
    let (one, other) = (source.ip().to_canonical(), destination.ip().to_canonical());
    let (one, other) = match (one, other) {
        (IpAddr::V4(_), IpAddr::V4(_)) => (one, other),
        _ => (v6(one).into(), v6(other).into()),
    };
    Ends { source: SocketAddr::new(one, source.port()), destination: SocketAddr::new(other, destination.port()) }
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ends(source: &str, destination: &str) -> Ends {
        Ends { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        [&SIGNATURE[..], &[command, family], &(block.len() as u16).to_be_bytes(), block].concat()
    }

    #[test]
    fn both_versions_tell_the_client_and_what_follows_is_left() {
        let line = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\nGET /";
        let told = Some(ends("192.0.2.7:4711", "10.0.0.1:443"));
        assert_eq!(read(line), Ok(Some(Header { ends: told, length: 40 })));
        let line = b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n";
        assert_eq!(read(line), Ok(Some(Header { ends: Some(ends("[2001:db8::1]:1", "[::1]:65535")), length: 36 })));
        // With a TLV behind the addresses.
        let block = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x67, 1, 0xbb, 4, 0, 1, 9];
        assert_eq!(read(&v2(PROXY, TCP4, &block)), Ok(Some(Header { ends: told, length: 32 })));
    }

    #[test]
    fn connections_of_the_sender_and_of_other_families_tell_no_client() {
        let silent = |bytes: &[u8]| read(bytes) == Ok(Some(Header { ends: None, length: bytes.len() }));
        assert!(silent(b"PROXY UNKNOWN\r\n") && silent(b"PROXY UNKNOWN ffff::1 whatever 1\r\n"));
        assert!(silent(&v2(LOCAL, 0, b"")) && silent(&v2(LOCAL, TCP4, b"cut")));
        assert!(
            silent(&v2(PROXY, 0, b"")) && silent(&v2(PROXY, 0x31, &[7; 216])) && silent(&v2(PROXY, 0x12, &[7; 12]))
        );
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let long = format!("PROXY TCP4 {}", "1".repeat(96));
        for wrong in [
            "GET / HTTP/1.1\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 4711 443 \r\n",
            "PROXY TCP4  192.0.2.7 10.0.0.1 4711 443\r\n",
            "PROXY TCP4 192.0.2.07 10.0.0.1 4711 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 04711 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 +1 443\r\n",
            "PROXY TCP4 ::1 ::1 1 1\r\n",
            "PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n",
            "PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n",
            "PROXY tcp4 1.1.1.1 1.1.1.1 1 1\r\n",
            "proxy TCP4",
            "PROXY \r\n",
            &long,
        ] {
            assert_eq!(read(wrong.as_bytes()), Err(NotAHeader), "{wrong}");
        }
        for wrong in [v2(0x11, TCP4, &[0; 12]), v2(0x22, TCP4, &[0; 12]), v2(PROXY, 0x41, &[]), v2(PROXY, 0x13, &[])] {
            assert_eq!(read(&wrong), Err(NotAHeader), "{wrong:?}");
        }
        assert_eq!(read(&v2(PROXY, TCP4, &[0; 11])), Err(NotAHeader));
        assert_eq!(read(&v2(PROXY, TCP6, &[0; 35])), Err(NotAHeader));
        assert!(read(&v2(PROXY, TCP4, &[0; 520])).is_ok());
        assert_eq!(read(&v2(PROXY, TCP4, &[0; 521])[..16]), Err(NotAHeader));
    }

    #[test]
    fn ends_of_two_families_are_told_in_one() {
        let mut out = Vec::new();
        write(ProxyVersion::V1, Some(ends("[::ffff:192.0.2.7]:1", "10.0.0.1:2")), &mut out);
        write(ProxyVersion::V1, Some(ends("[2001:db8::1]:1", "10.0.0.1:2")), &mut out);
        write(ProxyVersion::V1, None, &mut out);
        let expected =
            "PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\nPROXY TCP6 2001:db8::1 ::ffff:10.0.0.1 1 2\r\nPROXY UNKNOWN\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read_again_and_no_part_of_it_is_enough(
            source in any::<SocketAddr>(), destination in any::<SocketAddr>(), v1 in any::<bool>(), local in any::<bool>(),
        ) {
            let version = if v1 { ProxyVersion::V1 } else { ProxyVersion::V2 };
            let ends = (!local).then(|| one_family(Ends { source, destination }));
            let mut bytes = Vec::new();
            write(version, ends, &mut bytes);
            prop_assert_eq!(read(&bytes), Ok(Some(Header { ends, length: bytes.len() })));
            for cut in 0..bytes.len() {
                prop_assert_eq!(read(&bytes[..cut]), Ok(None));
            }
        }

        #[test]
        fn more_bytes_never_change_a_verdict_and_none_panic(
            noise in proptest::collection::vec(any::<u8>(), 0..700), at in 0..60_usize, byte in any::<u8>(), begun in 0..4,
        ) {
            let mut bytes = match begun {
                0 => Vec::new(),
                1 => V1_BEGIN.to_vec(),
                2 => v2(PROXY, TCP6, &[1; 40]),
                _ => b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n".to_vec(),
            };
            bytes.extend_from_slice(&noise);
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            let mut verdict = Ok(None);
            for cut in 0..=bytes.len() {
                let now = read(&bytes[..cut]);
                if verdict != Ok(None) {
                    prop_assert_eq!(now, verdict);
                }
                verdict = now;
            }
            prop_assert!(verdict != Ok(None) || bytes.len() < HEADER_BYTES_MAX);
        }
    }
}
