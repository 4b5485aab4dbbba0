//! The TLS side of a listener.
//!
//! A [`Gate`] is built whole from its files before it is used. A pair of files that was in use and does not work any more, as
//! while it is being replaced, leaves the certificate that they held before in its place, and the gate tells of it; whatever
//! else is wrong leaves the gate before. Connections that are open keep what they began with.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion, crypto::aws_lc_rs, version};

use super::certificate::Facts;
use super::issued::{self, Issued};
use super::sni::{Loaded, Table};
use super::{challenges, client_auth, sessions};
use crate::config::model::{CertificateFiles, Listener, Tls, TlsVersion};

/// Certificates that cannot be used. Says which file, and why.
#[derive(Debug)]
pub struct TlsError {
    pub(super) file: PathBuf,
    pub(super) problem: String,
}

impl TlsError {
    pub(super) fn new(file: &Path, problem: String) -> Self {
        Self { file: file.to_owned(), problem }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.problem)
    }
}

impl std::error::Error for TlsError {}

/// What a connection to a TLS listener goes through before its first request.
#[derive(Debug)]
pub struct Gate {
    pub config: Arc<ServerConfig>,
    /// For the whole handshake, from the accepted connection on.
    pub timeout: Duration,
    /// Handshakes under way at once, in each worker.
    pub handshakes_max: usize,
    /// Those of the configuration, in its order.
    certificates: Vec<(CertificateFiles, Loaded)>,
    /// What is wrong with files whose certificate is an earlier one, a line for each pair.
    stale: Vec<String>,
    issued: Option<Arc<Issued>>,
}

impl Gate {
    /// The certificates in use, one that was issued by ACME at the end.
    #[must_use]
    pub fn certificates(&self) -> Vec<Facts> {
        let issued = self.issued.as_ref().and_then(|issued| issued.certificate());
        let of_files = self.certificates.iter().map(|(_, loaded)| loaded.facts.clone());
        of_files.chain(issued.map(|issued| issued.facts.clone())).collect()
    }

    /// What is wrong with pairs of files that do not work any more, and whose earlier certificate is still in use.
    #[must_use]
    pub fn stale(&self) -> &[String] {
        &self.stale
    }

    /// What ACME brought, where the listener asks for it.
    #[must_use]
    pub fn issued(&self) -> Option<&Issued> {
        self.issued.as_deref()
    }

    /// Whether there is nothing to show to a client yet.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.certificates.is_empty() && self.issued.as_ref().is_none_or(|issued| issued.certificate().is_none())
    }
}

/// Builds the gate of a listener; `None` when it takes no TLS. `before` is the one that it had so far.
///
/// # Errors
/// [`TlsError`] for the first file that cannot be read or used, and that `before` has nothing for.
pub fn gate(listener: &Listener, before: Option<&Gate>) -> Result<Option<Arc<Gate>>, TlsError> {
    let Some(tls) = &listener.tls else { return Ok(None) };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let (mut loaded, mut stale) = (Vec::new(), Vec::new());
    for files in &tls.certificates {
        let known = before.into_iter().flat_map(|gate| &gate.certificates).find(|(known, _)| known == files);
        loaded.push(match (load(files, &provider), known) {
            (Err(error), Some((_, known))) => {
                stale.push(error.to_string());
                known.clone()
            }
            (fresh, _) => fresh?,
        });
    }
    let issued = tls.acme.as_ref().map(|_| issued::to_listener(&listener.name));
    let mut config = server_config(&listener.name, tls, &loaded, issued.clone(), &provider, listener.http2.enabled)?;
    if listener.tcp.is_some() {
        // What the bytes are is between the client and the master.
        config.alpn_protocols.clear();
    }
    let gate = Gate {
        config: Arc::new(config),
        timeout: listener.limits.handshake_timeout,
        handshakes_max: listener.limits.handshakes,
        certificates: tls.certificates.iter().cloned().zip(loaded).collect(),
        stale,
        issued,
    };
    Ok(Some(Arc::new(gate)))
}

