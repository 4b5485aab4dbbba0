//! Conversations that have turned out to be one, told to the dispatcher by the workers that learn it.
//!
//! What is stored of the one that ended goes among the messages of the one that goes on, in the order of their numbers. It is rare, so
//! a lock will do; the dispatcher looks only where there is something.

use std::sync::PoisonError;

use crate::clock::UnixMillis;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// Joins that wait to be taken up; of further ones what is stored goes on as two conversations.
const JOINS_MAX: usize = 4096;

/// A conversation that ended, and the one that it is from now on.
pub type Join = (u64, u64);

/// How the name that a name leads to is kept in the store: when it was used, and the other name's hash.
#[must_use]
pub fn row(used: UnixMillis, into: u64) -> Box<[u8]> {
    [used.to_le_bytes(), into.to_le_bytes()].concat().into()
}

/// Those not yet taken up.
pub struct Joins {
    some: AtomicBool,
    list: Mutex<Vec<Join>>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Joins {
    /// `wake` is called when there is something to take up.
    #[must_use]
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self { some: AtomicBool::new(false), list: Mutex::default(), wake: Box::new(wake) }
    }

    /// Tells of one.
    pub fn push(&self, join: Join) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.len() < JOINS_MAX {
            list.push(join);
            self.some.store(true, Ordering::Release);
            drop(list);
            (self.wake)();
        }
    }

    /// Takes up what there is.
    pub fn take(&self) -> Vec<Join> {
        if !self.some.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        self.some.store(false, Ordering::Release);
        std::mem::take(&mut list)
    }
}

impl std::fmt::Debug for Joins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Joins")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn what_is_told_is_taken_up_once_and_wakes_who_takes_it() {
        let woken = Arc::new(AtomicUsize::new(0));
        let count = woken.clone();
        let joins = Joins::new(move || {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
        assert!(joins.take().is_empty());
        joins.push((1, 2));
        joins.push((3, 2));
        assert_eq!((joins.take(), joins.take()), (vec![(1, 2), (3, 2)], Vec::new()));
        assert_eq!(woken.load(std::sync::atomic::Ordering::Relaxed), 2);
    }

    #[test]
    fn there_are_never_more_than_so_many() {
        let joins = Joins::new(|| {});
        (0..JOINS_MAX as u64 + 10).for_each(|number| joins.push((number, 0)));
        assert_eq!(joins.take().len(), JOINS_MAX);
    }
}
