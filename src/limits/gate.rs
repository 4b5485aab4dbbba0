//! Who may connect to a listener: by network, and so many connections for each client.
//!
//! Asked once for each connection, by whoever learns the client's address first: the acceptor, before anything is spent on
//! the connection. Counting takes one lock of a sharded map for a moment, when a connection comes and when it goes;
//! where connections are not counted, none. The map has an entry for each client with an open connection, so the
//! listener's own limit bounds it.

use std::net::IpAddr;
use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::clients::identity;
use super::networks::Networks;
use crate::config::model::Listener;
use crate::telemetry::hot::Refusal;

/// The rules of one listener in one generation. What is counted is shared with the next one.
#[derive(Debug)]
pub struct Gate {
    networks: Option<Networks>,
    /// 0 for any number.
    per_client: u32,
    ipv6_prefix: u8,
    clients: Arc<Clients>,
}

/// Open connections by client. Its hash is seeded at random.
type Clients = DashMap<u128, u32>;

/// One connection's part in its client's count, until dropped.
#[derive(Debug)]
pub struct Seat {
    client: u128,
    clients: Arc<Clients>,
}

impl Gate {
    #[must_use]
    pub fn build(listener: &Listener, before: Option<&Self>) -> Arc<Self> {
        Arc::new(Self {
            networks: listener.access.as_ref().map(Networks::new),
            per_client: listener.limits.connections_per_client,
            ipv6_prefix: listener.limits.client_ipv6_prefix,
            clients: before.map_or_else(Arc::default, |before| before.clients.clone()),
        })
    }

    /// Lets a connection of this client in, with its seat where connections are counted.
    ///
    /// # Errors
    /// Why it is to be closed.
    pub fn enter(&self, address: Option<IpAddr>) -> Result<Option<Seat>, Refusal> {
        if self.networks.as_ref().is_some_and(|networks| !networks.admit(address)) {
            return Err(Refusal::AccessDenied);
        }
        // Behind a Unix socket everybody is the same client.
        if self.per_client == 0 || address.is_none() {
            return Ok(None);
        }
        let client = identity(address, self.ipv6_prefix);
        let mut open = self.clients.entry(client).or_insert(0);
        if *open >= self.per_client {
            return Err(Refusal::ClientConnections);
        }
        *open += 1;
        Ok(Some(Seat { client, clients: self.clients.clone() }))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Entry::Occupied(mut open) = self.clients.entry(self.client) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{self, System};

    fn listener(keys: &str) -> Listener {
        let text = format!(
            "listeners: [{{ name: gateway, address: \"127.0.0.1:0\", {keys} }}]\nroutes: [{{ name: all, upstream: bots }}]\n\
             upstreams: [{{ name: bots, masters: [{{ name: a, address: \"127.0.0.1:1\" }}] }}]"
        );
        config::parse(&text, Path::new("baton.yaml"), &System).unwrap().config.listeners.remove(0)
    }

    fn enter(gate: &Gate, address: &str) -> Result<Option<Seat>, Refusal> {
        gate.enter(Some(address.parse().unwrap()))
    }

    #[test]
    fn a_client_has_so_many_seats_and_each_is_free_again_when_its_connection_ends() {
        let gate = Gate::build(&listener("limits: { connections_per_client: 2 }"), None);
        let first = enter(&gate, "192.0.2.1").unwrap();
        let _second = enter(&gate, "192.0.2.1").unwrap();
        assert_eq!(enter(&gate, "192.0.2.1").unwrap_err(), Refusal::ClientConnections);
        assert!(enter(&gate, "192.0.2.2").is_ok());
        drop(first);
        assert!(enter(&gate, "192.0.2.1").is_ok());
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let gate = Gate::build(&listener("limits: { connections_per_client: 1, client_ipv6_prefix: 56 }"), None);
        let _seat = enter(&gate, "2001:db8:0:1::1").unwrap();
        assert!(enter(&gate, "2001:db8:0:2::1").is_err());
        assert!(enter(&gate, "2001:db8:0:100::1").is_ok());
    }

    #[test]
    fn counts_go_on_in_the_next_generation_under_its_limit() {
        let before = Gate::build(&listener("limits: { connections_per_client: 1 }"), None);
        let _seat = enter(&before, "192.0.2.1").unwrap();
        let after = Gate::build(&listener("limits: { connections_per_client: 2 }"), Some(&before));
        let _other = enter(&after, "192.0.2.1").unwrap();
        assert!(enter(&after, "192.0.2.1").is_err() && enter(&before, "192.0.2.1").is_err());
    }

    #[test]
    fn nobody_is_remembered_without_a_connection_or_a_limit() {
        let gate = Gate::build(&listener("limits: { connections_per_client: 3 }"), None);
        let seats: Vec<_> = (0..3).map(|_| enter(&gate, "192.0.2.1").unwrap()).collect();
        drop(seats);
        assert!(gate.clients.is_empty());
        let gate = Gate::build(&listener(""), None);
        assert!(enter(&gate, "192.0.2.1").unwrap().is_none() && gate.clients.is_empty());
    }

    #[test]
    fn networks_are_asked_first() {
        let gate =
            Gate::build(&listener("access: { deny: [10.0.0.0/8] }, limits: { connections_per_client: 1 }"), None);
        assert_eq!(enter(&gate, "10.0.0.1").unwrap_err(), Refusal::AccessDenied);
        assert!(gate.clients.is_empty());
    }
}
