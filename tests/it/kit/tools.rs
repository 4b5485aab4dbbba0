//! Programs of others that tests run: those of this machine, or what `scripts/test` has unpacked below `target/`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn unpacked() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/usr")
}

/// Where a program is.
pub fn program(name: &str) -> PathBuf {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|directory| directory.join(name))
        .find(|path| path.is_file());
    let program = found.unwrap_or_else(|| unpacked().join("bin").join(name));
    assert!(program.is_file(), "there is no `{name}`: `scripts/test tools` unpacks it below target/");
    program
}

/// What a decoder of this content coding makes of a body, and whether it takes it for complete.
pub fn decoded(coding: &str, body: &[u8]) -> (Vec<u8>, bool) {
    let name = if coding == "br" { "brotli" } else { coding };
    let libraries = unpacked().join(format!("lib/{}-linux-gnu", std::env::consts::ARCH));
    let mut child = Command::new(program(name))
        .arg("-dc")
        .env("LD_LIBRARY_PATH", libraries)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the decoder starts");
    let (mut stdin, body) = (child.stdin.take().expect("a pipe"), body.to_vec());
    // It fails when the decoder has seen enough.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&body)));
    let output = child.wait_with_output().expect("the decoder ends");
    writer.join().expect("a thread that only writes");
    (output.stdout, output.status.success())
}
