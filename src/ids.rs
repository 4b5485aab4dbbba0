//! Request ids: 128 bits as 32 hexadecimal digits, unique over workers, restarts and machines.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

/// Digits of a generated id.
pub const REQUEST_ID_DIGITS: usize = 32;

/// The longest id that is taken over from a client.
pub const REQUEST_ID_MAX: usize = 128;

/// Makes request ids for one worker: a random half fixed at its start, and a mixed counter.
#[derive(Debug)]
pub struct RequestIds {
    prefix: u64,
    counter: Cell<u64>,
}

impl Default for RequestIds {
    fn default() -> Self {
        Self { prefix: random_u64(), counter: Cell::new(random_u64()) }
    }
}

impl RequestIds {
    /// The next id.
    pub fn next(&self) -> [u8; REQUEST_ID_DIGITS] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let count = self.counter.get().wrapping_add(1);
        self.counter.set(count);
        let bits = u128::from(self.prefix) << 64 | u128::from(mix(count));
        let mut id = [0; REQUEST_ID_DIGITS];
        for (position, digit) in id.iter_mut().enumerate() {
            *digit = DIGITS[(bits >> (124 - 4 * position)) as usize & 0xf];
        }
        id
    }
}

/// Whether a client's id can be passed on and logged as it is.
#[must_use]
pub fn is_request_id(value: &[u8]) -> bool {
    let plain =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'/' | b'+' | b'=');
    !value.is_empty() && value.len() <= REQUEST_ID_MAX && value.iter().all(plain)
}

/// A number from the system's random source, by way of the standard library's hash keys.
#[must_use]
pub fn random_u64() -> u64 {
    RandomState::new().hash_one(std::thread::current().id())
}

/// A bijection on 64 bits that spreads neighbouring numbers (the finaliser of `MurmurHash3`).
#[must_use]
pub fn mix(mut number: u64) -> u64 {
    number ^= number >> 33;
    number = number.wrapping_mul(0xff51_afd7_ed55_8ccd);
    number ^= number >> 33;
    number = number.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ number >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_distinct_and_look_like_ids() {
        let ids = RequestIds::default();
        let some: std::collections::HashSet<_> = (0..1000).map(|_| ids.next()).collect();
        assert_eq!(some.len(), 1000);
        assert!(some.iter().all(|id| is_request_id(id)));
    }

    #[test]
    fn an_id_that_could_break_a_header_or_a_log_line_is_not_taken_over() {
        assert!(is_request_id(b"01HV-abc_9.x"));
        for bad in [&b""[..], b"a b", b"a\"b", b"a\\b", b"\xff", &[b'a'; REQUEST_ID_MAX + 1]] {
            assert!(!is_request_id(bad));
        }
    }
}
