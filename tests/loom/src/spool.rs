#[path = "../../../src/spool/turns.rs"]
pub mod turns;
