//! Handshakes of one worker at one listener: in time, and not too many at once.
//!
//! A handshake is the one thing that a stranger gets without having shown anything, and it can be begun and never finished
//! at no cost. So one over the limit is not made to wait, which would let those who hang keep everybody else out: the oldest one
//! under way is closed for it. An honest client needs a few round trips and is long done when its turn would come. A connection
//! that has said nothing counts, and holds no session yet.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::time::SystemTime;

use rustls::{CertificateError, HandshakeKind};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::challenges;
use super::client_auth::{NameNotAllowed, is_current};
use super::server::Gate;
use crate::telemetry::hot::{Handshake, ListenerCounters, ListenerSlot, Refusal};

/// Those under way.
#[derive(Debug, Default)]
pub struct Handshakes {
    begun: Cell<u64>,
    /// By their number; dropping what stands there ends one.
    under_way: RefCell<BTreeMap<u64, oneshot::Sender<()>>>,
}

/// One under way, until dropped.
struct Place<'a> {
    of: &'a Handshakes,
    counters: &'a ListenerCounters,
    number: u64,
}

impl Handshakes {
    /// Makes the handshake on a new connection. `None`: it was an ACME server's, and is over. Cancel-safe in that it then counts
    /// as ended.
    ///
    /// # Errors
    /// Why the client was turned away; the connection is closed.
    pub async fn accept(
        &self,
        socket: TcpStream,
        gate: &Gate,
        counters: &ListenerCounters,
    ) -> Result<Option<TlsStream<TcpStream>>, Refusal> {
        let (_place, shed) = self.begin(gate.handshakes_max, counters);
        let mut stream = tokio::select! {
            made = tokio::time::timeout(gate.timeout, make(socket, gate)) => match made {
                Ok(made) => made.map_err(|error| {
                    tracing::debug!(%error, "a TLS handshake failed");
                    if gate.is_bare() { Refusal::NoCertificate } else { refusal(&error) }
                })?,
                Err(_) => return Err(Refusal::TlsTimeout),
            },
            // It is dropped, never sent.
            _ = shed => return Err(Refusal::TlsOverload),
        };
        let (_, session) = stream.get_ref();
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        if resumed && let Some([certificate, ..]) = session.peer_certificates() {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            if !is_current(certificate, now) {
                return Err(Refusal::ClientCertificateExpired);
            }
        }
        if session.alpn_protocol() == Some(challenges::ALPN) {
            // The certificate was the answer.
            let _ = stream.shutdown().await;
            return Ok(None);
        }
        let kind = if resumed { Handshake::Resumed } else { Handshake::Full };
        counters.increment(ListenerSlot::Handshake(kind));
        Ok(Some(stream))
    }

    /// Counts one more, and ends the oldest when that makes too many.
    fn begin<'a>(&'a self, most: usize, counters: &'a ListenerCounters) -> (Place<'a>, oneshot::Receiver<()>) {
        let number = self.begun.get();
        self.begun.set(number.wrapping_add(1));
        let (end, ended) = oneshot::channel();
        let mut under_way = self.under_way.borrow_mut();
        under_way.insert(number, end);
        while under_way.len() > most.max(1) {
            under_way.pop_first();
        }
        counters.increment(ListenerSlot::HandshakesBegun);
        (Place { of: self, counters, number }, ended)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.of.under_way.borrow_mut().remove(&self.number);
        self.counters.increment(ListenerSlot::HandshakesEnded);
    }
}

async fn make(socket: TcpStream, gate: &Gate) -> io::Result<TlsStream<TcpStream>> {
    socket.set_nodelay(true)?;
    // A session takes kilobytes, and many who connect say nothing.
    socket.readable().await?;
    TlsAcceptor::from(gate.config.clone()).accept(socket).await
}

/// The reason as it is counted.
fn refusal(error: &io::Error) -> Refusal {
    let cause = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::NoCertificatesPresented) => Refusal::ClientCertificateMissing,
        Some(rustls::Error::InvalidCertificate(problem)) => match problem {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Refusal::ClientCertificateExpired,
            CertificateError::Revoked => Refusal::ClientCertificateRevoked,
            CertificateError::Other(other) if other.0.is::<NameNotAllowed>() => Refusal::ClientNameNotAllowed,
            _ => Refusal::ClientCertificateInvalid,
        },
        _ => Refusal::Tls,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::sync::oneshot::error::TryRecvError;

    #[test]
    fn one_too_many_ends_the_oldest_and_what_is_over_makes_room() {
        let (handshakes, counters) = (Handshakes::default(), ListenerCounters::default());
        let (first, mut first_shed) = handshakes.begin(2, &counters);
        let (second, mut second_shed) = handshakes.begin(2, &counters);
        assert_eq!(first_shed.try_recv(), Err(TryRecvError::Empty));
        let (third, mut third_shed) = handshakes.begin(2, &counters);
        assert_eq!(first_shed.try_recv(), Err(TryRecvError::Closed));
        assert_eq!(second_shed.try_recv(), Err(TryRecvError::Empty));
        drop((first, second));
        let (_fourth, _) = handshakes.begin(2, &counters);
        assert_eq!(third_shed.try_recv(), Err(TryRecvError::Empty));
        drop(third);
        let under_way = |counters: &ListenerCounters| {
            counters.get(ListenerSlot::HandshakesBegun) - counters.get(ListenerSlot::HandshakesEnded)
        };
        assert_eq!((under_way(&counters), handshakes.under_way.borrow().len()), (1, 1));
    }

    #[test]
    fn a_reload_to_a_lower_limit_ends_as_many_as_are_too_many() {
        let (handshakes, counters) = (Handshakes::default(), ListenerCounters::default());
        let mut kept: Vec<_> = (0..5).map(|_| handshakes.begin(10, &counters)).collect();
        let (_place, _) = handshakes.begin(2, &counters);
        let shed = kept.iter_mut().filter_map(|(_, shed)| (shed.try_recv() == Err(TryRecvError::Closed)).then_some(()));
        assert_eq!(shed.count(), 4);
    }

    #[test]
    fn reasons_are_told_apart() {
        let counted = |error: rustls::Error| refusal(&io::Error::new(io::ErrorKind::InvalidData, error));
        assert_eq!(counted(rustls::Error::NoCertificatesPresented), Refusal::ClientCertificateMissing);
        assert_eq!(counted(CertificateError::Expired.into()), Refusal::ClientCertificateExpired);
        assert_eq!(counted(CertificateError::Revoked.into()), Refusal::ClientCertificateRevoked);
        assert_eq!(counted(CertificateError::UnknownIssuer.into()), Refusal::ClientCertificateInvalid);
        let name = CertificateError::Other(rustls::OtherError(Arc::new(NameNotAllowed)));
        assert_eq!(counted(name.into()), Refusal::ClientNameNotAllowed);
        assert_eq!(counted(rustls::Error::HandshakeNotComplete), Refusal::Tls);
        assert_eq!(refusal(&io::ErrorKind::ConnectionReset.into()), Refusal::Tls);
    }
}
