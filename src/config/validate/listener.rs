//! Listeners: addresses that exclude each other, certificates that can be read.

use std::path::PathBuf;

use super::super::diagnostic::code;
use super::super::file::{self, File};
use super::super::model::{
    AcmeChallenge, CertificateFiles, ClientAuth, Http2, ListenAddress, Listener, ListenerLimits, PathRules, Tls,
    TlsVersion,
};
use super::super::shape::At;
use super::super::tree::NodeId;
use super::super::units::{self, ClientAuthMode, FilePath, Listen};
use super::{Checker, acme, limits, tcp};

pub fn check(checker: &mut Checker<'_, '_>, at: &At<file::Listener>, file: &File) -> Option<Listener> {
    let listener = at.get()?;
    let tcp = tcp::check(checker, at, listener, file);
    let proxy_protocol = tcp::proxy_protocol(checker, listener);
    let tls = match listener.tls.get()? {
        Some(settings) => Some(tls(checker, settings)?),
        None => None,
    };
    let proof = tls.as_ref().and_then(|tls| tls.acme.as_ref()).map(|acme| acme.challenge);
    if proof == Some(AcmeChallenge::TlsAlpn01) && *listener.protocol.get()? != units::Protocol::Http {
        let report = checker.error(listener.tls.node, "`tls-alpn-01` needs a listener of protocol `http`");
        checker.push(report.help("write `challenge: http-01` under `acme`"));
    }
    let bounds = listener.limits.get()?;
    let http2 = listener.http2.get()?;
    let paths = listener.paths.get()?;
    let trusted = checker.set("network", &listener.trusted_proxies)?;
    let access = limits::access(checker, &listener.access)?;
    Some(Listener {
        name: listener.name.get()?.0.clone(),
        address: listener.address.get()?.0.clone(),
        tcp: tcp?,
        proxy_protocol: proxy_protocol?,
        tls,
        trusted_proxies: trusted.into_iter().map(|network| network.0).collect(),
        access,
        client_address: *listener.client_address.get()?,
        paths: PathRules {
            dot_segments: *paths.dot_segments.get()?,
            repeated_slashes: *paths.repeated_slashes.get()?,
            encoded_slashes: *paths.encoded_slashes.get()?,
            invalid_encoding: *paths.invalid_encoding.get()?,
        },
        limits: ListenerLimits {
            connections: bounds.connections.get()?.usize(),
            connections_per_client: bounds.connections_per_client.get()?.u32(),
            client_ipv6_prefix: bounds.client_ipv6_prefix.get()?.u8(),
            handshakes: bounds.handshakes.get()?.usize(),
            handshake_timeout: bounds.handshake_timeout.get()?.0,
            header_bytes: bounds.header_bytes.get()?.usize(),
            body_bytes: bounds.body_bytes.get()?.0,
            header_timeout: bounds.header_timeout.get()?.0,
            body_timeout: bounds.body_timeout.get()?.0,
            min_rate: bounds.min_rate.get()?.0,
            idle_timeout: bounds.idle_timeout.get()?.0,
            lifetime: bounds.lifetime.get()?.0,
            requests_per_connection: bounds.requests_per_connection.get()?.0,
            tunnel_timeout: bounds.tunnel_timeout.get()?.0,
        },
        http2: Http2 {
            enabled: http2.enabled.get()?.0,
            max_concurrent_streams: http2.max_concurrent_streams.get()?.u32(),
        },
    })
}

fn tls(checker: &mut Checker<'_, '_>, settings: &file::Tls) -> Option<Tls> {
    let acme = match settings.acme.get()? {
        Some(settings) => Some(acme::check(checker, settings)?),
        None => None,
    };
    let certificates = match (&acme, settings.certificates.get()) {
        (Some(_), Some(none)) if none.is_empty() => Some(Vec::new()),
        _ => checker.each(&settings.certificates, "certificate", certificate),
    };
    let client_auth = match settings.client_auth.get()? {
        Some(auth) => Some(client_auth(checker, auth)?),
        None => None,
    };
    let min_version = match settings.min_version.get()? {
        units::TlsVersion::V12 => TlsVersion::V12,
        units::TlsVersion::V13 => TlsVersion::V13,
    };
    Some(Tls { certificates: certificates?, min_version, client_auth, acme })
}

fn client_auth(checker: &mut Checker<'_, '_>, auth: &file::ClientAuth) -> Option<ClientAuth> {
    let names = checker.set("name", &auth.allowed_names);
    let ca = auth.ca.get().and_then(|ca| readable(checker, (auth.ca.node, ca), "CERTIFICATE", "a certificate"));
    let crl = match auth.crl.get()? {
        Some(file) => Some(readable(checker, (auth.crl.node, file), "X509 CRL", "a revocation list")?),
        None => None,
    };
    Some(ClientAuth {
        required: *auth.mode.get()? == ClientAuthMode::Require,
        ca: ca?,
        crl,
        allowed_names: names?.into_iter().map(|name| name.0).collect(),
    })
}

