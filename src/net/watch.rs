//! Deadlines and abandonment for every connection of a worker, without a timer for each.
//!
//! A timer that is set and cancelled for every request costs more than routing the request. Here a connection has a slot
//! with a deadline that it overwrites for each phase, which is one store; a sweep every [`SWEEP_INTERVAL`] looks at all
//! slots and wakes those whose time is over. Deadlines are therefore late by up to one interval, never early.
//!
//! The sweep also looks at the exchanges that wait for a master's first byte: it reports how long the oldest of each
//! master has waited, and fires those whose master has been given up, so that they go elsewhere at once.
//!
//! A slot keeps the waker of the task that made it. Futures of that task ask [`Watched::fired`] whenever they are polled.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::clock::Micros;

/// How often deadlines are looked at, and so how late they may be.
pub const SWEEP_INTERVAL: Duration = Duration::from_millis(25);

const NEVER: Micros = Micros::MAX;

/// The beginning of a wait that is never too long.
const FOLLOWED: Micros = NEVER - 1;

/// Why a wait was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fired {
    /// The deadline passed.
    Deadline,
    /// What the exchange waits for will not come.
    Abandoned,
}

/// All slots of one worker. `T` is what an exchange waits for: a master.
#[derive(Debug)]
pub struct Watch<T> {
    slots: RefCell<Slots<T>>,
    /// How long an idle connection may wait for one more request; `None` while the worker serves.
    grace: Cell<Option<Micros>>,
}

/// Parallel arrays, so that a sweep over ten thousand idle connections reads two arrays of integers.
#[derive(Debug)]
struct Slots<T> {
    deadlines: Vec<Micros>,
    /// When the wait for a first byte began; [`NEVER`] when there is none.
    waiting_since: Vec<Micros>,
    details: Vec<Rc<Slot<T>>>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Slot<T> {
    waker: RefCell<Option<Waker>>,
    fired: Cell<Option<Fired>>,
    waits_for: RefCell<Option<Rc<T>>>,
}

/// One connection's slot; freed on drop.
#[derive(Debug)]
pub struct Watched<T> {
    watch: Rc<Watch<T>>,
    index: usize,
    slot: Rc<Slot<T>>,
}

impl<T> Default for Watch<T> {
    fn default() -> Self {
        let slots = Slots { deadlines: Vec::new(), waiting_since: Vec::new(), details: Vec::new(), free: Vec::new() };
        Self { slots: RefCell::new(slots), grace: Cell::new(None) }
    }
}

impl<T> Watch<T> {
    /// A slot for the connection whose task has this waker.
    #[must_use]
    pub fn register(self: &Rc<Self>, waker: Waker) -> Watched<T> {
        let slot =
            Rc::new(Slot { waker: RefCell::new(Some(waker)), fired: Cell::new(None), waits_for: RefCell::new(None) });
        let slots = &mut *self.slots.borrow_mut();
        let index = if let Some(index) = slots.free.pop() {
            slots.details[index] = slot.clone();
            index
        } else {
            slots.deadlines.push(NEVER);
            slots.waiting_since.push(NEVER);
            slots.details.push(slot.clone());
            slots.details.len() - 1
        };
        Watched { watch: self.clone(), index, slot }
    }

    /// Tells every connection, by waking it, that this worker is to end: an idle one takes one more request that comes
    /// within `grace`, and is closed then.
    pub fn drain(&self, grace: Micros) {
        self.grace.set(Some(grace));
        for slot in &self.slots.borrow().details {
            if let Some(waker) = &*slot.waker.borrow() {
                waker.wake_by_ref();
            }
        }
    }

    /// Whether [`Watch::drain`] was called.
    pub fn draining(&self) -> bool {
        self.grace.get().is_some()
    }

    /// Fires every slot whose deadline has passed, and asks `verdict` about each wait for a first byte with the time it
    /// began; true fires it as abandoned.
    pub fn sweep(&self, now: Micros, mut verdict: impl FnMut(&Rc<T>, Micros) -> bool) {
        let slots = &mut *self.slots.borrow_mut();
        for index in 0..slots.details.len() {
            let due = slots.deadlines[index] <= now;
            let since = slots.waiting_since[index];
            if !due && since == NEVER {
                continue;
            }
            let slot = &slots.details[index];
            let abandoned = since != NEVER && slot.waits_for.borrow().as_ref().is_some_and(|what| verdict(what, since));
            if due || abandoned {
                slots.deadlines[index] = NEVER;
                slots.waiting_since[index] = NEVER;
                slot.fired.set(Some(if abandoned { Fired::Abandoned } else { Fired::Deadline }));
                if let Some(waker) = &*slot.waker.borrow() {
                    waker.wake_by_ref();
                }
            }
        }
    }
}

impl<T> Watched<T> {
    /// Starts a wait that ends at `deadline` at the latest, and forgets an earlier firing.
    pub fn arm(&self, deadline: Micros) {
        self.slot.fired.set(None);
        self.watch.slots.borrow_mut().deadlines[self.index] = deadline;
    }

