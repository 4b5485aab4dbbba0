//! What masters own themselves, handed over by hooks: paths at each master by which Baton fetches its state, gives it to the next
//! one, and says who serves.
//!
//! [`signature`] says how a call is signed, [`call`] makes one, [`sealed`] says how a state is kept on disk and [`kept`] where. [`work`] is
//! what is done for one group, and [`lanes`] when.
//!
//! A hook's answer is never trusted: its size is bounded, its time is, and what it says is compared with what was given.

pub mod call;
pub mod kept;
pub mod lanes;
pub mod sealed;
pub mod signature;
pub mod work;
