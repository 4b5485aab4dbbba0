//! Connections that are made for one request: what a TLS handshake costs the proxy.
//!
//! Each is opened, makes its handshake and one request, and is closed by the proxy after the answer, so that what a proxy does
//! after the handshake, sending tickets above all, is part of the count.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, HandshakeKind};

use crate::carrier::{self, Carrier};
use crate::message;
use crate::poller::Poller;

const REQUEST: &[u8] = b"GET /webhook HTTP/1.1\r\nHost: bot.example\r\nConnection: close\r\n\r\n";
/// Larger than any answer of this benchmark.
const ANSWER_BYTES: usize = 16 * 1024;
/// A run in which nothing happens for this long is over.
const STALL: Duration = Duration::from_secs(10);

/// What to do.
pub struct Plan {
    pub target: SocketAddr,
    /// At the same time.
    pub connections: usize,
    /// In all.
    pub handshakes: u64,
    /// Whether each takes up the session of an earlier one.
    pub resuming: bool,
    /// None is begun after this.
    pub at_most: Duration,
}

struct Attempt {
    carrier: Carrier,
    asked: bool,
    answer: Vec<u8>,
}

/// Carries the plan out; the result as one line of JSON.
///
/// # Errors
/// When a connection breaks, or a handshake is not of the kind that was asked for.
pub fn run(plan: &Plan) -> io::Result<String> {
    // Each has its own sessions, as each client has; a store gives a ticket out once and keeps a few for a name.
    let clients = (0..plan.connections).map(|_| carrier::tls(plan.resuming)).collect::<io::Result<Vec<_>>>()?;
    if plan.resuming {
        // So that every connection of the run finds a session.
        clients.iter().try_for_each(|tls| alone(plan.target, tls))?;
    }
    let mut poller = Poller::new()?;
    let (mut begun, mut done, mut of_that_kind) = (0, 0, 0);
    let mut attempts: Vec<Attempt> = Vec::new();
    let start = Instant::now();
    for (number, tls) in clients.iter().enumerate().take(usize::try_from(plan.handshakes).unwrap_or(usize::MAX)) {
        attempts.push(Attempt::begin(plan.target, tls, &poller, number)?);
        begun += 1;
    }
    let mut total = plan.handshakes;
    let wanted = if plan.resuming { HandshakeKind::Resumed } else { HandshakeKind::Full };
    let mut ready = Vec::new();
    while done < total {
        ready.clear();
        ready.extend_from_slice(poller.wait(Some(STALL))?);
        if ready.is_empty() {
            return Err(io::Error::other(format!("nothing happened for {STALL:?} after {done} handshakes")));
        }
        if start.elapsed() > plan.at_most {
            total = total.min(begun);
        }
        for &number in &ready {
            let index = number as usize;
            let Some(kind) = attempts[index].advance()? else { continue };
            done += 1;
            of_that_kind += u64::from(kind == wanted);
            if begun < total {
                attempts[index] = Attempt::begin(plan.target, &clients[index], &poller, index)?;
                begun += 1;
            } else {
                attempts[index].carrier.close();
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    // A proxy may change its ticket key, or refuse a ticket that is late; more than a few say that it does not resume.
    if of_that_kind * 100 < done * 98 {
        return Err(io::Error::other(format!("only {of_that_kind} of {done} handshakes were {wanted:?}")));
    }
    Ok(serde_json::json!({"requests": done, "answers": {"200": done}, "seconds": seconds}).to_string())
}

/// One connection from its beginning to its end.
fn alone(target: SocketAddr, tls: &Arc<ClientConfig>) -> io::Result<()> {
    let mut poller = Poller::new()?;
    let mut attempt = Attempt::begin(target, tls, &poller, 0)?;
    while attempt.advance()?.is_none() {
        if poller.wait(Some(STALL))?.is_empty() {
            return Err(io::Error::other("the first handshake hangs"));
        }
    }
    Ok(())
}

impl Attempt {
    fn begin(target: SocketAddr, tls: &Arc<ClientConfig>, poller: &Poller, number: usize) -> io::Result<Self> {
        let mut carrier = Carrier::open(target, Some(tls))?;
        carrier.flush()?;
        poller.add(&carrier, number as u64)?;
        Ok(Self { carrier, asked: false, answer: Vec::new() })
    }

    /// The kind of the handshake once the connection has ended with a good answer.
    fn advance(&mut self) -> io::Result<Option<HandshakeKind>> {
        let mut buffer = [0; ANSWER_BYTES];
        loop {
            let read = self.carrier.read(&mut buffer);
            if !self.asked && self.carrier.handshake().is_some() {
                self.carrier.write_all(REQUEST)?;
                self.asked = true;
            }
            match read {
                Ok(0) => {
                    let answered = message::answer(&self.answer)?.is_some_and(|answer| answer.status == 200);
                    let kind = self.carrier.handshake().filter(|_| answered);
                    return kind.map(Some).ok_or_else(|| io::Error::other("a connection ended without an answer"));
                }
                Ok(count) => self.answer.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}
