//! What Baton wants to know about a certificate beside its key: the names in it, and when it ends.
//!
//! `webpki` gives the names of the extension for names (SAN); the common name and the end of the validity it keeps to itself, so
//! they are read here. The reader goes forward through DER, never past the bytes it was given, and gives nothing where
//! it meets anything unexpected: what it reads may come from a stranger.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// Names taken from one certificate, and characters of the common name; real ones have a few dozen.
const NAMES_MAX: usize = 1000;
const COMMON_NAME_MAX: usize = 256;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0] EXPLICIT`, the version of a certificate.
const VERSION: u8 = 0xa0;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
/// `id-at-commonName`, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// A certificate's names and its end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// DNS names of the SAN in lower case, wildcards among them.
    pub dns_names: Vec<String>,
    /// The subject's common name, where it has exactly one.
    pub common_name: Option<String>,
    /// Begin of the validity in seconds since 1970; `None` when it cannot be read.
    pub not_before: Option<i64>,
    /// End of the validity, likewise.
    pub not_after: Option<i64>,
}

impl Facts {
    /// Reads what can be read; a certificate that is none has no facts.
    #[must_use]
    pub fn read(certificate: &CertificateDer<'_>) -> Self {
        let (not_before, not_after) = validity(certificate).unzip();
        let Ok(parsed) = EndEntityCert::try_from(certificate) else {
            return Self { not_before, not_after, ..Self::default() };
        };
        Self {
            dns_names: parsed.valid_dns_names().take(NAMES_MAX).map(str::to_ascii_lowercase).collect(),
            common_name: common_name(parsed.subject()),
            not_before,
            not_after,
        }
    }

    /// From when to when it is valid.
    #[must_use]
    pub fn validity(&self) -> Option<(i64, i64)> {
        self.not_before.zip(self.not_after)
    }

    /// What it is called in the status and in metrics: its first DNS name, else its common name.
    #[must_use]
    pub fn title(&self) -> &str {
        self.dns_names.first().or(self.common_name.as_ref()).map_or("unnamed", String::as_str)
    }
}

/// The next value in `input`: its tag and content. Lengths are definite, as DER has them (X.690 section 10.1).
fn next<'a>(input: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&[tag, first], rest) = input.split_first_chunk::<2>()?;
    // Tags of several bytes do not occur in certificates.
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *input = rest;
    Some((tag, content))
}

/// The next value, which must have this tag.
fn expect<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    next(input).filter(|(found, _)| *found == tag).map(|(_, content)| content)
}

/// `Certificate.tbsCertificate.validity` (RFC 5280 section 4.1).
fn validity(mut certificate: &[u8]) -> Option<(i64, i64)> {
    let mut certificate = expect(&mut certificate, SEQUENCE)?;
    let mut body = expect(&mut certificate, SEQUENCE)?;
    if body.first() == Some(&VERSION) {
        next(&mut body)?;
    }
    expect(&mut body, INTEGER)?;
    let (_algorithm, _issuer) = (expect(&mut body, SEQUENCE)?, expect(&mut body, SEQUENCE)?);
    let mut validity = expect(&mut body, SEQUENCE)?;
    let (begin, end) = (next(&mut validity)?, next(&mut validity)?);
    Some((time(begin.0, begin.1)?, time(end.0, end.1)?))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280 section 4.1.2.5) in seconds since 1970.
fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?;
    let number = |digits: &[u8]| {
        digits
            .iter()
            .try_fold(0_i64, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
    };
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year = number(&digits[..2])?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &digits[2..])
        }
        (GENERALIZED_TIME, 14) => (number(&digits[..4])?, &digits[4..]),
        _ => return None,
    };
    let field = |at: usize| number(&rest[at..at + 2]);
    let (month, day, hour, minute, second) = (field(0)?, field(2)?, field(4)?, field(6)?, field(8)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days since 1970 in the proleptic Gregorian calendar, with years that begin in March so that the leap day is last.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// The common name in the content of a `Name`. One that stands there twice is ambiguous and counts as none.
fn common_name(mut subject: &[u8]) -> Option<String> {
    let mut found = None;
    while !subject.is_empty() {
        let mut relative = expect(&mut subject, SET)?;
        while !relative.is_empty() {
            let mut attribute = expect(&mut relative, SEQUENCE)?;
            if expect(&mut attribute, OBJECT_IDENTIFIER)? != COMMON_NAME {
                continue;
            }
            let (tag, text) = next(&mut attribute)?;
            let text = std::str::from_utf8(text).ok()?;
            let readable = matches!(tag, UTF8_STRING | PRINTABLE_STRING | IA5_STRING)
                && text.len() <= COMMON_NAME_MAX
                && !text.chars().any(char::is_control);
            if !readable || found.replace(text.to_owned()).is_some() {
                return None;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};

    fn certificate(names: &[&str], common_names: &[&str], end: (i32, u8, u8)) -> CertificateDer<'static> {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        for name in common_names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(end.0, end.1, end.2);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn names_and_the_end_are_those_the_certificate_was_made_with() {
        let facts = Facts::read(&certificate(
            &["Bot.example", "*.bot.example"],
            &["client.webhooks.fbclientcerts.com"],
            (2031, 2, 28),
        ));
        assert_eq!(facts.dns_names, ["bot.example", "*.bot.example"]);
        assert_eq!(facts.common_name.as_deref(), Some("client.webhooks.fbclientcerts.com"));
        assert_eq!((facts.validity(), facts.title()), (Some((1_577_836_800, 1_930_003_200)), "bot.example"));
    }

    #[test]
    fn a_certificate_without_names_is_told_by_its_common_name_or_not_at_all() {
        assert_eq!(Facts::read(&certificate(&[], &["only"], (2030, 1, 1))).title(), "only");
        assert_eq!(Facts::read(&certificate(&[], &[], (2030, 1, 1))).title(), "unnamed");
    }

    #[test]
    fn a_common_name_that_could_be_read_in_two_ways_is_none() {
        let attribute = |tag: u8, text: &[u8]| {
            let mut value = vec![OBJECT_IDENTIFIER, 3, 0x55, 4, 3, tag, u8::try_from(text.len()).unwrap()];
            value.extend_from_slice(text);
            let mut set =
                vec![SET, u8::try_from(value.len() + 2).unwrap(), SEQUENCE, u8::try_from(value.len()).unwrap()];
            set.append(&mut value);
            set
        };
        let one = attribute(UTF8_STRING, b"good");
        assert_eq!(common_name(&one).as_deref(), Some("good"));
        assert_eq!(common_name(&[one, attribute(UTF8_STRING, b"bad")].concat()), None);
        assert_eq!(common_name(&attribute(UTF8_STRING, b"good\0.example")), None);
        // A string of 16-bit characters.
        assert_eq!(common_name(&attribute(0x1e, b"\0a")), None);
    }

    #[test]
    fn times_are_read_in_both_spellings_and_impossible_ones_are_not() {
        let utc = |text: &str| time(UTC_TIME, text.as_bytes());
        let generalized = |text: &str| time(GENERALIZED_TIME, text.as_bytes());
        assert_eq!(utc("700101000000Z"), Some(0));
        assert_eq!(utc("000229120000Z"), Some(951_825_600));
        assert_eq!(utc("491231235959Z"), Some(2_524_607_999));
        assert_eq!(generalized("20500101000000Z"), Some(2_524_608_000));
        assert_eq!(generalized("99991231235959Z"), Some(253_402_300_799));
        for wrong in ["", "Z", "7001010000Z", "700101000000", "701301000000Z", "7001010000é0Z", "700101000060Z"] {
            assert_eq!(utc(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn bytes_that_are_no_certificate_give_nothing_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (validity(&bytes), common_name(&bytes), time(UTC_TIME, &bytes), time(GENERALIZED_TIME, &bytes));
            let _ = Facts::read(&bytes.into());
        }

        #[test]
        fn a_damaged_certificate_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
            static MADE: std::sync::LazyLock<CertificateDer<'static>> =
                std::sync::LazyLock::new(|| certificate(&["bot.example"], &["bot"], (2031, 2, 28)));
            let mut bytes = MADE.to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(cut.index(bytes.len() + 1));
            let _ = (validity(&bytes), common_name(&bytes));
            let _ = Facts::read(&bytes.into());
        }
    }
}
