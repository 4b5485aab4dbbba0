//! How one update of a batch is written as a body of its own.

use super::Provider;

/// What of a body an update is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// All of it: its bytes go on as they are, and so does their signature.
    Whole,
}

/// Appends the body that holds one update alone: for [`Part::Whole`] the bytes of `body`.
pub fn write_part(_provider: Provider, body: &[u8], part: &Part, out: &mut Vec<u8>) {
    match part {
        Part::Whole => out.extend_from_slice(body),
    }
}
