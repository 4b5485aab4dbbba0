//! What a client may ask for: how often, from where, how many connections, how slowly.
//!
//! Every rule here is decided without waiting and without a lock on the path of a request, in memory whose size is fixed
//! when the rule is read. A rule that is not configured is a `None` that is looked at once.

pub mod buckets;
pub mod clients;
pub mod gate;
pub mod gcra;
pub mod guard;
pub mod networks;
pub mod pace;
pub mod tenure;
