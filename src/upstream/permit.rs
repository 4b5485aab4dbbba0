//! How many exchanges a master may have in flight, and who is next when it has that many.
//!
//! Taking and returning a permit is one atomic operation on one word while nobody waits; the lock is taken only by those
//! who queue and by those who hand a permit over. The word holds both counts, permits out and waiters, and that is what
//! makes it sound: whoever returns a permit learns in the same operation whether somebody waits, and whoever starts to wait
//! learns in the same operation that no permit came free. Newcomers do not overtake: a free permit is refused to
//! [`Permits::try_acquire`] while somebody waits.
//!
//! Bounds: never more permits out than `max_in_flight` (after the limit was lowered: than were out already), never more
//! waiters than `max_queue`. There is no time-out in here; the caller drops the future.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// One waiter in the word; permits out are counted below it.
const WAITER: u64 = 1 << 32;
const IN_FLIGHT: u64 = WAITER - 1;

/// The permits of one master, shared by every worker.
#[derive(Debug)]
pub struct Permits {
    /// Waiters in the upper half, permits out in the lower half.
    word: AtomicU64,
    max_in_flight: AtomicU32,
    max_queue: AtomicU32,
    queue: Mutex<Queue>,
}

/// Why no permit was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcquireError {
    /// As many wait already as may.
    QueueFull,
    /// The master went out of use meanwhile: pick again.
    Repick,
}

/// Waits for a permit; see [`Permits::acquire`].
#[derive(Debug)]
pub struct Acquire<'a> {
    permits: &'a Permits,
    /// The place in the queue; `None` before the first poll and once resolved.
    ticket: Option<u64>,
}

#[derive(Debug, Default)]
struct Queue {
    next_ticket: u64,
    /// Oldest first, so tickets ascend.
    waiting: VecDeque<Waiting>,
    /// Tickets that own a permit but have not been polled since; never more than permits out.
    granted: Vec<u64>,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    waker: Waker,
}

impl Permits {
    /// A limit of 0 permits acts as 1: a master that must get nothing is put into maintenance instead.
    #[must_use]
    pub fn new(max_in_flight: u32, max_queue: u32) -> Self {
        Self {
            word: AtomicU64::new(0),
            max_in_flight: AtomicU32::new(max_in_flight.max(1)),
            max_queue: AtomicU32::new(max_queue),
            queue: Mutex::new(Queue::default()),
        }
    }

    /// Changes both limits. A higher one is used by waiters at once; a lower one lets what is out, and who waits, finish.
    pub fn set_limits(&self, max_in_flight: u32, max_queue: u32) {
        self.with_queue(|_| {
            self.max_in_flight.store(max_in_flight.max(1), Ordering::Relaxed);
            self.max_queue.store(max_queue, Ordering::Relaxed);
        });
        self.hand_over();
    }

