//! What a client's bytes travel over: TCP, or TLS over it.
//!
//! TLS is the same for every proxy, whatever it would choose by itself: version 1.3, X25519, AES-128-GCM. The certificate is
//! not checked, which costs the load's core and tells nothing about the proxy.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme};

/// Sessions kept for resumption, more than one client has at a time.
const SESSIONS: usize = 16;

/// TLS of a run; `resuming`: later connections take the session of an earlier one up.
pub fn tls(resuming: bool) -> io::Result<Arc<ClientConfig>> {
    let provider = CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unchecked(schemes)))
        .with_no_client_auth();
    config.resumption = match resuming {
        true => Resumption::store(Arc::new(ClientSessionMemoryCache::new(SESSIONS))),
        false => Resumption::disabled(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A connection that does not block once it is open.
pub enum Carrier {
    Plain(TcpStream),
    Tls(TcpStream, Box<ClientConnection>),
}

impl Carrier {
    /// Connects, waiting for TCP alone. What TLS has to say first is sent with [`Carrier::flush`].
    pub fn open(target: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let stream = TcpStream::connect(target)?;
        stream.set_nodelay(true)?;
        let session = match tls {
            None => None,
            Some(config) => {
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                Some(ClientConnection::new(config.clone(), name).map_err(io::Error::other)?)
            }
        };
        stream.set_nonblocking(true)?;
        Ok(match session {
            None => Self::Plain(stream),
            Some(session) => Self::Tls(stream, Box::new(session)),
        })
    }

    /// Sends what the session has to say; nothing waits in a plain one.
    pub fn flush(&mut self) -> io::Result<()> {
        if let Self::Tls(stream, session) = self {
            while session.wants_write() {
                session.write_tls(stream)?;
            }
        }
        Ok(())
    }

    /// Once the handshake is over: whether it was a whole one or took a session up.
    pub fn handshake(&self) -> Option<HandshakeKind> {
        match self {
            Self::Tls(_, session) if !session.is_handshaking() => session.handshake_kind(),
            _ => None,
        }
    }

    pub fn close(&self) {
        let (Self::Plain(stream) | Self::Tls(stream, _)) = self;
        // Already dead is as good as closed here.
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
}

impl AsFd for Carrier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let (Self::Plain(stream) | Self::Tls(stream, _)) = self;
        stream.as_fd()
    }
}

impl Read for Carrier {
    /// `WouldBlock` also when what came was TLS's own.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let (stream, session) = match self {
            Self::Plain(stream) => return stream.read(into),
            Self::Tls(stream, session) => (stream, session),
        };
        match session.reader().read(into) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // An end without TLS's own word for it is an end like another one here.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
            read => return read,
        }
        session.read_tls(stream)?;
        session.process_new_packets().map_err(io::Error::other)?;
        while session.wants_write() {
            session.write_tls(stream)?;
        }
        match session.reader().read(into) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            read => read,
        }
    }
}

impl Write for Carrier {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(_, session) => {
                let written = session.writer().write(bytes)?;
                self.flush()?;
                Ok(written)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Self::flush(self)
    }
}

/// Takes any certificate.
#[derive(Debug)]
struct Unchecked(Vec<SignatureScheme>);

impl ServerCertVerifier for Unchecked {
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}
