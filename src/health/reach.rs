//! A connection of one's own to a master, opened as those of requests are: over TLS where they are, and behind a PROXY header
//! where it expects one. What Baton asks of its own accord goes over such a connection, and none of the pool's.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::resolve;
use crate::config::model::{Address, MasterProtocol, ProxyVersion};
use crate::listener::proxy_protocol;
use crate::tls::client::{self, MasterTls};
use crate::upstream::master::Master;

/// Bytes to a master and back.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<W: AsyncRead + AsyncWrite + Unpin + Send> Wire for W {}

/// How a request is said on a connection.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    pub scheme: &'static str,
    pub http2: bool,
}

/// A connection.
pub struct Reached {
    pub stream: Box<dyn Wire>,
    pub way: Way,
    /// What a request names as its host, unless it has a name of its own.
    pub authority: String,
}

/// Opens a connection. Cancel-safe: dropping it closes what there is. It has no time-out of its own.
///
/// # Errors
/// Why not, as part of a sentence; of one line, and safe to log.
pub async fn reach(
    master: &Master,
    tls: Option<&MasterTls>,
    protocol: MasterProtocol,
    proxy_protocol: Option<ProxyVersion>,
) -> Result<Reached, String> {
    let mut preface = Vec::new();
    if let Some(version) = proxy_protocol {
        proxy_protocol::write_local(version, &mut preface);
    }
    let plain = Way { scheme: "http", http2: protocol == MasterProtocol::Http2 };
    let lost = |error: io::Error| not_connected(&error, master.address());
    if let Address::Unix(path) = master.address() {
        let mut stream = UnixStream::connect(path).await.map_err(lost)?;
        stream.write_all(&preface).await.map_err(lost)?;
        return Ok(Reached { stream: Box::new(stream), way: plain, authority: "localhost".to_owned() });
    }
    let authority = master.address().to_string();
    let mut stream = connect(master).await?;
    stream.write_all(&preface).await.map_err(lost)?;
    let Some(tls) = tls else { return Ok(Reached { stream: Box::new(stream), way: plain, authority }) };
    let _ = stream.set_nodelay(true);
    let stream = tls.handshake(stream).await;
    let stream = stream.map_err(|error| format!("TLS failed: {} ({authority})", client::problem(&error)))?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    if plain.http2 && !http2 {
        return Err(format!("it does not speak HTTP/2 ({authority})"));
    }
    Ok(Reached { stream: Box::new(stream), way: Way { scheme: "https", http2 }, authority })
}

/// Tries the master's addresses in turn.
async fn connect(master: &Master) -> Result<TcpStream, String> {
    if master.addresses().is_empty() {
        resolve::look_up(master).await?;
    }
    let addresses = master.addresses().to_vec();
    let mut evidence = format!("{} has no address", master.address());
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => evidence = not_connected(&error, &Address::Socket(address)),
        }
    }
    Err(evidence)
}

fn not_connected(error: &io::Error, address: &Address) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("connect refused ({address})"),
        kind => format!("connect failed: {kind} ({address})"),
    }
}
