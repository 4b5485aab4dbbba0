//! The spool's store in a process of its own that is killed at any moment, or whose disk is full, with a checker outside.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use baton::config::model::Spool;
use baton::spool::record::Incoming;
use baton::spool::schedule::Settlement;
use baton::spool::store::{Accepted, Event, Store};
use baton::whatsapp::Kind;
use bytes::Bytes;
use tokio::sync::mpsc::unbounded_channel;

use crate::kit::directory::Directory;
use crate::kit::small_disk::SmallDisk;

/// Rounds of being killed.
const ROUNDS: u64 = 12;

/// Where the child's store is, how many messages it is to store at most, and what of the disk it must leave.
const STATE: &str = "BATON_TEST_STATE";
const MOST: &str = "BATON_TEST_MOST";
const MIN_FREE: &str = "BATON_TEST_MIN_FREE";

fn settings(min_free: u64) -> Spool {
    let day = Duration::from_secs(24 * 60 * 60);
    Spool {
        max_bytes: 4 << 30,
        max_messages: 1_000_000,
        min_free,
        dedup_window: 7 * day,
        dedup_max_ids: 5_000_000,
        dead_max_age: 30 * day,
        dead_max_bytes: 1 << 30,
    }
}

fn message(store: &Store, id: u128) -> Incoming {
    Incoming {
        seq: store.next_seq(),
        id: Some(id),
        conversation: 1,
        route: "webhooks".into(),
        upstream: "bots".into(),
        account: None,
        country: None,
        message_id: id.to_string().into(),
        kind: Kind::Message,
        event: "messages".into(),
        preferred: None,
        head: Bytes::from_static(b"POST / HTTP/1.1\r\n\r\n"),
        body: Bytes::from(id.to_string().repeat(60)),
        maybe_delivered: false,
        ordered: true,
    }
}

fn open(state: &Path, min_free: u64) -> (Store, HashSet<u64>, tokio::sync::mpsc::UnboundedReceiver<Event>) {
    let (sender, events) = unbounded_channel();
    let opened = Store::open_waiting(state, &settings(min_free), &sender, Duration::from_secs(10));
    let (store, recovered) = opened.expect("the store opens");
    assert_eq!(recovered.damaged, 0);
    (store, recovered.entries.iter().map(|entry| entry.seq).collect(), events)
}

/// Not a test: what the tests below start and kill. Says `accepted ID SEQ` when that is promised, `settling SEQ` before a
/// settlement is asked for, `settled SEQ` when it is promised, and at last why it ended.
#[test]
#[ignore = "a process that other tests start"]
fn child() {
    let Ok(state) = std::env::var(STATE) else { return };
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (most, min_free) = (number(MOST).unwrap_or(u64::MAX), number(MIN_FREE).unwrap_or(0));
    let (store, _, mut events) = open(Path::new(&state), min_free);
    let settling = {
        let store = store.clone();
        std::thread::spawn(move || {
            while let Some(event) = events.blocking_recv() {
                match event {
                    Event::Stored(entries) => {
                        for entry in entries.iter().filter(|entry| entry.seq % 2 == 0) {
                            say(&format!("settling {}", entry.seq));
                            store.settle(entry.seq, Settlement::Delivered, None);
                        }
                    }
                    Event::Settled(all) => all.iter().for_each(|seq| say(&format!("settled {seq}"))),
                    Event::Failed(cause) => {
                        say(&format!("failed {cause}"));
                        return;
                    }
                }
            }
        })
    };
    let salt = u128::from(baton::ids::random_u64()) << 32;
    let producers: Vec<_> = (0..8u64)
        .map(|producer| {
            let store = store.clone();
            std::thread::spawn(move || {
                for count in 0..most / 8 {
                    let id = salt | u128::from(producer << 24 | count);
                    let message = message(&store, id);
                    let seq = message.seq;
                    let answer = match store.accept(&[message]) {
                        Ok(answer) => answer.blocking_recv(),
                        Err(refused) => {
                            say(&format!("refused {refused}"));
                            return;
                        }
                    };
                    if answer == Ok(Ok(vec![Accepted::Stored])) {
                        say(&format!("accepted {id} {seq}"));
                    }
                }
            })
        })
        .collect();
    producers.into_iter().for_each(|producer| producer.join().unwrap());
    let _ = store.flush().blocking_recv();
    let _ = store.close().blocking_recv();
    drop(store);
    settling.join().unwrap();
}

/// One line at once, from whichever thread.
fn say(line: &str) {
    // Before it, the test's harness may have begun a line.
    let _ = std::io::stdout().lock().write_all(format!("\n{line}\n").as_bytes());
}

/// What children said, over all of them.
#[derive(Default)]
struct Said {
    accepted: HashMap<u128, u64>,
    settling: HashSet<u64>,
    settled: HashSet<u64>,
    failed: Option<String>,
    refused: Option<String>,
}

