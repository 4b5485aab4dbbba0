//! HTTPS from a client's side: which certificate it gets, what passes through, and what becomes of files that change.
//!
//! Every key is made by the test that uses it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::kit::baton::run;
use crate::kit::directory::Directory;
use crate::kit::load::measured;
use crate::kit::process::{Process, Stream};
use crate::kit::raw::{Raw, RawMaster, header};
use crate::kit::tls::{Pair, handshake, provider, served, trusting};
use crate::kit::{Baton, Config, alone, among_others, eventually};

/// A listener with these certificates, in front of one scripted master.
fn config(master: &RawMaster, pairs: &[&Pair]) -> Config {
    let item = |pair: &&Pair| format!("{{ cert: \"{}\", key: \"{}\" }}", pair.cert.display(), pair.key.display());
    let items: Vec<String> = pairs.iter().map(item).collect();
    let tls = format!("tls: {{ certificates: [{}] }}", items.join(", "));
    Config::empty().master("a", master.address, "").listener(&tls)
}

/// One request through Baton; the head that the master got.
async fn exchange(client: &mut Raw<TlsStream<TcpStream>>, upstream: &mut Raw, path: &str) -> String {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: bot.example\r\n\r\n")).await;
    let head = upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    client.expect("ok").await;
    head
}

#[tokio::test]
async fn requests_pass_over_one_connection_and_the_master_learns_that_it_was_https() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let (pair, master) = (Pair::make(&directory, "one", &["bot.example"]), RawMaster::bind().await);
    let baton = Baton::start_unprobed(&config(&master, &[&pair])).await;
    assert!(baton.process.said(Stream::Out).contains(&format!("listening on https://{} ", baton.address())));
    let tls = trusting(&pair.der, &["http/1.1"]);
    let stream = handshake(baton.address(), "bot.example", tls).await.expect("a certificate that the client trusts");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));

    let mut client = Raw::over(stream);
    client.send("GET /0 HTTP/1.1\r\nHost: bot.example\r\nX-Forwarded-Proto: http\r\n\r\n").await;
    let mut upstream = master.accept().await;
    let head = upstream.head().await;
    let forwarded: Vec<&str> =
        head.lines().filter(|line| line.to_lowercase().starts_with("x-forwarded-proto")).collect();
    assert_eq!((forwarded.len(), header(&head, "x-forwarded-proto")), (1, Some("https")), "{head}");
    upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    client.head().await;
    for path in ["/1", "/2", "/3"] {
        assert!(exchange(&mut client, &mut upstream, path).await.starts_with(&format!("GET {path} ")));
    }
    assert_eq!(baton.metric("baton_connections_total", &[]).await, 1.0);
}

#[tokio::test]
async fn large_bodies_stream_in_both_directions() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let (pair, master) = (Pair::make(&directory, "one", &["bot.example"]), RawMaster::bind().await);
    let baton = Baton::start_unprobed(&config(&master, &[&pair])).await;
    let stream = handshake(baton.address(), "bot.example", trusting(&pair.der, &[])).await.unwrap();
    let mut client = Raw::over(stream);
    let body: Vec<u8> = (0..2_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    client.send(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len())).await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    let (_, arrived) = tokio::join!(client.send(&body), upstream.take(body.len()));
    assert!(arrived == body, "another body reached the master");
    upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())).await;
    client.head().await;
    let (_, arrived) = tokio::join!(upstream.send(&body), client.take(body.len()));
    assert!(arrived == body, "another body reached the client");
    exchange(&mut client, &mut upstream, "/next").await;
}

#[tokio::test]
async fn the_name_asked_for_decides_the_certificate_and_the_first_serves_all_others() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let first = Pair::make(&directory, "first", &["one.example"]);
    let second = Pair::make(&directory, "second", &["two.example", "*.two.example"]);
    let exact = Pair::make(&directory, "exact", &["b.two.example"]);
    let master = RawMaster::bind().await;
    let baton = Baton::start_unprobed(&config(&master, &[&first, &second, &exact])).await;
    for (name, pair) in [
        ("one.example", &first),
        ("two.example", &second),
        ("TWO.example", &second),
        ("a.two.example", &second),
        ("b.two.example", &exact),
        ("a.b.two.example", &first),
        ("three.example", &first),
        ("127.0.0.1", &first),
    ] {
        assert!(served(baton.address(), name).await == pair.der, "{name} got another certificate");
    }
}

