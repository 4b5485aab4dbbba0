//! Whether an answer is encoded on its way to a client: what the route and the client say, and what its head says.

use crate::config::model::{Coding, Compression};
use crate::exchange::body::Encoding;
use crate::exchange::local::{Generation, Local};
use crate::http::coding::accept::Wanted;
use crate::http::coding::answer::{self, Verdict};
use crate::http::request::Framing;
use crate::proxy::http::prepare::Prepared;
use crate::telemetry::hot::{CompressionOutcome, RouteCounters, RouteSlot};

/// The route compresses, and the client may want that.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    local: &'a Local,
    rules: &'a Compression,
    wanted: Option<Wanted>,
    counters: Option<&'a RouteCounters>,
}

impl<'a> Offer<'a> {
    /// `None` when the route compresses nothing, or the answer has no body.
    #[must_use]
    pub fn of(local: &'a Local, generation: &'a Generation, prepared: &Prepared) -> Option<Self> {
        let rules = generation.snapshot.config.routes[prepared.route].passage.compression.as_deref()?;
        let counters = generation.guarded(prepared.route);
        (!prepared.to_head).then_some(Self { local, rules, wanted: prepared.coding, counters })
    }

    /// Judges the answer by its `head` as the client would get it, and changes that to fit. `framing` is that of its body, and
    /// `line` says where the body ends when its length is not known, if the protocol needs that.
    #[must_use]
    pub fn begin(&self, status: u16, framing: Framing, line: &[u8], head: &mut Vec<u8>) -> Option<Encoding<'a>> {
        let coding = match answer::judge(status, framing, head, self.rules, self.wanted) {
            Verdict::Leave => return None,
            Verdict::Vary => {
                answer::vary(head);
                return None;
            }
            Verdict::Encode(coding) => coding,
        };
        let length = if let Framing::Length(length) = framing { Some(length) } else { None };
        let encoding = Encoding::begin(self.local, coding, self.rules.level, length, self.counters);
        let outcome = match (&encoding, coding) {
            (None, _) => CompressionOutcome::Busy,
            (_, Coding::Zstd) => CompressionOutcome::Zstd,
            (_, Coding::Br) => CompressionOutcome::Br,
            (_, Coding::Gzip) => CompressionOutcome::Gzip,
        };
        if let Some(counters) = self.counters {
            counters.increment(RouteSlot::Compression(outcome));
        }
        match encoding {
            Some(_) => answer::encode(head, coding, line),
            None => answer::vary(head),
        }
        encoding
    }
}
