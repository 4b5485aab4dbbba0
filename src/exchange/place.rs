//! A place at a master: the strategy picks the master, and where it is full its queue is waited in.

use std::task::{Context, Poll};
use std::time::Duration;

use super::local::{Local, LocalUpstream};
use super::pick::{self, ATTEMPTS_MAX, Aim, NoMaster, Picked, Tried, Wish};
use super::{ClientEnd, End, InFlight, Progress};
use crate::clock::{self, Micros};
use crate::net::watch::Watched;
use crate::telemetry::hot::{MasterSlot, RetryReason, UpstreamSlot};
use crate::upstream::connection::Pool;
use crate::upstream::permit::AcquireError;

/// Between two looks at who has taken over: short at first, since that takes milliseconds, and longer when it does not, for thousands
/// may be waiting.
const NAP_MIN: Duration = Duration::from_millis(1);
const NAP_MAX: Duration = Duration::from_millis(16);

/// Who seeks a place, and what the choice depends on.
#[derive(Debug)]
pub struct Seeker<'a> {
    pub local: &'a Local,
    pub watched: &'a Watched<Pool>,
    pub aim: Aim<'a>,
}

impl Seeker<'_> {
    /// Picks the next master and waits for a place at it.
    ///
    /// `gone` is ready when nobody waits for it any more; it is asked while it queues, and while it waits for a master that takes
    /// over from another.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn next_place(
        &self,
        upstream: &LocalUpstream,
        mut gone: impl FnMut(&mut Context<'_>) -> Poll<()>,
        progress: &mut Progress,
        deadline: Micros,
    ) -> Result<(InFlight, Picked), End> {
        let settings = &upstream.shared.settings;
        let again = progress.attempts > 0;
        let mut ended = progress.end.unwrap_or(End::NoMaster);
        if again && progress.attempts >= settings.retry.attempts.min(ATTEMPTS_MAX as u32) {
            return Err(ended);
        }
        // What a master has not looked at costs nothing to say again.
        let mut paid = !again || progress.reason == Some(RetryReason::Refused);
        // A queue may send its waiters away when its master fails, or be full by then; each of them picks again once for
        // each master.
        for _ in 0..=upstream.pools.len() {
            let mut nap = NAP_MIN;
            let mut picked = loop {
                let wish = Wish { aim: self.aim, tried: &progress.tried, now: clock::now() };
                match pick::pick(&upstream.shared, &wish, || self.local.random()) {
                    Ok(picked) => break picked,
                    Err(NoMaster::Changing) if self.hold(upstream, progress, &mut gone, &mut nap, deadline).await? => {
                        // What follows is at another owner, or at the same one that has shown to be well: once for each failover, so that it
                        // cannot multiply an outage.
                        paid = true;
                        progress.tried = Tried::default();
                    }
                    Err(_) if again => return Err(ended),
                    Err(NoMaster::Unavailable | NoMaster::Changing) => return Err(End::NoMaster),
                    Err(NoMaster::Full) => return Err(End::QueueFull),
                }
            };
            let now = clock::now();
            if !paid && !upstream.shared.budget.try_withdraw(now) {
                upstream.counters.increment(UpstreamSlot::BudgetExhausted);
                return Err(if ended == End::Timeout { ended } else { End::BudgetExhausted });
            }
            paid = true;
            let pool = &upstream.pools[picked.position];
            if !pool.master.permits().try_acquire() {
                self.watched.arm(now.saturating_add(clock::micros(settings.limits.queue_timeout)).min(deadline));
                let mut turn = std::pin::pin!(pool.master.permits().acquire());
                let turn_or_gone = std::future::poll_fn(|cx| match turn.as_mut().poll(cx) {
                    Poll::Pending if gone(cx).is_ready() => Poll::Ready(None),
                    turn => turn.map(Some),
                });
                match self.watched.guard(turn_or_gone).await {
                    Ok(Some(Ok(()))) => {}
                    Ok(Some(Err(AcquireError::Repick))) => continue,
                    // Others were quicker to what room there was; another master may still have some.
                    Ok(Some(Err(AcquireError::QueueFull))) => {
                        ended = progress.end.unwrap_or(End::QueueFull);
                        continue;
                    }
                    Ok(None) => return Err(End::Client(ClientEnd::Gone)),
                    Err(_) if clock::now() >= deadline => return Err(End::Timeout),
                    Err(_) => return Err(End::QueueTimeout),
                }
            }
            progress.tried.add(picked.position);
            if let Some(reason) = progress.reason.take() {
                upstream.counters.increment(UpstreamSlot::Retried(reason));
                if let Some(last) = progress.last {
                    upstream.pools[last].counters.increment(MasterSlot::FailedAttempts);
                }
            }
            return Ok((InFlight { pool: pool.clone(), _flight: picked.flight.take() }, picked));
        }
        Err(ended)
    }

    /// Waits a moment for a master that takes over. False when the time for that is over.
    async fn hold(
        &self,
        upstream: &LocalUpstream,
        progress: &mut Progress,
        gone: &mut impl FnMut(&mut Context<'_>) -> Poll<()>,
        nap: &mut Duration,
        deadline: Micros,
    ) -> Result<bool, End> {
        let now = clock::now();
        let until = *progress.held_until.get_or_insert_with(|| {
            upstream.counters.increment(UpstreamSlot::Held);
            let patience = upstream.shared.settings.failover.as_ref().map_or(Duration::ZERO, |rules| rules.deadline);
            now.saturating_add(clock::micros(patience))
        });
        if until <= now || deadline <= now {
            return if deadline <= now { Err(End::Timeout) } else { Ok(false) };
        }
        self.watched.arm(until.min(deadline));
        let mut napping = std::pin::pin!(tokio::time::sleep(*nap));
        let napping_or_gone = std::future::poll_fn(|cx| match gone(cx) {
            Poll::Ready(()) => Poll::Ready(Err(End::Client(ClientEnd::Gone))),
            Poll::Pending => napping.as_mut().poll(cx).map(Ok),
        });
        *nap = (*nap * 2).min(NAP_MAX);
        match self.watched.guard(napping_or_gone).await {
            Ok(ended) => ended.map(|()| true),
            Err(_) if clock::now() >= deadline => Err(End::Timeout),
            Err(_) => Ok(false),
        }
    }
}
