//! Keeps the addresses behind a master's host name current.
//!
//! A name that cannot be looked up for the moment keeps the addresses it had: a name server that is down takes no bot down.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;

use crate::config::model::Address;
use crate::upstream::master::Master;

/// `getaddrinfo` tells no time to live, so this is how stale an address may be.
const INTERVAL: Duration = Duration::from_secs(5);
/// Addresses kept of one name; one bot has one or two.
const MAX_ADDRESSES: usize = 16;

/// Looks the name up every few seconds until dropped.
pub async fn keep_current(master: Arc<Master>) {
    let mut failing = false;
    loop {
        let outcome = look_up(&master).await;
        if let Err(evidence) = &outcome
            && !failing
        {
            let known = !master.addresses().is_empty();
            let kept = if known { "its last addresses are kept" } else { "no address of it is known yet" };
            tracing::warn!("master at {} of {}: {evidence}; {kept}", master.address(), master.upstream());
        }
        failing = outcome.is_err();
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Looks the name up once and hands the addresses to the master if they changed; does nothing for other addresses.
///
/// # Errors
/// Part of a sentence, as evidence for why the master cannot be reached.
pub async fn look_up(master: &Master) -> Result<(), String> {
    let Address::Name { host, port } = master.address() else { return Ok(()) };
    let found = lookup_host((host.as_str(), *port)).await;
    let found = found.map_err(|error| format!("name lookup of {host} failed: {}", reason(&error)))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    // The resolver's order is one of preference.
    for address in found.take(MAX_ADDRESSES) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(format!("name lookup of {host} found no address"));
    }
    if **master.addresses() != addresses {
        master.set_addresses(addresses);
    }
    Ok(())
}

/// The resolver's own words, which the standard library puts behind words of its own.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
}
