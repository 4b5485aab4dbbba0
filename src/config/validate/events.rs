//! Who hears of events: names that can be told apart, and authorities that are there.

use super::super::file;
use super::super::model::{EventWebhook, Secret};
use super::super::shape::At;
use super::Checker;
use super::listener::readable;

pub fn check(checker: &mut Checker<'_, '_>, at: &At<file::Events>) -> Option<Vec<EventWebhook>> {
    let events = at.get()?;
    checker.unique_names(&events.webhooks, |webhook| &webhook.name);
    checker.each_of(&events.webhooks, "webhook", false, webhook)
}

fn webhook(checker: &mut Checker<'_, '_>, at: &At<file::EventWebhook>) -> Option<EventWebhook> {
    let webhook = at.get()?;
    let kinds = checker.set("kind", &webhook.kinds)?;
    let ca = match webhook.ca.get()? {
        Some(file) => Some(readable(checker, (webhook.ca.node, file), "CERTIFICATE", "a certificate")?),
        None => None,
    };
    let url = webhook.url.get()?.0.clone();
    if ca.is_some() && url.scheme_str() == Some("http") {
        let report =
            checker.error(webhook.ca.node, "this webhook is told over plain http, where nobody shows a certificate");
        checker.push(report.help("write `https` in the `url`, or leave `ca` out"));
    }
    Some(EventWebhook {
        name: webhook.name.get()?.0.clone(),
        url,
        secret: webhook.secret.get()?.as_ref().map(|secret| Secret(secret.0.clone())),
        kinds: kinds.into_iter().map(|kind| kind.0).collect(),
        severity: webhook.severity.get()?.0,
        ca,
        timeout: webhook.timeout.get()?.0,
        attempts: webhook.attempts.get()?.u32(),
    })
}
