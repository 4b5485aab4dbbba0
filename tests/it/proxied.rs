//! The PROXY protocol: whose connection it is, as a trusted balancer tells, and as masters are told.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::kit::raw::{Raw, RawMaster, header};
use crate::kit::{Baton, Config, SOON, among_others, eventually};
use crate::tcp::tcp;

const TRUSTED: &str = "proxy_protocol: { trusted: [127.0.0.1] }\nlimits: { header_timeout: 400ms }";
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n";

/// A header of version 2 with this command, family and block.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = (block.len() as u16).to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, block].concat()
}

/// Of 192.0.2.7:4711 to 10.0.0.1:443, with a TLV.
fn v2_of_client() -> Vec<u8> {
    v2(0x21, 0x11, &[192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x67, 1, 0xbb, 4, 0, 2, 9, 9])
}

/// A connection from this host of the loopback network.
async fn from(host: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
    socket.connect(to).await.unwrap()
}

/// The client as a master of requests is told it.
async fn forwarded(baton: &Baton, master: &RawMaster, host: u8, begin: &[u8]) -> String {
    let mut client = Raw::over(from(host, baton.address()).await);
    client.send([begin, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"].concat()).await;
    let mut asked = master.accept().await;
    let head = asked.head().await;
    asked.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    client.head().await;
    header(&head, "x-forwarded-for").expect("a client").to_owned()
}

#[tokio::test]
async fn requests_are_those_of_the_client_that_a_trusted_balancer_tells() {
    let _machine = among_others().await;
    let master = RawMaster::bind().await;
    let baton = Baton::start(&Config::empty().master("a", master.address, "").listener(TRUSTED)).await;
    for begin in [V1, &v2_of_client()] {
        assert_eq!(forwarded(&baton, &master, 1, begin).await, "192.0.2.7");
    }
    // The balancer's own connections, and clients of which it can tell nothing.
    for begin in [&v2(0x20, 0, b"")[..], b"PROXY UNKNOWN\r\n", &v2(0x21, 0x31, &[7; 216]), &v2(0x21, 0, b"")] {
        assert_eq!(forwarded(&baton, &master, 1, begin).await, "127.0.0.1");
    }
    // Others have no header, and what looks like one is no request.
    assert_eq!(forwarded(&baton, &master, 2, b"").await, "127.0.0.2");
    let mut client = Raw::over(from(2, baton.address()).await);
    client.send([V1, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat()).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 505 "), "{head}");
}

#[tokio::test]
async fn a_trusted_balancer_has_to_tell_in_order_and_in_time() {
    let _machine = among_others().await;
    let master = RawMaster::bind().await;
    let baton = Baton::start(&tcp().master("a", master.address, "").listener(TRUSTED)).await;
    let huge = v2(0x21, 0x11, &[1; 600]);
    let long = [b"PROXY TCP4 ", &[b'1'; 200][..]].concat();
    let wrong: [&[u8]; 7] =
        [b"hello", b"PROXY TCP4 1.1.1.1\r\n", &huge, &long, b"PROXY TCP4 192.0.2.7", b"\r\n\r\n\0", b""];
    for begin in wrong {
        let mut client = Raw::connect(baton.address()).await;
        client.send_if_open(begin).await;
        client.expect_end().await;
    }
    let refused = baton.metric("baton_refused_total", &[("reason", "proxy-header")]).await;
    assert_eq!(refused, wrong.len() as f64);
    // Slow, and yet in time.
    let mut client = Raw::connect(baton.address()).await;
    for part in [V1, b"ping"].concat().chunks(9) {
        client.send(part).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    master.accept().await.expect("ping").await;
}

#[tokio::test]
async fn the_client_that_is_told_decides_about_affinity_and_stands_in_the_log() {
    let _machine = among_others().await;
    let directory = crate::kit::directory::Directory::new();
    let log = directory.path().join("access.log");
    let masters = [RawMaster::bind().await, RawMaster::bind().await, RawMaster::bind().await];
    let config = tcp().listener(TRUSTED).upstream("strategy: ip-hash\noutlier_detection: off").access_log(&log);
    let names = ["a", "b", "c"];
    let config =
        masters.iter().zip(names).fold(config, |config, (master, name)| config.master(name, master.address, ""));
    let baton = Baton::start(&config).await;
    let of = async |client: u8| {
        let mut stream = TcpStream::connect(baton.address()).await.unwrap();
        stream.write_all(format!("PROXY TCP4 192.0.2.{client} 10.0.0.1 1 2\r\n").as_bytes()).await.unwrap();
        tokio::select! {
            _ = masters[0].accept() => 0,
            _ = masters[1].accept() => 1,
            _ = masters[2].accept() => 2,
        }
    };
    let mut seen = std::collections::BTreeSet::new();
    for client in 1..12 {
        let first = of(client).await;
        assert_eq!(of(client).await, first);
        seen.insert(first);
    }
    assert!(seen.len() > 1, "all clients are at one master");
    eventually("the client in the log", async || {
        std::fs::read_to_string(&log).ok()?.contains("\"client\":\"192.0.2.11\"").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_limit_for_each_client_is_one_for_each_client_that_is_told() {
    let _machine = among_others().await;
    let master = RawMaster::bind().await;
    let limits = "proxy_protocol: { trusted: [127.0.0.1] }\nlimits: { connections_per_client: 1 }\naccess: { deny: [192.0.2.9] }";
    let baton = Baton::start(&tcp().master("a", master.address, "").listener(limits)).await;
    let of = async |client: u8| {
        let mut stream = Raw::connect(baton.address()).await;
        stream.send(format!("PROXY TCP4 192.0.2.{client} 10.0.0.1 1 2\r\nping")).await;
        stream
    };
    let _first = of(1).await;
    master.accept().await.expect("ping").await;
    let _other = of(2).await;
    master.accept().await.expect("ping").await;
    of(1).await.expect_end().await;
    of(9).await.expect_end().await;
    assert_eq!(baton.metric("baton_refused_total", &[("reason", "access-denied")]).await, 1.0);
}

#[tokio::test]
async fn masters_are_told_the_client_and_probes_say_that_they_are_nobodys() {
    let _machine = among_others().await;
    for version in ["v1", "v2"] {
        let master = RawMaster::bind().await;
        let probes = "health_check: { interval: 200ms, timeout: 200ms, tcp: {} }";
        let config = tcp().master("a", master.address, "").upstream(probes);
        let config = config.upstream(&format!("proxy_protocol: {version}")).listener(TRUSTED);
        let local = if version == "v1" { b"PROXY UNKNOWN\r\n".to_vec() } else { v2(0x20, 0, b"") };
        let (baton, mut probe) = tokio::join!(Baton::start(&config), master.accept());
        probe.expect(&local).await;
        // Told by a balancer, and seen by itself.
        for (host, begin) in [(1, V1), (2, b"")] {
            let mut stream = from(host, baton.address()).await;
            let (own, to) = (stream.local_addr().unwrap(), baton.address());
            stream.write_all(&[begin, b"ping"].concat()).await.unwrap();
            let (source, destination): (SocketAddr, SocketAddr) = if host == 1 {
                ("192.0.2.7:4711".parse().unwrap(), "10.0.0.1:443".parse().unwrap())
            } else {
                (own, to)
            };
            let expected = if version == "v1" {
                let (one, other) = (source.ip(), destination.ip());
                format!("PROXY TCP4 {one} {other} {} {}\r\n", source.port(), destination.port()).into_bytes()
            } else {
                let octets = |address: SocketAddr| match address.ip() {
                    std::net::IpAddr::V4(v4) => v4.octets(),
                    std::net::IpAddr::V6(_) => unreachable!("loopback is IPv4 here"),
                };
                let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
                v2(0x21, 0x11, &[&octets(source)[..], &octets(destination), &ports].concat())
            };
            loop {
                let mut server = master.accept().await;
                let begin = server.take(local.len().min(expected.len())).await;
                if begin == local {
                    continue;
                }
                let rest = server.take(expected.len() - begin.len()).await;
                assert_eq!([begin, rest].concat(), expected);
                server.expect("ping").await;
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_header_stands_before_tls() {
    let _machine = among_others().await;
    let directory = crate::kit::directory::Directory::new();
    let made = rcgen::generate_simple_self_signed(vec!["bot.example".to_owned()]).unwrap();
    let cert = directory.write("cert.pem", &made.cert.pem());
    let key = directory.write("key.pem", &made.signing_key.serialize_pem());
    let master = RawMaster::bind().await;
    let tls = format!("tls: {{ certificates: [{{ cert: \"{}\", key: \"{}\" }}] }}", cert.display(), key.display());
    let config = Config::empty().master("a", master.address, "").listener(TRUSTED).listener(&tls);
    let baton = Baton::start(&config).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let builder = rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(
        builder.with_root_certificates(roots).with_no_client_auth(),
    ));
    let mut stream = TcpStream::connect(baton.address()).await.unwrap();
    stream.write_all(&v2_of_client()).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("bot.example").unwrap();
    let mut stream = timeout(SOON, connector.connect(name, stream)).await.unwrap().expect("a handshake");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut asked = master.accept().await;
    let head = asked.head().await;
    assert_eq!(header(&head, "x-forwarded-for"), Some("192.0.2.7"));
    asked.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert!(timeout(SOON, stream.read_u8()).await.unwrap().is_ok());
}
