//! `Accept-Encoding` (RFC 9110 section 12.5.3).

use crate::config::model::Coding;
use crate::http::fields;

/// The coding that suits client and configuration best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub coding: Coding,
    /// The client refuses an answer without any coding.
    pub needed: bool,
}

/// What to choose among `offered`, the preferred one first, for a request with these `Accept-Encoding` values; `None` for
/// an answer as it is.
///
/// A request without the field would by the letter take anything. Who sends it says nothing because it knows of no coding, so it
/// gets none. Nor does one that likes an answer as it is better than any coding.
#[must_use]
pub fn choose<'v>(values: impl Iterator<Item = &'v [u8]>, offered: &[Coding]) -> Option<Wanted> {
    let (mut named, mut identity, mut any) = ([None; Coding::ALL.len()], None, None);
    for member in values.flat_map(fields::list) {
        let (name, weight) = weighted(member);
        let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
        let coding = Coding::ALL.iter().find(|(_, word)| is(word)).map(|(coding, _)| *coding);
        let slot = match coding.or_else(|| is("x-gzip").then_some(Coding::Gzip)) {
            Some(coding) => &mut named[coding as usize],
            None if is("identity") => &mut identity,
            None if is("*") => &mut any,
            None => continue,
        };
        // Of what is said twice, the first counts.
        slot.get_or_insert(weight);
    }
    let mut best: Option<(Coding, u16)> = None;
    for coding in offered {
        let weight = named[*coding as usize].or(any).unwrap_or(0);
        if weight > best.map_or(0, |(_, weight)| weight) {
            best = Some((*coding, weight));
        }
    }
    let (coding, weight) = best?;
    let needed = identity.or(any) == Some(0);
    identity.is_none_or(|identity| identity <= weight).then_some(Wanted { coding, needed })
}

/// A member's name and its weight in thousandths. One with a weight that cannot be read counts as refused.
fn weighted(member: &[u8]) -> (&[u8], u16) {
    let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| {
        let (key, value) = part.split_at_checked(memchr::memchr(b'=', part)?)?;
        key.trim_ascii().eq_ignore_ascii_case(b"q").then(|| thousandths(value[1..].trim_ascii()).unwrap_or(0))
    });
    (name, weight.unwrap_or(1000))
}

/// `0` or `1`, and up to three digits behind a point (RFC 9110 section 12.4.2).
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, digits) = match text {
        [whole @ (b'0' | b'1')] => (whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', digits @ ..] if digits.len() <= 3 => (whole, digits),
        _ => return None,
    };
    let mut weight = u16::from(whole - b'0');
    for place in 0..3 {
        let digit = digits.get(place).unwrap_or(&b'0');
        weight = weight * 10 + digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
    }
    (weight <= 1000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use Coding::{Br, Gzip, Zstd};

    const ALL: [Coding; 3] = [Zstd, Br, Gzip];

    fn chosen(values: &[&str], offered: &[Coding]) -> Option<Coding> {
        choose(values.iter().map(|value| value.as_bytes()), offered).map(|wanted| wanted.coding)
    }

    #[test]
    fn the_clients_liking_comes_before_the_order_of_the_configuration() {
        for (value, wanted) in [
            ("gzip, deflate, br, zstd", Some(Zstd)),
            ("gzip, deflate, br", Some(Br)),
            ("GZIP", Some(Gzip)),
            ("x-gzip", Some(Gzip)),
            ("gzip;q=1.0, br;q=0.9, zstd;q=0.899", Some(Gzip)),
            ("gzip;q=0.5 , br ; q = 0.5", Some(Br)),
            ("deflate", None),
            ("", None),
        ] {
            assert_eq!(chosen(&[value], &ALL), wanted, "{value:?}");
        }
        assert_eq!(chosen(&[], &ALL), None, "without the field");
        assert_eq!(chosen(&["gzip, zstd"], &[Gzip]), Some(Gzip));
        assert_eq!(chosen(&["deflate", "gzip;q=0.2", "br;q=0.3"], &ALL), Some(Br), "several fields are one list");
    }

    #[test]
    fn what_is_refused_is_not_sent() {
        for (value, wanted) in [
            ("zstd;q=0, br;q=0.000, gzip", Some(Gzip)),
            ("zstd;q=0, br;q=0, gzip;q=0", None),
            ("*;q=0", None),
            ("*;q=0, gzip", Some(Gzip)),
            ("gzip;q=0, gzip", None),
        ] {
            assert_eq!(chosen(&[value], &ALL), wanted, "{value:?}");
        }
    }

    #[test]
    fn a_star_stands_for_what_is_not_named() {
        assert_eq!(chosen(&["*"], &ALL), Some(Zstd));
        assert_eq!(chosen(&["zstd;q=0, *;q=0.1"], &ALL), Some(Br));
        assert_eq!(chosen(&["gzip, *;q=0.1"], &ALL), Some(Gzip));
    }

    #[test]
    fn an_answer_as_it_is_can_be_liked_better_or_refused() {
        assert_eq!(chosen(&["identity, gzip;q=0.5"], &ALL), None);
        assert_eq!(chosen(&["identity;q=0.5, gzip;q=0.5"], &ALL), Some(Gzip));
        let needed = |value: &str| choose([value.as_bytes()].into_iter(), &ALL).map(|wanted| wanted.needed);
        for (value, wanted) in [
            ("gzip", Some(false)),
            ("gzip, identity;q=0", Some(true)),
            ("gzip, *;q=0", Some(true)),
            ("gzip, *;q=0, identity;q=0.1", Some(false)),
            ("identity;q=0", None),
        ] {
            assert_eq!(needed(value), wanted, "{value:?}");
        }
    }

    #[test]
    fn a_weight_that_cannot_be_read_refuses() {
        for weight in ["2", "1.001", "0.1234", ".5", "-1", "1.", "0.a", "", "0,5", "NaN"] {
            let readable = weight == "1.";
            assert_eq!(chosen(&[&format!("gzip;q={weight}")], &ALL).is_some(), readable, "{weight:?}");
        }
        assert_eq!(chosen(&["gzip;level=9;q=0"], &ALL), None);
        assert_eq!(chosen(&["gzip;q"], &ALL), Some(Gzip), "no weight is a full one");
    }

    proptest! {
        #[test]
        fn whatever_comes_only_what_is_offered_and_not_refused_is_chosen(value in "[a-z*;=,.q01 ]{0,60}") {
            if let Some(wanted) = choose([value.as_bytes()].into_iter(), &[Br, Gzip]) {
                prop_assert!(wanted.coding != Zstd);
                let named = value.contains(wanted.coding.name()) || value.contains('*');
                prop_assert!(named, "{}", value);
            }
        }
    }
}
