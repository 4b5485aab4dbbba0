//! What a sample master remembers of the messages it got, and what it notices: repeats, and messages that overtook others.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use crate::sample::mark::Mark;
use crate::sample::webhook;

/// Sequence numbers remembered for a conversation; older ones are forgotten. Long enough for a test of minutes.
const MAX_SEQUENCES: usize = 4096;
/// Conversations remembered; messages of further ones are answered and counted only.
const MAX_CONVERSATIONS: usize = 10_000;

#[derive(Default)]
pub struct Memory {
    requests: u64,
    messages: u64,
    /// Came again.
    repeated: u64,
    /// Came for the first time after a later one of its conversation.
    overtaken: u64,
    /// Signed by nobody who knows the secret.
    unsigned: u64,
    /// By conversation and run, the sequence numbers in the order of arrival.
    conversations: BTreeMap<(u32, u64), Conversation>,
}

#[derive(Default)]
struct Conversation {
    latest: Option<u64>,
    sequences: VecDeque<u64>,
}

impl Memory {
    /// Counts one request with the messages in it; gives the number of this request.
    pub fn note(&mut self, marks: &[Mark]) -> u64 {
        self.requests += 1;
        for mark in marks {
            self.messages += 1;
            let key = (mark.conversation, mark.run);
            if !self.conversations.contains_key(&key) && self.conversations.len() >= MAX_CONVERSATIONS {
                continue;
            }
            let Conversation { latest, sequences } = self.conversations.entry(key).or_default();
            if latest.is_some_and(|latest| mark.sequence <= latest) {
                if sequences.contains(&mark.sequence) {
                    self.repeated += 1;
                } else {
                    self.overtaken += 1;
                }
            }
            *latest = (*latest).max(Some(mark.sequence));
            if sequences.len() == MAX_SEQUENCES {
                sequences.pop_front();
            }
            sequences.push_back(mark.sequence);
        }
        self.requests
    }

    pub fn note_unsigned(&mut self) {
        self.requests += 1;
        self.unsigned += 1;
    }

    /// Everything, as `/seen` shows it. Runs of one conversation follow one another.
    pub fn seen(&self, master: &str) -> Value {
        let mut conversations: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for ((conversation, _), Conversation { sequences, .. }) in &self.conversations {
            conversations.entry(webhook::sender(*conversation)).or_default().extend(sequences);
        }
        json!({
            "master": master,
            "requests": self.requests,
            "messages": self.messages,
            "repeated": self.repeated,
            "overtaken": self.overtaken,
            "unsigned": self.unsigned,
            "conversations": conversations,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(marks: &[(u64, u32, u64)]) -> Memory {
        let mut memory = Memory::default();
        for (run, conversation, sequence) in marks {
            memory.note(&[Mark { run: *run, conversation: *conversation, sequence: *sequence }]);
        }
        memory
    }

    #[test]
    fn what_comes_again_is_repeated_and_what_comes_late_was_overtaken() {
        let memory = noted(&[(1, 5, 0), (1, 5, 0), (1, 5, 3), (1, 5, 2), (1, 5, 2), (1, 6, 1)]);
        assert_eq!((memory.repeated, memory.overtaken, memory.messages), (2, 1, 6));
    }

    #[test]
    fn another_run_begins_anew() {
        let memory = noted(&[(1, 5, 0), (1, 5, 1), (2, 5, 0)]);
        assert_eq!((memory.repeated, memory.overtaken), (0, 0));
        assert_eq!(memory.seen("a")["conversations"], json!({ "971500000005": [0, 1, 0] }));
    }

    #[test]
    fn it_is_bounded() {
        let sequences: Vec<_> = (0..MAX_SEQUENCES as u64 + 10).map(|sequence| (1, 1, sequence)).collect();
        let mut memory = noted(&sequences);
        let sequences = &memory.conversations[&(1, 1)].sequences;
        assert_eq!((sequences.len(), sequences[0]), (MAX_SEQUENCES, 10));
        for conversation in 0..MAX_CONVERSATIONS as u32 + 10 {
            memory.note(&[Mark { run: 1, conversation, sequence: 0 }]);
        }
        assert_eq!(memory.conversations.len(), MAX_CONVERSATIONS);
    }
}
