//! Mutual TLS: who gets in, how refusals are told apart, and what a change of the rules means for those inside.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, HandshakeKind};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::kit::directory::Directory;
use crate::kit::raw::{Raw, header};
use crate::kit::tls::{Authority, Identity, Pair, handshake, showing, trusting};
use crate::kit::{Baton, Config, among_others, eventually, masters};

/// The name that Meta's webhooks show.
const META: &str = "client.webhooks.fbclientcerts.com";

/// A listener that judges clients by the files `ca.pem` and `crl.pem`.
async fn start(directory: &Directory, server: &Pair, rules: &str) -> (Baton, [crate::kit::Master; 1]) {
    let path = |file: &str| directory.path().join(file).display().to_string();
    let tls = format!(
        "tls:\n  certificates: [{{ cert: \"{}\", key: \"{}\" }}]\n  client_auth: {{ ca: \"{}\", crl: \"{}\", {rules} }}",
        server.cert.display(),
        server.key.display(),
        path("ca.pem"),
        path("crl.pem"),
    );
    let masters = masters(["a"]).await;
    let baton = Baton::start_unprobed(&Config::of(&masters).listener(&tls)).await;
    (baton, masters)
}

/// The certificates that `certs/make` makes.
fn made_for_development(directory: &Directory) -> (Pair, Identity) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/make");
    let made = Command::new(script).arg(directory.path()).output().expect("the script runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let path = |file: &str| directory.path().join(file);
    let certificate = |file| CertificateDer::from_pem_file(path(file)).expect("a certificate in PEM");
    let key = PrivateKeyDer::from_pem_file(path("client-key.pem")).expect("a key in PEM");
    let server = Pair { cert: path("dev.pem"), key: path("dev-key.pem"), der: certificate("dev.pem") };
    (server, Identity { chain: vec![certificate("client.pem")], key })
}

/// Asks once on a new connection. How the session began when there was an answer; with TLS 1.3 a client learns that it was turned
/// away only when it reads.
async fn asked(to: SocketAddr, tls: &Arc<ClientConfig>) -> Option<HandshakeKind> {
    let stream = handshake(to, "bot.example", tls.clone()).await.ok()?;
    let kind = stream.get_ref().1.handshake_kind();
    let mut client = Raw::over(stream);
    client.send_if_open("GET / HTTP/1.1\r\nHost: bot.example\r\nConnection: close\r\n\r\n").await;
    client.rest().await.starts_with("HTTP/1.1 200 ").then_some(kind).flatten()
}

async fn ask_on(client: &mut Raw<TlsStream<TcpStream>>) {
    client.send("GET / HTTP/1.1\r\nHost: bot.example\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let length = header(&head, "content-length").and_then(|length| length.parse().ok()).expect("a length");
    client.take(length).await;
}

#[tokio::test]
async fn only_a_good_certificate_with_an_allowed_name_gets_in_and_each_refusal_is_counted_by_its_reason() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let server = Pair::make(&directory, "server", &["bot.example"]);
    let (authority, stranger) = (Authority::make("clients"), Authority::make("clients"));
    directory.write("ca.pem", &authority.pem());
    directory.write("crl.pem", &authority.revoke(&[66]));
    let rules = format!("mode: require, allowed_names: [{META}, Partner.example]");
    let (baton, _masters) = start(&directory, &server, &rules).await;

    for identity in [
        // Meta's has no DNS name.
        authority.client(&[], META, 1, 2099),
        authority.client(&[META], "anything", 2, 2099),
        authority.client(&["other.example", "partner.EXAMPLE"], "anything", 3, 2099),
    ] {
        let kind = asked(baton.address(), &showing(&server.der, identity)).await;
        assert_eq!(kind, Some(HandshakeKind::Full));
    }
    let refused = [
        ("client-name-not-allowed", authority.client(&["other.example"], "other", 4, 2099)),
        ("client-name-not-allowed", authority.client(&["*.webhooks.fbclientcerts.com"], "x", 5, 2099)),
        ("client-name-not-allowed", authority.client(&[], &format!("{META}.evil.example"), 6, 2099)),
        ("client-certificate-expired", authority.client(&[META], META, 7, 2020)),
        ("client-certificate-invalid", stranger.client(&[META], META, 8, 2099)),
        ("client-certificate-revoked", authority.client(&[META], META, 66, 2099)),
    ];
    let count = async |reason| baton.metric("baton_refused_total", &[("reason", reason)]).await;
    for (reason, identity) in refused {
        let before = count(reason).await;
        assert_eq!(asked(baton.address(), &showing(&server.der, identity)).await, None, "{reason}");
        eventually(reason, async || (count(reason).await == before + 1.0).then_some(())).await;
    }
    assert_eq!(asked(baton.address(), &trusting(&server.der, &[])).await, None);
    eventually("no certificate", async || (count("client-certificate-missing").await == 1.0).then_some(())).await;
    assert_eq!(count("tls").await, 0.0);
    assert_eq!(baton.metric("baton_tls_handshakes_total", &[("kind", "full")]).await, 3.0);
}

