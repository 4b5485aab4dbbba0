//! The TLS side of a listener.
//!
//! A configuration is built whole from its files, so a reload either has new certificates that work or keeps the old ones. The
//! names a certificate serves are those it carries itself; a client that asks for another name, or for none, gets the first.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, crypto::aws_lc_rs};

use crate::config::model::{CertificateFiles, Tls};

/// How long a client may take for its handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Certificates that cannot be used. Says which file, and why.
#[derive(Debug)]
pub struct TlsError {
    pub(super) file: PathBuf,
    pub(super) problem: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.problem)
    }
}

impl std::error::Error for TlsError {}

/// Reads the certificates and keys of a listener.
///
/// # Errors
/// [`TlsError`] for the first file that cannot be read or used.
pub fn server_config(tls: &Tls) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let certificates = tls.certificates.iter().map(|files| certificate(files, &provider)).collect::<Result<_, _>>()?;
    let first = tls.certificates.first().map(|files| files.cert.clone()).unwrap_or_default();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError { file: first, problem: error.to_string() })?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByName(certificates)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Early data can be replayed by whoever saw it, and a webhook is not to be delivered twice.
    config.max_early_data_size = 0;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

pub(super) fn certificate(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let problem = |file: &Path, problem: String| TlsError { file: file.to_owned(), problem };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| problem(&files.cert, format!("not a PEM certificate: {error}")))?;
    if chain.is_empty() {
        return Err(problem(
            &files.cert,
            "holds no certificate; it must be PEM, the server's own certificate first".into(),
        ));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| problem(&files.key, format!("not a PEM private key: {error}")))?;
    CertifiedKey::from_der(chain, key, provider).map(Arc::new).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            problem(&files.key, format!("is not the key of {}", files.cert.display()))
        }
        error => problem(&files.key, error.to_string()),
    })
}

/// Chooses by the name in the handshake.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let serves = |key: &CertifiedKey, name: &ServerName<'_>| {
            let parsed = key.end_entity_cert().ok().and_then(|der| ParsedCertificate::try_from(der).ok());
            parsed.is_some_and(|certificate| verify_server_name(&certificate, name).is_ok())
        };
        let named = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let matching = named.and_then(|name| self.0.iter().find(|key| serves(key, &name)));
        matching.or(self.0.first()).cloned()
    }
}
