//! `baton ctl backup FILE`: a copy of everything that is stored, made while Baton runs.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::client::{Client, Download};
use super::table::size;
use super::{Answer, Failure};

/// Between two looks of a person at the progress.
const SHOW_EVERY: u64 = 16 << 20;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to put it; a file that is there is replaced when the copy is whole
    file: PathBuf,
}

#[derive(Serialize)]
struct Made<'a> {
    file: &'a Path,
    bytes: u64,
    pending: u64,
    dead_letters: u64,
}

pub async fn run(client: &Client, args: &Args) -> Result<Answer, Failure> {
    let mut name = args.file.clone().into_os_string();
    name.push(".part");
    let part = PathBuf::from(name);
    let failed = |error: &io::Error| Failure::Failed(format!("{}: {error}", part.display()));
    // It holds messages: nobody else may read it.
    let _ = std::fs::remove_file(&part);
    let file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part).map_err(|error| failed(&error))?;
    let mut writer = Progress { file, written: 0, shown: 0, shows: io::stderr().is_terminal() };
    let done = client.download("/api/v1/backup", &mut writer).await;
    let kept = done.and_then(|download| {
        writer.finish().and_then(|()| std::fs::rename(&part, &args.file)).map_err(|error| failed(&error))?;
        Ok(download)
    });
    if kept.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    let Download { bytes, pending, dead_letters } = kept?;
    let text = format!("{}: {}, {pending} messages and {dead_letters} dead letters", args.file.display(), size(bytes));
    Answer::new(&Made { file: &args.file, bytes, pending, dead_letters }, text)
}

/// Writes, and tells a person how far it is.
struct Progress {
    file: File,
    written: u64,
    shown: u64,
    shows: bool,
}

impl Progress {
    fn finish(&mut self) -> io::Result<()> {
        if self.shown > 0 {
            let _ = writeln!(io::stderr());
        }
        self.file.sync_all()
    }
}

impl Write for Progress {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.written += written as u64;
        if self.shows && self.written >= self.shown + SHOW_EVERY {
            self.shown = self.written;
            let _ = write!(io::stderr(), "\r{} ", size(self.written));
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
