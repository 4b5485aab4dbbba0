//! One request and its answer, over as many attempts as it takes: the half that faces the masters.
//!
//! The inline proxy and, later, whoever delivers stored messages run the same exchange: retries, what a master's failures do
//! to it, time limits and errors are the same for both. What differs is behind [`Requester`].
//!
//! The rules, in the order in which they apply to an attempt that brought no answer:
//! 1. A pooled connection that ended before the first byte of an answer was closed while idle. The request goes once more to
//!    the same master on a new connection; nobody is charged. With `replay_stale: false` only where rule 3 allows a repeat.
//! 2. Whatever the master cannot have seen goes to another master, any method.
//! 3. What it may have seen goes to another master when the method is idempotent or the configuration says that repeats
//!    are expected (`non_idempotent`).
//! 4. What an HTTP/2 master says it has not looked at (REFUSED_STREAM, above the last stream of GOAWAY) goes there again and then
//!    to another master, any method, and costs neither of them anything, nor the retry budget.
//! 5. Never to a master that this exchange has tried, never beyond `attempts`, the retry budget or the exchange's time, and
//!    only when the body is still at hand from its start.
//! 6. With `once`, rules 1 and 3 allow nothing: whoever makes the exchange has rules of its own about repeats.
//!
//! Where one master serves at a time, an exchange waits for who takes over from a master that has failed (`place`), and may then go
//! on at that one, or at the same one if that is back. An answer that comes after its master was fenced counts as none.

pub mod answer;
pub mod attempt;
pub mod body;
pub mod budget;
pub mod dial;
pub mod h2_head;
pub mod headers;
pub mod load;
pub mod local;
mod own;
pub mod pick;
mod place;
pub mod redirect;
pub mod rewrite;
pub mod rules;
pub mod sending;
mod shared;
mod waiting;
pub mod whole;

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::clock::{self, Micros};
use crate::http::problem::Problem;
use crate::http::request::Framing;
use crate::http::response::Response;
use crate::net::watch::Watched;
use crate::telemetry::hot::{MasterSlot, Refusal, RetryReason, UpstreamSlot};
use crate::upstream::connection::Pool;
use crate::upstream::master::{Failure, Trial};
use crate::upstream::owner::Flight;
use answer::Answer;
use attempt::{Answered, Attempt, Broken};
use local::{Generation, Local, LocalUpstream};
use pick::{Aim, Picked, Tried};
use place::Seeker;

/// How often a request is sent to the same master again that has turned it away unprocessed, as one that is going away does.
const REFUSALS_MAX: u32 = 3;

/// Whoever the request comes from.
pub trait Requester {
    /// The body, when all of it is here; empty when there is none.
    fn whole_body(&self) -> Option<&[u8]>;

    /// The next part of a body that is not here whole, from the first byte that [`Requester::sent`] was not told about:
    /// what is given and not sent is given again, unchanged. May be called again after an error.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part<'_>, ClientEnd>>;

    /// This many bytes of the part last given have been sent.
    fn sent(&mut self, count: usize);

    /// The longest pause in a body, of either side.
    fn pause(&self) -> Micros;

    /// Goes back to the start of the body; false when that is gone.
    fn rewind(&mut self) -> bool;

    /// Ready when nobody waits for the answer any more.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Passes on an interim response.
    fn interim(&mut self, response: &Response, raw: &[u8]) -> impl Future<Output = Result<(), ClientEnd>>;
}

/// A part of a request body, without any framing.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Never empty.
    Data(&'a [u8]),
    /// The body is complete. The trailers are header lines, each with its line end, and safe to pass on.
    End { trailers: &'a [u8] },
}

/// Why a body could not be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadError {
    Client(ClientEnd),
    /// The master stopped taking it.
    Master,
}

/// Why the requester's side ended an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientEnd {
    Gone,
    TooSlow,
    TooLarge,
    TrailersTooLarge,
    Malformed,
}

