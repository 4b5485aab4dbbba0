//! What was sent, acknowledged and read, compared: what is wrong with it, in sentences.

use std::collections::{BTreeMap, BTreeSet};

use baton::sample::log::Line;
use baton::sample::mark::{Mark, marks};

/// One message as a master read it.
#[derive(Debug, Clone)]
pub struct Read {
    pub master: String,
    pub mark: Mark,
    /// The delivery says that it may be, or is, a repeat.
    pub marked: bool,
    /// The master answered that it has not taken it.
    pub refused: bool,
}

impl Read {
    pub fn of(line: Line) -> Self {
        let marked = line.repeat || line.attempt.is_some_and(|attempt| attempt > 1);
        let mark = marks(line.message.as_bytes())[0];
        Self { master: line.master, mark, marked, refused: !(200..300).contains(&line.status) }
    }
}

/// Which of what was acknowledged no master has taken yet.
pub fn missing(reads: &[Read], acknowledged: &BTreeSet<(u32, u64)>) -> BTreeSet<(u32, u64)> {
    let taken: BTreeSet<_> = reads.iter().filter(|read| !read.refused).map(|read| place(read.mark)).collect();
    acknowledged - &taken
}

fn place(mark: Mark) -> (u32, u64) {
    (mark.conversation, mark.sequence)
}

/// The laws, whatever fails: what was acknowledged was taken by some master; in each conversation messages are read, and taken, for the
/// first time in the order in which they were sent; and of all deliveries of one message that were not refused, one at most does
/// not say that it may be a repeat. A master that stood still reads late what was sent to it in time, so the repeat may come first.
pub fn wrongs(reads: &[Read], acknowledged: &BTreeSet<(u32, u64)>) -> Vec<String> {
    let mut wrongs: Vec<_> = missing(reads, acknowledged)
        .iter()
        .map(|(conversation, sequence)| format!("{conversation}.{sequence} was acknowledged and not read"))
        .collect();
    let mut unmarked: BTreeMap<Mark, &str> = BTreeMap::new();
    for Read { master, mark, .. } in reads.iter().filter(|read| !read.marked && !read.refused) {
        if let Some(first) = unmarked.insert(*mark, master) {
            wrongs.push(format!("{mark} came to {master} although {first} had it, and nothing says so"));
        }
    }
    wrongs.extend(out_of_order(reads.iter(), "was read"));
    wrongs.extend(out_of_order(reads.iter().filter(|read| !read.refused), "was taken"));
    wrongs
}

fn out_of_order<'a>(reads: impl Iterator<Item = &'a Read>, what: &str) -> Vec<String> {
    let (mut wrongs, mut known, mut latest) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
    for Read { master, mark, .. } in reads {
        let latest = latest.entry((mark.run, mark.conversation)).or_insert(mark.sequence);
        if known.insert(*mark) && mark.sequence < *latest {
            wrongs.push(format!("{mark} {what} for the first time, by {master}, after {latest} of its conversation"));
        }
        *latest = (*latest).max(mark.sequence);
    }
    wrongs
}

/// What a master has read from a moment on that no other one was given: it was not sent before that moment, for what was under way
/// then is given to another one, even if it is read late by the first.
pub fn news<'a>(reads: &'a [Read], master: &str, from: usize) -> Vec<&'a Read> {
    let by_others: BTreeSet<Mark> = reads.iter().filter(|read| read.master != master).map(|read| read.mark).collect();
    reads.iter().skip(from).filter(|read| read.master == master && !by_others.contains(&read.mark)).collect()
}

#[test]
fn the_judge_of_failovers_sees_what_is_lost_doubled_and_reordered() {
    let read = |master: &str, sequence, marked, refused| Read {
        master: master.to_owned(),
        mark: Mark { run: 1, conversation: 2, sequence },
        marked,
        refused,
    };
    let all: BTreeSet<_> = (0..2).map(|sequence| (2, sequence)).collect();
    let judged = |reads: &[Read]| wrongs(reads, &all);
    let (zero, one) = (read("a", 0, false, false), read("b", 1, false, false));
    assert_eq!(judged(&[zero.clone(), one.clone()]), [""; 0]);
    // A repeat that says so, also one that comes before what it repeats; and one of what was refused.
    assert_eq!(judged(&[read("b", 0, true, false), one.clone(), zero.clone()]), [""; 0]);
    assert_eq!(judged(&[read("a", 0, false, true), read("b", 0, false, false), one.clone()]), [""; 0]);
    assert_eq!(judged(std::slice::from_ref(&zero)), ["2.1 was acknowledged and not read"]);
    assert_eq!(judged(&[zero.clone(), read("a", 1, false, true)]), ["2.1 was acknowledged and not read"]);
    let doubled = judged(&[zero.clone(), read("b", 0, false, false), one.clone()]);
    assert_eq!(doubled, ["SAMPLE.1.2.0 came to b although a had it, and nothing says so"]);
    let reordered = "for the first time, by a, after 1 of its conversation";
    assert_eq!(
        judged(&[one.clone(), zero.clone()]),
        [format!("SAMPLE.1.2.0 was read {reordered}"), format!("SAMPLE.1.2.0 was taken {reordered}")]
    );
    let late = read("a", 3, false, false);
    let reads = [zero, one, read("a", 2, false, false), late, read("b", 3, true, false), read("a", 4, false, false)];
    assert_eq!(news(&reads, "a", 3).iter().map(|read| read.mark.sequence).collect::<Vec<_>>(), [4]);
}
