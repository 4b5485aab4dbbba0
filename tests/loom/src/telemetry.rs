#[path = "../../../src/telemetry/histogram.rs"]
pub mod histogram;
#[path = "../../../src/telemetry/hot.rs"]
pub mod hot;
