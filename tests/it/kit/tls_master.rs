//! Masters that speak TLS, and the authorities that sign for them; every key is made by the test that uses it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::SOON;
use super::directory::Directory;
use super::raw::Raw;

/// Who signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub struct Signed {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: KeyPair,
    pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        let key = KeyPair::generate().expect("a key");
        // Each has a name of its own, as in life; by the name a verifier finds out who signed.
        let name = key.public_key_raw().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        params.distinguished_name.push(DnType::CommonName, &name[2..34]);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Its own certificate, as a file.
    pub fn write(&self, directory: &Directory, file: &str) -> PathBuf {
        directory.write(file, &self.0.pem())
    }

    pub fn sign(&self, names: &[&str]) -> Signed {
        self.sign_with(names, |_| {})
    }

    /// Signs one that ended long ago.
    pub fn sign_expired(&self, names: &[&str]) -> Signed {
        self.sign_with(names, |params| params.not_after = rcgen::date_time_ymd(2001, 1, 1))
    }

    fn sign_with(&self, names: &[&str], change: impl Fn(&mut CertificateParams)) -> Signed {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Signed { chain: vec![certificate.der().clone()], pem: certificate.pem(), key }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a certificate as a root");
        roots
    }
}

impl Signed {
    /// The files of the certificate and the key.
    pub fn write(&self, directory: &Directory, file: &str) -> (PathBuf, PathBuf) {
        let cert = directory.write(&format!("{file}.pem"), &self.pem);
        (cert, directory.write(&format!("{file}-key.pem"), &self.key.serialize_pem()))
    }
}

/// What it asks of those that connect.
pub enum Asks<'a> {
    Nothing,
    /// A certificate signed by this authority.
    Certificate(&'a Authority),
}

/// A master whose every byte inside of TLS the test decides.
pub struct TlsMaster {
    listener: TcpListener,
    pub address: SocketAddr,
    config: Arc<ServerConfig>,
}

impl TlsMaster {
    pub async fn bind(signed: &Signed, asks: Asks<'_>, alpn: &[&str]) -> Self {
        let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = match asks {
            Asks::Nothing => builder.expect("versions").with_no_client_auth(),
            Asks::Certificate(authority) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authority.roots()), provider);
                builder.expect("versions").with_client_cert_verifier(verifier.build().expect("a root"))
            }
        };
        let key = PrivateKeyDer::try_from(signed.key.serialize_der()).expect("a key");
        let mut config = builder.with_single_cert(signed.chain.clone(), key).expect("a pair that fits");
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        Self { listener, address, config: Arc::new(config) }
    }

    /// The next connection, if its handshake works. The error is what came instead, as text.
    pub async fn handshake(&self) -> Result<TlsStream<TcpStream>, String> {
        let (stream, _) = timeout(SOON, self.listener.accept()).await.expect("a connection in time").expect("a socket");
        stream.set_nodelay(true).expect("an option of every TCP socket");
        let mut stream = match timeout(SOON, TlsAcceptor::from(self.config.clone()).accept(stream)).await {
            Ok(stream) => stream.map_err(|error| error.to_string())?,
            Err(_) => return Err("no end of the handshake".into()),
        };
        // A client that refuses the certificate says so when the server is already through with TLS 1.3.
        let mut nothing: [u8; 0] = [];
        stream.read(&mut nothing).await.map_err(|error| error.to_string())?;
        Ok(stream)
    }

    /// The next connection, whose handshake works.
    pub async fn accept(&self) -> Raw<TlsStream<TcpStream>> {
        Raw::over(self.handshake().await.expect("a handshake"))
    }

    /// Answers every request with 200 from now on, one connection after the other, and notes each request line, and each
    /// handshake that fails.
    pub fn answer_all(self) -> Arc<Mutex<Vec<String>>> {
        let notes: Arc<Mutex<Vec<String>>> = Arc::default();
        let written = notes.clone();
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = self.listener.accept().await else { return };
                let (config, notes) = (self.config.clone(), written.clone());
                tokio::spawn(async move {
                    let note = |text: &str| notes.lock().unwrap().push(text.to_owned());
                    match TlsAcceptor::from(config).accept(stream).await {
                        Ok(stream) => serve(stream, note).await,
                        Err(error) => note(&format!("failed: {error}")),
                    }
                });
            }
        });
        notes
    }
}

async fn serve(mut stream: TlsStream<TcpStream>, note: impl Fn(&str)) {
    use tokio::io::AsyncWriteExt;
    let mut read = Vec::new();
    loop {
        while let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).into_owned();
            note(head.lines().next().unwrap_or_default());
            read.drain(..end + 4);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
        match stream.read_buf(&mut read).await {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => return note(&format!("failed: {error}")),
        }
    }
}
