//! WhatsApp webhooks and stored messages: secrets that are there, and nothing asked for that cannot happen.

use super::super::file::{self, File};
use super::super::model::{Delivery, Ignore, Redelivery, Secret, Spool, WhatsApp};
use super::super::shape::At;
use super::super::units::{self, Gateway, Verify, show_time};
use super::Checker;
use crate::whatsapp::Provider;

fn provider(gateway: Gateway) -> Provider {
    match gateway {
        Gateway::CloudApi | Gateway::Dialog360 => Provider::CloudApi,
        Gateway::Waha => Provider::Waha,
        Gateway::Evolution => Provider::Evolution,
        Gateway::Wppconnect => Provider::Wppconnect,
        Gateway::Wwebjs => Provider::Wwebjs,
        Gateway::Gowa => Provider::Gowa,
        Gateway::Twilio => Provider::Twilio,
    }
}

/// `None` in the outer place when something is wrong, in the inner one when nothing was given.
pub fn whatsapp(checker: &mut Checker<'_, '_>, at: &At<Option<file::WhatsApp>>) -> Option<Option<WhatsApp>> {
    let Some(rules) = at.get()? else { return Some(None) };
    let gateway = *rules.provider.get()?;
    let provider = provider(gateway);
    let signature = *rules.signature.get()? == Verify::On;
    let secret = rules.app_secret.get()?;
    let signs = provider != Provider::Wppconnect;
    let must_sign = matches!(provider, Provider::CloudApi | Provider::Gowa | Provider::Twilio);
    if signature && must_sign && secret.is_none() {
        let report = checker.error(
            at.node,
            format!("webhooks of {} are signed, and there is no `app_secret`", checker.show(rules.provider.node)),
        );
        let help = "add `app_secret: \"${WHATSAPP_APP_SECRET}\"`; `signature: off` takes webhooks from anybody";
        checker.push(report.help(help));
        return None;
    }
    if secret.is_some() && !signs {
        let message = format!("{} does not sign its webhooks", checker.show(rules.provider.node));
        let report = checker.error(rules.app_secret.node, message);
        checker.push(report.help("leave `app_secret` out; `access` lets nobody in but the gateway"));
        return None;
    }
    let previous = rules.previous_app_secret.get()?;
    if previous.is_some() && secret.is_none() {
        let report = checker.error(rules.previous_app_secret.node, "`previous_app_secret` without `app_secret`");
        checker.push(report);
        return None;
    }
    let verify_token = rules.verify_token.get()?;
    let meta_only = [
        (verify_token.is_some(), rules.verify_token.node, "only Meta's gateway makes the handshake that this is for"),
        (
            checker.is_given(rules.split_batches.node),
            rules.split_batches.node,
            "only Meta's gateway puts several updates into one webhook",
        ),
    ];
    for (given, node, message) in meta_only {
        if given && provider != Provider::CloudApi {
            checker.push(checker.warning(node, message));
        }
    }
    if rules.public_url.get()?.is_some() && provider != Provider::Twilio {
        checker.push(checker.warning(rules.public_url.node, "only Twilio's signatures cover the URL"));
    }
    let ignore = rules.ignore.get()?;
    let events = checker.set("event", &ignore.events)?;
    let split = rules.split_batches.get()?.0 && provider == Provider::CloudApi;
    let secrets: Vec<Secret> = secret.iter().chain(previous).map(|secret| Secret(secret.0.clone())).collect();
    if split && secrets.is_empty() {
        let report =
            checker.warning(at.node, "updates that are split are not signed again, for there is no `app_secret`");
        checker.push(report.help("a bot that checks signatures refuses them"));
    }
    Some(Some(WhatsApp {
        provider,
        signature: signature && !secrets.is_empty(),
        secrets,
        verify_token: verify_token.as_ref().map(|token| Secret(token.0.clone())),
        public_url: rules.public_url.get()?.as_ref().map(|url| url.0.clone()),
        split_batches: split,
        ignore: Ignore {
            statuses: ignore.statuses.get()?.0,
            own_messages: ignore.own_messages.get()?.0,
            events: events.into_iter().map(|event| event.0).collect(),
        },
    }))
}

