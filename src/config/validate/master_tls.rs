//! TLS with masters: files that can be read, names that a certificate can have, and no verification left out unsaid.

use std::path::PathBuf;

use super::super::diagnostic::code;
use super::super::file;
use super::super::model::{Address, CertificateFiles, MasterTls, TlsVersion};
use super::super::shape::At;
use super::super::units::{self, FilePath, TlsName, Verify};
use super::Checker;
use super::listener::readable;

pub fn check(checker: &mut Checker<'_, '_>, tls: &file::MasterTls) -> Option<MasterTls> {
    let ca = named(checker, &tls.ca, "CERTIFICATE", "a certificate");
    let cert = named(checker, &tls.cert, "CERTIFICATE", "a certificate");
    let key = named(checker, &tls.key, "PRIVATE KEY", "a private key");
    let client = match (cert, key) {
        (Some(Some(cert)), Some(Some(key))) => Some(Some(CertificateFiles { cert, key })),
        (Some(None), Some(None)) => Some(None),
        (Some(Some(_)), Some(None)) => incomplete(checker, &tls.cert, "`cert` without `key`"),
        (Some(None), Some(Some(_))) => incomplete(checker, &tls.key, "`key` without `cert`"),
        _ => None,
    };
    let verify = *tls.verify.get()? == Verify::On;
    if !verify {
        let message = "certificates of masters are not verified: whoever is in between can read and change everything";
        let report = checker.warning(tls.verify.node, message);
        checker.push(
            report.help("give the authority that signed them as `ca`, and `server_name` if they name another host"),
        );
    }
    if let Some(Some(ca)) = tls.ca.get().filter(|_| !verify) {
        let message = format!("{} is not looked at with `verify: off`", code(&ca.0.to_string_lossy()));
        checker.push(checker.warning(tls.ca.node, message));
    }
    Some(MasterTls {
        ca: ca?,
        client: client?,
        min_version: match tls.min_version.get()? {
            units::TlsVersion::V12 => TlsVersion::V12,
            units::TlsVersion::V13 => TlsVersion::V13,
        },
        verify,
    })
}

fn incomplete<T>(checker: &mut Checker<'_, '_>, at: &At<Option<FilePath>>, message: &str) -> Option<T> {
    let report = checker.error(at.node, message);
    checker.push(report.help("a client certificate takes both"));
    None
}

/// The file's path, if one is named. `None` when it does not hold what it should.
fn named(checker: &mut Checker<'_, '_>, at: &At<Option<FilePath>>, label: &str, what: &str) -> Option<Option<PathBuf>> {
    let Some(file) = at.get()? else { return Some(None) };
    readable(checker, (at.node, file), label, what).map(Some)
}

/// The name that the master's certificate must have; none without TLS.
pub fn server_name(
    checker: &mut Checker<'_, '_>,
    master: &file::Master,
    tls: &At<Option<file::MasterTls>>,
) -> Option<Option<String>> {
    let own = master.server_name.get()?.as_ref();
    let Some(tls) = tls.get()? else {
        if own.is_some() {
            let report = checker.error(master.server_name.node, "`server_name` without TLS");
            checker.push(report.help("add `tls: {}` to the upstream, or leave the name out"));
        }
        return Some(None);
    };
    let address = &master.address.get()?.0;
    if let Address::Unix(_) = address {
        let report = checker.error(master.address.node, "TLS over a Unix socket is not spoken");
        checker.push(report.help("give its masters an upstream of their own, without `tls`"));
        return None;
    }
    let name = match (own.or(tls.server_name.get()?.as_ref()), address) {
        (Some(TlsName(name)), _) => name.clone(),
        (None, Address::Socket(address)) => address.ip().to_string(),
        (None, Address::Name { host, .. }) => host.clone(),
        (None, Address::Unix(_)) => return None,
    };
    Some(Some(name))
}