/// An exchange to be made.
#[derive(Debug)]
pub struct Exchange<'a> {
    pub local: &'a Local,
    pub generation: &'a Generation,
    /// Position of the upstream in the generation.
    pub upstream: usize,
    pub watched: &'a Watched<Pool>,
    /// The request head for the master.
    pub head: &'a [u8],
    /// What the head says about the body.
    pub framing: Framing,
    /// Each master is told its own address as `Host`.
    pub host_of_master: bool,
    pub to_head: bool,
    pub idempotent: bool,
    /// What a master may have seen is not sent again.
    pub once: bool,
    pub aim: Aim<'a>,
    /// Limit for the whole, from the end of the request to the head of the answer.
    pub timeout: Duration,
}

/// A place at a master; dropping it lets the next exchange in.
#[derive(Debug)]
pub struct InFlight {
    pool: Rc<Pool>,
    /// Its conversation stays where it is until this has ended.
    _flight: Option<Flight>,
}

/// An exchange that ended without an answer.
#[derive(Debug, Clone, Copy)]
pub struct Failed {
    pub end: End,
    /// Position of the last master tried.
    pub master: Option<usize>,
    pub attempts: u32,
    /// Some master may have seen the request.
    pub sent: bool,
}

impl Failed {
    /// Before any master was asked.
    #[must_use]
    pub fn before(end: End) -> Self {
        Self { end, master: None, attempts: 0, sent: false }
    }
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Client(ClientEnd),
    NoMaster,
    QueueFull,
    QueueTimeout,
    /// No connection to any master came about.
    Unreachable,
    /// The last master tried broke off, or answered with something that is not HTTP.
    BadGateway,
    Timeout,
    BudgetExhausted,
    /// The master speaks HTTP/2, in which this request cannot be said.
    NotInHttp2,
}

impl End {
    /// The word for it in logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Client(ClientEnd::Gone) => "client-gone",
            Self::Client(ClientEnd::TooSlow) => "body-timeout",
            Self::Client(ClientEnd::TooLarge) => "body-too-large",
            Self::Client(ClientEnd::TrailersTooLarge) => "header-too-large",
            Self::Client(ClientEnd::Malformed) => "malformed-body",
            Self::NoMaster => "no-master",
            Self::QueueFull => "queue-full",
            Self::QueueTimeout => "queue-timeout",
            Self::Unreachable => "unreachable",
            Self::BadGateway => "bad-gateway",
            Self::Timeout => "timeout",
            Self::BudgetExhausted => "retry-budget-exhausted",
            Self::NotInHttp2 => "not-in-http2",
        }
    }

    /// What the client is told; `None` when nobody is there to be told.
    #[must_use]
    pub fn problem(self) -> Option<Problem> {
        Some(match self {
            Self::Client(ClientEnd::Gone) => return None,
            Self::Client(ClientEnd::TooSlow) => Problem::new(408, "the request body took too long to arrive"),
            Self::Client(ClientEnd::TooLarge) => {
                Problem::new(413, "the request body is larger than this listener takes")
            }
            Self::Client(ClientEnd::TrailersTooLarge) => {
                Problem::new(431, "the trailers of the request are larger than is taken here")
            }
            Self::Client(ClientEnd::Malformed) => Problem::new(400, "malformed chunked request body"),
            Self::NoMaster => Problem::new(503, "no master is available").retry_after(1),
            Self::QueueFull => Problem::new(503, "every available master is busy and its queue is full").retry_after(1),
            Self::QueueTimeout => Problem::new(503, "no master became free in time").retry_after(1),
            Self::Unreachable => Problem::new(503, "no master could be reached").retry_after(1),
            Self::BadGateway => Problem::new(502, "the master broke off before it answered"),
            Self::Timeout => Problem::new(504, "no master answered in time"),
            Self::BudgetExhausted => {
                Problem::new(503, "the attempt failed and the retry budget is spent").retry_after(1)
            }
            Self::NotInHttp2 => Problem::new(501, "the master speaks HTTP/2, in which this request cannot be said"),
        })
    }

    /// How it is counted among what Baton itself turned away.
    #[must_use]
    pub fn refusal(self) -> Option<Refusal> {
        Some(match self {
            Self::Client(ClientEnd::TooSlow) => Refusal::BodyTimeout,
            Self::Client(ClientEnd::TooLarge) => Refusal::BodyTooLarge,
            Self::Client(ClientEnd::TrailersTooLarge) => Refusal::HeaderTooLarge,
            Self::Client(ClientEnd::Malformed) => Refusal::Malformed,
            Self::NoMaster => Refusal::NoMaster,
            Self::QueueFull => Refusal::QueueFull,
            Self::QueueTimeout => Refusal::QueueTimeout,
            _ => return None,
        })
    }
}

