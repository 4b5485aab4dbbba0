//! Baton: a layer-4/7 load balancer between WhatsApp gateways and the bots that answer them.

pub mod clock;
pub mod config;
pub mod demo;
pub mod exchange;
pub mod http;
pub mod ids;
pub mod net;
pub mod sample;
pub mod sync;
pub mod telemetry;
pub mod upstream;
