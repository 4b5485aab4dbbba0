//! Handshakes from outside: how many at once and for how long, which versions, what is resumed, and what happens to them while
//! certificates change.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion, version};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::kit::directory::Directory;
use crate::kit::process::Stream;
use crate::kit::raw::{Raw, header};
use crate::kit::tls::{Pair, handshake, provider, served, trusting};
use crate::kit::{Baton, Config, Master, among_others, eventually, masters};

/// The head of a record of a handshake that announces more than it brings.
const HALF_A_HELLO: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

fn config(masters: &[Master], pair: &Pair, tls: &str, limits: &str) -> Config {
    let (cert, key) = (pair.cert.display(), pair.key.display());
    let lines =
        format!("tls: {{ certificates: [{{ cert: \"{cert}\", key: \"{key}\" }}]{tls} }}\nlimits: {{ {limits} }}");
    Config::of(masters).workers(1).listener(&lines)
}

/// A client of one version that remembers its sessions.
fn speaking(pairs: &[&Pair], version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for pair in pairs {
        roots.add(pair.der.clone()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Asks once on a new connection, and tells how the session began.
async fn asked(to: SocketAddr, tls: &Arc<ClientConfig>) -> std::io::Result<HandshakeKind> {
    let stream = handshake(to, "bot.example", tls.clone()).await?;
    let kind = stream.get_ref().1.handshake_kind().expect("a handshake that is over");
    let mut client = Raw::over(stream);
    client.send("GET / HTTP/1.1\r\nHost: bot.example\r\nConnection: close\r\n\r\n").await;
    let answer = client.rest().await;
    if answer.starts_with("HTTP/1.1 200 ") { Ok(kind) } else { Err(std::io::Error::other(answer)) }
}

#[tokio::test]
async fn those_who_never_finish_their_handshake_make_room_for_others() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let (pair, masters) = (Pair::make(&directory, "one", &["bot.example"]), masters(["a"]).await);
    let baton = Baton::start_unprobed(&config(&masters, &pair, "", "handshakes: 5, handshake_timeout: 1h")).await;
    let mut hanging = Vec::new();
    for number in 0..20 {
        let mut stream = TcpStream::connect(baton.address()).await.unwrap();
        // Half of them say nothing at all.
        if number % 2 == 0 {
            stream.write_all(HALF_A_HELLO).await.unwrap();
        }
        hanging.push(Raw::over(stream));
    }
    let shed = async || baton.metric("baton_refused_total", &[("reason", "tls-overload")]).await;
    eventually("the older ones closed", async || (shed().await == 15.0).then_some(())).await;
    let under_way = async || baton.metric("baton_tls_handshakes", &[]).await;
    assert_eq!(under_way().await, 5.0);
    for client in &mut hanging[..15] {
        client.expect_end().await;
    }
    // One that waits among them is served, and costs the oldest its place.
    let tls = trusting(&pair.der, &[]);
    for _ in 0..10 {
        asked(baton.address(), &tls).await.expect("a handshake and an answer");
    }
    assert_eq!(shed().await, 16.0);
    assert_eq!(under_way().await, 4.0);
    let open = async || baton.metric("baton_connections", &[]).await;
    eventually("only those that hang", async || (open().await == 4.0).then_some(())).await;
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_ended_and_counted() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let (pair, masters) = (Pair::make(&directory, "one", &["bot.example"]), masters(["a"]).await);
    let baton = Baton::start_unprobed(&config(&masters, &pair, "", "handshake_timeout: 300ms")).await;
    let (mut silent, mut slow) = (Raw::connect(baton.address()).await, Raw::connect(baton.address()).await);
    // A byte at a time does not help.
    for byte in &HALF_A_HELLO[..3] {
        slow.send([*byte]).await;
    }
    silent.expect_end().await;
    slow.expect_end().await;
    let late = async || baton.metric("baton_refused_total", &[("reason", "tls-timeout")]).await;
    eventually("two that are counted", async || (late().await == 2.0).then_some(())).await;
    assert_eq!(baton.metric("baton_tls_handshakes", &[]).await, 0.0);
}

#[tokio::test]
async fn a_version_below_the_least_is_refused() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let (pair, masters) = (Pair::make(&directory, "one", &["bot.example"]), masters(["a"]).await);
    let baton = Baton::start_unprobed(&config(&masters, &pair, ", min_version: \"1.3\"", "")).await;
    let error = asked(baton.address(), &speaking(&[&pair], &version::TLS12)).await.expect_err("a refusal");
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    asked(baton.address(), &speaking(&[&pair], &version::TLS13)).await.expect("an answer");
}

#[tokio::test]
async fn sessions_are_resumed_after_the_certificate_was_replaced() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let (old, masters) = (Pair::make(&directory, "one", &["bot.example"]), masters(["a"]).await);
    let baton = Baton::start_unprobed(&config(&masters, &old, "", "")).await;
    let clients = [&version::TLS12, &version::TLS13].map(|version| speaking(&[&old], version));
    for client in &clients {
        assert_eq!(asked(baton.address(), client).await.unwrap(), HandshakeKind::Full);
    }
    let generation = baton.generation().await;
    let new = Pair::make(&directory, "one", &["bot.example"]);
    baton.hang_up();
    eventually("a reload", async || (baton.generation().await > generation).then_some(())).await;
    // The generation is told a moment before new connections get what is new in it.
    eventually("the new certificate", async || (served(baton.address(), "bot.example").await == new.der).then_some(()))
        .await;
    for client in &clients {
        // It trusts the old certificate alone: with a full handshake it would turn away.
        assert_eq!(asked(baton.address(), client).await.unwrap(), HandshakeKind::Resumed);
    }
    assert_eq!(baton.metric("baton_tls_handshakes_total", &[("kind", "resumed")]).await, 2.0);
}

