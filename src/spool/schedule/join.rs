//! Two conversations that have turned out to be one.

use super::queues::State;
use super::{Schedule, UnixMillis};

/// What became of a conversation that ended in another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Joined {
    /// Messages that are the other one's from now on.
    pub moved: usize,
    /// A message of it is in flight beside one of the other, and is its own until it has ended: join them again then.
    pub left: bool,
}

impl Schedule {
    /// The messages of `ended` are those of `into` from now on, each at the place that its number gives it.
    pub fn join(&mut self, ended: u64, into: u64, now: UnixMillis) -> Joined {
        let mut joined = Joined::default();
        for lane in 0..self.lanes.len() {
            let Some(from) = self.queues.find(lane as u32, ended).filter(|_| ended != into) else { continue };
            let busy = self.queues.state(from) == State::Busy;
            let messages = self.queues.count(from);
            match self.queues.find(lane as u32, into) {
                None => {
                    self.queues.rename(from, into);
                    joined.moved += messages + usize::from(busy);
                }
                Some(other) if busy && self.queues.state(other) == State::Busy => {
                    self.queues.merge(from, other);
                    joined.moved += messages;
                    joined.left = true;
                }
                Some(other) if busy => {
                    self.take_over(other, from, now);
                    self.queues.rename(from, into);
                    joined.moved += messages + 1;
                }
                Some(other) => {
                    self.take_over(from, other, now);
                    joined.moved += messages;
                }
            }
        }
        joined
    }

    /// Gives all messages of a conversation of which none is in flight to another one, and forgets it.
    fn take_over(&mut self, gone: u32, kept: u32, now: UnixMillis) {
        let placed = self.is_placed(kept);
        self.displace(gone);
        if placed {
            self.displace(kept);
        }
        self.queues.merge(gone, kept);
        self.lanes[self.queues.lane(gone) as usize].conversations -= 1;
        self.queues.close(gone);
        if placed {
            self.place(kept, now);
        }
    }
}
