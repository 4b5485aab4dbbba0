//! A bot that notes what it gets, byte for byte, and answers as it is told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// In place of a status: the connection is closed without an answer.
pub const HANG_UP: u16 = 0;

/// The same: there is no answer, and the connection stays.
pub const SILENT: u16 = 1;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Got {
    pub head: String,
    pub body: Vec<u8>,
}

pub struct Bot {
    pub address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    status: Arc<AtomicU16>,
}

impl Bot {
    /// One that answers 200.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bot = Self {
            address: listener.local_addr().unwrap(),
            got: Arc::default(),
            status: Arc::new(AtomicU16::new(200)),
        };
        let (got, status) = (bot.got.clone(), bot.status.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, got.clone(), status.clone()));
            }
        });
        bot
    }

    /// From now on it answers with this status.
    pub fn answer(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// What it got, in order.
    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// Bodies that it got, as text.
    pub fn bodies(&self) -> Vec<String> {
        self.got().into_iter().map(|got| String::from_utf8(got.body).unwrap()).collect()
    }
}

async fn serve(mut stream: TcpStream, got: Arc<Mutex<Vec<Got>>>, status: Arc<AtomicU16>) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length = super::raw::header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        while bytes.len() < end + length {
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
        let body = bytes[end..end + length].to_vec();
        bytes.drain(..end + length);
        got.lock().unwrap().push(Got { head, body });
        let status = status.load(Ordering::Relaxed);
        match status {
            HANG_UP => return None,
            SILENT => std::future::pending().await,
            _ => {}
        }
        let answer = format!("HTTP/1.1 {status} Told\r\nContent-Length: 2\r\n\r\nok");
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}
