//! Names and values of `application/x-www-form-urlencoded`, as in a query or in Twilio's bodies.

use std::borrow::Cow;

/// Pairs in the order in which they stand, decoded; a pair without `=` has an empty value, an empty one is passed over.
/// What is no valid escape stands for itself, as browsers and the usual servers have it.
pub fn pairs(text: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = match memchr::memchr(b'=', pair) {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        (decoded(name), decoded(value))
    })
}

/// Text without `+` and `%XX`.
#[must_use]
pub fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'+', b'%', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        plain.push(match (first, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest = after;
                digit(*high) << 4 | digit(*low)
            }
            _ => first,
        });
    }
    Cow::Owned(plain)
}

/// The value of a hexadecimal digit.
fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => (byte | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let plain = |bytes: Cow<'_, [u8]>| String::from_utf8_lossy(&bytes).into_owned();
        pairs(text.as_bytes()).map(|(name, value)| (plain(name), plain(value))).collect()
    }

    #[test]
    fn escapes_and_plus_signs_are_decoded_in_names_and_values() {
        let expected = [("a b", "15:30?"), ("c", "+1=é"), ("d", ""), ("", "e")];
        let expected: Vec<_> = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(read("a+b=15%3A30%3f&&c=%2B1=%C3%A9&d&=e"), expected);
    }

    #[test]
    fn what_is_no_escape_stands_for_itself() {
        assert_eq!(read("a=%&b=%4&c=%zz&d=%%41"), read("a=%25&b=%254&c=%25zz&d=%25A"));
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(text in prop::collection::vec(any::<u8>(), 0..64)) {
            let encoded: String = text.iter().map(|byte| format!("%{byte:02x}")).collect();
            let plain = decoded(encoded.as_bytes());
            prop_assert_eq!(plain.as_ref(), &text[..]);
            prop_assert!(decoded(&text).len() <= text.len());
        }
    }
}
