//! WhatsApp webhooks and stored messages, as keys and values. Secrets are not shown.

use super::super::model::{Delivery, Ignore, Redelivery, Spool, WhatsApp};
use super::super::units::{show_size, show_time};
use super::{Values, list, some};

pub fn delivery(delivery: Delivery) -> Values {
    let (word, after) = match delivery {
        Delivery::Inline => ("inline", None),
        Delivery::InlineThenSpool { after } => ("inline-then-spool", some(show_time(after))),
        Delivery::Spool => ("spool", None),
    };
    vec![("delivery", some(word)), ("spool_after", after)]
}

pub fn whatsapp(rules: &WhatsApp) -> Values {
    let WhatsApp { provider, secrets: _, signature, verify_token, public_url, split_batches, ignore } = rules;
    let Ignore { statuses, own_messages, events } = ignore;
    vec![
        ("whatsapp.provider", some(provider.name())),
        ("whatsapp.signature", some(if *signature { "on" } else { "off" })),
        ("whatsapp.verify_token", verify_token.as_ref().map(|_| "given".into())),
        ("whatsapp.public_url", public_url.clone()),
        ("whatsapp.split_batches", some(split_batches)),
        ("whatsapp.ignore.statuses", some(statuses)),
        ("whatsapp.ignore.own_messages", some(own_messages)),
        ("whatsapp.ignore.events", list(events, Clone::clone)),
    ]
}

pub fn redelivery(rules: &Redelivery) -> Values {
    let Redelivery { max_in_flight, spacing, attempts, masters, backoff, max_backoff, max_age } = rules;
    vec![
        ("redelivery.max_in_flight", some(max_in_flight)),
        ("redelivery.spacing", some(show_time(*spacing))),
        ("redelivery.attempts", some(attempts)),
        ("redelivery.masters", some(masters)),
        ("redelivery.backoff", some(show_time(*backoff))),
        ("redelivery.max_backoff", some(show_time(*max_backoff))),
        ("redelivery.max_age", some(show_time(*max_age))),
    ]
}

pub fn spool(spool: &Spool) -> Values {
    let Spool { max_bytes, max_messages, min_free, dedup_window, dedup_max_ids, dead_max_age, dead_max_bytes } = spool;
    vec![
        ("state.spool.max_bytes", some(show_size(*max_bytes))),
        ("state.spool.max_messages", some(max_messages)),
        ("state.spool.min_free", some(show_size(*min_free))),
        ("state.spool.deduplication.window", some(show_time(*dedup_window))),
        ("state.spool.deduplication.max_ids", some(dedup_max_ids)),
        ("state.spool.dead_letters.max_age", some(show_time(*dead_max_age))),
        ("state.spool.dead_letters.max_bytes", some(show_size(*dead_max_bytes))),
    ]
}
