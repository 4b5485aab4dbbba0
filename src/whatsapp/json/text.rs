//! What is between the quotation marks of a string.

use memchr::memchr2;

/// Bytes looked at one word at a time before the search for long strings, which has a price to begin, is called.
const SHORT: usize = 32;

/// Where the next quotation mark or backslash is.
#[inline]
pub fn end_or_escape(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while at < from + SHORT {
        let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk()) else { break };
        let word = u64::from_le_bytes(*word);
        let found = zeros(word ^ each(b'"')) | zeros(word ^ each(b'\\'));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    memchr2(b'"', b'\\', bytes.get(at..)?).map(|offset| at + offset)
}

const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The highest bit of each byte that is zero. A byte above one that is zero may be marked wrongly: only the lowest counts.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(each(1)) & !word & each(0x80)
}

/// The text of a string with escapes. Half a surrogate pair is refused: replaced, two different identifiers could
/// become one.
pub fn unescaped(inside: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(length) = memchr::memchr(b'\\', rest) {
        text.push_str(plain(&rest[..length])?);
        let after = &rest[length + 1..];
        let (character, length) = escape(after)?;
        text.push(character);
        rest = &after[length..];
    }
    text.push_str(plain(rest)?);
    Some(text)
}

/// Text that has no escapes, if it is Unicode without control characters.
pub fn plain(bytes: &[u8]) -> Option<&str> {
    let (words, rest) = bytes.as_chunks();
    let below = |word: u64| word.wrapping_sub(each(b' ')) & !word & each(0x80);
    let found = words.iter().fold(0, |found, word| found | below(u64::from_le_bytes(*word)));
    let control = found != 0 || rest.iter().any(|byte| *byte < b' ');
    std::str::from_utf8(bytes).ok().filter(|_| !control)
}

/// The character that an escape stands for, and how long it is without its backslash.
fn escape(after: &[u8]) -> Option<(char, usize)> {
    let plain = match after.first()? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let first = hex(after.get(1..5)?)?;
            if !(0xD800..0xDC00).contains(&first) {
                return Some((char::from_u32(first)?, 5));
            }
            let second = hex(after.get(5..11)?.strip_prefix(b"\\u")?)?;
            let low = second.checked_sub(0xDC00).filter(|low| *low < 0x400)?;
            return Some((char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + low)?, 11));
        }
        _ => return None,
    };
    Some((plain, 1))
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?))
}
