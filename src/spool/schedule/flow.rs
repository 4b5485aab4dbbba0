//! A message's way through the schedule: stored, handed out, ended, settled.

use super::queues::{Message, State};
use super::verdict::{Past, is_expired, judge};
use super::{Arrival, Busy, Delivery, Outcome, Reason, SETTLING_MAX, Schedule, Settled, Settlement, Step, UnixMillis};

/// Messages whose wait is over that one call makes ready, so that a backlog that all comes due at once takes turns with
/// everything else.
const PROMOTED_MAX: usize = 1024;

/// How much later than another of its conversation a message may be accepted and still have been delivered before it.
const INTERRUPTED_SPREAD: UnixMillis = 1000;

impl Schedule {
    /// A message is on disk; false when its number is known already.
    pub fn stored(&mut self, lane: u32, arrival: &Arrival, now: UnixMillis) -> bool {
        let Arrival { seq, conversation: key, accepted, due, attempts, breaks } = *arrival;
        if self.busy.contains_key(&seq) {
            return false;
        }
        // A clock that was set back must not make a wait longer than any can be.
        let due = due.min(now.saturating_add(self.settings(lane).max_backoff));
        let known = key.and_then(|key| self.queues.find(lane, key));
        let conversation = match known {
            Some(conversation) => conversation,
            None => {
                let Some(new) = self.queues.open(lane, key.unwrap_or(seq), key.is_some()) else { return false };
                self.lanes[lane as usize].conversations += 1;
                new
            }
        };
        let is_first = self.queues.head(conversation).is_none_or(|head| seq < head.seq);
        let moves = is_first && (known.is_none() || self.is_placed(conversation));
        if moves && known.is_some() {
            self.displace(conversation);
        }
        let inserted = self.queues.insert(conversation, Message::new(seq, accepted, due, attempts, breaks));
        self.upstream_of(lane).pending += usize::from(inserted);
        self.lanes[lane as usize].messages += usize::from(inserted);
        if moves {
            self.place(conversation, now);
        }
        inserted
    }

    /// Baton ended without notice before: what may have been in flight then is marked. To be called when all that is left
    /// has been [`Schedule::stored`] again.
    pub fn interrupted(&mut self, now: UnixMillis) {
        self.queues.interrupt(now, INTERRUPTED_SPREAD);
    }

    /// What is to be done now; to be called until there is nothing more.
    pub fn next(&mut self, now: UnixMillis) -> Option<Step> {
        self.promote(now);
        if self.settling() >= SETTLING_MAX {
            return None;
        }
        if let Some(step) = self.next_to_bury(now) {
            return Some(step);
        }
        let count = self.upstreams.len();
        for position in (0..count).map(|step| (self.turn + step) % count) {
            let upstream = &self.upstreams[position];
            if !upstream.window.has_room() {
                continue;
            }
            let lanes = upstream.lanes.iter().map(|lane| &self.lanes[*lane as usize]).filter(|lane| lane.may_go(now));
            let Some((_, conversation)) = lanes.filter_map(|lane| lane.oldest(!upstream.suspect_in_flight)).min()
            else {
                continue;
            };
            self.turn = (position + 1) % count;
            return self.begin(conversation);
        }
        None
    }

    /// How a delivery ended. Returns what to commit, and then to report as [`Schedule::settled`]; `None` when nothing changed.
    pub fn outcome(&mut self, seq: u64, outcome: Outcome, now: UnixMillis, random: u64) -> Option<Settlement> {
        let Busy { message, conversation, settlement: None, .. } = self.end(seq)? else { return None };
        let lane = self.queues.lane(conversation);
        let &mut Message { accepted, attempts, breaks, .. } = self.queues.message(message);
        let upstream = self.upstream_of(lane);
        match outcome {
            Outcome::Delivered => upstream.window.succeeded(),
            Outcome::Failed | Outcome::Broken => upstream.window.failed(),
            Outcome::NotSent => {}
        }
        let settlement = judge(Past { accepted, attempts, breaks }, outcome, &upstream.settings, now, random);
        if settlement.is_some() {
            self.lanes[lane as usize].found();
            self.busy.entry(seq).and_modify(|busy| busy.settlement = settlement);
        } else {
            self.lanes[lane as usize].found_none(now);
            self.busy.remove(&seq);
            self.queues.put_back(conversation, message);
            self.place(conversation, now);
        }
        settlement
    }

