//! What Baton says about itself: metrics, the access log and its own log.
//!
//! The data path counts in cells that its worker alone writes ([`hot`], [`registry`]); what happens seldom goes through
//! the `metrics` facade. Both end in one text that the admin listener serves.

pub mod access_log;
pub mod escape;
pub mod exposition;
pub mod histogram;
pub mod hot;
pub mod names;
pub mod registry;
pub mod scrape;
