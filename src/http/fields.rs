//! Header fields: which ones a proxy has to know, and how list values are read.

/// A field that a proxy treats in its own way; all others pass as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    Connection,
    ContentLength,
    Expect,
    Forwarded,
    Host,
    KeepAlive,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    XForwardedFor,
    XForwardedHost,
    XForwardedPrefix,
    XForwardedProto,
    XRealIp,
    XRequestId,
}

impl Known {
    /// The field with this name, in any case. Decides by length first, so most names cost one comparison.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let (word, known) = match name.len() {
            2 => ("te", Self::Te),
            4 => ("host", Self::Host),
            6 => ("expect", Self::Expect),
            7 if name.as_bytes()[0] | 0x20 == b'u' => ("upgrade", Self::Upgrade),
            7 => ("trailer", Self::Trailer),
            9 if name.as_bytes()[0] | 0x20 == b'x' => ("x-real-ip", Self::XRealIp),
            9 => ("forwarded", Self::Forwarded),
            10 if name.as_bytes()[0] | 0x20 == b'k' => ("keep-alive", Self::KeepAlive),
            10 => ("connection", Self::Connection),
            12 => ("x-request-id", Self::XRequestId),
            14 => ("content-length", Self::ContentLength),
            15 => ("x-forwarded-for", Self::XForwardedFor),
            16 if name.as_bytes()[0] | 0x20 == b'p' => ("proxy-connection", Self::ProxyConnection),
            16 => ("x-forwarded-host", Self::XForwardedHost),
            17 if name.as_bytes()[0] | 0x20 == b't' => ("transfer-encoding", Self::TransferEncoding),
            17 => ("x-forwarded-proto", Self::XForwardedProto),
            18 if name.as_bytes()[0] | 0x20 == b'x' => ("x-forwarded-prefix", Self::XForwardedPrefix),
            18 => ("proxy-authenticate", Self::ProxyAuthenticate),
            19 => ("proxy-authorization", Self::ProxyAuthorization),
            _ => return None,
        };
        name.eq_ignore_ascii_case(word).then_some(known)
    }

    /// Whether masters that hand fields on as variables, as CGI and WSGI do, would take this name for a known field: they see
    /// `X_Forwarded_For` and `X-Forwarded-For` as one.
    #[must_use]
    pub fn is_mimicked_by(name: &str) -> bool {
        const LONGEST: usize = "proxy-authorization".len();
        let mut hyphened = [0; LONGEST];
        let Some(hyphened) = hyphened.get_mut(..name.len()).filter(|_| name.contains('_')) else { return false };
        for (to, from) in hyphened.iter_mut().zip(name.bytes()) {
            *to = if from == b'_' { b'-' } else { from };
        }
        std::str::from_utf8(hyphened).is_ok_and(|name| Self::of(name).is_some())
    }

    /// Fields that concern one connection only and are never passed on (RFC 9110 section 7.6.1). `Transfer-Encoding` and
    /// `Trailer` describe the framing, which is written anew.
    #[must_use]
    pub fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyAuthenticate
                | Self::ProxyAuthorization
                | Self::ProxyConnection
                | Self::Te
                | Self::Trailer
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }
}

/// The members of a comma-separated list, trimmed; empty ones are left out (RFC 9110 section 5.6.1).
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Names and trimmed values of header lines that have been parsed before; each ends with its line end.
pub fn lines(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

/// A `Content-Length` value: digits only, no sign, no list (RFC 9112 section 6.3).
#[must_use]
pub fn content_length(value: &[u8]) -> Option<u64> {
    // 19 digits always fit a u64.
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    value.iter().try_fold(0, |sum: u64, byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')))
}

/// Whether every quoted string that begins in a value ends in it, too (RFC 9110 section 5.6.4).
#[must_use]
pub fn quotes_close(value: &[u8]) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    for byte in value {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
    }
    !quoted
}

/// Whether a name is one in HTTP/1.1 (RFC 9110 section 5.1). The `http` crate takes a quote for a part of one.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token)
}

/// Fields that must not come in a trailer: framing, routing, and what the head has already decided (RFC 9110
/// section 6.5.1).
#[must_use]
pub fn forbidden_in_trailers(name: &str) -> bool {
    const NAMES: [&str; 12] = [
        "age",
        "authorization",
        "cache-control",
        "content-encoding",
        "content-range",
        "content-type",
        "cookie",
        "date",
        "location",
        "set-cookie",
        "vary",
        "www-authenticate",
    ];
    Known::of(name).is_some()
        || Known::is_mimicked_by(name)
        || NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_fields_are_found_in_any_case_and_others_are_not() {
        assert_eq!(Known::of("HOST"), Some(Known::Host));
        assert_eq!(Known::of("Transfer-Encoding"), Some(Known::TransferEncoding));
        assert_eq!(Known::of("x-forwarded-proto"), Some(Known::XForwardedProto));
        assert_eq!(Known::of("Transfer_Encoding"), None);
        assert_eq!(Known::of("x-hub-signature-256"), None);
        assert_eq!(Known::of(""), None);
    }

    #[test]
    fn underscores_do_not_make_another_field_of_a_known_one() {
        for name in ["X_Forwarded_For", "x_forwarded-for", "Content_Length", "TRANSFER_ENCODING", "Proxy_Authorization"]
        {
            assert!(Known::is_mimicked_by(name), "{name}");
        }
        for name in ["X-Forwarded-For", "X_Own", "_", "", "X_Forwarded_For_Whom_The_Bell_Tolls", "Content__Length"] {
            assert!(!Known::is_mimicked_by(name), "{name}");
        }
    }

    #[test]
    fn a_name_is_a_token() {
        assert!(is_name("x-a") && is_name("!#$%&'*+-.^_`|~9Z"));
        assert!(!is_name("") && !is_name("a\"b") && !is_name("a b") && !is_name("a:b") && !is_name("\u{e9}"));
    }

    #[test]
    fn a_content_length_is_digits_and_nothing_else() {
        assert_eq!(content_length(b"0"), Some(0));
        assert_eq!(content_length(b"0042"), Some(42));
        for bad in [&b""[..], b"+1", b"-1", b"1 ", b"1,1", b"0x1", b"99999999999999999999", b"1\xb2"] {
            assert_eq!(content_length(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn quoted_strings_end_at_a_quote_that_is_not_escaped() {
        for whole in [&b""[..], b"a", b"\"a\"", b"\"a\\\"b\"", b"\\", b"\"\\\\\""] {
            assert!(quotes_close(whole), "{whole:?}");
        }
        for open in [&b"\""[..], b"\"a\\\"", b"\"\\"] {
            assert!(!quotes_close(open), "{open:?}");
        }
    }

    #[test]
    fn list_members_are_trimmed_and_empty_ones_left_out() {
        assert_eq!(list(b" close , ,Upgrade\t").collect::<Vec<_>>(), [&b"close"[..], b"Upgrade"]);
    }
}
