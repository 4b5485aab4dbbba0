//! Counts in one or two bytes: exact while small, then with a bounded error, as floating-point numbers without sign and fraction.
//!
//! A code is an exponent above a mantissa whose leading one is not written: with `M` bits of mantissa every count below
//! `2^(M+1)` is its own code, and a greater one is rounded to `M+1` significant bits, so it is off by at most one part in
//! `2^(M+1)`. Codes compare as the counts do.

/// Bits of mantissa in two bytes: exact below 2048, then within 0.05 %.
const WIDE: u32 = 10;

/// Bits of mantissa in one byte: exact below 16, then within 6.3 %.
const NARROW: u32 = 3;

/// A count in two bytes. Every `u64` has a code, and none has `u16::MAX`.
#[must_use]
pub fn wide(count: u64) -> u16 {
    u16::try_from(encode::<WIDE>(count)).unwrap_or(u16::MAX - 1)
}

/// The count that a code of [`wide`] stands for.
#[must_use]
pub fn unwide(code: u16) -> u64 {
    decode::<WIDE>(u32::from(code))
}

/// A count in one byte; what is above sixteen thousand millions counts as that.
#[must_use]
pub fn narrow(count: u64) -> u8 {
    u8::try_from(encode::<NARROW>(count)).unwrap_or(u8::MAX)
}

/// The count that a code of [`narrow`] stands for.
#[must_use]
pub fn unnarrow(code: u8) -> u64 {
    decode::<NARROW>(u32::from(code))
}

fn encode<const M: u32>(count: u64) -> u32 {
    let bits = u64::BITS - count.leading_zeros();
    let Some(shift) = bits.checked_sub(M + 1).filter(|shift| *shift > 0) else {
        return u32::try_from(count).unwrap_or(u32::MAX);
    };
    // Half of what is cut off is added, in the wider type as it may carry.
    let rounded = (u128::from(count) + (1 << (shift - 1))) >> shift;
    let (mantissa, shift) = if rounded >> (M + 1) == 0 { (rounded, shift) } else { (rounded >> 1, shift + 1) };
    ((shift + 1) << M) + u32::try_from(mantissa - (1 << M)).unwrap_or(0)
}

fn decode<const M: u32>(code: u32) -> u64 {
    let exponent = code >> M;
    if exponent < 2 {
        return u64::from(code);
    }
    let mantissa = u128::from((code & ((1 << M) - 1)) + (1 << M));
    u64::try_from(mantissa << (exponent - 1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_counts_are_exact() {
        assert!((0..2048).all(|count| unwide(wide(count)) == count));
        assert!((0..16).all(|count| unnarrow(narrow(count)) == count));
    }

    #[test]
    fn the_greatest_count_has_a_code_that_means_nothing_else() {
        assert!(wide(u64::MAX) < u16::MAX);
        assert!(unwide(wide(u64::MAX)) >= u64::MAX - (u64::MAX >> 11));
        assert_eq!(narrow(u64::MAX), u8::MAX);
        assert!(unnarrow(u8::MAX) > 16_000_000_000);
    }

    fn count() -> impl Strategy<Value = u64> {
        (0u32..64, any::<u64>()).prop_map(|(bits, random)| random >> bits)
    }

    proptest! {
        #[test]
        fn the_error_is_bounded(count in count()) {
            let (wide, narrow) = (unwide(wide(count)), unnarrow(narrow(count.min(16_000_000_000))));
            prop_assert!(wide.abs_diff(count) <= count >> 11, "{} for {}", wide, count);
            let count = count.min(16_000_000_000);
            prop_assert!(narrow.abs_diff(count) <= count >> 4, "{} for {}", narrow, count);
        }

        #[test]
        fn codes_compare_as_counts_do(one in count(), other in count()) {
            let (less, more) = (one.min(other), one.max(other));
            prop_assert!(wide(less) <= wide(more));
            prop_assert!(narrow(less) <= narrow(more));
        }
    }
}