impl Said {
    fn line(&mut self, line: &str) {
        let mut words = line.split(' ');
        let (first, rest) = (words.next(), line.split_once(' ').map_or("", |(_, rest)| rest));
        let mut number = || words.next().and_then(|word| word.parse::<u128>().ok());
        match first {
            Some("accepted") => {
                // The last line of a process that was killed may be cut short.
                if let (Some(id), Some(seq)) = (number(), number()) {
                    self.accepted.insert(id, seq as u64);
                }
            }
            Some("settling") => self.settling.extend(number().map(|seq| seq as u64)),
            Some("settled") => self.settled.extend(number().map(|seq| seq as u64)),
            Some("failed") => self.failed = Some(rest.to_owned()),
            Some("refused") => self.refused = Some(rest.to_owned()),
            _ => {}
        }
    }

    /// Reads all that a child says until it ends, and kills it `after` its first promise.
    fn listen(&mut self, child: &mut Child, after: Option<Duration>) {
        let out = child.stdout.take().expect("standard output is piped");
        let (mut kill_at, before) = (None, self.accepted.len());
        for line in BufReader::new(out).split(b'\n') {
            let line = line.expect("a line of the child");
            self.line(&String::from_utf8_lossy(&line));
            if let (Some(after), true) = (after, self.accepted.len() > before) {
                let due = *kill_at.get_or_insert_with(|| Instant::now() + after);
                if Instant::now() >= due {
                    child.kill().expect("the child can be killed");
                }
            }
        }
        child.wait().expect("the child ends");
    }

    /// Everything promised is so.
    fn check(&self, state: &Path) -> (Store, HashSet<u64>) {
        let (store, pending, _) = open(state, 0);
        for (id, seq) in &self.accepted {
            assert!(store.seen(*id), "{id} was accepted and is not known any more");
            if !self.settling.contains(seq) {
                assert!(pending.contains(seq), "message {seq} was accepted and is not there");
            }
            if pending.contains(seq) {
                let record = store.load(*seq).expect("it can be read").expect("it is there");
                assert_eq!(record.message.id, Some(*id));
                assert_eq!(record.message.body, id.to_string().repeat(60).as_bytes());
            }
        }
        for seq in &self.settled {
            assert!(!pending.contains(seq), "message {seq} was settled and is there again");
        }
        (store, pending)
    }
}

fn start(state: &Path, around: Option<&str>) -> Command {
    let program = std::env::current_exe().expect("this program");
    let arguments = ["--exact", "spool_store::child", "--ignored", "--nocapture", "--test-threads", "1"];
    let mut command = match around {
        None => Command::new(program),
        Some(script) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", script]).arg(program);
            shell
        }
    };
    command.args(arguments).env(STATE, state).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

#[test]
fn a_killed_process_has_kept_every_promise() {
    let directory = Directory::new();
    let mut said = Said::default();
    for round in 0..ROUNDS {
        let mut child = start(directory.path(), None).spawn().expect("a child");
        let before = said.accepted.len();
        let moment = baton::ids::random_u64() % 150;
        said.listen(&mut child, Some(Duration::from_millis(moment)));
        assert!(said.accepted.len() > before, "round {round}: nothing was accepted");
        let (store, _) = said.check(directory.path());
        let some = *said.accepted.keys().next().expect("an id");
        let answer = store.accept(&[message(&store, some)]).expect("room").blocking_recv();
        assert_eq!(answer, Ok(Ok(vec![Accepted::Duplicate])));
        let _ = store.close().blocking_recv();
    }
    assert!(!said.settled.is_empty());
}

#[test]
fn a_file_that_may_not_grow_any_more_fails_acceptance_for_good_and_loses_nothing() {
    let directory = Directory::new();
    let mut said = Said::default();
    // A write beyond the limit is an error instead of a signal; the unit is 512 bytes.
    let mut child = start(directory.path(), Some("trap '' XFSZ; ulimit -f 8192; exec \"$0\" \"$@\""));
    said.listen(&mut child.spawn().expect("a child"), None);
    let failed = said.failed.as_deref().expect("the child says that the store has failed");
    assert!(failed.contains("File too large") && failed.contains("started again"), "{failed}");
    assert!(said.accepted.len() > 10, "only {} accepted", said.accepted.len());
    said.check(directory.path());
}

#[test]
fn a_disk_that_fills_up_refuses_before_it_is_full_and_goes_on_when_it_is_emptied() {
    let Some(small) = SmallDisk::mount() else { return };
    let mut said = Said::default();
    let mut child = start(small.path(), None);
    child.env(MIN_FREE, (24u64 << 20).to_string());
    said.listen(&mut child.spawn().expect("a child"), None);
    assert_eq!(said.failed, None, "it was refused before the disk was full");
    assert_eq!(said.refused.as_deref(), Some("the spool is full (disk)"));
    let (store, pending) = said.check(small.path());
    let _ = store.close().blocking_recv();
    // Everything can be settled with what is left.
    let (store, _, _events) = open(small.path(), 24 << 20);
    pending.iter().for_each(|seq| store.settle(*seq, Settlement::Delivered, None));
    store.flush().blocking_recv().expect("the settlements are on disk");
    assert_eq!(store.stats().pending, 0);
    // The file is as large as before, and has room again.
    let begun = Instant::now();
    loop {
        match store.accept(&[message(&store, 1)]) {
            Ok(answer) => {
                assert_eq!(answer.blocking_recv(), Ok(Ok(vec![Accepted::Stored])));
                break;
            }
            Err(refused) if begun.elapsed() > Duration::from_secs(10) => panic!("still refused: {refused}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    let _ = store.close().blocking_recv();
}
