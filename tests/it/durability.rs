//! What is answered 200 is delivered, in order and not twice: through kills of Baton itself, and while no master is there.
//!
//! Two minutes under load, so not among the others: `scripts/test durability` runs them alone.

#![expect(clippy::print_stderr, reason = "the sums of a run belong to its test")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use baton::sample::gateway::{Gateway, Plan};
use baton::sample::tally::Exchange;
use rustix::process::Signal;

use crate::kit::arrivals::{Arrivals, Reader, faults};
use crate::kit::baton::run;
use crate::kit::load::{Disk, measured, until};
use crate::kit::sender::{Persistence, Random, Senders};
use crate::kit::{Baton, Config, alone, within};

const SECRET: &str = "s3cret";
/// Until everything stored has reached a master, with room for a machine that is busy with other things.
const DRAINED: Duration = Duration::from_secs(60);

fn config(delivery: &str, readers: &[Reader]) -> Config {
    let route = format!("delivery: {delivery}\nwhatsapp: {{ provider: cloud-api, app_secret: {SECRET} }}");
    // Not where others connect from: one of them could be given the port while Baton is down.
    let config = Config::empty().address("127.0.0.3:0".parse().unwrap()).route(&route);
    readers
        .iter()
        .enumerate()
        .fold(config, |config, (number, bot)| config.master(&format!("m{number}"), bot.address, ""))
}

async fn readers<const N: usize>(arrivals: &Arrivals) -> [Reader; N] {
    let mut readers = Vec::new();
    for _ in 0..N {
        readers.push(Reader::start(arrivals).await);
    }
    readers.try_into().unwrap_or_else(|_| unreachable!("as many as were started"))
}

/// Kills Baton so many times at random moments under load, some of them while it starts, and judges what the masters got.
async fn survives_kills(delivery: &str, persistence: Persistence, rounds: u32) {
    let mut random = Random::seeded("BATON_KILLS_SEED");
    let arrivals = Arrivals::default();
    let readers: [Reader; 3] = readers(&arrivals).await;
    let config = config(delivery, &readers);
    let mut baton = Baton::start_unprobed(&config).await;
    // The senders know one address.
    baton.write(&config.address(baton.address()));
    let senders = Senders::start(baton.address(), 40, persistence);
    for round in 0..rounds {
        tokio::time::sleep(random.millis(50, 450)).await;
        let directory = baton.kill().await;
        if round % 4 == 0 {
            let mut starting = run(&directory.path().join("baton.yaml"));
            tokio::time::sleep(random.millis(0, 60)).await;
            starting.signal(Signal::KILL);
            starting.ended().await;
        }
        baton = Baton::start_again(directory).await;
    }
    let acknowledged = senders.stop().await;
    let drained = async || (arrivals.missing(&acknowledged) == 0).then_some(());
    let _ = tokio::time::timeout(DRAINED, within(DRAINED * 2, "all is read", drained)).await;
    // Whatever would come again comes now.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let list = arrivals.list();
    let faults = faults(&list, &acknowledged);
    let repeats = list.iter().filter(|arrival| arrival.possible_repeat).count();
    let sum = format!("{rounds} kills, {} acknowledged, {} read, {repeats} marked", acknowledged.len(), list.len());
    assert!(faults.is_empty(), "{delivery}: {sum}, {} faults: {faults:#?}", faults.len());
    assert!(acknowledged.len() > 10 * rounds as usize, "{sum}: that is no load");
    eprintln!("{delivery}: {sum}");
}

#[tokio::test]
#[ignore = "the step `durability` runs it alone"]
async fn stored_messages_survive_fifty_kills_each_once_and_in_order() {
    let _machine = alone().await;
    survives_kills("spool", Persistence::Again, 50).await;
}

#[tokio::test]
#[ignore = "the step `durability` runs it alone"]
async fn forwarded_messages_survive_kills_too_when_they_were_answered() {
    let _machine = alone().await;
    survives_kills("inline-then-spool", Persistence::Once, 20).await;
}

/// So long all masters are down, with 400 webhooks a second.
async fn survives_outage(delivery: &str, outage: Duration) {
    let scenario = async || {
        let arrivals = Arrivals::default();
        let mut readers: [Reader; 3] = readers(&arrivals).await;
        let baton = Baton::start_unprobed(&config(delivery, &readers)).await;
        let before = Duration::from_secs(2);
        let disk = Disk::start();
        let gateway = Gateway::start(Plan {
            app_secret: Some(SECRET.into()),
            duration: Some(before + outage + before),
            keep_exchanges: 100_000,
            ..Plan::new(baton.address(), "/webhook")
        });
        until(&gateway, before).await;
        readers.iter_mut().for_each(Reader::down);
        until(&gateway, before + outage).await;
        for bot in &mut readers {
            bot.up().await;
        }
        let back = Instant::now();
        let report = gateway.finished().await;
        let sent = report.exchanges.len();
        let of_person = |exchange: &Exchange| (exchange.conversation, exchange.sequence);
        let acknowledged: BTreeSet<_> = report.exchanges.iter().filter(|e| e.succeeded()).map(of_person).collect();
        within(DRAINED, "everything is read", async || {
            let read: BTreeSet<_> =
                arrivals.list().iter().map(|arrival| (arrival.mark.conversation, arrival.mark.sequence)).collect();
            acknowledged.is_subset(&read).then_some(())
        })
        .await;
        let drained = back.elapsed();
        let list = arrivals.list();
        assert_eq!(faults(&list, &BTreeSet::new()), [""; 0], "{delivery}");
        let (p99, max) = (report.p99, report.max);
        eprintln!("{delivery}: {outage:?} down, {sent} sent, p99 {p99:?}, max {max:?}, caught up in {drained:?}");
        (report, sent, disk.worst())
    };
    let ((report, sent, sync), patience) = measured(scenario).await;
    assert_eq!((report.succeeded, report.failed), (sent as u64, 0), "{delivery}: {report}");
    // A webhook waits for its own commit and, if it came a moment too late, for the one before.
    // Baton's own commits are among what makes the disk slow, so that excuses no more than as much again.
    let on_an_idle_machine = Duration::from_millis(250);
    let limit = patience.limit(on_an_idle_machine) + (2 * sync).min(on_an_idle_machine);
    assert!(report.max <= limit, "{delivery}: {limit:?} is the limit, the disk took {sync:?} at the worst\n{report}");
}

#[tokio::test]
#[ignore = "the step `durability` runs it alone"]
async fn an_outage_of_all_masters_costs_senders_nothing_and_is_caught_up_in_order() {
    let _machine = alone().await;
    survives_outage("spool", Duration::from_secs(30)).await;
}

#[tokio::test]
#[ignore = "the step `durability` runs it alone"]
async fn an_outage_is_survived_also_where_messages_are_forwarded_first() {
    let _machine = alone().await;
    survives_outage("inline-then-spool", Duration::from_secs(6)).await;
}
