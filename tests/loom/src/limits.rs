#[path = "../../../src/limits/buckets.rs"]
pub mod buckets;
#[path = "../../../src/limits/gcra.rs"]
pub mod gcra;
