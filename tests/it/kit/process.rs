//! A `baton` process of one test: its output is collected, it ends with its handle.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::{SOON, eventually, within};

/// Dropping it kills and reaps the process, and shows what it said when the test has failed.
pub struct Process {
    name: String,
    child: Child,
    pid: Pid,
    said: Arc<Mutex<Vec<Line>>>,
    readers: Vec<JoinHandle<()>>,
}

#[derive(Clone)]
struct Line {
    stream: Stream,
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Out,
    Err,
}

impl Process {
    /// Starts `baton ARGUMENTS`, tethered to the thread of the test so that it ends even when the test is killed.
    pub fn start(name: &str, arguments: &[&str]) -> Self {
        let parent = std::process::id().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
        command.args(["tether", &parent, "--"]).args(arguments).stdin(Stdio::null());
        Self::spawn(name, &mut command)
    }

    /// Starts a command that is not tethered: it ends with its handle, and stays when the test is killed.
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .env_remove("BATON_ADMIN")
            .env_remove("BATON_TOKEN")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the baton binary starts");
        let pid = Pid::from_child(&child);
        let said = Arc::default();
        let out = child.stdout.take().expect("standard output is piped");
        let err = child.stderr.take().expect("standard error is piped");
        let readers = vec![collect(out, Stream::Out, &said), collect(err, Stream::Err, &said)];
        Self { name: name.to_owned(), child, pid, said, readers }
    }

    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid, signal).expect("the process is there to be signalled");
    }

    pub fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// A file of the process under `/proc`.
    pub fn proc(&self, file: &str) -> PathBuf {
        format!("/proc/{}/{file}", self.pid.as_raw_nonzero()).into()
    }

    /// Everything said on one stream so far.
    pub fn said(&self, stream: Stream) -> String {
        let said = self.said.lock().unwrap();
        said.iter().filter(|line| line.stream == stream).map(|line| format!("{}\n", line.text)).collect()
    }

    /// Waits for a line on standard output that `pick` accepts, and gives what it makes of it.
    pub async fn line<T>(&mut self, expected: &str, mut pick: impl FnMut(&str) -> Option<T>) -> T {
        let name = self.name.clone();
        eventually(&format!("{name} says {expected}"), async || {
            let ended = self.child.try_wait().expect("a child can be waited for");
            let found = self.said(Stream::Out).lines().find_map(&mut pick);
            assert!(found.is_some() || ended.is_none(), "{name} ended ({ended:?}) before it said {expected}");
            found
        })
        .await
    }

    /// Waits for the end of the process and of its output.
    pub async fn ended_within(&mut self, limit: Duration) -> ExitStatus {
        let name = self.name.clone();
        within(limit, &format!("{name} ends"), async || {
            let status = self.child.try_wait().expect("a child can be waited for")?;
            self.readers.iter().all(JoinHandle::is_finished).then_some(status)
        })
        .await
    }

    /// [`Self::ended_within`] ten seconds.
    pub async fn ended(&mut self) -> ExitStatus {
        self.ended_within(SOON).await
    }

    pub fn running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "the test harness shows it beside the failure")]
    fn drop(&mut self) {
        // It fails when the process has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = self.said.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            eprintln!("---- {} said:", self.name);
            for line in said.iter() {
                eprintln!("{} {}", if line.stream == Stream::Out { "out" } else { "err" }, line.text);
            }
        }
    }
}

fn collect(from: impl Read + Send + 'static, stream: Stream, into: &Arc<Mutex<Vec<Line>>>) -> JoinHandle<()> {
    let into = into.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n') {
            let Ok(line) = line else { return };
            let text = String::from_utf8_lossy(&line).into_owned();
            into.lock().unwrap().push(Line { stream, text });
        }
    })
}
