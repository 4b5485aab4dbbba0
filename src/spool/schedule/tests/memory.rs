//! What a million pending messages cost: each shape is measured in a process of its own, with nothing else in it.

use std::process::Command;

use crate::spool::schedule::{Arrival, Schedule, Settings};

const MESSAGES: u64 = 1_000_000;

/// The most that they may cost, in KiB.
const LIMIT_KIB: u64 = 125 * 1024;

const SHAPE: &str = "BATON_TEST_CONVERSATIONS";

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// What the schedule of so many messages in so many conversations costs, in KiB.
fn measured_apart(conversations: u64) -> u64 {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "spool::schedule::tests::memory::measure", "--ignored", "--nocapture"])
        .env(SHAPE, conversations.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let figure = text.split("KiB=").nth(1).and_then(|rest| rest.split_whitespace().next());
    figure.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

#[test]
fn a_million_pending_messages_are_small_in_a_million_conversations_and_in_ten() {
    for conversations in [10, MESSAGES] {
        let kib = measured_apart(conversations);
        assert!(kib > 20 * 1024, "{conversations}: {kib} KiB cannot be right");
        assert!(kib < LIMIT_KIB, "{conversations} conversations: {kib} KiB");
    }
}

#[test]
#[ignore = "the other test runs it in a process of its own"]
fn measure() {
    let conversations: u64 = std::env::var(SHAPE).map_or(MESSAGES, |count| count.parse().unwrap());
    let before = resident_kib();
    let mut schedule = Schedule::new(1);
    let upstream = schedule.add_upstream(Settings::default());
    let lane = schedule.add_lane(upstream);
    for seq in 0..MESSAGES {
        let conversation = Some(crate::ids::mix(seq % conversations));
        let arrival = Arrival { seq, conversation, accepted: 1000, due: 1000, attempts: 0, breaks: 0 };
        schedule.stored(lane, &arrival, 1000);
    }
    println!("KiB={} for {} messages", resident_kib() - before, schedule.len());
}