    /// Permits out now.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        (self.word.load(Ordering::Relaxed) & IN_FLIGHT) as u32
    }

    /// Waiters now.
    #[must_use]
    pub fn queued(&self) -> u32 {
        (self.word.load(Ordering::Relaxed) >> 32) as u32
    }

    #[must_use]
    pub fn max_in_flight(&self) -> u32 {
        self.max_in_flight.load(Ordering::Relaxed)
    }

    /// Whether [`Permits::try_acquire`] would succeed now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.word.load(Ordering::Relaxed) < u64::from(self.max_in_flight.load(Ordering::Relaxed))
    }

    /// Whether one more may wait now.
    #[must_use]
    pub fn queue_has_room(&self) -> bool {
        self.queued() < self.max_queue.load(Ordering::Relaxed)
    }

    /// Takes a permit if one is free and nobody waits. Whoever gets `true` owes one [`Permits::release`].
    #[must_use]
    pub fn try_acquire(&self) -> bool {
        let limit = u64::from(self.max_in_flight.load(Ordering::Relaxed));
        let mut seen = self.word.load(Ordering::Relaxed);
        while seen < limit {
            // With a waiter the word is at least WAITER, which no limit reaches.
            match self.word.compare_exchange_weak(seen, seen + 1, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Waits for a permit, first come, first served. `Ok` owes one [`Permits::release`].
    ///
    /// Cancel-safe: dropped while waiting it leaves the queue, and a permit it was already given goes to the next.
    ///
    /// # Errors
    /// [`AcquireError::QueueFull`] at the first poll, [`AcquireError::Repick`] at any later one.
    pub fn acquire(&self) -> Acquire<'_> {
        Acquire { permits: self, ticket: None }
    }

    /// Returns a permit; the oldest waiter gets it.
    pub fn release(&self) {
        let before = self.word.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before & IN_FLIGHT != 0, "a permit was returned that nobody had");
        if before >= WAITER {
            self.hand_over();
        }
    }

    /// Sends every waiter away with [`AcquireError::Repick`].
    pub fn wake_all_for_repick(&self) {
        if self.word.load(Ordering::Acquire) < WAITER {
            return;
        }
        let sent_away = self.with_queue(|queue| {
            let waiting = std::mem::take(&mut queue.waiting);
            self.word.fetch_sub(WAITER * waiting.len() as u64, Ordering::AcqRel);
            waiting
        });
        for Waiting { waker, .. } in sent_away {
            waker.wake();
        }
    }

    /// Gives free permits to waiters, oldest first, and wakes each outside the lock.
    fn hand_over(&self) {
        while let Some(waker) = self.with_queue(|queue| self.grant(queue)) {
            waker.wake();
        }
    }

    /// Moves one permit to the oldest waiter, if there are both.
    fn grant(&self, queue: &mut Queue) -> Option<Waker> {
        if queue.waiting.is_empty() {
            return None;
        }
        let limit = u64::from(self.max_in_flight.load(Ordering::Relaxed));
        // Waiters change only under the lock, and with one there nobody else takes permits: the count can only fall.
        if self.word.load(Ordering::Acquire) & IN_FLIGHT >= limit {
            return None;
        }
        let Waiting { ticket, waker } = queue.waiting.pop_front()?;
        self.word.fetch_sub(WAITER - 1, Ordering::AcqRel);
        queue.granted.push(ticket);
        Some(waker)
    }

    /// Takes a permit or a place in the queue; the ticket of the place.
    fn enqueue(&self, queue: &mut Queue, waker: &Waker) -> Result<Option<u64>, AcquireError> {
        let limit = u64::from(self.max_in_flight.load(Ordering::Relaxed));
        let max_queue = self.max_queue.load(Ordering::Relaxed) as usize;
        let mut seen = self.word.load(Ordering::Acquire);
        loop {
            let free = seen < limit;
            if !free && queue.waiting.len() >= max_queue {
                return Err(AcquireError::QueueFull);
            }
            let next = if free { seen + 1 } else { seen + WAITER };
            match self.word.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if free => return Ok(None),
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.waiting.push_back(Waiting { ticket, waker: waker.clone() });
        Ok(Some(ticket))
    }

    fn with_queue<R>(&self, run: impl FnOnce(&mut Queue) -> R) -> R {
        run(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Queue {
    fn position(&self, ticket: u64) -> Option<usize> {
        self.waiting.binary_search_by_key(&ticket, |waiting| waiting.ticket).ok()
    }

    fn take_grant(&mut self, ticket: u64) -> bool {
        let found = self.granted.iter().position(|granted| *granted == ticket);
        if let Some(index) = found {
            self.granted.swap_remove(index);
        }
        found.is_some()
    }
}

impl Future for Acquire<'_> {
    type Output = Result<(), AcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let permits = self.permits;
        let Some(ticket) = self.ticket else {
            return match permits.with_queue(|queue| permits.enqueue(queue, cx.waker())) {
                Ok(None) => Poll::Ready(Ok(())),
                Ok(Some(ticket)) => {
                    self.ticket = Some(ticket);
                    Poll::Pending
                }
                Err(error) => Poll::Ready(Err(error)),
            };
        };
        let outcome = permits.with_queue(|queue| {
            if let Some(waiting) = queue.position(ticket).and_then(|index| queue.waiting.get_mut(index)) {
                waiting.waker.clone_from(cx.waker());
                return Poll::Pending;
            }
            // In neither list: the whole queue was sent away.
            Poll::Ready(if queue.take_grant(ticket) { Ok(()) } else { Err(AcquireError::Repick) })
        });
        if outcome.is_ready() {
            self.ticket = None;
        }
        outcome
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let permits = self.permits;
        let owns_permit = permits.with_queue(|queue| {
            if let Some(index) = queue.position(ticket) {
                queue.waiting.remove(index);
                permits.word.fetch_sub(WAITER, Ordering::AcqRel);
                return false;
            }
            queue.take_grant(ticket)
        });
        if owns_permit {
            permits.release();
        }
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QueueFull => "the master's queue is full (limits.max_queue)",
            Self::Repick => "the master went out of use while the request waited",
        })
    }
}

