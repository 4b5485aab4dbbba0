//! What is said of a connection when it is over: its count and its line in the access log, also when the worker ends
//! before the connection does.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use crate::clock::{self, Micros};
use crate::proxy::http::shared::Shared;
use crate::snapshot::Upstream;
use crate::telemetry::access_log::entry::Entry;
use crate::telemetry::hot::{MasterSlot, TcpEnd};
use crate::tls::hello::Name;
use crate::upstream::connection::Pool;

/// A connection's story so far. Dropping it tells it.
pub struct Told {
    shared: Rc<Shared>,
    client: Option<IpAddr>,
    pub started: Micros,
    pub upstream: Option<Arc<Upstream>>,
    /// Position in the upstream, and where it is counted.
    pub master: Option<(usize, Rc<Pool>)>,
    pub attempts: u32,
    /// The name that a TLS client asked for.
    pub name: Name,
    pub to_master: u64,
    pub to_client: u64,
    /// Counted when there is a master.
    pub end: TcpEnd,
    /// Another word for the log, where the connection did not get so far as to be counted.
    pub word: Option<&'static str>,
}

impl Told {
    pub fn new(shared: Rc<Shared>, client: Option<IpAddr>) -> Self {
        Self {
            shared,
            client,
            started: clock::now(),
            upstream: None,
            master: None,
            attempts: 0,
            name: None,
            to_master: 0,
            to_client: 0,
            end: TcpEnd::Stopped,
            word: None,
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some((_, pool)) = &self.master {
            pool.counters.increment(MasterSlot::Ended(self.end));
        }
        if !self.shared.log.is_on() {
            return;
        }
        let upstream = self.upstream.as_ref().map(|upstream| &upstream.settings);
        let master = upstream.zip(self.master.as_ref()).and_then(|(upstream, (at, _))| upstream.masters.get(*at));
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.shared.log.write(&Entry {
            unix_millis: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
            request_id: &self.shared.local.ids.next(),
            client: self.client,
            method: b"",
            host: self.name.as_deref().unwrap_or_default().as_bytes(),
            path: b"",
            protocol: "TCP",
            status: 0,
            bytes_in: self.to_master,
            bytes_out: self.to_client,
            duration_micros: clock::now().saturating_sub(self.started),
            route: None,
            upstream: upstream.map(|upstream| &*upstream.name),
            master: master.map(|master| &*master.name),
            attempts: self.attempts,
            end: self.word.unwrap_or(self.end.word()),
        });
    }
}