#[tokio::test]
async fn where_a_certificate_is_only_requested_none_is_fine_and_a_bad_one_is_not() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let server = Pair::make(&directory, "server", &["bot.example"]);
    let (authority, stranger) = (Authority::make("clients"), Authority::make("others"));
    directory.write("ca.pem", &authority.pem());
    directory.write("crl.pem", &authority.revoke(&[]));
    let (baton, _masters) = start(&directory, &server, "mode: request").await;
    assert!(asked(baton.address(), &trusting(&server.der, &[])).await.is_some());
    assert!(asked(baton.address(), &showing(&server.der, authority.client(&[], "x", 1, 2099))).await.is_some());
    // rustls shows a certificate only to those who trust its authority; one of the same name is taken for it.
    let namesake = Authority::make("clients");
    assert!(asked(baton.address(), &showing(&server.der, namesake.client(&[], "x", 1, 2099))).await.is_none());
    drop(stranger);
}

#[tokio::test]
async fn another_authority_counts_from_the_reload_on_and_closes_nobody_out() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let server = Pair::make(&directory, "server", &["bot.example"]);
    let (old, new) = (Authority::make("clients"), Authority::make("clients"));
    directory.write("ca.pem", &old.pem());
    directory.write("crl.pem", &old.revoke(&[]));
    let (baton, _masters) = start(&directory, &server, "mode: require").await;
    let (before, after) = (old.client(&[], "x", 1, 2099), new.client(&[], "x", 1, 2099));
    let (known, newcomer) = (showing(&server.der, before), showing(&server.der, after));
    let mut open = Raw::over(handshake(baton.address(), "bot.example", known.clone()).await.unwrap());
    ask_on(&mut open).await;
    assert_eq!(asked(baton.address(), &known).await, Some(HandshakeKind::Resumed));
    assert_eq!(asked(baton.address(), &newcomer).await, None);

    directory.write("crl.pem", &new.revoke(&[]));
    directory.write("ca.pem", &new.pem());
    baton.hang_up();
    eventually("a client of the new authority", async || asked(baton.address(), &newcomer).await).await;
    // Neither with its certificate nor with a ticket from before.
    assert_eq!(asked(baton.address(), &known).await, None);
    assert_eq!(asked(baton.address(), &known).await, None);
    assert_eq!(asked(baton.address(), &newcomer).await, Some(HandshakeKind::Resumed));
    ask_on(&mut open).await;

    // A list of revoked certificates does the same.
    directory.write("crl.pem", &new.revoke(&[1]));
    baton.hang_up();
    eventually("a refusal", async || asked(baton.address(), &newcomer).await.is_none().then_some(())).await;
    ask_on(&mut open).await;
}

#[tokio::test]
async fn the_certificates_for_development_fit_each_other() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let (server, client) = made_for_development(&directory);
    let authority = std::fs::read_to_string(directory.path().join("client-ca.pem")).unwrap();
    directory.write("ca.pem", &authority);
    directory.write("crl.pem", &Authority::make("another").revoke(&[]));
    let (baton, _masters) = start(&directory, &server, &format!("mode: require, allowed_names: [{META}]")).await;
    let stream = handshake(baton.address(), "localhost", showing(&server.der, client)).await.expect("a handshake");
    ask_on(&mut Raw::over(stream)).await;
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".make")), "{left:?}");
}
