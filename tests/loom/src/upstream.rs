#[path = "../../../src/upstream/admission.rs"]
pub mod admission;
#[path = "../../../src/upstream/latency.rs"]
pub mod latency;
#[path = "../../../src/upstream/permit.rs"]
pub mod permit;
#[path = "../../../src/upstream/window.rs"]
pub mod window;
