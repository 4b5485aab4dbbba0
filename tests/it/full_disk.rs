//! The whole program on a disk that fills up: nothing that was answered 200 is lost, doubled or reordered, what has no room is
//! answered 503 with the time to come again, everybody is told, and it goes on when there is room.

use std::collections::BTreeSet;
use std::time::Duration;

use baton::sample::mark::Mark;

use crate::kit::arrivals::{Arrivals, Reader, faults};
use crate::kit::http::{Answer, Client};
use crate::kit::process::Stream;
use crate::kit::small_disk::SmallDisk;
use crate::kit::{Baton, Config, Directory, among_others, eventually, meta, within};

const RULES: &str = "delivery: spool\nwhatsapp: { provider: cloud-api, app_secret: \"s3cret\" }";
const PROBES: &str = "health_check: { interval: 500ms, timeout: 500ms, healthy_threshold: 1, tcp: {} }";
const DRAINED: Duration = Duration::from_secs(60);

/// Baton with its state on a small disk, one master that is down, and what was answered for.
struct Trial {
    arrivals: Arrivals,
    reader: Reader,
    acknowledged: BTreeSet<Mark>,
    sequence: u64,
    baton: Baton,
    disk: SmallDisk,
}

impl Trial {
    /// `None` where no file system can be mounted.
    async fn start(min_free: &str) -> Option<Self> {
        let disk = SmallDisk::mount()?;
        let arrivals = Arrivals::default();
        let mut reader = Reader::start(&arrivals).await;
        reader.down();
        let config = Config::empty().master("a", reader.address, "").route(RULES).upstream(PROBES);
        let config = config.state(&format!("spool: {{ min_free: {min_free} }}"));
        let directory = Directory::new();
        directory.write("baton.yaml", &config.text(disk.path()));
        let baton = Baton::start_again(directory).await;
        Some(Self { arrivals, reader, acknowledged: BTreeSet::new(), sequence: 0, baton, disk })
    }

    /// Posts the next message of one of five conversations, about so many bytes large, and notes it if it is answered for.
    async fn post(&mut self, client: &mut Client, bytes: usize) -> Answer {
        let mark = Mark { run: 1, conversation: (self.sequence % 5) as u32, sequence: self.sequence / 5 };
        self.sequence += 1;
        let user = format!("AE.{}", mark.conversation);
        let body = meta::message("106540352242922", &user, &mark.to_string()).replace("hi", &"hi".repeat(bytes / 2));
        let answer = meta::post(client, &body).await;
        assert!([200, 503].contains(&answer.status), "{} {}", answer.status, answer.body);
        if answer.status == 200 {
            self.acknowledged.insert(mark);
        }
        answer
    }

    /// Posts until there is no room.
    async fn post_until_refused(&mut self, bytes: usize) -> Answer {
        let mut client = Client::connect(self.baton.address()).await;
        for _ in 0..5000 {
            let answer = self.post(&mut client, bytes).await;
            if answer.status == 503 {
                return answer;
            }
        }
        panic!("64 MiB take no {} bytes", 5000 * bytes)
    }

    async fn accepts_again(&mut self) {
        let mut client = Client::connect(self.baton.address()).await;
        let taken = async || (self.post(&mut client, 1000).await.status == 200).then_some(());
        eventually("acceptance returns", taken).await;
    }

    async fn everything_is_read_once_and_in_order(&self) {
        let Self { arrivals, acknowledged, .. } = self;
        within(DRAINED, "all is read", async || (arrivals.missing(acknowledged) == 0).then_some(())).await;
        let nothing = async || (self.baton.metric("baton_spool_pending", &[]).await == 0.0).then_some(());
        eventually("nothing is pending", nothing).await;
        assert_eq!(faults(&arrivals.list(), acknowledged), [""; 0]);
    }

    async fn says(&self, line: &str) {
        let said = async || self.baton.process.said(Stream::Err).contains(line).then_some(());
        eventually(&format!("the log says {line}"), said).await;
    }

