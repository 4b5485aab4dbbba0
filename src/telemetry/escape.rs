//! Makes what strangers sent safe to write down.
//!
//! A line of a log is one record: nothing in it may end it early, look like another record, reverse the direction of the
//! text after it or reach a terminal as a command. Both forms bound their output.

use std::fmt;

/// Longest text taken from a stranger, in bytes; a path of a webhook has some dozens. What follows is cut, with an ellipsis.
pub const FIELD_BYTES_MAX: usize = 1024;

/// Appends a JSON string with its quotes: valid UTF-8 whatever the bytes are. An invalid sequence becomes U+FFFD.
pub fn json_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let (kept, cut) = bounded(bytes);
    // Nearly everything in a log is plain ASCII as a whole.
    let plain =
        kept.iter().position(|byte| !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\\')).unwrap_or(kept.len());
    let (plain, rest) = kept.split_at(plain);
    out.extend_from_slice(plain);
    for chunk in rest.utf8_chunks() {
        json_escape(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            push_char(out, char::REPLACEMENT_CHARACTER);
        }
    }
    if cut {
        push_char(out, '…');
    }
    out.push(b'"');
}

/// Bytes from a stranger as text for people: printable characters as they are, the rest as `\n`, `\u{202e}` or `\xff`.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let (kept, cut) = bounded(self.0);
        for chunk in kept.utf8_chunks() {
            for character in chunk.valid().chars() {
                if is_safe(character) {
                    f.write_char(character)?;
                } else {
                    // Quote, backslash and the usual control characters get their short forms.
                    write!(f, "{}", character.escape_default())?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        if cut { f.write_char('…') } else { Ok(()) }
    }
}

/// What of `bytes` is written, and whether something is missing.
fn bounded(bytes: &[u8]) -> (&[u8], bool) {
    let Some(kept) = bytes.get(..FIELD_BYTES_MAX).filter(|kept| kept.len() < bytes.len()) else {
        return (bytes, false);
    };
    // The cut may fall into a character: leave out what is begun.
    let begun = (1..=3).find(|back| kept.get(kept.len() - back).is_some_and(|byte| *byte >= 0b1100_0000));
    let whole = begun.filter(|back| {
        let first = kept.get(kept.len() - back).copied().unwrap_or(0);
        *back < first.leading_ones() as usize
    });
    (kept.get(..kept.len() - whole.unwrap_or(0)).unwrap_or(kept), true)
}

fn json_escape(out: &mut Vec<u8>, text: &str) {
    let mut written = 0;
    for (at, character) in text.char_indices() {
        if is_safe(character) {
            continue;
        }
        out.extend_from_slice(text.as_bytes().get(written..at).unwrap_or_default());
        written = at + character.len_utf8();
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            other => {
                // Every unsafe character has a code of at most four digits.
                out.extend_from_slice(b"\\u");
                let code = u32::from(other);
                for shift in [12, 8, 4, 0] {
                    let digit = usize::try_from(code >> shift & 0xf).unwrap_or(0);
                    out.push(b"0123456789abcdef".get(digit).copied().unwrap_or(b'0'));
                }
            }
        }
    }
    out.extend_from_slice(text.as_bytes().get(written..).unwrap_or_default());
}

/// Whether a character stands for itself between quotes.
fn is_safe(character: char) -> bool {
    !matches!(character, '"' | '\\') && is_printable(character)
}

/// Whether a character only shows itself: not a control character of either set, not a line or paragraph separator,
/// not a change of writing direction.
pub(super) fn is_printable(character: char) -> bool {
    match character {
        ' '..='~' => true,
        '\0'..='\u{9f}' => false,
        '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => false,
        _ => true,
    }
}

fn push_char(out: &mut Vec<u8>, character: char) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        json_string(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_could_end_a_line_or_steer_a_terminal_is_written_out() {
        let nasty = "a\"b\\c\nd\re\tf\0g\u{1b}[31mh\u{7f}i\u{9b}j\u{2028}k\u{202e}l";
        assert_eq!(json(nasty.as_bytes()), r#""a\"b\\c\nd\re\tf\u0000g\u001b[31mh\u007fi\u009bj\u2028k\u202el""#);
        assert_eq!(
            Escaped(nasty.as_bytes()).to_string(),
            r#"a\"b\\c\nd\re\tf\u{0}g\u{1b}[31mh\u{7f}i\u{9b}j\u{2028}k\u{202e}l"#
        );
    }

    #[test]
    fn letters_of_every_script_stay_readable() {
        assert_eq!(json("/مرحبا/日本".as_bytes()), "\"/مرحبا/日本\"");
        assert_eq!(Escaped("/مرحبا/日本".as_bytes()).to_string(), "/مرحبا/日本");
    }

    #[test]
    fn invalid_bytes_are_replaced_in_json_and_shown_to_people() {
        assert_eq!(json(b"a\xff\xc3b"), "\"a\u{fffd}\u{fffd}b\"");
        assert_eq!(Escaped(b"a\xff\xc3b").to_string(), "a\\xff\\xc3b");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let exact = "x".repeat(FIELD_BYTES_MAX);
        assert_eq!(json(exact.as_bytes()), format!("\"{exact}\""));
        assert_eq!(Escaped(format!("{exact}y").as_bytes()).to_string(), format!("{exact}…"));
        let wide = "日".repeat(FIELD_BYTES_MAX);
        assert_eq!(json(wide.as_bytes()), format!("\"{}…\"", "日".repeat(FIELD_BYTES_MAX / 3)));
    }

    proptest! {
        #[test]
        fn any_bytes_become_one_line_of_json_that_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = json(&bytes);
            prop_assert!(text.chars().all(|c| !c.is_control()));
            let read: String = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(read, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn any_text_survives_json(text in "\\PC{0,100}|[\\x00-\\x9f\u{2028}-\u{202e}]{0,50}") {
            let read: String = serde_json::from_str(&json(text.as_bytes())).unwrap();
            prop_assert_eq!(read, text);
        }

        #[test]
        fn no_bytes_reach_people_as_control_characters(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let text = Escaped(&bytes).to_string();
            prop_assert!(text.chars().all(|c| is_safe(c) || c == '\\' || c == '"'));
            prop_assert!(text.len() <= FIELD_BYTES_MAX * 8 + '…'.len_utf8());
        }
    }
}