#[tokio::test]
async fn both_versions_are_spoken_and_a_session_is_resumed_by_whichever_worker() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let (pair, master) = (Pair::make(&directory, "one", &["bot.example"]), RawMaster::bind().await);
    let baton = Baton::start_unprobed(&config(&master, &[&pair])).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut roots = RootCertStore::empty();
        roots.add(pair.der.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
        let tls = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        let mut kinds = Vec::new();
        for _ in 0..3 {
            let stream = handshake(baton.address(), "bot.example", tls.clone()).await.expect("a handshake");
            assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
            let resumed = stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
            kinds.push(resumed);
            // The ticket comes with the first answer.
            let mut client = Raw::over(stream);
            client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
            let mut upstream = master.accept().await;
            upstream.head().await;
            upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
            assert!(client.rest().await.starts_with("HTTP/1.1 200 "));
        }
        assert_eq!(kinds, [false, true, true], "{version:?}");
    }
}

#[tokio::test]
async fn a_websocket_passes_in_both_directions() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let (pair, master) = (Pair::make(&directory, "one", &["bot.example"]), RawMaster::bind().await);
    let baton = Baton::start_unprobed(&config(&master, &[&pair])).await;
    let stream = handshake(baton.address(), "bot.example", trusting(&pair.der, &[])).await.unwrap();
    let mut client = Raw::over(stream);
    client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst").await;
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    client.expect("first").await;
    // Longer than a record and a buffer, so that some of it waits inside the session.
    let message: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    for _ in 0..3 {
        tokio::join!(client.send(&message), upstream.expect(&message));
        tokio::join!(upstream.send(&message), client.expect(&message));
    }
    upstream.finish().await;
    client.expect_end().await;
}

#[tokio::test]
async fn requests_of_one_record_are_all_answered() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let (pair, master) = (Pair::make(&directory, "one", &["bot.example"]), RawMaster::bind().await);
    let baton = Baton::start_unprobed(&config(&master, &[&pair])).await;
    let stream = handshake(baton.address(), "bot.example", trusting(&pair.der, &[])).await.unwrap();
    let mut client = Raw::over(stream);
    // The last ones do not fit into a buffer of 16 KiB and are left in the session when the first is answered.
    let requests: String =
        (0..4).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "y".repeat(5000))).collect();
    client.send(&requests[..16_384]).await.send(&requests[16_384..]).await.finish().await;
    let mut upstream = master.accept().await;
    for number in 0..4 {
        let head = upstream.head().await;
        assert!(head.starts_with(&format!("GET /{number} ")), "{head}");
        upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}")).await;
        client.head().await;
        client.expect(number.to_string()).await;
    }
    // It has said that it sends no more, and still got every answer.
    client.expect_end().await;
}

#[tokio::test]
async fn who_speaks_no_tls_or_no_http_1_is_turned_away_and_counted() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let (pair, master) = (Pair::make(&directory, "one", &["bot.example"]), RawMaster::bind().await);
    let baton = Baton::start_unprobed(&config(&master, &[&pair])).await;
    let refused = async |expected: f64| {
        eventually("a refusal that is counted", async || {
            (baton.metric("baton_refused_total", &[("reason", "tls")]).await == expected).then_some(())
        })
        .await;
    };
    // One that says nothing holds up nobody.
    let _silent = TcpStream::connect(baton.address()).await.unwrap();

    let mut plain = Raw::connect(baton.address()).await;
    plain.send("GET / HTTP/1.1\r\nHost: bot.example\r\n\r\n").await;
    assert!(!plain.rest().await.contains("HTTP/1.1 200"));
    refused(1.0).await;

    let error = handshake(baton.address(), "bot.example", trusting(&pair.der, &["h3"])).await.unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    refused(2.0).await;

    let stranger = Pair::make(&directory, "stranger", &["bot.example"]);
    handshake(baton.address(), "bot.example", trusting(&stranger.der, &[]))
        .await
        .expect_err("a client that trusts another");
    refused(3.0).await;

    let mut client = Raw::over(handshake(baton.address(), "bot.example", trusting(&pair.der, &[])).await.unwrap());
    client.send("GET / HTTP/1.1\r\nHost: bot.example\r\n\r\n").await;
    assert!(master.accept().await.head().await.starts_with("GET / "));
}

