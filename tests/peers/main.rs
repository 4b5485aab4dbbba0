//! Real bot libraries as masters behind a real Baton, and the HTTP client of real gateways in front of it. All on loopback;
//! nothing contacts Meta or Twilio.
//!
//! `scripts/test peers` installs them (`tests/peers/install`) and runs this; without them every test fails, which is why others
//! leave it out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]

#[path = "../it/kit/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the language of the other tests, of which these speak a part")]
mod kit;

mod delivery;
mod meta;
mod peer;
mod proxied;
