//! One master serves, others stand by: who owns what, and how it changes hands when a master fails.
//!
//! [`fleet`] with [`look`], [`hand_over`] and [`ask`] is the pure core, one for each upstream with `failover`; [`plan`] says who can
//! take over, [`recovery`] how a failed master comes back, [`record`] what is written down and what that adds up to. [`journal`] is
//! the file, and [`orchestrator`] the thread that reads the masters' admissions, carries the core's acts out, and answers operators.
//!
//! Requests see three things of all this: a master's role in its admission word, the cell that says who owns what
//! ([`crate::upstream::owner`]), and pins.

pub mod ask;
pub mod fleet;
mod giving;
mod hand_over;
pub mod hooks;
pub mod journal;
mod look;
mod operation;
mod operators;
pub mod orchestrator;
pub mod plan;
pub mod record;
pub mod recovery;
mod runner;
mod telling;
pub mod view;

#[cfg(test)]
mod tests;
