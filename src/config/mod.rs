//! The configuration file: its shape, its meaning, and what is wrong with it.

pub mod model;
