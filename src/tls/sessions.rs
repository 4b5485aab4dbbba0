//! What lets a client resume its session: the keys of tickets, and the sessions of clients that take none.
//!
//! They outlive the gates that a reload builds, so that a new certificate does not cost every client a full handshake. A resumed
//! session is not asked for a certificate again. So each listener has its own, and gets new ones when its rules about
//! clients change: nobody gets in on the word of another listener, or of an authority that is no longer trusted.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use xxhash_rust::xxh3::xxh3_128;

/// Sessions remembered for clients of TLS 1.2 that take no tickets; each takes a few kilobytes at most.
const SESSIONS_MAX: usize = 1024;

/// Those of this process, by listener. As many entries as there were listeners since the start.
static SCOPES: LazyLock<Mutex<HashMap<String, Scope>>> = LazyLock::new(Mutex::default);

/// The sessions of one listener.
#[derive(Debug, Clone)]
pub struct Scope {
    rules: u128,
    pub tickets: Arc<dyn ProducesTickets>,
    pub store: Arc<dyn StoresServerSessions>,
}

/// The sessions of a listener. They are new ones when `rules`, which decides who gets in, is not what it was.
///
/// # Errors
/// When the source of randomness fails.
pub fn of_listener(name: &str, rules: &[u8]) -> Result<Scope, rustls::Error> {
    let rules = xxh3_128(rules);
    let mut scopes = SCOPES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(scope) = scopes.get(name).filter(|scope| scope.rules == rules) {
        return Ok(scope.clone());
    }
    let scope = Scope { rules, tickets: Ticketer::new()?, store: ServerSessionMemoryCache::new(SESSIONS_MAX) };
    scopes.insert(name.to_owned(), scope.clone());
    Ok(scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_after_a_reload_and_not_after_the_rules_changed_nor_elsewhere() {
        let ticket = of_listener("a-test", b"one").unwrap().tickets.encrypt(b"session").unwrap();
        assert_eq!(of_listener("a-test", b"one").unwrap().tickets.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(of_listener("another-test", b"one").unwrap().tickets.decrypt(&ticket), None);
        assert_eq!(of_listener("a-test", b"two").unwrap().tickets.decrypt(&ticket), None);
        assert_eq!(of_listener("a-test", b"one").unwrap().tickets.decrypt(&ticket), None);
    }
}
