//! The store from outside, on real files.

mod kit;

mod basics;