    /// From here on `what` owes this exchange its first byte.
    pub fn wait_for(&self, what: Rc<T>, since: Micros) {
        *self.slot.waits_for.borrow_mut() = Some(what);
        self.watch.slots.borrow_mut().waiting_since[self.index] = since;
    }

    /// From here on the slot is fired when `what` is given up, although nothing is owed: silence is no sign.
    pub fn follow(&self, what: Rc<T>) {
        self.wait_for(what, FOLLOWED);
    }

    /// The first byte came, or the wait was given up. Lets go of what was waited for: a connection may be idle from here on
    /// for longer than that lives.
    pub fn wait_over(&self) {
        *self.slot.waits_for.borrow_mut() = None;
        self.watch.slots.borrow_mut().waiting_since[self.index] = NEVER;
    }

    /// Whether this worker takes no further requests.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.watch.draining()
    }

    /// How long an idle connection waits for one more request, once this worker is to end.
    pub fn grace(&self) -> Option<Micros> {
        self.watch.grace.get()
    }

    /// Runs `work` until it ends or the wait is ended from outside, whichever comes first.
    ///
    /// # Errors
    /// Why the wait was ended; `work` is dropped then.
    pub async fn guard<F: Future>(&self, work: F) -> Result<F::Output, Fired> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| match (self.fired(), work.as_mut().poll(cx)) {
            (_, Poll::Ready(output)) => Poll::Ready(Ok(output)),
            (Some(fired), Poll::Pending) => Poll::Ready(Err(fired)),
            (None, Poll::Pending) => Poll::Pending,
        })
        .await
    }

    /// Whether the wait was ended, and why.
    #[must_use]
    pub fn fired(&self) -> Option<Fired> {
        self.slot.fired.get()
    }
}

impl<T> Drop for Watched<T> {
    fn drop(&mut self) {
        let slots = &mut *self.watch.slots.borrow_mut();
        slots.deadlines[self.index] = NEVER;
        slots.waiting_since[self.index] = NEVER;
        *self.slot.waits_for.borrow_mut() = None;
        *self.slot.waker.borrow_mut() = None;
        slots.free.push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(watch: &Rc<Watch<u32>>) -> Watched<u32> {
        watch.register(Waker::noop().clone())
    }

    #[test]
    fn a_deadline_fires_once_its_time_has_come_and_not_before() {
        let watch = Rc::new(Watch::default());
        let slot = watched(&watch);
        slot.arm(1_000);
        watch.sweep(999, |_, _| false);
        assert_eq!(slot.fired(), None);
        watch.sweep(1_000, |_, _| false);
        assert_eq!(slot.fired(), Some(Fired::Deadline));
        slot.arm(2_000);
        assert_eq!(slot.fired(), None);
    }

    #[test]
    fn only_waits_for_what_was_given_up_are_abandoned() {
        let watch = Rc::new(Watch::default());
        let (one, two, idle) = (watched(&watch), watched(&watch), watched(&watch));
        one.wait_for(Rc::new(1), 10);
        two.wait_for(Rc::new(2), 20);
        watch.sweep(30, |what, _| **what == 2);
        assert_eq!((one.fired(), two.fired(), idle.fired()), (None, Some(Fired::Abandoned), None));
    }

    #[test]
    fn what_is_followed_is_asked_about_with_no_wait_that_could_be_too_long() {
        let watch = Rc::new(Watch::default());
        let slot = watched(&watch);
        slot.follow(Rc::new(1));
        watch.sweep(Micros::MAX / 2, |_, since| since < Micros::MAX / 2);
        assert_eq!(slot.fired(), None);
        watch.sweep(Micros::MAX / 2, |what, _| **what == 1);
        assert_eq!(slot.fired(), Some(Fired::Abandoned));
    }

    #[test]
    fn a_wait_that_is_over_is_not_asked_about_again() {
        let watch = Rc::new(Watch::default());
        let slot = watched(&watch);
        let what = Rc::new(1);
        slot.wait_for(what.clone(), 10);
        slot.wait_over();
        assert_eq!(Rc::strong_count(&what), 1);
        watch.sweep(30, |_, _| true);
        assert_eq!(slot.fired(), None);
    }

    #[test]
    fn a_freed_slot_is_used_again_without_its_past() {
        let watch = Rc::new(Watch::default());
        let slot = watched(&watch);
        slot.arm(5);
        drop(slot);
        let next = watched(&watch);
        watch.sweep(100, |_, _| true);
        assert_eq!(next.fired(), None);
        assert_eq!(watch.slots.borrow().details.len(), 1);
    }
}