    /// What is in flight is left alone, and nothing more will be heard of it. Returns what to commit: each may have reached a
    /// master, which is said when it is delivered again, and counts once at most however often this happens.
    pub fn abandon(&mut self, now: UnixMillis) -> Vec<(u64, Settlement)> {
        let in_flight = self.busy.iter().filter(|(_, busy)| busy.settlement.is_none());
        let numbers: Vec<u64> = in_flight.map(|(seq, _)| *seq).collect();
        let mut left = Vec::with_capacity(numbers.len());
        for seq in numbers {
            let Some(Busy { message, .. }) = self.end(seq) else { continue };
            let &mut Message { attempts, breaks, .. } = self.queues.message(message);
            let settlement = Settlement::Retry { due: now, attempts, breaks: breaks.max(1) };
            self.busy.entry(seq).and_modify(|busy| busy.settlement = Some(settlement));
            left.push((seq, settlement));
        }
        left
    }

    /// A delivery that was not begun is taken away by others, who report it as [`Schedule::settled`] when it is gone.
    pub fn withdraw(&mut self, seq: u64) {
        if self.end(seq).is_some() {
            let gone = |busy: &mut Busy| (busy.withdrawn, busy.settlement) = (true, Some(Settlement::Delivered));
            self.busy.entry(seq).and_modify(gone);
        }
    }

    /// What became of a message is on disk: the next one of its conversation may go. `None` when nothing was to be settled.
    pub fn settled(&mut self, seq: u64, now: UnixMillis) -> Option<Settled> {
        let busy = self.busy.get(&seq).copied()?;
        let settlement = busy.settlement?;
        self.busy.remove(&seq);
        let lane = self.queues.lane(busy.conversation);
        let told = (!busy.withdrawn).then_some(settlement);
        let settled = Settled { lane, conversation: self.queues.key(busy.conversation), settlement: told };
        if let Settlement::Retry { due, attempts, breaks } = settlement {
            let message = self.queues.message(busy.message);
            (message.due, message.attempts, message.breaks) = (due, attempts, breaks);
            self.queues.put_back(busy.conversation, busy.message);
        } else {
            self.queues.remove(busy.message);
            self.upstream_of(lane).pending -= 1;
            self.lanes[lane as usize].messages -= 1;
        }
        let spacing = self.settings(lane).spacing;
        self.queues.conversation(busy.conversation).not_before =
            if spacing > 0 { now.saturating_add(spacing) } else { 0 };
        self.place(busy.conversation, now);
        Some(settled)
    }

    /// Takes a delivery back that was not begun, and keeps its conversation until [`Schedule::release`].
    pub fn hold(&mut self, seq: u64) {
        let Some(Busy { message, conversation, settlement: None, .. }) = self.end(seq) else { return };
        self.busy.remove(&seq);
        self.queues.put_back(conversation, message);
        self.queues.conversation(conversation).state = State::Held;
    }

    /// Lets a held conversation go on.
    pub fn release(&mut self, lane: u32, conversation: u64, now: UnixMillis) {
        if let Some(conversation) = self.queues.find(lane, conversation)
            && self.queues.state(conversation) == State::Held
        {
            self.place(conversation, now);
        }
    }

    /// When [`Schedule::next`] may have something without anything being reported in between.
    #[must_use]
    pub fn wake_at(&self, now: UnixMillis) -> Option<UnixMillis> {
        let waiting = self.waiting.first().map(|(time, _)| *time);
        let lanes = self.upstreams.iter().flat_map(|upstream| {
            upstream.lanes.iter().flat_map(|lane| {
                let lane = &self.lanes[*lane as usize];
                let firsts = lane.firsts().into_iter().flatten();
                let expires = firsts.filter_map(|(_, conversation)| self.queues.head(conversation));
                let expires = expires.map(|head| head.accepted.saturating_add(upstream.settings.max_age));
                expires.chain(lane.paused_until(now))
            })
        });
        lanes.chain(waiting).min()
    }

