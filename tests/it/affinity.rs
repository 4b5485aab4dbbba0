//! A conversation stays with its master, whatever names it, until that master is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpSocket;

use crate::kit::config::PROBES;
use crate::kit::http::Client;
use crate::kit::{Baton, Config, among_others, eventually, masters};

/// Enough keys that all on one of three masters is no accident (3 in 10^14).
const KEYS: u8 = 30;

/// Asks three times for each key, over changing connections; gives the only master of each key.
async fn owners(baton: &Baton, headers: impl Fn(u8) -> (&'static str, String)) -> BTreeMap<u8, String> {
    let mut owners: BTreeMap<u8, BTreeSet<String>> = BTreeMap::new();
    for _ in 0..3 {
        let mut client = Client::connect(baton.address()).await;
        for key in 0..KEYS {
            let (name, value) = headers(key);
            let answer = client.get_with("/", &[(name, &value)]).await;
            owners.entry(key).or_default().insert(answer.master().to_owned());
        }
    }
    owners.into_iter().map(|(key, masters)| (key, only(masters, &format!("key {key}")))).collect()
}

fn only(masters: BTreeSet<String>, whose: &str) -> String {
    assert_eq!(masters.len(), 1, "{whose} was served by {masters:?}");
    masters.into_iter().next().unwrap()
}

fn assert_spread(owners: &BTreeMap<u8, String>) {
    let masters: BTreeSet<&String> = owners.values().collect();
    assert_eq!(masters.len(), 3, "{owners:?}");
}

#[tokio::test]
async fn a_header_names_the_conversation() {
    let _machine = among_others().await;
    let masters = masters(["a", "b", "c"]).await;
    let baton = Baton::start(&Config::of(&masters).upstream("affinity: { key: \"header:X-Conversation\" }")).await;
    assert_spread(&owners(&baton, |key| ("x-conversation", format!("9715000{key}"))).await);
}

#[tokio::test]
async fn a_cookie_names_the_conversation_among_other_cookies() {
    let _machine = among_others().await;
    let masters = masters(["a", "b", "c"]).await;
    let baton = Baton::start(&Config::of(&masters).upstream("affinity: { key: \"cookie:chat\" }")).await;
    assert_spread(&owners(&baton, |key| ("cookie", format!("theme=dark; chat={key}; xchat=1"))).await);
}

#[tokio::test]
async fn the_address_of_the_client_names_the_conversation() {
    let _machine = among_others().await;
    let masters = masters(["a", "b", "c"]).await;
    let baton = Baton::start(&Config::of(&masters).upstream("affinity: { key: client-ip }")).await;
    let mut all = BTreeMap::new();
    for host in 0..KEYS {
        let mut masters = BTreeSet::new();
        for _ in 0..2 {
            let mut client = client_from(IpAddr::from([127, 0, 1, host + 1]), baton.address()).await;
            masters.insert(client.get("/").await.master().to_owned());
            masters.insert(client.get("/").await.master().to_owned());
        }
        all.insert(host, only(masters, &format!("client {host}")));
    }
    assert_spread(&all);
}

#[tokio::test]
async fn requests_without_the_key_are_spread() {
    let _machine = among_others().await;
    let masters = masters(["a", "b", "c"]).await;
    let baton = Baton::start(&Config::of(&masters).upstream("affinity: { key: \"header:x-conversation\" }")).await;
    let mut client = Client::connect(baton.address()).await;
    let mut seen = BTreeSet::new();
    for _ in 0..30 {
        seen.insert(client.get("/").await.master().to_owned());
    }
    assert_eq!(seen.len(), 3);
}

#[tokio::test]
async fn conversations_of_a_dead_master_move_once_and_the_others_stay() {
    let _machine = among_others().await;
    let mut masters = masters(["a", "b", "c"]).await;
    let config = Config::of(&masters).upstream("affinity: { key: \"header:x-conversation\" }").upstream(PROBES);
    let baton = Baton::start(&config).await;
    baton.all_health("all healthy", |health| health == "healthy").await;
    let key = |key: u8| ("x-conversation", format!("9715000{key}"));
    let before = owners(&baton, key).await;
    masters[1].kill().await;
    let after = owners(&baton, key).await;
    for (key, owner) in &before {
        if owner == "b" {
            assert_ne!(after[key], "b");
        } else {
            assert_eq!(after[key], *owner, "conversation {key} moved without need");
        }
    }
    // The master comes back, and nobody moves for it.
    masters[1].restart_dead().await;
    baton.until_health("b", "healthy").await;
    assert_eq!(owners(&baton, key).await, after);
}

#[tokio::test]
async fn pins_outlive_a_reload_that_adds_a_master() {
    let _machine = among_others().await;
    let masters = masters(["a", "b", "c", "d"]).await;
    let keys = "affinity: { key: \"header:x-conversation\" }";
    let baton = Baton::start(&Config::of(&masters[..3]).upstream(keys)).await;
    let key = |key: u8| ("x-conversation", format!("9715000{key}"));
    let before = owners(&baton, key).await;
    baton.write(&Config::of(&masters).upstream(keys));
    baton.hang_up();
    let mut client = Client::connect(baton.address()).await;
    eventually("d takes part", async || (client.get("/").await.master() == "d").then_some(())).await;
    assert_eq!(owners(&baton, key).await, before);
}

async fn client_from(source: IpAddr, to: SocketAddr) -> Client {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(source, 0)).unwrap();
    Client::over(socket.connect(to).await.unwrap()).await
}
