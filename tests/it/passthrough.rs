//! TLS passed on unread to where its name leads, and decrypted where the listener has certificates.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::kit::directory::Directory;
use crate::kit::raw::Raw;
use crate::kit::{Baton, Config, SOON, among_others, eventually};

/// A certificate for these names that signs for itself, and its key.
fn pair(names: &[&str]) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// A master that does TLS itself, for these names; it says its own name and ends.
async fn tls_master(says: &'static str, (cert, key): &(String, String)) -> SocketAddr {
    let certificate = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![certificate], key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.write_all(says.as_bytes()).await;
                    let _ = stream.shutdown().await;
                }
            });
        }
    });
    address
}

fn connector(cert: &str, protocols: &[&str]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

/// What the master says to a client that asks for this name and believes this certificate.
async fn asked(to: SocketAddr, name: &str, cert: &str) -> String {
    let stream = TcpStream::connect(to).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let conversation = async {
        let mut stream = connector(cert, &[]).connect(name, stream).await.expect("a handshake with the master");
        let mut said = String::new();
        stream.read_to_string(&mut said).await.expect("an end in order");
        said
    };
    timeout(SOON, conversation).await.expect("an answer in time")
}

fn listener(default: SocketAddr, a: SocketAddr, b: SocketAddr) -> Config {
    Config::empty()
        .listener("protocol: tcp\nupstream: bots\nlimits: { header_timeout: 400ms }")
        .listener("sni: [{ names: [a.example], upstream: a }, { names: [\"*.b.example\"], upstream: b }]")
        .master("default", default, "")
        .top("drain_timeout: 1s")
        .upstreams(&format!(
            "  - {{ name: a, masters: [{{ name: a, address: \"{a}\" }}] }}\n  - {{ name: b, masters: [{{ name: b, address: \"{b}\" }}] }}\n"
        ))
}

#[tokio::test]
async fn the_name_that_a_client_asks_for_leads_to_its_master_which_does_the_handshake() {
    let _machine = among_others().await;
    let pairs = [pair(&["a.example"]), pair(&["x.b.example", "y.z.b.example"]), pair(&["c.example", "127.0.0.1"])];
    let a = tls_master("a", &pairs[0]).await;
    let b = tls_master("b", &pairs[1]).await;
    let default = tls_master("default", &pairs[2]).await;
    let baton = Baton::start(&listener(default, a, b)).await;
    let to = baton.address();
    assert_eq!(asked(to, "a.example", &pairs[0].0).await, "a");
    assert_eq!(asked(to, "A.Example", &pairs[0].0).await, "a");
    assert_eq!(asked(to, "x.b.example", &pairs[1].0).await, "b");
    assert_eq!(asked(to, "y.z.b.example", &pairs[1].0).await, "b");
    assert_eq!(asked(to, "c.example", &pairs[2].0).await, "default");
    // An address is no name, so none is asked for.
    assert_eq!(asked(to, "127.0.0.1", &pairs[2].0).await, "default");
}

#[tokio::test]
async fn a_hello_in_pieces_is_put_together_and_reaches_the_master_as_it_was() {
    let _machine = among_others().await;
    let a = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let baton = Baton::start(&listener(unused, a.local_addr().unwrap(), unused)).await;
    // A hello for a.example in records of four bytes.
    let name = b"\0\0\0\x0e\0\x0c\0\0\x09a.example";
    let body = [&[3; 34][..], &[0], &[0, 2, 0x13, 1], &[1, 0], &[0, name.len() as u8], name].concat();
    let message = [&[1, 0, 0, body.len() as u8][..], &body].concat();
    let records: Vec<u8> =
        message.chunks(4).flat_map(|part| [&[22, 3, 1, 0, part.len() as u8], part].concat()).collect();
    let mut client = Raw::connect(baton.address()).await;
    let sending = async {
        for part in records.chunks(7) {
            client.send(part).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let (accepted, ()) = tokio::join!(timeout(SOON, a.accept()), sending);
    let mut got = vec![0; records.len()];
    timeout(SOON, accepted.unwrap().unwrap().0.read_exact(&mut got)).await.unwrap().unwrap();
    assert_eq!(got, records);
}

#[tokio::test]
async fn what_is_no_hello_or_none_in_time_is_turned_away_and_counted() {
    let _machine = among_others().await;
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = unused.local_addr().unwrap();
    let baton = Baton::start(&listener(address, address, address)).await;
    let mut huge = vec![];
    for _ in 0..3 {
        huge.extend_from_slice(&[22, 3, 1, 0x40, 0]);
        huge.extend_from_slice(&[1, 0, 0x60, 0]);
        huge.resize(huge.len() + 0x4000 - 4, 0);
    }
    for sent in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00", &huge, b""] {
        let mut client = Raw::connect(baton.address()).await;
        client.send_if_open(sent).await;
        client.expect_end().await;
    }
    // One that looks whether the port is open is no offender; one that begins and leaves is.
    drop(Raw::connect(baton.address()).await);
    Raw::connect(baton.address()).await.send(b"\x16\x03").await;
    eventually("five refusals", async || {
        let count = baton.metric("baton_refused_total", &[("reason", "client-hello")]).await;
        assert!(count <= 5.0);
        (count == 5.0 && baton.metric("baton_connections", &[]).await == 0.0).then_some(())
    })
    .await;
    assert!(timeout(Duration::from_millis(10), unused.accept()).await.is_err(), "it reached a master");
}

#[tokio::test]
async fn with_certificates_the_bytes_are_decrypted_and_any_protocol_may_be_asked_for() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let (cert, key) = pair(&["bot.example"]);
    let (cert_file, key_file) = (directory.write("cert.pem", &cert), directory.write("key.pem", &key));
    let master = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tls =
        format!("tls: {{ certificates: [{{ cert: \"{}\", key: \"{}\" }}] }}", cert_file.display(), key_file.display());
    let config = crate::tcp::tcp().listener(&tls).master("a", master.local_addr().unwrap(), "");
    let baton = Baton::start(&config).await;
    let stream = TcpStream::connect(baton.address()).await.unwrap();
    let name = ServerName::try_from("bot.example").unwrap();
    let mut client = connector(&cert, &["mqtt"]).connect(name, stream).await.expect("a handshake");
    client.write_all(b"ping").await.unwrap();
    client.shutdown().await.unwrap();
    let (mut server, _) = timeout(SOON, master.accept()).await.unwrap().unwrap();
    let mut said = String::new();
    timeout(SOON, server.read_to_string(&mut said)).await.unwrap().unwrap();
    assert_eq!(said, "ping");
    server.write_all(b"pong").await.unwrap();
    drop(server);
    said.clear();
    timeout(SOON, client.read_to_string(&mut said)).await.unwrap().expect("an end in order");
    assert_eq!(said, "pong");
}