    /// Makes ready what has waited long enough.
    fn promote(&mut self, now: UnixMillis) {
        for _ in 0..PROMOTED_MAX {
            let Some(&(_, conversation)) = self.waiting.first().filter(|(time, _)| *time <= now) else { return };
            self.waiting.pop_first();
            self.place(conversation, now);
        }
    }

    fn next_to_bury(&mut self, now: UnixMillis) -> Option<Step> {
        let old = |conversation: &u32| {
            let settings = self.settings(self.queues.lane(*conversation));
            self.queues.head(*conversation).is_some_and(|head| is_expired(head.accepted, settings, now))
        };
        let lanes = self.upstreams.iter().flat_map(|upstream| &upstream.lanes);
        let firsts = lanes.flat_map(|lane| self.lanes[*lane as usize].firsts()).flatten();
        let (seq, conversation) = firsts.filter(|(_, conversation)| old(conversation)).min()?;
        self.displace(conversation);
        let message = self.queues.take(conversation)?;
        let &mut Message { attempts, breaks, .. } = self.queues.message(message);
        let settlement = Settlement::Dead { reason: Reason::Expired, attempts, breaks };
        self.busy.insert(
            seq,
            Busy { message, conversation, suspect: false, withdrawn: false, settlement: Some(settlement) },
        );
        self.queues.conversation(conversation).state = State::Busy;
        Some(Step::Bury { seq, settlement })
    }

    fn begin(&mut self, conversation: u32) -> Option<Step> {
        self.displace(conversation);
        let message = self.queues.take(conversation)?;
        let &mut Message { seq, attempts, breaks, interrupted, .. } = self.queues.message(message);
        let (lane, suspect) = (self.queues.lane(conversation), breaks > 0);
        self.queues.conversation(conversation).state = State::Busy;
        self.busy.insert(seq, Busy { message, conversation, suspect, withdrawn: false, settlement: None });
        self.in_flight += 1;
        let upstream = self.upstream_of(lane);
        upstream.window.begin();
        upstream.suspect_in_flight |= suspect;
        let (conversation, attempt) = (self.queues.key(conversation), attempts.saturating_add(1));
        Some(Step::Deliver(Delivery { seq, conversation, lane, attempt, ambiguous: suspect || interrupted }))
    }

    /// Takes a delivery out of its upstream's window.
    fn end(&mut self, seq: u64) -> Option<Busy> {
        let busy = self.busy.get(&seq).copied().filter(|busy| busy.settlement.is_none())?;
        let lane = self.queues.lane(busy.conversation);
        let upstream = self.upstream_of(lane);
        upstream.window.end();
        upstream.suspect_in_flight &= !busy.suspect;
        self.in_flight -= 1;
        Some(busy)
    }

    pub(super) fn is_placed(&self, conversation: u32) -> bool {
        matches!(self.queues.state(conversation), State::Ready | State::Waiting)
    }

    /// Takes a conversation out of what is ready or waiting, before its first message changes.
    pub(super) fn displace(&mut self, conversation: u32) {
        match self.queues.state(conversation) {
            State::Ready => {
                let lane = &mut self.lanes[self.queues.lane(conversation) as usize];
                if let Some(head) = self.queues.head(conversation) {
                    lane.remove(head.seq, head.breaks > 0);
                }
            }
            State::Waiting => {
                self.waiting.remove(&(self.queues.due(conversation), conversation));
            }
            State::Busy | State::Held => {}
        }
    }

    /// Puts a conversation where its first message and its spacing want it; without either it is forgotten.
    pub(super) fn place(&mut self, conversation: u32, now: UnixMillis) {
        let due = self.queues.due(conversation);
        let lane = &mut self.lanes[self.queues.lane(conversation) as usize];
        let state = if due > now {
            self.waiting.insert((due, conversation));
            State::Waiting
        } else if let Some(head) = self.queues.head(conversation) {
            lane.add(head.seq, conversation, head.breaks > 0);
            State::Ready
        } else {
            lane.conversations -= 1;
            return self.queues.close(conversation);
        };
        self.queues.conversation(conversation).state = state;
    }
}