    /// What status and metrics say of room and of the disk.
    async fn told(&self) -> (serde_json::Value, f64, f64) {
        let status = self.baton.status().await;
        let [full, failed] = ["baton_spool_full", "baton_spool_failed"].map(|name| self.baton.metric(name, &[]));
        (status["spool"]["full"].clone(), full.await, failed.await)
    }
}

fn assert_come_again(answer: &Answer) {
    let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "Retry-After: {wait}");
}

#[tokio::test]
async fn a_full_disk_is_503_before_it_is_full_and_what_was_answered_for_is_delivered_when_masters_return() {
    let _machine = among_others().await;
    let Some(mut trial) = Trial::start("24MiB").await else { return };
    let refused = trial.post_until_refused(60_000).await;
    assert_come_again(&refused);
    assert!(trial.acknowledged.len() > 100, "{} messages filled it", trial.acknowledged.len());
    assert_eq!(trial.told().await, ("disk".into(), 1.0, 0.0));
    assert!(trial.baton.metric("baton_refused_total", &[("reason", "spool-full")]).await >= 1.0);
    trial.says("the disk below state.path is nearly full; nothing is stored").await;
    // What came before needs no room.
    let mut client = Client::connect(trial.baton.address()).await;
    trial.sequence = 0;
    assert_eq!(trial.post(&mut client, 60_000).await.status, 200);
    trial.sequence = 1_000_000;
    trial.reader.up().await;
    trial.everything_is_read_once_and_in_order().await;
    trial.accepts_again().await;
    trial.says("the disk below state.path has room again").await;
    assert_eq!(trial.told().await, (serde_json::Value::Null, 0.0, 0.0));
    trial.everything_is_read_once_and_in_order().await;
}

#[tokio::test]
async fn a_disk_that_others_fill_takes_settlements_and_accepts_again_when_they_make_room() {
    let _machine = among_others().await;
    let Some(mut trial) = Trial::start("8MiB").await else { return };
    let mut client = Client::connect(trial.baton.address()).await;
    for _ in 0..200 {
        assert_eq!(trial.post(&mut client, 1000).await.status, 200);
    }
    let file = trial.disk.fill();
    assert_come_again(&trial.post_until_refused(1000).await);
    trial.says("the spool's reserve of 16 MiB was given up").await;
    // With the reserve gone there is room to take messages away.
    trial.reader.up().await;
    trial.everything_is_read_once_and_in_order().await;
    let refill = trial.disk.fill();
    assert_eq!(file, refill);
    assert_come_again(&trial.post_until_refused(60_000).await);
    assert_eq!(trial.baton.metric("baton_spool_failed", &[]).await, 0.0);
    std::fs::remove_file(file).unwrap();
    trial.accepts_again().await;
    trial.everything_is_read_once_and_in_order().await;
}

#[tokio::test]
async fn a_write_that_fails_ends_acceptance_until_the_next_start_and_loses_nothing() {
    let _machine = among_others().await;
    // Nothing is left to others, so that a commit meets the end of the disk.
    let Some(mut trial) = Trial::start("0B").await else { return };
    let refused = trial.post_until_refused(60_000).await;
    assert_come_again(&refused);
    assert_eq!(trial.baton.metric("baton_spool_failed", &[]).await, 1.0);
    let cause = trial.baton.status().await["spool"]["failed"].as_str().unwrap().to_owned();
    assert!(cause.contains("No space left on device") && cause.contains("started again"), "{cause}");
    trial.says("the spool cannot be written").await;
    // Room alone is not enough, and nothing is delivered that could not be settled.
    std::fs::remove_file(trial.disk.path().join("spool.reserve")).ok();
    let mut client = Client::connect(trial.baton.address()).await;
    let again = trial.post(&mut client, 1000).await;
    assert_eq!(again.status, 503);
    assert_come_again(&again);
    trial.reader.up().await;
    trial.baton = Baton::start_again(trial.baton.kill().await).await;
    trial.everything_is_read_once_and_in_order().await;
    trial.accepts_again().await;
    trial.everything_is_read_once_and_in_order().await;
}
