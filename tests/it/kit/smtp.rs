//! A mail server of a few commands, over TLS or not, that keeps what it gets.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::tls::provider;
use super::tls_master::Signed;

/// What was handed over.
#[derive(Debug, Clone, Default)]
pub struct Letter {
    pub from: String,
    pub to: Vec<String>,
    /// As it came, dots undone.
    pub text: String,
    /// The argument of AUTH PLAIN.
    pub login: Option<String>,
    pub secured: bool,
}

/// How connections are secured.
#[derive(Clone)]
pub enum Security {
    None,
    Starttls(Arc<ServerConfig>),
    Implicit(Arc<ServerConfig>),
}

#[derive(Clone)]
struct Shared {
    letters: Arc<Mutex<Vec<Letter>>>,
    refuse: Arc<AtomicU32>,
    security: Security,
}

pub struct MailServer {
    pub address: SocketAddr,
    shared: Shared,
}

/// For [`Security`].
pub fn tls(signed: &Signed) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let key = PrivateKeyDer::try_from(signed.key.serialize_der()).expect("a key");
    let builder = builder.expect("versions").with_no_client_auth();
    Arc::new(builder.with_single_cert(signed.chain.clone(), key).expect("a pair that fits"))
}

impl MailServer {
    pub async fn start(security: Security) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Shared { letters: Arc::default(), refuse: Arc::default(), security };
        let used = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, used.clone()));
            }
        });
        Self { address, shared }
    }

    pub fn letters(&self) -> Vec<Letter> {
        self.shared.letters.lock().unwrap().clone()
    }

    /// Takes none of the next so many letters.
    pub fn refuse(&self, count: u32) {
        self.shared.refuse.store(count, Ordering::Relaxed);
    }

    /// Whether all that were to be refused have been.
    pub fn has_refused(&self) -> bool {
        self.shared.refuse.load(Ordering::Relaxed) == 0
    }
}

async fn connection(stream: TcpStream, shared: Shared) -> Option<()> {
    match shared.security.clone() {
        Security::None => talk(BufReader::new(stream), &shared, false, true).await.map(drop),
        Security::Implicit(config) => {
            let stream = TlsAcceptor::from(config).accept(stream).await.ok()?;
            talk(BufReader::new(stream), &shared, true, true).await.map(drop)
        }
        Security::Starttls(config) => {
            let stream = talk(BufReader::new(stream), &shared, false, true).await?;
            let stream = TlsAcceptor::from(config).accept(stream).await.ok()?;
            talk(BufReader::new(stream), &shared, true, false).await.map(drop)
        }
    }
}

/// Speaks until the client has asked for TLS, and gives the stream then.
async fn talk<S>(mut stream: BufReader<S>, shared: &Shared, secured: bool, greets: bool) -> Option<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let offers_tls = matches!(shared.security, Security::Starttls(_)) && !secured;
    let mut letter = Letter { secured, ..Letter::default() };
    if greets {
        stream.write_all(b"220 mail.test ESMTP\r\n").await.ok()?;
    }
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let answer = match word.to_ascii_uppercase().as_str() {
            "EHLO" if offers_tls => "250-mail.test\r\n250 STARTTLS\r\n",
            "EHLO" => "250-mail.test\r\n250-8BITMIME\r\n250 AUTH PLAIN\r\n",
            "STARTTLS" if offers_tls => {
                stream.write_all(b"220 go ahead\r\n").await.ok()?;
                return Some(stream.into_inner());
            }
            "AUTH" => {
                letter.login = Some(rest.trim_start_matches("PLAIN ").to_owned());
                "235 welcome\r\n"
            }
            "MAIL" => {
                letter.from = rest.to_owned();
                "250 ok\r\n"
            }
            "RCPT" => {
                letter.to.push(rest.to_owned());
                "250 ok\r\n"
            }
            "DATA" => {
                stream.write_all(b"354 go ahead\r\n").await.ok()?;
                letter.text = data(&mut stream).await?;
                let refused =
                    shared.refuse.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                if refused.is_ok() {
                    "451 <b>try later</b>\r\n"
                } else {
                    shared.letters.lock().unwrap().push(letter.clone());
                    "250 taken\r\n"
                }
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await.ok()?;
                return None;
            }
            "RSET" | "NOOP" => "250 ok\r\n",
            _ => "500 what?\r\n",
        };
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

async fn data<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Option<String> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == ".\r\n" {
            return Some(text);
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}
