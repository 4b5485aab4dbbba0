//! Ties a child process to its parent: when the parent goes, in whatever way, the kernel kills the child.
//!
//! `baton tether PARENT -- COMMAND…` asks the kernel for that signal and then becomes `baton COMMAND…`, which keeps the
//! process id and the wish. Setting it between fork and exec from the parent would need unsafe code; here it is one
//! extra exec. The signal belongs to the parent *thread* that started the child: it must be one that lives as long as
//! the parent should.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// What `baton tether` takes; it is no command for people.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Process id of the parent
    pub parent: u32,
    /// Command line to become, without the program
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

/// The program and the arguments with which the calling process starts `command` of this program as its tethered child.
///
/// # Errors
/// When the path of the running program cannot be found out.
pub fn command_line(command: &[&str]) -> io::Result<(PathBuf, Vec<String>)> {
    let tether = ["tether".to_owned(), std::process::id().to_string(), "--".to_owned()];
    let arguments = tether.into_iter().chain(command.iter().map(|word| (*word).to_owned()));
    Ok((std::env::current_exe()?, arguments.collect()))
}

/// Becomes the command.
///
/// # Errors
/// When the parent is gone already, or the program cannot be executed. It does not return otherwise.
pub fn run(args: &Args) -> io::Result<Infallible> {
    #[cfg(target_os = "linux")]
    {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        // A parent that died before the wish was known to the kernel will send no signal any more.
        let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        if parent != Some(args.parent) {
            return Err(io::Error::other(format!("process {} is not the parent (any more)", args.parent)));
        }
    }
    Err(Command::new(std::env::current_exe()?).args(&args.command).exec())
}
