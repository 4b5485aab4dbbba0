//! How fast the spool accepts, and how fast it opens; run by `benches/spool/run`, which sets Redis beside it.
//!
//! `accept`: producers on one thread, as on a worker, each of which waits for its answer before it sends again, while a
//! dispatcher settles what was stored as delivered. `fill`: stores a backlog and dies without closing, or closes.
//! `open`: opens it and says how long that took.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for measuring: it prints, and a failure ends it")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use baton::config::model::Spool;
use baton::spool::record::Incoming;
use baton::spool::schedule::Settlement;
use baton::spool::store::{Event, Store};
use baton::whatsapp::Kind;
use bytes::Bytes;
use clap::{Parser, Subcommand};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// As the program has it.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    /// The state directory.
    #[arg(long)]
    state: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Accept {
        #[arg(long)]
        producers: usize,
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        #[arg(long, default_value_t = 1200)]
        size: usize,
        /// Ids that are remembered when it begins.
        #[arg(long, default_value_t = 0)]
        known: u64,
    },
    Fill {
        #[arg(long)]
        messages: u64,
        #[arg(long, default_value_t = 1200)]
        size: usize,
        /// Close in order, instead of dying.
        #[arg(long)]
        close: bool,
    },
    Open,
}

fn main() {
    let Arguments { state, action } = Arguments::parse();
    match action {
        Action::Accept { producers, seconds, size, known } => accept(&state, producers, seconds, size, known),
        Action::Fill { messages, size, close } => fill(&state, messages, size, close),
        Action::Open => open(&state),
    }
}

fn settings() -> Spool {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    Spool {
        max_bytes: 64 << 30,
        max_messages: 10_000_000,
        min_free: 0,
        dedup_window: 7 * DAY,
        dedup_max_ids: 5_000_000,
        dead_max_age: 30 * DAY,
        dead_max_bytes: 1 << 30,
    }
}

fn message(store: &Store, id: u128, body: &Bytes) -> Incoming {
    Incoming {
        seq: store.next_seq(),
        id: Some(id),
        conversation: id as u64 % 1000,
        route: "webhooks".into(),
        upstream: "bots".into(),
        account: Some("106540352242922".into()),
        country: Some(*b"AE"),
        message_id: "wamid.HBgMOTcxNTAxMjM0NTY3FQIAEhggQ0".into(),
        kind: Kind::Message,
        event: "messages".into(),
        preferred: None,
        head: Bytes::new(),
        body: body.clone(),
        maybe_delivered: false,
        ordered: true,
    }
}

/// Numbers that look like hashes and are never the same.
fn id(number: u64) -> u128 {
    u128::from(baton::ids::mix(number)) << 64 | u128::from(baton::ids::mix(!number))
}

fn accept(state: &Path, producers: usize, seconds: f64, size: usize, known: u64) {
    let (events, receiver) = unbounded_channel();
    let (store, _) = Store::open(state, &settings(), events).unwrap();
    for begin in (0..known).step_by(50_000) {
        store.note_seen((begin..(begin + 50_000).min(known)).map(|number| id(u64::MAX / 2 + number)).collect());
        store.flush().blocking_recv().unwrap();
    }
    let dispatcher = std::thread::spawn({
        let store = store.clone();
        move || settle(&store, receiver)
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let ends = Arc::new(AtomicBool::new(false));
    let body = Bytes::from(vec![b'x'; size]);
    let begun = Instant::now();
    let before = store.stats();
    let mut latencies: Vec<u64> = runtime.block_on(async {
        let tasks: Vec<_> = (0..producers as u64)
            .map(|producer| {
                let (store, ends, body) = (store.clone(), Arc::clone(&ends), body.clone());
                tokio::spawn(async move {
                    let mut latencies = Vec::new();
                    let salt = baton::ids::random_u64();
                    for count in 0.. {
                        if ends.load(Ordering::Relaxed) {
                            break;
                        }
                        let sent = Instant::now();
                        let answer = store.accept(&[message(&store, id(salt ^ producer << 40 ^ count), &body)]);
                        answer.unwrap().await.unwrap().unwrap();
                        latencies.push(sent.elapsed().as_nanos() as u64);
                    }
                    latencies
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        ends.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for task in tasks {
            all.append(&mut task.await.unwrap());
        }
        all
    });
    let took = begun.elapsed().as_secs_f64();
    let after = store.stats();
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize] as f64 / 1e6;
    println!(
        "{{\"producers\":{producers},\"rate\":{:.0},\"p50_ms\":{:.3},\"p99_ms\":{:.3},\"group\":{:.1},\"disk_mib\":{},\"pending\":{}}}",
        latencies.len() as f64 / took,
        at(0.5),
        at(0.99),
        (after.stored - before.stored) as f64 / (after.commits - before.commits) as f64,
        after.disk_bytes >> 20,
        after.pending,
    );
    store.close().blocking_recv().unwrap();
    drop(store);
    dispatcher.join().unwrap();
}

/// Settles everything as delivered, as it is stored.
fn settle(store: &Store, mut events: UnboundedReceiver<Event>) {
    while let Some(event) = events.blocking_recv() {
        if let Event::Stored(entries) = event {
            entries.iter().for_each(|entry| store.settle(entry.seq, Settlement::Delivered, None));
        }
        if store.stats().failed.is_some() {
            break;
        }
    }
}

fn fill(state: &Path, messages: u64, size: usize, close: bool) {
    let (events, _receiver) = unbounded_channel();
    let (store, _) = Store::open(state, &settings(), events).unwrap();
    let body = Bytes::from(vec![b'x'; size]);
    let begun = Instant::now();
    let mut answers = std::collections::VecDeque::new();
    for begin in (0..messages).step_by(100) {
        let batch =
            (begin..(begin + 100).min(messages)).map(|number| message(&store, id(number), &body)).collect::<Vec<_>>();
        answers.push_back(store.accept(&batch).unwrap());
        if answers.len() > 50 {
            answers.pop_front().unwrap().blocking_recv().unwrap().unwrap();
        }
    }
    for answer in answers {
        answer.blocking_recv().unwrap().unwrap();
    }
    let took = begun.elapsed().as_secs_f64();
    let file = std::fs::metadata(state.join("spool.redb")).unwrap();
    let blocks = std::os::unix::fs::MetadataExt::blocks(&file) * 512;
    println!(
        "{{\"messages\":{messages},\"seconds\":{took:.2},\"file_mib\":{},\"disk_mib\":{}}}",
        file.len() >> 20,
        blocks >> 20
    );
    if close {
        store.close().blocking_recv().unwrap();
    } else {
        std::process::abort();
    }
}

fn open(state: &Path) {
    let (events, _receiver) = unbounded_channel();
    let begun = Instant::now();
    let (store, recovered) = Store::open(state, &settings(), events).unwrap();
    let took = begun.elapsed().as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) >> 10
    };
    println!(
        "{{\"seconds\":{took:.2},\"entries\":{},\"clean\":{},\"resident_mib\":{},\"peak_mib\":{}}}",
        recovered.entries.len(),
        recovered.clean,
        field("VmRSS:"),
        field("VmHWM:"),
    );
    store.close().blocking_recv().unwrap();
}
