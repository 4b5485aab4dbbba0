//! The store from outside, on real files and on a disk that fails.

mod kit;
mod memory;

mod basics;
mod damage;
mod faults;
mod model;
