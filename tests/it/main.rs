//! The whole program from outside: the real binary, real sockets, sample masters, and nothing that is not on loopback.
//!
//! One binary, because linking dominates. Each area is a file; [`kit`] is the language they are written in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]

mod kit;

mod acme;
mod admin;
mod affinity;
mod alerts;
mod audit;
mod bodies;
mod client_certificates;
mod compression;
mod ctl;
mod deliveries;
mod demo;
mod destination;
mod downgrade;
mod durability;
mod events;
mod failover;
mod faults;
mod full_disk;
mod generations;
mod h2;
mod h2_hostile;
mod h2_rules;
mod h2_to_masters;
mod handshakes;
mod hooks;
mod hostile;
mod kept;
mod limits;
mod load;
mod logs;
mod mirror;
mod monitor;
mod overload;
mod passage;
mod passive;
mod passthrough;
mod protocol;
mod proxied;
mod receivers;
mod reload;
mod sla;
mod smuggling;
mod spool_store;
mod spooled;
mod start;
mod stop;
mod strategies;
mod tcp;
mod tls;
mod tls_to_masters;
mod upgrade;
mod webhooks;
mod wire;
mod workers;
