//! Who may connect: clients whose certificate one of the given authorities signed, and that carry an allowed name.
//!
//! `webpki` judges chain, time, purpose and revocation. The name is judged here: any DNS name of the certificate or its
//! common name, compared whole and without regard to case. The common name counts because Meta signs its webhooks with a
//! certificate that has its name there (`client.webhooks.fbclientcerts.com`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::certificate::Facts;
use super::server::TlsError;
use crate::config::model::ClientAuth;

/// The rules of one listener.
#[derive(Debug)]
pub struct Rules {
    chain: Arc<dyn ClientCertVerifier>,
    /// In lower case; empty allows every name.
    allowed_names: Vec<String>,
}

/// None of a certificate's names is allowed.
#[derive(Debug)]
pub struct NameNotAllowed;

impl fmt::Display for NameNotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("none of the names in the client's certificate is in allowed_names")
    }
}

impl std::error::Error for NameNotAllowed {}

/// Reads authorities and revocation lists.
///
/// # Errors
/// [`TlsError`] for a file that cannot be read or used.
pub fn rules(settings: &ClientAuth, provider: &Arc<CryptoProvider>) -> Result<(Rules, Vec<u8>), TlsError> {
    let mut roots = RootCertStore::empty();
    let mut identity = Vec::new();
    let authorities = CertificateDer::pem_file_iter(&settings.ca)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| TlsError::new(&settings.ca, format!("not a PEM certificate: {error}")))?;
    for authority in authorities {
        identity.extend_from_slice(&authority);
        roots
            .add(authority)
            .map_err(|error| TlsError::new(&settings.ca, format!("cannot be an authority: {error}")))?;
    }
    if roots.is_empty() {
        return Err(TlsError::new(&settings.ca, "holds no certificate".to_owned()));
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    if let Some(file) = &settings.crl {
        let lists = CertificateRevocationListDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| TlsError::new(file, format!("not a PEM revocation list: {error}")))?;
        if lists.is_empty() {
            return Err(TlsError::new(file, "holds no revocation list".to_owned()));
        }
        lists.iter().for_each(|list| identity.extend_from_slice(list));
        // An authority between the root and the client often publishes no list of its own.
        builder = builder.with_crls(lists).only_check_end_entity_revocation().allow_unknown_revocation_status();
    }
    if !settings.required {
        builder = builder.allow_unauthenticated();
    }
    let chain = builder.build().map_err(|error| TlsError::new(&settings.ca, error.to_string()))?;
    let allowed_names: Vec<String> = settings.allowed_names.iter().map(|name| name.to_ascii_lowercase()).collect();
    // Whatever decides who gets in; sessions that were begun under other rules are not resumed.
    identity.push(u8::from(settings.required));
    for name in &allowed_names {
        identity.push(0);
        identity.extend_from_slice(name.as_bytes());
    }
    Ok((Rules { chain, allowed_names }, identity))
}

/// Whether a certificate that was verified when its session began is still good: a session may outlive it.
#[must_use]
pub fn is_current(certificate: &CertificateDer<'_>, now: Duration) -> bool {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    Facts::read(certificate).not_after.is_some_and(|end| now <= end)
}

impl Rules {
    fn allows(&self, certificate: &CertificateDer<'_>) -> bool {
        if self.allowed_names.is_empty() {
            return true;
        }
        let facts = Facts::read(certificate);
        let mut names = facts.dns_names.iter().chain(&facts.common_name);
        names.any(|name| self.allowed_names.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)))
    }
}

impl ClientCertVerifier for Rules {
    fn offer_client_auth(&self) -> bool {
        self.chain.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(certificate, intermediates, now)?;
        if self.allows(certificate) {
            Ok(verified)
        } else {
            Err(CertificateError::Other(OtherError(Arc::new(NameNotAllowed))).into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
