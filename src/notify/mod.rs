//! What Baton tells others of its own accord: signed requests, sent again until they are answered well or given up.

pub mod letters;
pub mod post;
pub mod receivers;
pub mod retry;
pub mod webhooks;
