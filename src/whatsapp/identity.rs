//! The names under which one person is known, each brought to one form.
//!
//! Gateways write a phone number in half a dozen ways, and some countries have numbers that are written in two. What is not
//! certainly a number stays as it is: a `@lid` or the id of a group has digits that would read as somebody's number.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Digits of a number at most (E.164).
const DIGITS_MAX: usize = 15;
/// Characters of a business-scoped user id at most, behind its country.
const USER_ID_MAX: usize = 128;
/// What keeps the hashes of numbers apart from those of other names. Part of the format of what is stored.
const NUMBERS: u64 = 0x6e75_6d62_6572_7300;

/// A name as gateways write it, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity<'a> {
    /// A phone number, as its digits from the calling code on.
    Number(u64),
    /// A business-scoped user id, such as `AE.13491208655302741918` or `US.ENT.506`.
    User(&'a str),
    /// A `@lid`, a group, a newsletter, a broadcast, or something unknown.
    Other(&'a str),
}

impl<'a> Identity<'a> {
    /// Reads a name. A number may have a `+` and then marks between its digits, `whatsapp:` in front, a device, and
    /// `@c.us` or `@s.whatsapp.net` behind.
    #[must_use]
    pub fn read(name: &'a str) -> Self {
        let name = name.trim_ascii();
        let bare = match name.split_at_checked(9) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("whatsapp:") => rest,
            _ => name,
        };
        match bare.split_once('@') {
            None => match number(bare) {
                Some(number) => Self::Number(number),
                None if is_user_id(bare) => Self::User(bare),
                None => Self::Other(bare),
            },
            Some((user, "c.us" | "s.whatsapp.net")) => match number(without_device(user)) {
                Some(number) => Self::Number(number),
                None => Self::Other(name),
            },
            Some(_) => Self::Other(name),
        }
    }

    /// The same person's number in its one form, where a country has two; anything else as it is.
    ///
    /// * Brazil: a mobile number with its ninth digit. WhatsApp knows numbers from before that digit, and from area code 31
    ///   on all of them, without it; below, a number of eight digits that begins with 2 to 5 is a fixed line's.
    /// * Mexico without the 1, Argentina without the 9 that once stood before mobile numbers.
    #[must_use]
    pub fn canonical(self) -> Self {
        const MILLIARD: u64 = 1_000_000_000;
        let Self::Number(number) = self else { return self };
        Self::Number(match number / (10 * MILLIARD) {
            // 55, area and eight digits.
            55 => {
                let (head, local) = (number / 100_000_000, number % 100_000_000);
                let area = head % 100;
                let mobile = local / 10_000_000 >= 6 || area >= 31;
                if mobile && area >= 11 { head * MILLIARD + 900_000_000 + local } else { number }
            }
            // 52 1 or 54 9, and ten digits.
            521 => 52 * 10 * MILLIARD + number % (10 * MILLIARD),
            549 => 54 * 10 * MILLIARD + number % (10 * MILLIARD),
            _ => number,
        })
    }
}

/// A hash of the person that this name means on this account, the same for every way to write the name, over restarts
/// and versions.
#[must_use]
pub fn name_hash(account: &str, name: &str) -> u64 {
    let seed = xxh3_64(account.as_bytes());
    match Identity::read(name).canonical() {
        Identity::Number(number) => xxh3_64_with_seed(&number.to_le_bytes(), seed ^ NUMBERS),
        Identity::User(name) => xxh3_64_with_seed(name.as_bytes(), seed),
        Identity::Other(name) => {
            let Some((user, server)) = name.split_once('@') else {
                return xxh3_64_with_seed(name.as_bytes(), seed);
            };
            xxh3_64_with_seed(without_device(user).as_bytes(), xxh3_64_with_seed(server.as_bytes(), seed))
        }
    }
}

/// A user as it stands before the `@`, without the device of it that speaks: `user:device`, `user.agent:device`.
fn without_device(user: &str) -> &str {
    let is_count = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match user.rsplit_once(':') {
        Some((agent, device)) if is_count(device) => match agent.rsplit_once(['.', '_']) {
            Some((number, agent)) if is_count(agent) && is_count(number) => number,
            _ => agent,
        },
        _ => user,
    }
}

