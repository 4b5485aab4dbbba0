//! Who is told of alerts, as keys and values. Neither secrets nor paths of URLs are shown.

use super::super::model::{Email, HttpPlace, Receiver, Way};
use super::super::units::{show_rate, show_time};
use super::{Values, list, some, word};
use crate::events::Severity;

pub fn receiver(receiver: &Receiver) -> Values {
    let Receiver { name: _, way, severity, matchers, group_by, group_wait, repeat, resolved, rate, timeout, attempts } =
        receiver;
    let mut values = vec![
        (way.word(), some(way.place())),
        ("severity", word(&Severity::ALL, *severity)),
        ("match", list(matchers, |(label, value)| format!("{label}={value}"))),
        ("group_by", list(group_by, Clone::clone)),
        ("group_wait", some(show_time(*group_wait))),
        ("repeat", some(show_time(*repeat))),
        ("resolved", some(resolved)),
        ("rate", some(show_rate(*rate))),
        ("timeout", some(show_time(*timeout))),
        ("attempts", some(attempts)),
    ];
    match way {
        Way::Webhook(HttpPlace { url: _, ca }, secret) => {
            values.push(("secret", secret.as_ref().map(|_| "given".into())));
            values.push(("ca", ca.as_ref().map(|path| path.display().to_string())));
        }
        Way::Slack(HttpPlace { url: _, ca }) | Way::Alertmanager(HttpPlace { url: _, ca }) => {
            values.push(("ca", ca.as_ref().map(|path| path.display().to_string())));
        }
        Way::Email(email) => {
            let Email { to, from, host: _, port: _, tls, login, ca } = &**email;
            values.extend([
                ("to", list(to, Clone::clone)),
                ("from", some(from)),
                ("tls", some(tls.word())),
                ("username", login.as_ref().map(|(name, _)| name.clone())),
                ("ca", ca.as_ref().map(|path| path.display().to_string())),
            ]);
        }
    }
    values
}
