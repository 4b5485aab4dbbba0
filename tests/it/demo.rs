//! The demo shows what it promises and leaves nothing behind, however it ends.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, Signal, test_kill_process};

use crate::kit::process::{Process, Stream};
use crate::kit::{among_others, eventually};

/// What the introduction tells of its processes and its directory.
struct Scene {
    pids: Vec<i32>,
    directory: PathBuf,
}

/// Waits for the introduction of a demo.
async fn introduction(demo: &mut Process) -> Scene {
    demo.line("the first second", |line| line.trim_start().starts_with("0:01").then_some(())).await;
    let said = demo.said(Stream::Out);
    let pids = said.split("process ").skip(1).filter_map(|rest| rest.split_whitespace().next()?.parse().ok()).collect();
    let directory = said.lines().find_map(|line| line.trim().strip_prefix("tail -f ")?.split("/baton.log").next());
    Scene { pids, directory: directory.expect("the path of the log").into() }
}

impl Scene {
    async fn assert_gone(&self, with_directory: bool) {
        assert_eq!(self.pids.len(), 4, "three masters and the proxy, not {:?}", self.pids);
        for pid in &self.pids {
            let id = Pid::from_raw(*pid).unwrap();
            let gone = async || test_kill_process(id).is_err().then_some(());
            eventually(&format!("process {pid} is gone"), gone).await;
        }
        assert!(!with_directory || !self.directory.exists(), "{} is left", self.directory.display());
    }
}

#[tokio::test]
async fn it_ends_by_itself_and_leaves_nothing() {
    let _machine = among_others().await;
    let mut demo = Process::start("demo", &["demo", "--duration", "3s"]);
    let scene = introduction(&mut demo).await;
    let status = demo.ended().await;
    let said = demo.said(Stream::Out);
    assert!(status.success(), "{said}{}", demo.said(Stream::Err));
    assert!(said.contains("not one of them failed"), "{said}");
    scene.assert_gone(true).await;
}

#[tokio::test]
async fn an_interrupt_ends_it_with_a_summary() {
    let _machine = among_others().await;
    let mut demo = Process::start("demo", &["demo"]);
    let scene = introduction(&mut demo).await;
    demo.signal(Signal::INT);
    assert!(demo.ended().await.success());
    assert!(demo.said(Stream::Out).contains("Summary"));
    scene.assert_gone(true).await;
}

#[tokio::test]
async fn when_it_is_killed_its_children_go_with_it() {
    let _machine = among_others().await;
    let mut demo = Process::start("demo", &["demo"]);
    let scene = introduction(&mut demo).await;
    demo.signal(Signal::KILL);
    demo.ended().await;
    scene.assert_gone(false).await;
    std::fs::remove_dir_all(&scene.directory).unwrap();
}

#[tokio::test]
async fn its_script_breaks_everything_and_nothing_fails() {
    let _machine = among_others().await;
    let mut demo = Process::start("demo", &["demo", "--script", "--rate", "100"]);
    let scene = introduction(&mut demo).await;
    // About half a minute when all goes well; each act has its own end when it does not.
    let status = demo.ended_within(Duration::from_secs(180)).await;
    let said = demo.said(Stream::Out);
    assert!(status.success(), "{said}{}", demo.said(Stream::Err));
    let mut rest = said.as_str();
    for step in [
        "dubai-1 is killed",
        "health of dubai-1: was healthy, is failed",
        "dubai-1 runs again",
        "health of dubai-1: was failed, is healthy",
        "dubai-2 hangs",
        "health of dubai-2: was healthy, is failed",
        "dubai-2 goes on",
        "health of dubai-2: was failed, is healthy",
        "configuration generation 2 is in force",
        "not one of them failed; 0 connections were closed",
    ] {
        let at = rest.find(step).unwrap_or_else(|| panic!("{step:?} is missing or out of order in\n{said}"));
        rest = &rest[at + step.len()..];
    }
    scene.assert_gone(true).await;
}
