//! A real ACME server, `pebble` of Let's Encrypt, on loopback, and the name service that it asks. `scripts/test` unpacks it.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::directory::Directory;
use super::tls::Pair;
use super::tools::program;

/// Dropping it ends the server; what it issued and who had an account there is gone with it.
pub struct Pebble {
    child: Child,
    _directory: Directory,
}

/// What the authority knows of an external account.
pub const KID: &str = "baton-test";
pub const HMAC_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// What stays the same over several servers: the address of the directory and its certificate.
pub struct Site {
    pub port: u16,
    pair: Pair,
    /// Accounts have to be bound to an external one.
    pub bound: bool,
}

impl Site {
    pub fn new(directory: &Directory) -> Self {
        // The server does not tell which port it was given, so one is looked for that is free.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { port, pair: Pair::make(directory, "directory", &["127.0.0.1"]), bound: false }
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    pub fn authority(&self) -> &Path {
        &self.pair.cert
    }
}

impl Pebble {
    /// A server that proves names at these ports of loopback, and whose certificates are valid for so many seconds.
    pub fn start(site: &Site, names: &Names, http: u16, tls: u16, validity: u64) -> Self {
        let directory = Directory::new();
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", site.port),
            "managementListenAddress": "",
            "certificate": site.pair.cert,
            "privateKey": site.pair.key,
            "httpPort": http,
            "tlsPort": tls,
            "certificateValidityPeriod": validity,
            "externalAccountBindingRequired": site.bound,
            "externalAccountMACKeys": { KID: HMAC_KEY },
        }});
        let path = directory.write("pebble.json", &config.to_string());
        let log = std::fs::File::create(directory.path().join("pebble.log")).unwrap();
        let child = Command::new(program("pebble"))
            .args(["-config", path.to_str().unwrap(), "-dnsserver", &names.address.to_string()])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("pebble starts");
        Self { child, _directory: directory }
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A name service in which every name is one address.
pub struct Names {
    pub address: SocketAddr,
    /// Names are 127.0.0.1, where everything listens, rather than an address where nothing does.
    pub right: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    socket: Arc<UdpSocket>,
}

impl Names {
    pub fn start() -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        let address = socket.local_addr().unwrap();
        let (right, over) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let (asked, truth, ended) = (socket.clone(), right.clone(), over.clone());
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, from)) = asked.recv_from(&mut question) {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let last = if truth.load(Ordering::Relaxed) { 1 } else { 66 };
                if let Some(answer) = answer(&question[..length], Ipv4Addr::new(127, 0, 0, last)) {
                    let _ = asked.send_to(&answer, from);
                }
            }
        });
        Self { address, right, over, socket }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.socket.send_to(&[], self.address);
    }
}

/// The answer to a question of one name (RFC 1035 section 4): an address where one was asked for, else nothing.
fn answer(question: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    let mut end = 12;
    while *question.get(end)? != 0 {
        end += 1 + usize::from(question[end]);
    }
    let kind = question.get(end + 1..end + 3)?;
    let is_address = kind == [0, 1];
    let mut out = question[..2].to_vec();
    out.extend([0x84, 0, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    out.extend_from_slice(question.get(12..end + 5)?);
    if is_address {
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        out.extend(address.octets());
    }
    Some(out)
}