/// How the requests of a route get to a master.
pub fn delivery(checker: &mut Checker<'_, '_>, route: &file::Route) -> Option<Delivery> {
    let delivery = *route.delivery.get()?;
    let after = route.spool_after.get()?.0;
    let stores = delivery != units::Delivery::Inline;
    if checker.is_given(route.spool_after.node) && delivery != units::Delivery::InlineThenSpool {
        let report = checker.warning(route.spool_after.node, "only `delivery: inline-then-spool` reads this");
        checker.push(report);
    }
    if stores && matches!(route.whatsapp.get(), Some(None)) {
        let report = checker
            .error(route.delivery.node, "messages are stored by account and conversation, which only `whatsapp` tells");
        checker.push(report.help("add `whatsapp: { provider: ... }` to this route, or write `delivery: inline`"));
        return None;
    }
    if stores && matches!(route.upstream.get(), Some(None)) {
        let report = checker.error(route.delivery.node, "stored messages go to one `upstream`");
        checker.push(report.help("write `upstream` instead of `split` or `redirect`"));
        return None;
    }
    if let (units::Delivery::InlineThenSpool, Some(whole)) = (delivery, route.timeout.get())
        && after > whole.0
        && checker.is_given(route.spool_after.node)
    {
        let (after, whole) = (show_time(after), show_time(whole.0));
        let message = format!("`spool_after` of {after} is never reached: the `timeout` is {whole}");
        checker.push(checker.warning(route.spool_after.node, message));
    }
    Some(match delivery {
        units::Delivery::Inline => Delivery::Inline,
        units::Delivery::InlineThenSpool => Delivery::InlineThenSpool { after },
        units::Delivery::Spool => Delivery::Spool,
    })
}

pub fn redelivery(checker: &mut Checker<'_, '_>, at: &At<file::Redelivery>) -> Option<Redelivery> {
    let rules = at.get()?;
    let (backoff, max_backoff) = (rules.backoff.get()?.0, rules.max_backoff.get()?.0);
    if backoff > max_backoff {
        let node = if checker.is_given(rules.backoff.node) { rules.backoff.node } else { rules.max_backoff.node };
        let (one, other) = (show_time(backoff), show_time(max_backoff));
        checker.push(checker.error(node, format!("`backoff` of {one} is longer than `max_backoff` of {other}")));
    }
    Some(Redelivery {
        max_in_flight: rules.max_in_flight.get()?.u32(),
        spacing: rules.spacing.get()?.0,
        attempts: rules.attempts.get()?.u32(),
        masters: rules.masters.get()?.u32(),
        backoff,
        max_backoff,
        max_age: rules.max_age.get()?.0,
    })
}

pub fn spool(at: &At<file::Spool>) -> Option<Spool> {
    let spool = at.get()?;
    let (dedup, dead) = (spool.deduplication.get()?, spool.dead_letters.get()?);
    Some(Spool {
        max_bytes: spool.max_bytes.get()?.0,
        max_messages: spool.max_messages.get()?.0,
        min_free: spool.min_free.get()?.0,
        dedup_window: dedup.window.get()?.0,
        dedup_max_ids: dedup.max_ids.get()?.0,
        dead_max_age: dead.max_age.get()?.0,
        dead_max_bytes: dead.max_bytes.get()?.0,
    })
}

/// Masters of which some say what accounts they serve.
pub fn check_accounts(checker: &mut Checker<'_, '_>, upstream: &file::Upstream) {
    let masters = || upstream.masters.get().into_iter().flatten().filter_map(At::get);
    let names = |master: &file::Master| master.accounts.get().is_some_and(|accounts| !accounts.is_empty());
    if !masters().any(names) {
        return;
    }
    for master in masters().filter(|master| master.accounts.get().is_some_and(Vec::is_empty)) {
        let report = checker.error(
            master.name.node,
            format!("master {} names no `accounts`, and others of its upstream do", checker.show(master.name.node)),
        );
        checker.push(report.help("name those that it serves; `accounts: [\"*\"]` serves every account"));
    }
}

/// Whether a route of WhatsApp webhooks leads to the upstream.
pub fn is_led_to(file: &File, upstream: &file::Upstream) -> Option<bool> {
    let name = upstream.name.get()?;
    let leads = |route: &file::Route| {
        let names = super::destination::answering(route);
        matches!(route.whatsapp.get(), Some(Some(_))) && names.iter().any(|led| led.get().is_none_or(|led| led == name))
    };
    Some(file.routes.get()?.iter().filter_map(At::get).any(leads))
}
