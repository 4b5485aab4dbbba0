//! One program for all fuzz targets: `TARGET=path baton-fuzz corpus/path`. A target is a function from bytes to nothing that
//! panics where something does not hold.

#![no_main]

mod chunked;
mod client_hello;
mod configuration;
mod h2_head;
mod lines;
mod path;
mod prepare;
mod proxy_header;
mod request_head;
mod response_head;
mod whatsapp;

use std::sync::OnceLock;

type Target = fn(&[u8]);

const TARGETS: &[(&str, Target)] = &[
    ("request_head", request_head::run),
    ("response_head", response_head::run),
    ("chunked", chunked::run),
    ("path", path::run),
    ("h2_head", h2_head::run),
    ("prepare", prepare::run),
    ("proxy_header", proxy_header::run),
    ("client_hello", client_hello::run),
    ("configuration", configuration::run),
    ("whatsapp", whatsapp::run),
];

fn target() -> Target {
    static CHOSEN: OnceLock<Target> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let name = std::env::var("TARGET").expect("TARGET names a target");
        TARGETS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("there is no target {name}")).1
    })
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| target()(data));
