//! The TLS side of connections to masters.
//!
//! What an upstream needs is built whole from its files, before anything of a reload takes effect, and compared by content: a
//! master whose files and settings are what they were keeps its TLS, and with it its connections and sessions. Every master has
//! sessions of its own, so a ticket goes back to the one that gave it, from whichever worker.

use std::fmt::Write;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use xxhash_rust::xxh3::Xxh3;

use super::server::{TlsError, certificate};
use crate::config::model::{self, MasterProtocol, TlsVersion};

/// Server names whose sessions one master's TLS remembers. There is one; rustls keeps two lists.
const SESSIONS: usize = 4;

/// Characters of a peer's certificate that a message repeats.
const QUOTED_CHARS_MAX: usize = 200;

/// How TLS is spoken with one master. Two are equal when they come from the same files and settings.
#[derive(Debug)]
pub struct MasterTls {
    connector: Arc<ClientConfig>,
    name: ServerName<'static>,
    /// Hash of everything else that was put into it.
    fingerprint: u64,
}

impl PartialEq for MasterTls {
    fn eq(&self, other: &Self) -> bool {
        (self.fingerprint, &self.name) == (other.fingerprint, &other.name)
    }
}

/// Reads what an upstream needs for TLS with its masters: one for each of them, or none at all.
///
/// # Errors
/// [`TlsError`] for the first file that cannot be read or used.
pub fn of_masters(upstream: &model::Upstream) -> Result<Vec<Option<Arc<MasterTls>>>, TlsError> {
    let Some(tls) = &upstream.tls else { return Ok(vec![None; upstream.masters.len()]) };
    let (config, fingerprint) = client_config(tls, upstream.protocol)?;
    let of_master = |master: &model::Master| {
        let text = master.server_name.clone().unwrap_or_default();
        let name = ServerName::try_from(text.clone()).map_err(|_| TlsError {
            file: PathBuf::from(&master.name),
            problem: format!("{text} is no name that a certificate can have; give another `server_name`"),
        })?;
        let mut config = config.clone();
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Some(Arc::new(MasterTls { connector: Arc::new(config), name, fingerprint })))
    };
    upstream.masters.iter().map(of_master).collect()
}

fn client_config(tls: &model::MasterTls, protocol: MasterProtocol) -> Result<(ClientConfig, u64), TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut hash = Xxh3::new();
    hash.update(&[u8::from(tls.verify), u8::from(tls.min_version == TlsVersion::V13)]);
    let versions = match tls.min_version {
        TlsVersion::V12 => &[&TLS13, &TLS12][..],
        TlsVersion::V13 => &[&TLS13][..],
    };
    let file = tls.ca.clone().unwrap_or_default();
    let unusable = |error: rustls::Error| TlsError { file, problem: error.to_string() };
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).map_err(unusable)?;
    let builder = if tls.verify {
        builder.with_root_certificates(roots(tls, &mut hash)?)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider.clone())))
    };
    let mut config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let certified = certificate(files, &provider)?;
            certified.cert.iter().for_each(|certificate| hash.update(certificate));
            builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)))
        }
    };
    let (http1, http2) = (&b"http/1.1"[..], &b"h2"[..]);
    let spoken = match protocol {
        MasterProtocol::Http1 => &[http1][..],
        MasterProtocol::Http2 => &[http2],
        MasterProtocol::Auto => &[http2, http1],
    };
    spoken.iter().for_each(|protocol| hash.update(protocol));
    config.alpn_protocols = spoken.iter().map(|protocol| protocol.to_vec()).collect();
    Ok((config, hash.digest()))
}

fn roots(tls: &model::MasterTls, hash: &mut Xxh3) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let Some(file) = &tls.ca else {
        let found = rustls_native_certs::load_native_certs();
        // In a system's store one that cannot be read is not worth refusing the others.
        found.certs.iter().for_each(|certificate| hash.update(certificate));
        roots.add_parsable_certificates(found.certs);
        let problem = "this system has no trusted authorities; install them (`ca-certificates`), or name those of the masters in `tls.ca`";
        let none = || TlsError { file: PathBuf::from("tls"), problem: problem.into() };
        return if roots.is_empty() { Err(none()) } else { Ok(roots) };
    };
    let refuse = |problem: String| TlsError { file: file.clone(), problem };
    let found = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| refuse(format!("not a PEM certificate: {error}")))?;
    for certificate in found {
        hash.update(&certificate);
        roots.add(certificate).map_err(|error| refuse(format!("holds what is no certificate: {error}")))?;
    }
    if roots.is_empty() { Err(refuse("holds no certificate".into())) } else { Ok(roots) }
}

impl MasterTls {
    /// Makes the handshake. Cancel-safe: dropping it closes the connection.
    ///
    /// # Errors
    /// What [`problem`] puts into words.
    pub async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(self.connector.clone()).connect(self.name.clone(), stream).await
    }
}

/// Whether a master ended a connection because of the certificate it was shown, or because none was. With TLS 1.3 that is
/// heard of after the handshake: what was sent meanwhile was not looked at.
#[must_use]
pub fn is_refusal(error: &io::Error) -> bool {
    use AlertDescription as Alert;
    matches!(
        inner(error),
        Some(rustls::Error::AlertReceived(
            Alert::CertificateRequired
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateExpired
                | Alert::CertificateRevoked
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
        ))
    )
}

/// What went wrong in a handshake, as part of a sentence on one line, safe to log.
#[must_use]
pub fn problem(error: &io::Error) -> String {
    use CertificateError as Wrong;
    let Some(error) = inner(error) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
            kind => kind.to_string(),
        };
    };
    match error {
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            Wrong::Expired | Wrong::ExpiredContext { .. } => "its certificate has expired".to_owned(),
            Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => "its certificate is not valid yet".to_owned(),
            Wrong::UnknownIssuer => "its certificate is signed by nobody who is trusted; see `tls.ca`".to_owned(),
            Wrong::BadSignature => {
                "its certificate is signed with another key than the trusted authority's; see `tls.ca`".to_owned()
            }
            Wrong::NotValidForName => "its certificate is for another name; see `server_name`".to_owned(),
            Wrong::NotValidForNameContext { expected, presented } => {
                let mut text = format!("its certificate is not for {} but for ", expected.to_str());
                let quoted: String = presented.join(", ").chars().take(QUOTED_CHARS_MAX).collect();
                let _ = write!(text, "{quoted:?}; see `server_name`");
                text
            }
            Wrong::Other(_) => "its certificate cannot be used as one of a server".to_owned(),
            other => format!("its certificate is refused: {}", one_line(&other.to_string())),
        },
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "it wants a certificate; see `tls.cert`".to_owned()
        }
        rustls::Error::AlertReceived(alert) if is_about_certificate(*alert) => {
            format!("it refuses the certificate that it was shown: {alert:?}; see `tls.cert`")
        }
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "it does not speak the `protocol` configured".to_owned()
        }
        rustls::Error::AlertReceived(alert) => format!("it refuses the handshake: {alert:?}"),
        rustls::Error::InvalidMessage(_) => "it does not speak TLS".to_owned(),
        other => one_line(&other.to_string()),
    }
}

fn is_about_certificate(alert: AlertDescription) -> bool {
    is_refusal(&io::Error::other(rustls::Error::AlertReceived(alert)))
}

fn inner(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn one_line(text: &str) -> String {
    text.escape_debug().take(QUOTED_CHARS_MAX).collect()
}

/// Takes any certificate (`verify: off`). The handshake must be signed with its key all the same.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
