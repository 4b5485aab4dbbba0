//! The way to the ACME server: HTTPS with the authorities of this system, or with those the configuration names.
//!
//! A connection for each request: there are a dozen of them every few weeks.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Limited;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// For a request, from the name lookup to the head of the answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Answers are documents of a few kilobytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// A client of an ACME server.
pub struct Client {
    tls: Arc<ClientConfig>,
}

/// The server could not be reached, or what answered spoke no HTTP.
#[derive(Debug)]
pub struct Unreachable(pub String);

impl std::fmt::Display for Unreachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreachable {}

impl Client {
    /// A client that trusts the authorities in `ca`, or those of this system.
    ///
    /// # Errors
    /// Why there are none.
    pub fn new(ca: Option<&PathBuf>) -> Result<Self, String> {
        let roots = match ca {
            Some(file) => named(file)?,
            None => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                roots
            }
        };
        if roots.is_empty() {
            return Err("no authority to trust: install `ca-certificates`, or name some in `acme.ca`".to_owned());
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(tls) })
    }
}

fn named(file: &Path) -> Result<RootCertStore, String> {
    let problem = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| problem(&error))? {
        let certificate = certificate.map_err(|error| problem(&error))?;
        roots.add(certificate).map_err(|error| problem(&error))?;
    }
    Ok(roots)
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let tls = self.tls.clone();
        Box::pin(async move {
            let server = request.uri().authority().map(ToString::to_string).unwrap_or_default();
            let unreachable = |problem: String| Error::Other(Box::new(Unreachable(format!("{server}: {problem}"))));
            match tokio::time::timeout(REQUEST_TIMEOUT, exchange(request, tls)).await {
                Ok(Ok(response)) => {
                    let (head, body) = response.into_parts();
                    Ok(Response::from_parts(head, Limited::new(body, ANSWER_BYTES_MAX)).into())
                }
                Ok(Err(error)) => Err(unreachable(error.to_string())),
                Err(_) => Err(unreachable(format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()))),
            }
        })
    }
}

async fn exchange(mut request: Request<BodyWrapper<Bytes>>, tls: Arc<ClientConfig>) -> io::Result<Response<Incoming>> {
    let uri = std::mem::take(request.uri_mut());
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(443);
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    *request.uri_mut() = Uri::try_from(path).map_err(io::Error::other)?;
    request.headers_mut().insert(HOST, HeaderValue::try_from(authority).map_err(io::Error::other)?);
    let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
    let stream = TcpStream::connect((host, port)).await?;
    let stream = TlsConnector::from(tls).connect(name, stream).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // It ends when the answer has been read.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(io::Error::other)
}
