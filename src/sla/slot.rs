//! What is kept of a stretch of time: requests, and seconds.

/// A stretch of time of one thing. All zero where nothing was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slot {
    /// Outside of maintenance.
    pub requests: u64,
    /// Those of them without an answer or with 5xx.
    pub failed: u64,
    /// Seconds in which somebody was there to answer.
    pub up: u32,
    /// Seconds in which nobody was.
    pub down: u32,
    /// Seconds of maintenance.
    pub excluded: u32,
}

/// Bytes of a slot on disk.
pub const SLOT_BYTES: usize = 28;

impl Slot {
    /// Nothing.
    pub const EMPTY: Self = Self { requests: 0, failed: 0, up: 0, down: 0, excluded: 0 };

    /// Adds another stretch.
    pub fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.failed = self.failed.saturating_add(other.failed);
        self.up = self.up.saturating_add(other.up);
        self.down = self.down.saturating_add(other.down);
        self.excluded = self.excluded.saturating_add(other.excluded);
    }

    /// Seconds of which anything is known.
    #[must_use]
    pub fn measured(&self) -> u32 {
        self.up.saturating_add(self.down).saturating_add(self.excluded)
    }

    /// With no more seconds than there were. Two processes that overlap count some twice; the better ones give way.
    #[must_use]
    pub fn within(self, seconds: u32) -> Self {
        let down = self.down.min(seconds);
        let excluded = self.excluded.min(seconds - down);
        Self { down, excluded, up: self.up.min(seconds - down - excluded), ..self }
    }

    /// Share of the requests that were answered, 0 to 1; none without a request.
    #[must_use]
    pub fn by_request(&self) -> Option<f64> {
        share(self.requests.saturating_sub(self.failed), self.requests)
    }

    /// Share of the seconds outside of maintenance in which somebody was there, 0 to 1; none without such a second.
    #[must_use]
    pub fn by_time(&self) -> Option<f64> {
        share(u64::from(self.up), u64::from(self.up) + u64::from(self.down))
    }

    /// As it is stored.
    #[must_use]
    pub fn to_bytes(self) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        bytes[..8].copy_from_slice(&self.requests.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.failed.to_le_bytes());
        for (place, seconds) in bytes[16..].chunks_exact_mut(4).zip([self.up, self.down, self.excluded]) {
            place.copy_from_slice(&seconds.to_le_bytes());
        }
        bytes
    }

    /// From what was stored.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; SLOT_BYTES]) -> Self {
        let wide = |at: usize| bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let narrow = |at: usize| bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        Self { requests: wide(0), failed: wide(8), up: narrow(16), down: narrow(20), excluded: narrow(24) }
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: Slot = Slot { requests: 1000, failed: 1, up: 50, down: 5, excluded: 5 };

    #[test]
    fn availability_leaves_maintenance_out_and_is_none_of_nothing() {
        assert_eq!((SLOT.by_request(), SLOT.by_time()), (Some(0.999), Some(50.0 / 55.0)));
        assert_eq!((Slot::EMPTY.by_request(), Slot::EMPTY.by_time()), (None, None));
        let excluded = Slot { excluded: 60, ..Slot::EMPTY };
        assert_eq!(excluded.by_time(), None);
    }

    #[test]
    fn what_is_stored_is_what_was_there() {
        let large = Slot { requests: u64::MAX, failed: 1 << 40, up: u32::MAX, down: 1, excluded: 2 };
        for slot in [SLOT, Slot::EMPTY, large] {
            assert_eq!(Slot::from_bytes(&slot.to_bytes()), slot);
        }
    }

    #[test]
    fn seconds_counted_twice_are_taken_from_the_good_ones() {
        let mut slot = SLOT;
        slot.add(&SLOT);
        assert_eq!(slot.measured(), 120);
        let slot = slot.within(60);
        assert_eq!((slot.up, slot.down, slot.excluded, slot.requests), (40, 10, 10, 2000));
    }
}