impl InFlight {
    #[must_use]
    pub fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.pool.master.permits().release();
    }
}

/// What the attempts so far have led to.
#[derive(Debug, Default)]
struct Progress {
    tried: Tried,
    attempts: u32,
    last: Option<usize>,
    /// Some master may have seen the request.
    sent: bool,
    /// Why another attempt is being made.
    reason: Option<RetryReason>,
    /// What the client is told if there is none.
    end: Option<End>,
    /// How long it may wait for a master to take over; known once it has begun to.
    held_until: Option<Micros>,
}

impl Exchange<'_> {
    /// Makes the exchange up to the head of the answer.
    ///
    /// # Errors
    /// [`Failed`], when no answer came that may be passed on.
    pub async fn run<R: Requester>(&self, requester: &mut R) -> Result<Answer, Failed> {
        let upstream = &self.generation.upstreams[self.upstream];
        let seeker = Seeker { local: self.local, watched: self.watched, aim: self.aim };
        let started = clock::now();
        upstream.shared.budget.deposit(started);
        let whole = requester.whole_body().is_some();
        let timeout = clock::micros(self.timeout);
        let deadline = Cell::new(if whole { started.saturating_add(timeout) } else { Micros::MAX });
        let mut progress = Progress::default();
        // An answer that is worth another attempt, kept in case there is none to be made.
        let mut spare: Option<Answer> = None;
        loop {
            let gone = |cx: &mut Context<'_>| requester.poll_gone(cx);
            let (place, picked) = match seeker.next_place(upstream, gone, &mut progress, deadline.get()).await {
                Ok(next) => next,
                Err(end) => return spare.ok_or(progress.failed(end)),
            };
            if let Some(answer) = spare.take() {
                answer.recycle(upstream);
            }
            progress.attempts += 1;
            progress.last = Some(picked.position);
            let pool = place.pool();
            let own_head = self.host_of_master.then(|| headers::with_host_of(pool.master.address(), self.head));
            let attempt = Attempt {
                local: self.local,
                pool,
                settings: &upstream.shared.settings,
                watched: self.watched,
                head: own_head.as_deref().unwrap_or(self.head),
                framing: self.framing,
                to_head: self.to_head,
                in_panic: picked.in_panic,
                deadline: &deadline,
                timeout,
            };
            let epoch = pool.master.admission().epoch();
            let mut outcome = attempt.run(requester, false).await;
            if outcome.as_ref().is_err_and(|broken| *broken == Broken::Stale) {
                progress.sent = true;
                let replayed = !self.once && (upstream.shared.settings.retry.replay_stale || self.may_repeat(upstream));
                if !replayed || !requester.rewind() {
                    return Err(progress.failed(End::BadGateway));
                }
                pool.counters.increment(MasterSlot::StaleReplays);
                outcome = attempt.run(requester, true).await;
            }
            for _ in 0..REFUSALS_MAX {
                if !outcome.as_ref().is_err_and(|broken| *broken == Broken::Refused) || !requester.rewind() {
                    break;
                }
                upstream.counters.increment(UpstreamSlot::Retried(RetryReason::Refused));
                outcome = attempt.run(requester, false).await;
            }
            if outcome.is_ok() && pool.master.admission().epoch() != epoch {
                // What a fenced master says late settles nothing.
                upstream.counters.increment(UpstreamSlot::LateAnswers);
                outcome = Err(Broken::Abandoned);
            }
            match outcome {
                Ok(answered) => {
                    let answer = self.judge(upstream, answered, place, picked, &mut progress);
                    match answer {
                        (answer, false) => return Ok(answer),
                        (answer, true) if requester.rewind() => spare = Some(answer),
                        (answer, true) => return Ok(answer),
                    }
                }
                Err(Broken::NotInHttp2) => return Err(progress.failed(End::NotInHttp2)),
                Err(Broken::Client(end)) => {
                    progress.sent = true;
                    return Err(progress.failed(End::Client(end)));
                }
                Err(broken) => {
                    drop(place);
                    progress.charge(upstream, broken, picked);
                    let end = progress.end.unwrap_or(End::BadGateway);
                    let repeatable = !progress.sent || self.may_repeat(upstream);
                    if matches!(broken, Broken::OutOfTime { .. }) || !repeatable || !requester.rewind() {
                        return Err(progress.failed(end));
                    }
                }
            }
        }
    }

    fn may_repeat(&self, upstream: &LocalUpstream) -> bool {
        !self.once && (self.idempotent || upstream.shared.settings.retry.non_idempotent.unwrap_or(false))
    }

    /// Charges the master with its answer. True when the answer is one that another master may do better.
    fn judge(
        &self,
        upstream: &LocalUpstream,
        answered: Answered,
        place: InFlight,
        picked: Picked,
        progress: &mut Progress,
    ) -> (Answer, bool) {
        let Answered { connection, sending, latency } = answered;
        let (status, now) = (connection.response.status, clock::now());
        let master = &place.pool().master;
        let listed = upstream.shared.settings.retry.on_status.contains(&status);
        if listed {
            // The configuration declares this status a failure, so it counts as one.
            master.failed(now, Failure::Declared, picked.trial, || others_usable(upstream, picked.position));
        } else if status >= 500 || status == 429 {
            let failure = Failure::Status(status);
            master.failed(now, failure, picked.trial, || others_usable(upstream, picked.position));
        } else {
            master.succeeded(now, latency, picked.trial);
        }
        let again = listed && sending.is_none() && self.may_repeat(upstream);
        if again {
            progress.reason = Some(RetryReason::Status);
            progress.sent = true;
        }
        let attempts = progress.attempts;
        (Answer::new(connection, sending, place, picked.position, attempts), again)
    }
}

