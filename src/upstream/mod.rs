//! The masters' side: who they are, whether they may be used, and the connections to them.

pub mod admission;
