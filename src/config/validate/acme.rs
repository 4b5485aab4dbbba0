//! Certificates by ACME: names that can be proven, and terms that are agreed to.

use std::net::IpAddr;

use super::super::file;
use super::super::model::{Acme, AcmeChallenge, HostPattern};
use super::super::shape::At;
use super::super::units::{Challenge, Host};
use super::Checker;
use super::listener::readable;

/// Names in one certificate: public servers take no more.
const DOMAINS_MAX: usize = 100;

pub fn check(checker: &mut Checker<'_, '_>, acme: &file::Acme) -> Option<Acme> {
    let agreed = acme.terms_of_service_agreed.get();
    if agreed.is_some_and(|agreed| !agreed.0) {
        let node = acme.terms_of_service_agreed.node;
        let report = checker.error(node, "no certificate is issued without agreement to the terms of service");
        checker.push(report.help("read the terms of the directory, then write `true`"));
    }
    let unique = checker.set("domain", &acme.domains);
    let domains = checker.each(&acme.domains, "domain", domain);
    if let Some(found) = domains.as_ref().filter(|domains| domains.len() > DOMAINS_MAX) {
        let message = format!("{} domains for one certificate; at most {DOMAINS_MAX} are allowed", found.len());
        let report = checker.error(acme.domains.node, message);
        checker.push(report);
    }
    let ca = match acme.ca.get()? {
        Some(file) => Some(readable(checker, (acme.ca.node, file), "CERTIFICATE", "a certificate")?),
        None => None,
    };
    let contact = checker.set("address", &acme.contact)?;
    unique?;
    Some(Acme {
        directory: acme.directory.get()?.0.clone(),
        contact: contact.into_iter().map(|address| format!("mailto:{}", address.0)).collect(),
        domains: domains?,
        challenge: match acme.challenge.get()? {
            Challenge::TlsAlpn01 => AcmeChallenge::TlsAlpn01,
            Challenge::Http01 => AcmeChallenge::Http01,
        },
        renew_before: acme.renew_before.get()?.as_ref().map(|time| time.0),
        ca,
    })
}

fn domain(checker: &mut Checker<'_, '_>, at: &At<Host>) -> Option<String> {
    let Host(pattern) = at.get()?;
    let problem = match pattern {
        HostPattern::Wildcard(_) => "wildcards are proven by DNS records, which Baton does not write",
        HostPattern::Exact(name) if name.starts_with('[') || name.parse::<IpAddr>().is_ok() => "it is an address",
        HostPattern::Exact(name) if !name.contains('.') => "a public name has at least one dot",
        HostPattern::Exact(name) => return Some(name.clone()),
    };
    let report = checker.error(at.node, format!("{} cannot be ordered: {problem}", checker.show(at.node)));
    checker.push(report.help("write whole domain names, such as `bot.example`"));
    None
}
