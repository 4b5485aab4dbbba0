//! Who is told of alerts: in exactly one way each, and with authorities that are there.

use super::super::file;
use super::super::model::{Email, HttpPlace, MailTls, Receiver, Secret, Way};
use super::super::shape::{At, List};
use super::super::units::{self, FilePath};
use super::Checker;
use super::listener::readable;

/// Receivers: each has a task of its own and a place in what every alert remembers.
const RECEIVERS_MAX: usize = 32;

pub fn check(checker: &mut Checker<'_, '_>, list: &At<List<file::Receiver>>) -> Option<Vec<Receiver>> {
    checker.unique_names(list, |receiver| &receiver.name);
    let receivers = checker.each_of(list, "receiver", false, receiver)?;
    if receivers.len() > RECEIVERS_MAX {
        let report = checker.error(list.node, format!("{} receivers are too many", receivers.len()));
        checker.push(report.help(format!("have at most {RECEIVERS_MAX}, and let one of them pass on what it gets")));
        return None;
    }
    Some(receivers)
}

fn receiver(checker: &mut Checker<'_, '_>, at: &At<file::Receiver>) -> Option<Receiver> {
    let receiver = at.get()?;
    let way = way(checker, at, receiver);
    let group_by = checker.set("label", &receiver.group_by)?;
    let matchers = receiver.r#match.get()?.iter().map(|at| {
        let matcher = at.get()?;
        Some((matcher.label.get()?.0.clone(), matcher.value.get()?.0.clone()))
    });
    let matchers: Option<Vec<_>> = matchers.collect();
    let way = way?;
    if matches!(way, Way::Alertmanager(_)) {
        for node in [receiver.group_by.node, receiver.repeat.node, receiver.resolved.node, receiver.rate.node] {
            if checker.is_given(node) {
                let report = checker.warning(node, "an Alertmanager does not read this");
                checker.push(report.help("it groups, repeats and limits as its own configuration says"));
            }
        }
    }
    Some(Receiver {
        name: receiver.name.get()?.0.clone(),
        way,
        severity: receiver.severity.get()?.0,
        matchers: matchers?,
        group_by: group_by.into_iter().map(|label| label.0).collect(),
        group_wait: receiver.group_wait.get()?.0,
        repeat: receiver.repeat.get()?.0,
        resolved: receiver.resolved.get()?.0,
        rate: receiver.rate.get()?.0,
        timeout: receiver.timeout.get()?.0,
        attempts: receiver.attempts.get()?.u32(),
    })
}

fn way(checker: &mut Checker<'_, '_>, at: &At<file::Receiver>, receiver: &file::Receiver) -> Option<Way> {
    let (webhook, slack) = (receiver.webhook.get()?, receiver.slack.get()?);
    let (alertmanager, email) = (receiver.alertmanager.get()?, receiver.email.get()?);
    match (webhook, slack, alertmanager, email) {
        (Some(webhook), None, None, None) => {
            let to = place(checker, webhook.url.get().map(|url| url.0.clone()), &webhook.ca)?;
            Some(Way::Webhook(to, webhook.secret.get()?.as_ref().map(|secret| Secret(secret.0.clone()))))
        }
        (None, Some(slack), None, None) => {
            place(checker, slack.url.get().map(|url| url.0.clone()), &slack.ca).map(Way::Slack)
        }
        (None, None, Some(it), None) => {
            place(checker, it.url.get().map(|url| url.0.clone()), &it.ca).map(Way::Alertmanager)
        }
        (None, None, None, Some(email)) => self::email(checker, email).map(|email| Way::Email(Box::new(email))),
        (None, None, None, None) => {
            let report = checker.error(at.node, "nothing says how this receiver is told");
            checker.push(report.help("give it a `webhook`, a `slack`, an `alertmanager` or an `email`"));
            None
        }
        _ => {
            let report = checker.error(at.node, "this receiver is told in more than one way");
            checker.push(report.help("keep one, and make another receiver of each other"));
            None
        }
    }
}

/// Addresses of one receiver: a list for more people is the mail server's business.
const ADDRESSES_MAX: usize = 50;

fn email(checker: &mut Checker<'_, '_>, email: &file::ReceiverEmail) -> Option<Email> {
    let to = checker.set("address", &email.to)?;
    if to.is_empty() || to.len() > ADDRESSES_MAX {
        let report = checker.error(email.to.node, "nobody, or too many, to write to");
        checker.push(report.help(format!("write from 1 to {ADDRESSES_MAX} addresses")));
        return None;
    }
    let tls = match email.tls.get()? {
        units::MailTls::Starttls => MailTls::Starttls,
        units::MailTls::Implicit => MailTls::Implicit,
        units::MailTls::Off => MailTls::Off,
    };
    let login = match (email.username.get()?, email.password.get()?) {
        (Some(name), Some(password)) => Some((name.0.clone(), Secret(password.0.clone()))),
        (None, None) => None,
        (given, _) => {
            let node = if given.is_some() { email.username.node } else { email.password.node };
            let report = checker.error(node, "a mail server wants both a name and a password");
            checker.push(report.help("give both `username` and `password`, or neither"));
            return None;
        }
    };
    let server = email.server.get()?;
    if tls == MailTls::Off && login.is_some() {
        let report = checker.warning(email.tls.node, "the password is sent as it is, for everybody on the way to read");
        checker.push(report.help("write `tls: starttls` or `tls: implicit`"));
    }
    let ca = match email.ca.get()? {
        Some(file) => Some(readable(checker, (email.ca.node, file), "CERTIFICATE", "a certificate")?),
        None => None,
    };
    if ca.is_some() && tls == MailTls::Off {
        let report = checker.error(email.ca.node, "without TLS nobody shows a certificate");
        checker.push(report.help("leave `tls: off` out, or `ca`"));
    }
    Some(Email {
        to: to.into_iter().map(|address| address.0).collect(),
        from: email.from.get()?.0.clone(),
        host: server.host.clone(),
        port: server.port,
        tls,
        login,
        ca,
    })
}

fn place(checker: &mut Checker<'_, '_>, url: Option<http::Uri>, ca: &At<Option<FilePath>>) -> Option<HttpPlace> {
    let node = ca.node;
    let ca = match ca.get()? {
        Some(file) => Some(readable(checker, (node, file), "CERTIFICATE", "a certificate")?),
        None => None,
    };
    let url = url?;
    if ca.is_some() && url.scheme_str() == Some("http") {
        let report = checker.error(node, "this receiver is told over plain http, where nobody shows a certificate");
        checker.push(report.help("write `https` in the `url`, or leave `ca` out"));
    }
    Some(HttpPlace { url, ca })
}