impl std::error::Error for AcquireError {}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll(acquire: Pin<&mut Acquire<'_>>) -> Poll<Result<(), AcquireError>> {
        acquire.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn the_limit_is_reached_and_never_passed() {
        let permits = Permits::new(2, 0);
        assert!(permits.try_acquire() && permits.try_acquire());
        assert!(!permits.try_acquire());
        permits.release();
        assert!(permits.try_acquire());
        assert_eq!(permits.in_flight(), 2);
    }

    #[test]
    fn a_full_queue_refuses_at_once() {
        let permits = Permits::new(1, 1);
        assert!(permits.try_acquire());
        let mut first = pin!(permits.acquire());
        assert!(poll(first.as_mut()).is_pending());
        assert_eq!(poll(pin!(permits.acquire())), Poll::Ready(Err(AcquireError::QueueFull)));
        assert_eq!(permits.queued(), 1);
    }

    #[test]
    fn a_returned_permit_goes_to_the_oldest_waiter_and_no_newcomer_overtakes_it() {
        let permits = Permits::new(1, 8);
        assert!(permits.try_acquire());
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut first = pin!(permits.acquire());
        let mut second = pin!(permits.acquire());
        assert!(first.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        permits.release();
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert!(!permits.try_acquire());
        assert!(poll(second.as_mut()).is_pending());
        assert_eq!(poll(first.as_mut()), Poll::Ready(Ok(())));
        assert_eq!((permits.in_flight(), permits.queued()), (1, 1));
    }

    #[test]
    fn a_permit_given_to_a_waiter_that_left_goes_on_to_the_next() {
        let permits = Permits::new(1, 8);
        assert!(permits.try_acquire());
        let mut first = Box::pin(permits.acquire());
        let mut second = pin!(permits.acquire());
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        permits.release();
        drop(first);
        assert_eq!(poll(second.as_mut()), Poll::Ready(Ok(())));
        permits.release();
        assert_eq!((permits.in_flight(), permits.queued()), (0, 0));
    }

    #[test]
    fn waiters_of_a_master_that_went_out_of_use_pick_again() {
        let permits = Permits::new(1, 8);
        assert!(permits.try_acquire());
        let mut waiter = pin!(permits.acquire());
        assert!(poll(waiter.as_mut()).is_pending());
        permits.wake_all_for_repick();
        assert_eq!(poll(waiter.as_mut()), Poll::Ready(Err(AcquireError::Repick)));
        permits.release();
        assert_eq!((permits.in_flight(), permits.queued()), (0, 0));
    }

    #[test]
    fn a_raised_limit_lets_waiters_in_at_once() {
        let permits = Permits::new(1, 8);
        assert!(permits.try_acquire());
        let mut first = pin!(permits.acquire());
        let mut second = pin!(permits.acquire());
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        permits.set_limits(3, 8);
        assert_eq!(poll(first.as_mut()), Poll::Ready(Ok(())));
        assert_eq!(poll(second.as_mut()), Poll::Ready(Ok(())));
        assert_eq!(permits.in_flight(), 3);
    }

    #[test]
    fn a_lowered_limit_takes_effect_as_permits_come_back() {
        let permits = Permits::new(2, 8);
        assert!(permits.try_acquire() && permits.try_acquire());
        permits.set_limits(1, 8);
        permits.release();
        assert!(!permits.try_acquire());
        permits.release();
        assert!(permits.try_acquire());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Try,
        Wait,
        Poll(usize),
        Leave(usize),
        Release,
        Repick,
        Limit(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Try),
            3 => Just(Step::Wait),
            3 => (0..8_usize).prop_map(Step::Poll),
            2 => (0..8_usize).prop_map(Step::Leave),
            4 => Just(Step::Release),
            1 => Just(Step::Repick),
            1 => (1..4_u32).prop_map(Step::Limit),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_every_permit_is_accounted_for_and_nobody_waits_beside_a_free_one(
            steps in proptest::collection::vec(step(), 0..80),
        ) {
            const MAX_QUEUE: u32 = 3;
            let permits = Permits::new(2, MAX_QUEUE);
            let mut limit = 2;
            let mut held = 0_u32;
            let mut waiting: Vec<Pin<Box<Acquire<'_>>>> = Vec::new();
            for step in steps {
                let before = permits.in_flight();
                match step {
                    Step::Try => held += u32::from(permits.try_acquire()),
                    Step::Wait => {
                        let mut acquire = Box::pin(permits.acquire());
                        match poll(acquire.as_mut()) {
                            Poll::Ready(Ok(())) => held += 1,
                            Poll::Ready(Err(error)) => prop_assert_eq!(error, AcquireError::QueueFull),
                            Poll::Pending => waiting.push(acquire),
                        }
                    }
                    Step::Poll(index) if index < waiting.len() => match poll(waiting[index].as_mut()) {
                        Poll::Pending => {}
                        Poll::Ready(outcome) => {
                            held += u32::from(outcome.is_ok());
                            waiting.remove(index);
                        }
                    },
                    Step::Leave(index) if index < waiting.len() => drop(waiting.remove(index)),
                    Step::Release if held > 0 => {
                        held -= 1;
                        permits.release();
                    }
                    Step::Repick => permits.wake_all_for_repick(),
                    Step::Limit(new) => {
                        limit = new;
                        permits.set_limits(limit, MAX_QUEUE);
                    }
                    _ => {}
                }
                prop_assert!(permits.in_flight() <= limit.max(before));
                prop_assert!(permits.queued() <= MAX_QUEUE);
                prop_assert!(permits.queued() == 0 || permits.in_flight() >= limit);
            }
            drop(waiting);
            for _ in 0..held {
                permits.release();
            }
            prop_assert_eq!((permits.in_flight(), permits.queued()), (0, 0));
        }
    }
}
