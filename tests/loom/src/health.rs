#[path = "../../../src/health/breaker.rs"]
pub mod breaker;
#[path = "../../../src/health/outlier.rs"]
pub mod outlier;