impl Progress {
    /// Charges the master with a broken attempt, and notes what it means for the next one.
    fn charge(&mut self, upstream: &LocalUpstream, broken: Broken, picked: Picked) {
        let master = &upstream.pools[picked.position].master;
        let charge = |failure, trial: Option<Trial>| {
            master.failed(clock::now(), failure, trial, || others_usable(upstream, picked.position));
        };
        match broken {
            Broken::Failed { failure, reason, sent } => {
                charge(failure, picked.trial);
                self.sent |= sent;
                self.reason = Some(reason);
                self.end = Some(match failure {
                    Failure::Timeout => End::Timeout,
                    _ if self.sent => End::BadGateway,
                    _ => End::Unreachable,
                });
            }
            Broken::Abandoned => {
                self.sent = true;
                self.reason = Some(RetryReason::Abandoned);
                self.end = Some(End::BadGateway);
            }
            Broken::BrokeTogether => {
                self.sent = true;
                self.reason = Some(RetryReason::Reset);
                self.end = Some(End::BadGateway);
            }
            Broken::Refused => {
                self.reason = Some(RetryReason::Refused);
                self.end = Some(if self.sent { End::BadGateway } else { End::Unreachable });
            }
            Broken::OutOfTime { sent } => {
                self.sent |= sent;
                charge(Failure::Timeout, picked.trial);
                self.end = Some(End::Timeout);
            }
            Broken::Stale | Broken::NotInHttp2 | Broken::Client(_) => {}
        }
    }

    fn failed(&self, end: End) -> Failed {
        Failed { end, master: self.last, attempts: self.attempts, sent: self.sent }
    }
}

/// Whether the upstream has a usable master besides the one at `position`: the last one is not ejected.
#[must_use]
pub fn others_usable(upstream: &LocalUpstream, position: usize) -> bool {
    upstream.shared.others_usable(position)
}
