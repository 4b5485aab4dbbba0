//! One request and its answer, over as many attempts as it takes: the half that faces the masters.

pub mod budget;
pub mod headers;