fn server_config(
    name: &str,
    tls: &Tls,
    certificates: &[Loaded],
    issued: Option<Arc<Issued>>,
    provider: &Arc<CryptoProvider>,
    http2: bool,
) -> Result<ServerConfig, TlsError> {
    let first = tls.certificates.first().map(|files| files.cert.clone()).unwrap_or_default();
    let wrong = |error: rustls::Error| TlsError::new(&first, error.to_string());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions(tls.min_version))
        .map_err(wrong)?;
    let (builder, rules) = match &tls.client_auth {
        Some(settings) => {
            let (rules, identity) = client_auth::rules(settings, provider)?;
            (builder.with_client_cert_verifier(Arc::new(rules)), identity)
        }
        None => (builder.with_no_client_auth(), Vec::new()),
    };
    let table = Table::build(certificates);
    let acme = issued.is_some();
    let mut config = match issued {
        Some(issued) => builder.with_cert_resolver(Arc::new(WithIssued { table, issued })),
        None => builder.with_cert_resolver(Arc::new(table)),
    };
    config.alpn_protocols = if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    if acme {
        config.alpn_protocols.push(challenges::ALPN.to_vec());
    }
    // Early data can be replayed by whoever saw it, and a webhook is not to be delivered twice.
    config.max_early_data_size = 0;
    // All suites are strong; that the stronger of two is taken is what audits ask for.
    config.ignore_client_order = true;
    config.send_tls13_tickets = 1;
    let sessions = sessions::of_listener(name, &rules).map_err(wrong)?;
    config.ticketer = sessions.tickets;
    config.session_storage = sessions.store;
    Ok(config)
}

/// Chooses among certificates of files and the one that ACME brought; and answers its server.
#[derive(Debug)]
struct WithIssued {
    table: Table,
    issued: Arc<Issued>,
}

impl ResolvesServerCert for WithIssued {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        // A server that validates asks for this protocol alone (RFC 8737 section 3); whoever else does gets nothing.
        let mut protocols = hello.alpn().into_iter().flatten();
        if protocols.next() == Some(challenges::ALPN) && protocols.next().is_none() {
            return challenges::tls(name?);
        }
        if !self.table.has(name)
            && let Some(issued) = self.issued.certificate()
        {
            return Some(issued.key.clone());
        }
        self.table.choose(name, hello.signature_schemes())
    }
}

/// A key and its chain from one text in PEM.
///
/// # Errors
/// Why it cannot be used.
pub fn from_pem(pem: &str) -> Result<Loaded, String> {
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("not a PEM certificate: {error}"))?;
    let facts = chain.first().map(Facts::read).ok_or("no certificate")?;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| format!("not a PEM key: {error}"))?;
    let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| error.to_string())?;
    Ok(Loaded { key: Arc::new(key), facts })
}

fn versions(least: TlsVersion) -> Vec<&'static SupportedProtocolVersion> {
    match least {
        TlsVersion::V12 => vec![&version::TLS13, &version::TLS12],
        TlsVersion::V13 => vec![&version::TLS13],
    }
}

fn load(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Loaded, TlsError> {
    let key = certificate(files, provider)?;
    let facts = key.cert.first().map(Facts::read).unwrap_or_default();
    Ok(Loaded { key, facts })
}

/// Reads a chain and its key, which must fit.
pub(super) fn certificate(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| TlsError::new(&files.cert, format!("not a PEM certificate: {error}")))?;
    if chain.is_empty() {
        let problem = "holds no certificate; it must be PEM, the server's own certificate first";
        return Err(TlsError::new(&files.cert, problem.to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| TlsError::new(&files.key, format!("not a PEM private key: {error}")))?;
    CertifiedKey::from_der(chain, key, provider).map(Arc::new).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::new(&files.key, format!("is not the key of {}", files.cert.display()))
        }
        error => TlsError::new(&files.key, error.to_string()),
    })
}