/// A number's digits. A `+` says that it is one, so that what people put between digits is passed over.
fn number(text: &str) -> Option<u64> {
    let (text, formatted) = match text.strip_prefix('+') {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let (mut number, mut digits) = (0, 0);
    for byte in text.bytes() {
        match byte {
            b'0' if digits == 0 => return None,
            b'0'..=b'9' if digits < DIGITS_MAX => {
                number = number * 10 + u64::from(byte - b'0');
                digits += 1;
            }
            b' ' | b'-' | b'.' | b'(' | b')' | b'/' if formatted => {}
            _ => return None,
        }
    }
    (digits > 0).then_some(number)
}

/// Two letters, a dot, `ENT.` for the one of a parent company, and letters and digits.
fn is_user_id(text: &str) -> bool {
    let [first, second, b'.', rest @ ..] = text.as_bytes() else { return false };
    let id = rest.strip_prefix(b"ENT.").unwrap_or(rest);
    first.is_ascii_uppercase()
        && second.is_ascii_uppercase()
        && (1..=USER_ID_MAX).contains(&id.len())
        && id.iter().all(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn same(names: &[&str]) {
        let hashes: Vec<_> = names.iter().map(|name| name_hash("account", name)).collect();
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{names:?} {hashes:?}");
    }

    fn different(names: &[&str]) {
        let hashes: std::collections::HashSet<_> = names.iter().map(|name| name_hash("account", name)).collect();
        assert_eq!(hashes.len(), names.len(), "{names:?}");
    }

    #[test]
    fn every_way_to_write_a_number_is_one_person() {
        same(&[
            "971501234567",
            "+971501234567",
            "+971 50 123-4567",
            "+971 (50) 123.4567",
            "whatsapp:+971501234567",
            "WhatsApp:971501234567",
            "971501234567@c.us",
            "971501234567@s.whatsapp.net",
            "971501234567:12@s.whatsapp.net",
            "971501234567.0:12@s.whatsapp.net",
            "971501234567_1:12@c.us",
            " 971501234567 ",
        ]);
    }

    #[test]
    fn two_forms_of_a_number_in_one_country_are_one_person() {
        same(&["5511987654321", "551187654321", "+55 11 98765-4321", "551187654321@c.us"]);
        same(&["5541912345678", "554112345678"]);
        same(&["5215512345678", "525512345678", "521 5512345678".replace(' ', "").as_str()]);
        same(&["5491123456789", "541123456789"]);
    }

    #[test]
    fn fixed_lines_and_numbers_of_other_countries_stay_apart() {
        // Below area code 31, eight digits that begin with 2 to 5 are a fixed line's, and no short form of a mobile number.
        different(&["551132345678", "5511932345678"]);
        different(&["15551234567", "1555123456", "549112345678", "5212345678", "55219", "5211987654321"]);
    }

    #[test]
    fn what_is_no_number_is_not_taken_for_one() {
        for name in [
            "251556368777322@lid",
            "120363025246125486@g.us",
            "971501234567-1580000000@g.us",
            "120363025246125486@newsletter",
            "status@broadcast",
            "971501234567@hosted",
            "971501234567@lid",
            "120363025246125486",
            "0501234567",
            "971 50 123 4567",
            "++971501234567",
            "97150123456a",
            "",
            "+",
            "@c.us",
            "x@s.whatsapp.net",
        ] {
            assert_eq!(Identity::read(name), Identity::Other(name), "{name}");
        }
        different(&["971501234567", "971501234567@lid", "971501234567@hosted", "971501234567@g.us"]);
    }

    #[test]
    fn a_device_is_no_part_of_any_name() {
        same(&["251556368777322@lid", "251556368777322:5@lid"]);
        different(&["251556368777322@lid", "251556368777322:x@lid", "2515563687773225@lid"]);
    }

    #[test]
    fn business_scoped_ids_are_told_by_their_form() {
        let long = format!("AE.{}", "a".repeat(USER_ID_MAX));
        for name in ["AE.13491208655302741918", "US.ENT.506", "BR.a1B2", &long] {
            assert_eq!(Identity::read(name), Identity::User(name));
        }
        let longer = format!("{long}a");
        for name in ["ae.134", "AE.", "AE.1-2", "US.ENT.", "A.E12", "AEX.12", "AE13", "ÄE.1", &longer] {
            assert_eq!(Identity::read(name), Identity::Other(name));
        }
    }

    #[test]
    fn one_person_is_another_conversation_on_another_account() {
        assert_ne!(name_hash("a", "971501234567"), name_hash("b", "971501234567"));
    }

    /// What is stored has these; another value parts every conversation from its past.
    #[test]
    fn hashes_do_not_change_with_the_version() {
        let known = [
            ("971501234567", 4_267_338_572_212_528_979),
            ("AE.13491208655302741918", 18_316_653_809_788_831_599),
            ("251556368777322@lid", 12_656_576_219_140_534_709),
        ];
        for (name, hash) in known {
            assert_eq!(name_hash("106540352242922", name), hash, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_read_and_its_canonical_form_is_its_own(name in ".{0,40}", digits in "[1-9][0-9]{0,17}") {
            for name in [&name, &digits] {
                let canonical = Identity::read(name).canonical();
                prop_assert_eq!(canonical.canonical(), canonical);
                let _ = name_hash("account", name);
            }
        }

        #[test]
        fn the_way_a_number_is_written_does_not_matter(number in "[1-9][0-9]{0,14}", device in 0_u8..) {
            let name = name_hash("account", &number);
            prop_assert_eq!(name_hash("account", &format!("whatsapp:+{number}")), name);
            prop_assert_eq!(name_hash("account", &format!("{number}:{device}@s.whatsapp.net")), name);
            prop_assert_eq!(name_hash("account", &format!("{number}@c.us")), name);
        }
    }
}
