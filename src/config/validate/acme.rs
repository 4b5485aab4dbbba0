//! Certificates by ACME: names that can be proven, and terms that are agreed to.

use std::net::IpAddr;

use super::super::file;
use super::super::model::{Acme, AcmeChallenge, Eab, HostPattern};
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
        eab: match acme.eab.get()? {
            Some(eab) => Some(external(checker, eab)?),
            None => None,
        },
    })
}

fn external(checker: &mut Checker<'_, '_>, eab: &file::Eab) -> Option<Eab> {
    let (kid, key) = (eab.kid.get()?, eab.hmac_key.get()?);
    let Some(hmac_key) = base64url(&key.0).filter(|key| !key.is_empty()) else {
        let report = checker.error(eab.hmac_key.node, "the key is not base64url");
        checker.push(report.help("write it as the authority told it: letters, digits, `-` and `_`"));
        return None;
    };
    Some(Eab { kid: kid.0.clone(), hmac_key })
}

/// RFC 4648 section 5, with or without its padding.
fn base64url(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let sextet = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        (held, bits) = (held << 6 | u32::from(sextet), bits + 6);
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    // What is left over is less than a digit, and says nothing.
    (bits < 6 && held == 0).then_some(bytes)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_decoded_as_the_standard_says() {
        let cases = [("", ""), ("Zg", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")];
        for (encoded, plain) in cases {
            assert_eq!(base64url(encoded).as_deref(), Some(plain.as_bytes()), "{encoded}");
        }
        assert_eq!(base64url("-_8").as_deref(), Some(&[0xfb, 0xff][..]));
        for wrong in ["Z", "Zh", "+/8", "Zm 9v", "Zm9vY"] {
            assert_eq!(base64url(wrong), None, "{wrong}");
        }
    }
}
