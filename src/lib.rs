//! Baton: an HTTP load balancer between WhatsApp gateways and the bots that answer them.
//!
//! `ARCHITECTURE.md` tells how it works and in which order to read it.

pub mod acme;
pub mod admin;
pub mod alerts;
pub mod audit;
pub mod balance;
pub mod cli;
pub mod clock;
pub mod config;
pub mod ctl;
pub mod demo;
pub mod events;
pub mod exchange;
pub mod failover;
pub mod generations;
pub mod health;
pub mod http;
pub mod ids;
pub mod limits;
pub mod listener;
pub mod lru;
pub mod monitor;
pub mod net;
pub mod notify;
pub mod proxy;
pub mod routing;
pub mod sample;
pub mod server;
pub mod sla;
pub mod snapshot;
pub mod spool;
pub mod state_file;
pub mod sync;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod whatsapp;
pub mod worker;
