//! See [`baton::cli`].

/// Faster than the system's with what requests allocate, which is a few kilobytes each: ARCHITECTURE.md has the figures.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    baton::cli::main()
}