#[tokio::test]
async fn a_replaced_certificate_is_for_new_connections_and_open_ones_stay() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let (old, master) = (Pair::make(&directory, "one", &["bot.example"]), RawMaster::bind().await);
    let baton = Baton::start_unprobed(&config(&master, &[&old])).await;
    let stream = handshake(baton.address(), "bot.example", trusting(&old.der, &[])).await.unwrap();
    let mut client = Raw::over(stream);
    client.send("GET / HTTP/1.1\r\nHost: bot.example\r\n\r\n").await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    client.head().await;

    let new = Pair::make(&directory, "one", &["bot.example"]);
    baton.hang_up();
    eventually("the new certificate", async || {
        let now = served(baton.address(), "bot.example").await;
        assert!(now == new.der || now == old.der);
        (now == new.der).then_some(())
    })
    .await;
    handshake(baton.address(), "bot.example", trusting(&new.der, &[])).await.expect("a key that fits");
    exchange(&mut client, &mut upstream, "/later").await;

    // Nobody has to say so: the file is watched.
    let newest = Pair::make(&directory, "one", &["bot.example"]);
    eventually("the newest certificate", async || {
        (served(baton.address(), "bot.example").await == newest.der).then_some(())
    })
    .await;
    exchange(&mut client, &mut upstream, "/still").await;
}

#[tokio::test]
async fn a_pair_that_does_not_work_is_told_and_the_old_one_is_kept() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let (pair, master) = (Pair::make(&directory, "one", &["bot.example"]), RawMaster::bind().await);
    let baton = Baton::start_unprobed(&config(&master, &[&pair])).await;
    let (generation, key) = (baton.generation().await, std::fs::read_to_string(&pair.key).unwrap());
    // Of the whole configuration, or of the one listener.
    let error = async || {
        let status = baton.status().await;
        let told = [&status["config_error"], &status["listeners"][0]["certificate_errors"][0]];
        told.into_iter().find_map(|error| error.as_str().map(str::to_owned))
    };
    assert_eq!(error().await, None);

    let other = Pair::make(&directory, "other", &["bot.example"]);
    let empty = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for (wrong, rejected, stale) in [
        (std::fs::read_to_string(&other.key).unwrap(), 0.0, 1.0),
        (empty.to_owned(), 0.0, 1.0),
        // Not even a key of another kind: `baton check` says so, too.
        ("nothing".to_owned(), 1.0, 0.0),
    ] {
        std::fs::write(&pair.key, wrong).unwrap();
        baton.hang_up();
        let told = eventually("an error of the reload", &error).await;
        assert!(told.contains(pair.key.to_str().unwrap()), "{told}");
        assert!(!told.contains("PRIVATE KEY-----\n"), "{told}");
        assert!(served(baton.address(), "bot.example").await == pair.der);
        assert_eq!(baton.metric("baton_config_rejected", &[]).await, rejected);
        assert_eq!(baton.metric("baton_certificates_stale", &[]).await, stale);

        std::fs::write(&pair.key, &key).unwrap();
        baton.hang_up();
        eventually("a reload without an error", async || error().await.is_none().then_some(())).await;
    }
    assert_eq!(baton.metric("baton_config_reloads_total", &[("outcome", "rejected")]).await, 1.0);
    assert!(baton.generation().await >= generation);
    assert!(served(baton.address(), "bot.example").await == pair.der);
}

#[tokio::test]
async fn a_pair_that_does_not_work_holds_up_nothing_else_of_a_reload() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let (one, two) = (Pair::make(&directory, "one", &["bot.example"]), Pair::make(&directory, "two", &["two.example"]));
    let master = RawMaster::bind().await;
    let baton = Baton::start_unprobed(&config(&master, &[&one, &two])).await;
    std::fs::write(&one.key, std::fs::read_to_string(&two.key).unwrap()).unwrap();
    let renewed = Pair::make(&directory, "two", &["two.example", "three.example"]);
    baton.write(&config(&master, &[&one, &two]).route("timeout: 7s"));
    baton.hang_up();
    eventually("the other pair and the rest are taken up", async || {
        (served(baton.address(), "three.example").await == renewed.der).then_some(())
    })
    .await;
    assert!(served(baton.address(), "bot.example").await == one.der);
    let status = baton.status().await;
    assert_eq!(status["config_error"], serde_json::Value::Null);
    assert!(status["listeners"][0]["certificate_errors"][0].as_str().unwrap().contains("is not the key of"));
    let said = baton.process.said(Stream::Err);
    assert!(said.contains("timeout 30s -> 7s") && said.contains("the certificate that was in use stays"), "{said}");

    // What the listener did not have before is a mistake in the configuration.
    let new = Pair::make(&directory, "new", &["new.example"]);
    std::fs::write(&new.key, std::fs::read_to_string(&two.key).unwrap()).unwrap();
    baton.write(&config(&master, &[&one, &two, &new]));
    baton.hang_up();
    eventually("the reload is refused", async || {
        baton.status().await["config_error"].as_str().filter(|error| error.contains("new")).map(|_| ())
    })
    .await;
}

