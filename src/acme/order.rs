//! One order: an account, the proofs for each domain, a new key, the certificate.

use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, ExternalAccountKey, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use super::directory::{Client, Unreachable};
use super::schedule::Fault;
use super::store::{self, Store};
use crate::config::model::{Acme, AcmeChallenge};
use crate::tls::challenges::{self, Opened};

/// How long the server may take for its proofs, and then for the certificate.
const SERVER_WORK: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(250)).timeout(Duration::from_secs(90));

/// Characters of a server's message that a message of ours repeats.
const QUOTED_CHARS_MAX: usize = 400;

/// Why there is no certificate.
#[derive(Debug)]
pub struct Failure {
    pub fault: Fault,
    /// One line, without control characters.
    pub text: String,
}

impl Failure {
    fn new(fault: Fault, text: &str) -> Self {
        let clean = text.chars().map(|character| if character.is_control() { ' ' } else { character });
        Self { fault, text: clean.take(QUOTED_CHARS_MAX).collect() }
    }

    fn refused(text: &str) -> Self {
        Self::new(Fault::Refused, text)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let unreachable = matches!(&error, Error::Other(cause) if cause.is::<Unreachable>());
        Self::new(if unreachable { Fault::Unreachable } else { Fault::Refused }, &error.to_string())
    }
}

/// Orders a certificate and keeps it. Gives the key and the chain in PEM. Dropping it gives the order up and closes what was
/// opened for it.
///
/// # Errors
/// [`Failure`]; an account that the server does not know any more is forgotten, so that the next attempt makes another.
pub async fn run(acme: &Acme, store: &Store) -> Result<String, Failure> {
    let account = account(acme, store).await?;
    let identifiers: Vec<_> = acme.domains.iter().cloned().map(Identifier::Dns).collect();
    let mut order = match account.new_order(&NewOrder::new(&identifiers)).await {
        Err(error) if is_unknown_account(&error) => {
            std::fs::remove_file(&store.account).map_err(|error| cannot("remove", &store.account, &error))?;
            return Err(Failure::refused(
                "the server does not know the account any more; the next attempt makes another",
            ));
        }
        order => order?,
    };
    let opened = prove(&mut order, acme.challenge).await?;
    let ready = order.poll_ready(&SERVER_WORK).await;
    if !matches!(ready, Ok(OrderStatus::Ready)) {
        return Err(reason(&mut order, ready.err()).await);
    }
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&SERVER_WORK).await?;
    drop(opened);
    let pem = format!("{key}{chain}");
    store::write(&store.certificate, &pem).map_err(|error| cannot("write", &store.certificate, &error))?;
    Ok(pem)
}

fn cannot(verb: &str, path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::refused(&format!("cannot {verb} {}: {error}", path.display()))
}

fn is_unknown_account(error: &Error) -> bool {
    let Error::Api(problem) = error else { return false };
    problem.r#type.as_deref().is_some_and(|kind| kind.ends_with(":accountDoesNotExist"))
}

/// The account that is kept, or a new one.
async fn account(acme: &Acme, store: &Store) -> Result<Account, Failure> {
    let client = || Client::new(acme.ca.as_ref()).map(Box::new).map_err(|problem| Failure::refused(&problem));
    let kept = store::read(&store.account).map_err(|error| cannot("read", &store.account, &error))?;
    if let Some(text) = kept {
        match serde_json::from_str::<AccountCredentials>(&text) {
            Ok(credentials) => {
                return Ok(Account::builder_with_http(client()?).from_credentials(credentials).await?);
            }
            Err(error) => {
                tracing::warn!(file = %store.account.display(), %error, "cannot use the account that is kept; making another");
            }
        }
    }
    let contact: Vec<&str> = acme.contact.iter().map(String::as_str).collect();
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let directory = acme.directory.clone();
    let external = acme.eab.as_ref().map(|eab| ExternalAccountKey::new(eab.kid.clone(), &eab.hmac_key));
    let builder = Account::builder_with_http(client()?);
    let (account, credentials) = builder.create(&new, directory, external.as_ref()).await?;
    let text = serde_json::to_string(&credentials).map_err(Error::from)?;
    store::write(&store.account, &text).map_err(|error| cannot("write", &store.account, &error))?;
    Ok(account)
}

/// Opens a challenge for each domain that wants one, and tells the server.
async fn prove(order: &mut Order, challenge: AcmeChallenge) -> Result<Vec<Opened>, Failure> {
    let kind = match challenge {
        AcmeChallenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        AcmeChallenge::Http01 => ChallengeType::Http01,
    };
    let mut opened = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let domain = authorization.identifier().to_string();
        let Some(mut open) = authorization.challenge(kind.clone()) else {
            return Err(Failure::refused(&format!("the server offers no such challenge for {domain}")));
        };
        let proof = open.key_authorization();
        opened.push(match challenge {
            AcmeChallenge::Http01 => challenges::open_http(&open.token, proof.as_str()),
            AcmeChallenge::TlsAlpn01 => {
                let certificate = certificate(&domain, proof.digest().as_ref());
                challenges::open_tls(&domain, certificate.map_err(|problem| Failure::refused(&problem))?)
            }
        });
        open.set_ready().await?;
    }
    Ok(opened)
}

/// The certificate that answers TLS-ALPN-01 (RFC 8737 section 3): it signs for itself, and carries the digest.
fn certificate(domain: &str, digest: &[u8]) -> Result<CertifiedKey, String> {
    let text = |error: rcgen::Error| error.to_string();
    let mut params = CertificateParams::new(vec![domain.to_owned()]).map_err(text)?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate().map_err(text)?;
    let made = params.self_signed(&key).map_err(text)?;
    let der = PrivateKeyDer::try_from(key.serialize_der()).map_err(str::to_owned)?;
    // Whether key and certificate fit is not asked: the check knows no extension that is critical and says what this one says.
    let key = aws_lc_rs::sign::any_supported_type(&der).map_err(|error| error.to_string())?;
    Ok(CertifiedKey::new(vec![made.der().clone()], key))
}

/// Why an order came to nothing: what the server says of its proofs, else of the order.
async fn reason(order: &mut Order, error: Option<Error>) -> Failure {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let domain = authorization.identifier().to_string();
        let Ok(state) = authorization.refresh().await else { continue };
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            return Failure::refused(&format!("{domain} could not be proven: {problem}"));
        }
    }
    error.map_or_else(|| Failure::refused("the server declared the order invalid"), Failure::from)
}
