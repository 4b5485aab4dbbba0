//! Sets `cfg(loom)` for this crate alone, so that the sources it shares with the program take loom's atomics.

fn main() {
    println!("cargo::rustc-cfg=loom");
}