#[tokio::test]
async fn no_request_fails_while_certificates_are_swapped() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let masters = masters(["a"]).await;
    let other = Directory::new();
    let pairs = [Pair::make(&directory, "one", &["bot.example"]), Pair::make(&other, "two", &["bot.example"])];
    let baton = Baton::start_unprobed(&config(&masters, &pairs[0], "", "")).await;
    let address = baton.address();
    let over = Arc::new(AtomicBool::new(false));
    let trusted = [&pairs[0], &pairs[1]];

    let newcomers = {
        // Without a memory every handshake is a full one.
        let mut tls = Arc::unwrap_or_clone(speaking(&trusted, &version::TLS13));
        tls.resumption = rustls::client::Resumption::disabled();
        let (tls, over) = (Arc::new(tls), over.clone());
        tokio::spawn(async move {
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                asked(address, &tls).await.expect("a handshake and an answer");
                count += 1;
            }
            count
        })
    };
    let regulars = {
        let (tls, over) = (speaking(&trusted, &version::TLS12), over.clone());
        tokio::spawn(async move {
            let mut client = Raw::over(handshake(address, "bot.example", tls).await.unwrap());
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                client.send("GET / HTTP/1.1\r\nHost: bot.example\r\n\r\n").await;
                let head = client.head().await;
                assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
                let length = header(&head, "content-length").and_then(|length| length.parse().ok()).unwrap();
                client.take(length).await;
                count += 1;
            }
            count
        })
    };
    let texts = pairs.each_ref().map(|pair| [&pair.cert, &pair.key].map(|path| std::fs::read_to_string(path).unwrap()));
    for swap in 1..=20 {
        let (pair, [cert, key]) = (&pairs[swap % 2], &texts[swap % 2]);
        // In two steps, as tools do it: what is read in between does not fit, and the old pair stays.
        directory.write("one.pem", cert);
        directory.write("one-key.pem", key);
        baton.hang_up();
        eventually("the other certificate", async || (served(address, "bot.example").await == pair.der).then_some(()))
            .await;
    }
    over.store(true, Ordering::Relaxed);
    let (newcomers, regulars) = (newcomers.await.unwrap(), regulars.await.unwrap());
    assert!(newcomers >= 20 && regulars >= 20, "{newcomers} handshakes and {regulars} requests on one connection");
    assert!(baton.metric("baton_config_reloads_total", &[("outcome", "applied")]).await >= 20.0);
    // The clients leave in good order, and nobody was turned away.
    assert_eq!(baton.metric("baton_refused_total", &[]).await, 0.0);
}

#[tokio::test]
async fn the_end_of_a_certificate_is_in_status_and_metrics_and_told_in_the_log() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let masters = masters(["a"]).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let end = now + 5 * 24 * 3600 + 3600;
    let mut params = rcgen::CertificateParams::new(vec!["bot.example".to_owned()]).unwrap();
    params.not_after = (std::time::UNIX_EPOCH + std::time::Duration::from_secs(end)).into();
    let key = rcgen::KeyPair::generate().unwrap();
    let made = params.self_signed(&key).unwrap();
    let pair = Pair {
        cert: directory.write("one.pem", &made.pem()),
        key: directory.write("one-key.pem", &key.serialize_pem()),
        der: made.der().clone(),
    };
    let baton = Baton::start_unprobed(&config(&masters, &pair, "", "")).await;
    let labels = [("listener", "gateway"), ("name", "bot.example")];
    let metric = baton.metric("baton_certificate_expiry_timestamp_seconds", &labels).await;
    assert_eq!(metric, end as f64);
    let certificate = baton.status().await["listeners"][0]["certificates"][0].clone();
    assert_eq!(certificate["names"], serde_json::json!(["bot.example"]));
    assert_eq!(certificate["expires"], end);
    eventually("a warning", async || {
        let said = baton.process.said(Stream::Err);
        said.contains("the certificate for bot.example expires in 5 days").then_some(())
    })
    .await;
}
