//! Requests that Baton itself makes to others: a certificate authority, or who wants to hear of events.
//!
//! A connection for each request: there are few of them, and what is kept open can be found closed.

use std::io;
use std::path::Path;
use std::sync::Arc;

use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// TLS towards servers that show a certificate of an authority in `ca`, or of one of this system's.
///
/// # Errors
/// One line: why there is no authority to trust.
pub fn trusting(ca: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let roots = match ca {
        Some(file) => named(file)?,
        None => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        }
    };
    if roots.is_empty() {
        return Err("no authority to trust: install `ca-certificates`, or name some in `ca`".to_owned());
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(tls))
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

/// Sends a request to where its URI says, over TLS where that is given, which `https` needs; gives the head of the answer, whose body comes
/// as it is read. Redirects are not followed. It has no time limit of its own; dropped, it closes the connection.
///
/// # Errors
/// The server cannot be reached, is not to be trusted, or speaks no HTTP.
pub async fn send<B>(mut request: Request<B>, tls: Option<Arc<ClientConfig>>) -> io::Result<Response<Incoming>>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let uri = std::mem::take(request.uri_mut());
    if tls.is_none() && uri.scheme_str() != Some("http") {
        return Err(io::Error::other("this is no http URL, and there is no TLS to speak"));
    }
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    *request.uri_mut() = Uri::try_from(path).map_err(io::Error::other)?;
    request.headers_mut().insert(HOST, HeaderValue::try_from(authority).map_err(io::Error::other)?);
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    let stream: Box<dyn Stream> = match tls {
        None => Box::new(stream),
        Some(tls) => {
            let name = ServerName::try_from(host).map_err(io::Error::other)?;
            Box::new(TlsConnector::from(tls).connect(name, stream).await?)
        }
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // It ends when the answer has been read, or nobody waits for it any more.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(io::Error::other)
}
