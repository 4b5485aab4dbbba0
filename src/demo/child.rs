//! A child process of the demo: started tethered, read line by line until it is ready, signalled, ended, reaped.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};
use tokio::time::{Instant, timeout, timeout_at};

use crate::demo::tether;

/// A child that is asked to stop gets this long before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// Dropping it kills the process.
pub struct Child {
    process: tokio::process::Child,
    pid: Pid,
    output: Option<Lines<BufReader<ChildStdout>>>,
}

impl Child {
    /// Starts `baton ARGUMENTS`, with what it says on standard error going to the end of `log`.
    ///
    /// In a process group of its own: a Ctrl-C in the terminal is for the demo, which then ends its children in order.
    ///
    /// # Errors
    /// When the log cannot be opened or the process not be started.
    pub fn start(arguments: &[&str], log: &Path) -> io::Result<Self> {
        let (program, arguments) = tether::command_line(arguments)?;
        let log = File::options().create(true).append(true).open(log)?;
        let mut process = Command::new(program)
            .args(arguments)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let id = process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pid = id.ok_or_else(|| io::Error::other("the process ended at once"))?;
        let output = process.stdout.take().map(|output| BufReader::new(output).lines());
        Ok(Self { process, pid, output })
    }

    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// The next line of its standard output.
    ///
    /// # Errors
    /// When there is none before the deadline, or it has closed its output.
    pub async fn line(&mut self, deadline: Instant) -> io::Result<String> {
        let Some(output) = &mut self.output else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        match timeout_at(deadline, output.next_line()).await {
            Ok(line) => line?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Throws away what it will still print, so that a full pipe never blocks it.
    pub fn ignore_output(&mut self) {
        if let Some(mut output) = self.output.take() {
            tokio::spawn(async move { while let Ok(Some(_)) = output.next_line().await {} });
        }
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// Those of waiting for a child.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(rustix::process::kill_process(self.pid, signal)?)
    }

    /// Asks it to end with `signal`, kills it when it has not done so in three seconds, and reaps it.
    pub async fn end(mut self, signal: Signal) {
        let asked = matches!(self.process.try_wait(), Ok(None)) && self.signal(signal).is_ok();
        if !asked || timeout(GRACE, self.process.wait()).await.is_err() {
            // It can fail only when the process has ended by itself, which is as good.
            let _ = self.process.kill().await;
        }
    }
}