/// Starts with these files and gives the exit code with what was said on standard error.
async fn failed_start(command: &str, cert: &Path, key: &Path) -> (Option<i32>, String) {
    let directory = Directory::new();
    let tls = format!("tls: {{ certificates: [{{ cert: \"{}\", key: \"{}\" }}] }}", cert.display(), key.display());
    let config = Config::empty().master("a", "127.0.0.1:9".parse().unwrap(), "").listener(&tls);
    let path = directory.write("baton.yaml", &config.text(directory.path()));
    let mut process = match command {
        "run" => run(&path),
        command => Process::start(command, &[command, "--config", path.to_str().unwrap()]),
    };
    let code = process.ended().await.code();
    (code, process.said(Stream::Err))
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named_once_at_the_start() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let pair = Pair::make(&directory, "one", &["bot.example"]);
    let absent = directory.path().join("absent.pem");
    for command in ["run", "check"] {
        for (cert, key) in [(&absent, &pair.key), (&pair.cert, &absent)] {
            let (code, said) = failed_start(command, cert, key).await;
            assert_eq!(code, Some(2), "{said}");
            let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error")).collect();
            assert_eq!(errors.len(), 1, "{said}");
            assert!(errors[0].contains(absent.to_str().unwrap()), "{said}");
            assert!(errors[0].contains("No such file"), "{said}");
        }
    }
}

#[tokio::test]
async fn a_pair_that_does_not_fit_is_told_at_the_start_in_one_line() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let (one, two) = (Pair::make(&directory, "one", &["a.example"]), Pair::make(&directory, "two", &["b.example"]));
    let (code, said) = failed_start("run", &one.cert, &two.key).await;
    assert!(matches!(code, Some(1 | 2)), "{code:?}: {said}");
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    for word in [two.key.to_str().unwrap(), one.cert.to_str().unwrap()] {
        assert!(errors[0].contains(word), "{word} is missing: {said}");
    }
}

#[tokio::test]
async fn the_certificate_for_development_works() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/make");
    let made = Command::new(&script).arg(directory.path()).output().expect("the script runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (cert, key) = (directory.path().join("dev.pem"), directory.path().join("dev-key.pem"));
    let der = CertificateDer::from_pem_file(&cert).expect("a certificate in PEM");
    let pair = Pair { cert, key, der };
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&pair.key).unwrap());
    assert_eq!(mode & 0o077, 0, "others may read the key: {mode:o}");

    let master = RawMaster::bind().await;
    let baton = Baton::start_unprobed(&config(&master, &[&pair])).await;
    for name in ["localhost", "127.0.0.1", "::1"] {
        let client = handshake(baton.address(), name, trusting(&pair.der, &["http/1.1"])).await;
        client.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let again = Command::new(&script).arg(directory.path()).output().expect("the script runs again");
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    eventually("the renewed certificate", async || {
        (served(baton.address(), "localhost").await != pair.der).then_some(())
    })
    .await;
}

#[tokio::test]
async fn pieces_of_an_answer_are_passed_on_when_they_come() {
    let _machine = alone().await;
    let (mut waits, patience) = measured(async || {
        let directory = Directory::new();
        let (pair, master) = (Pair::make(&directory, "one", &["bot.example"]), RawMaster::bind().await);
        let baton = Baton::start_unprobed(&config(&master, &[&pair])).await;
        let stream = handshake(baton.address(), "bot.example", trusting(&pair.der, &[])).await.unwrap();
        let mut client = Raw::over(stream);
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let mut upstream = master.accept().await;
        upstream.head().await;
        upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        client.head().await;
        let mut waits = Vec::new();
        for _ in 0..11 {
            // Question and answer for a while, so that the client's kernel takes its time to acknowledge.
            for _ in 0..5 {
                exchange(&mut client, &mut upstream, "/").await;
            }
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
            upstream.head().await;
            upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n").await;
            client.head().await;
            let start = Instant::now();
            upstream.send("ok").await;
            client.expect("ok").await;
            waits.push(start.elapsed());
        }
        waits
    })
    .await;
    waits.sort_unstable();
    // A kernel that holds a small piece back until the last one is acknowledged does so for 40 ms.
    let limit = Duration::from_millis(20).max(patience.limit(Duration::from_millis(2)));
    assert!(waits[5] < limit, "the pieces took {waits:?}, half of them more than {limit:?}");
}

#[tokio::test]
async fn check_finds_a_pair_that_does_not_fit() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let (one, two) = (Pair::make(&directory, "one", &["a.example"]), Pair::make(&directory, "two", &["b.example"]));
    for command in ["check", "run"] {
        let (code, said) = failed_start(command, &one.cert, &two.key).await;
        assert_eq!(code, Some(2), "{command}: {said}");
    }
}