/// The path of a PEM file that is there and has a block of this label.
pub fn readable(
    checker: &mut Checker<'_, '_>,
    (node, FilePath(file)): (NodeId, &FilePath),
    label: &str,
    what: &str,
) -> Option<PathBuf> {
    let shown = checker.show(node);
    let message = match checker.resolver.read(file) {
        Ok(bytes) => match pem_problem(&bytes, label) {
            Some(problem) => format!("{shown} does not hold {what}: {problem}"),
            None => return Some(file.clone()),
        },
        Err(error) => format!("cannot read {shown}: {error}"),
    };
    let report = checker.error(node, message);
    checker.push(report);
    None
}

fn certificate(checker: &mut Checker<'_, '_>, at: &At<file::Certificate>) -> Option<CertificateFiles> {
    let files = at.get()?;
    let mut usable = true;
    let mut advised = false;
    for (path, label, what) in
        [(&files.cert, "CERTIFICATE", "a certificate"), (&files.key, "PRIVATE KEY", "a private key")]
    {
        let Some(FilePath(file)) = path.get() else { continue };
        let shown = checker.show(path.node);
        let report = match checker.resolver.read(file) {
            Ok(bytes) => match pem_problem(&bytes, label) {
                Some(problem) => {
                    let hint = if problem == NO_BLOCK { "" } else { "; are `cert` and `key` swapped?" };
                    checker.error(path.node, format!("{shown} does not hold {what}: {problem}{hint}"))
                }
                None => continue,
            },
            Err(error) => {
                let report = checker.error(path.node, format!("cannot read {shown}: {error}"));
                // One command makes both files; one that exists must not be overwritten by it.
                let advise = error.kind() == std::io::ErrorKind::NotFound && !std::mem::replace(&mut advised, true);
                if advise { report.help(how_to_make(checker, files)) } else { report }
            }
        };
        checker.push(report);
        usable = false;
    }
    usable.then_some(CertificateFiles { cert: files.cert.get()?.0.clone(), key: files.key.get()?.0.clone() })
}

const NO_BLOCK: &str = "it has no PEM block";

/// Why `bytes` has no PEM block whose label ends in `label`. What such a block holds is checked by whoever builds TLS from
/// it.
fn pem_problem(bytes: &[u8], label: &str) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let labels = || text.lines().filter_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"));
    if labels().any(|found| found.ends_with(label)) {
        return None;
    }
    Some(match labels().next() {
        Some(found) => format!("its first PEM block is {}", code(found)),
        None => NO_BLOCK.to_owned(),
    })
}

fn how_to_make(checker: &Checker<'_, '_>, files: &file::Certificate) -> String {
    let name = |path: &At<FilePath>, other: &str| {
        let shown = checker.show(path.node);
        let path = shown.trim_matches('`');
        if path.bytes().all(needs_no_quotes) { path.to_owned() } else { other.to_owned() }
    };
    format!(
        "make one for development: openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
         -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout {} -out {}",
        name(&files.key, "key.pem"),
        name(&files.cert, "cert.pem"),
    )
}

/// In a shell.
fn needs_no_quotes(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"./_-".contains(&byte)
}

/// No two sockets may want the same address: two listeners, or a listener and the admin API.
pub fn check_addresses(checker: &mut Checker<'_, '_>, file: &File) {
    let listeners = file.listeners.get().into_iter().flatten().filter_map(At::get).map(|listener| &listener.address);
    let admin = file.admin.get().map(|admin| &admin.address);
    let mut seen: Vec<(&Listen, NodeId)> = Vec::new();
    for address in listeners.chain(admin) {
        let Some(listen) = address.get() else { continue };
        match seen.iter().find(|(other, _)| overlap(&other.0, &listen.0)) {
            Some((_, first)) => {
                let help = format!("{} is taken in line {}", checker.show(*first), checker.line(*first));
                let message = format!("the address {} is used twice", checker.show(address.node));
                // The admin address has a default; then the one that can be moved is the listener's.
                let node = if checker.is_given(address.node) { address.node } else { *first };
                let help = if node == address.node { help } else { "the admin API listens there by default".into() };
                let report = checker.error(node, message).help(help);
                checker.push(report);
            }
            None => seen.push((listen, address.node)),
        }
    }
}

/// Whether both cannot be bound at once. `0.0.0.0` takes every IPv4 address, and `[::]` those of IPv4 too.
fn overlap(a: &ListenAddress, b: &ListenAddress) -> bool {
    match (a, b) {
        (ListenAddress::Tcp(a), ListenAddress::Tcp(b)) => {
            let (one, other) = (a.ip(), b.ip());
            let takes_all =
                |ip: std::net::IpAddr, of: std::net::IpAddr| ip.is_unspecified() && (ip.is_ipv6() || of.is_ipv4());
            a.port() == b.port() && a.port() != 0 && (one == other || takes_all(one, other) || takes_all(other, one))
        }
        (a, b) => a == b,
    }
}
