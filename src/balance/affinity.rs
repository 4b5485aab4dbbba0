//! Which master a key is pinned to.
//!
//! A pin lasts until it has not been used for the time to live, until it is set to another master, or until the table is
//! full and it is the one not used for longest. A pin to a master that was removed stays until its key's next request sets
//! it anew: numbers of masters are never used again, so it misleads nobody.

use crate::lru::Lru;

/// A master, as the caller numbers them; a number is never used for another one.
pub type MasterId = u32;

/// Pins of keys, by hash, to masters. Two keys with the same 64-bit hash share a pin.
pub type Pins = Lru<MasterId>;
