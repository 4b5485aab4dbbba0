//! Host names in the one form in which they are compared.

use std::io::Write;
use std::net::Ipv6Addr;

/// The longest host that is looked at, in bytes: a DNS name has at most 253, and a dot at its end. A longer one matches
/// only routes for any host.
const MAX_HOST: usize = 255;

/// Where a host is put into its normal form, if it does not come in it.
pub type Buffer = Option<[u8; MAX_HOST]>;

/// A host in normal form.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// Lower case, without port, brackets and trailing dot.
    pub text: &'a [u8],
    /// A DNS name or an IPv4 address, not an IPv6 literal.
    pub is_name: bool,
}

impl<'a> Host<'a> {
    /// The host of an authority or `Host` field; `None` when it is empty or too long.
    pub fn parse(authority: &'a [u8], buffer: &'a mut Buffer) -> Option<Self> {
        let (host, is_name) = without_port(authority);
        let host = if is_name { host.strip_suffix(b".").unwrap_or(host) } else { host };
        if host.is_empty() || host.len() > MAX_HOST {
            return None;
        }
        if is_name && !host.iter().any(u8::is_ascii_uppercase) {
            return Some(Self { text: host, is_name });
        }
        let normal = buffer.insert([0; MAX_HOST]);
        let written = if is_name { None } else { write_address(host, normal) };
        let text = normal.get_mut(..written.unwrap_or(host.len()))?;
        if written.is_none() {
            text.copy_from_slice(host);
            text.make_ascii_lowercase();
        }
        Some(Self { text, is_name })
    }
}

/// A configured host, or the suffix of a wildcard, in the same form.
pub fn normal(host: &str) -> Box<[u8]> {
    // What has no normal form matches no request either; kept as it is, it stays unreachable.
    Host::parse(host.as_bytes(), &mut None).map_or(host.as_bytes(), |host| host.text).into()
}

/// The host without port and brackets, and whether it is a name. Two colons outside brackets make it an IPv6 literal.
fn without_port(authority: &[u8]) -> (&[u8], bool) {
    if let Some(inner) = authority.strip_prefix(b"[") {
        let end = memchr::memchr(b']', inner).unwrap_or(inner.len());
        return (&inner[..end], false);
    }
    match memchr::memchr(b':', authority) {
        None => (authority, true),
        Some(colon) if memchr::memchr(b':', &authority[colon + 1..]).is_some() => (authority, false),
        Some(colon) => (&authority[..colon], true),
    }
}

/// Writes an IPv6 address in its canonical text; `None` when it is not one.
fn write_address(host: &[u8], buffer: &mut [u8]) -> Option<usize> {
    let address: Ipv6Addr = str::from_utf8(host).ok()?.parse().ok()?;
    let room = buffer.len();
    let mut rest = &mut *buffer;
    write!(rest, "{address}").ok()?;
    Some(room - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(authority: &str) -> Option<String> {
        Host::parse(authority.as_bytes(), &mut None).map(|host| String::from_utf8_lossy(host.text).into_owned())
    }

    #[test]
    fn port_case_and_trailing_dot_do_not_count() {
        for authority in ["bot.example", "Bot.EXAMPLE", "bot.example:8080", "bot.example.", "bot.example.:443"] {
            assert_eq!(parsed(authority).as_deref(), Some("bot.example"));
        }
    }

    #[test]
    fn an_ipv6_literal_is_known_by_its_address() {
        for authority in ["[::1]", "[::1]:8080", "::1", "[0:0:0:0:0:0:0:1]", "[0000::0001]:1"] {
            assert_eq!(parsed(authority).as_deref(), Some("::1"));
        }
    }

    #[test]
    fn what_cannot_be_a_host_has_no_form() {
        for authority in ["", ".", ":80", "[]", "["] {
            assert_eq!(parsed(authority), None, "{authority}");
        }
        assert_eq!(parsed(&"a".repeat(MAX_HOST)).map(|host| host.len()), Some(MAX_HOST));
        assert_eq!(parsed(&"a".repeat(MAX_HOST + 1)), None);
    }
}
