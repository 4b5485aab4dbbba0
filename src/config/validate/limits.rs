//! Rate limits and networks: nothing that says one thing twice, or two things at once.

use super::super::file;
use super::super::model::{Access, RateKey, RateLimit};
use super::super::shape::At;
use super::super::units::show_rate;
use super::Checker;
use crate::limits::buckets::SPAN_MAX_SECONDS;

/// `None` in the outer place when something is wrong, in the inner one when nothing was given.
pub fn access(checker: &mut Checker<'_, '_>, at: &At<Option<file::Access>>) -> Option<Option<Access>> {
    let Some(access) = at.get()? else { return Some(None) };
    let (allow, deny) = (checker.set("network", &access.allow), checker.set("network", &access.deny));
    let (allow, deny) = (allow?, deny?);
    if allow.is_empty() && deny.is_empty() {
        let report = checker.warning(at.node, "neither `allow` nor `deny` names a network, so everybody is let in");
        checker.push(report);
    }
    let networks = |list: Vec<super::super::units::Network>| list.into_iter().map(|network| network.0).collect();
    Some(Some(Access { allow: networks(allow), deny: networks(deny) }))
}

/// As [`access`].
pub fn rate_limit(checker: &mut Checker<'_, '_>, route: &file::Route) -> Option<Option<RateLimit>> {
    let Some(limit) = route.rate_limit.get()? else { return Some(None) };
    if limit.key.get()?.0 == RateKey::Account && matches!(route.whatsapp.get(), Some(None)) {
        let report = checker.error(limit.key.node, "only `whatsapp` tells the account of a request");
        checker
            .push(report.help("add `whatsapp: { provider: ... }` to this route, or count by `client-ip` or a header"));
        return None;
    }
    let rate = limit.rate.get()?.0;
    let burst = match limit.burst.get()? {
        Some(burst) => burst.u32(),
        None => u32::try_from(u64::from(rate.count) / rate.period.as_secs().max(1)).unwrap_or(u32::MAX).max(1),
    };
    let seconds = u64::from(burst) * rate.period.as_secs() / u64::from(rate.count);
    if seconds > SPAN_MAX_SECONDS {
        let message = format!("a burst of {burst} at {} takes {seconds} seconds to be whole again", show_rate(rate));
        let report = checker.error(limit.burst.node, message).help(format!(
            "at most a day is remembered: lower `burst` to {}, or raise `rate`",
            SPAN_MAX_SECONDS * u64::from(rate.count) / rate.period.as_secs().max(1)
        ));
        checker.push(report);
        return None;
    }
    Some(Some(RateLimit {
        key: limit.key.get()?.0.clone(),
        rate,
        burst,
        ipv6_prefix: limit.ipv6_prefix.get()?.u8(),
        max_keys: limit.max_keys.get()?.usize(),
    }))
}
