//! TLS with masters: who is trusted and who is not, what a refused one learns, and what becomes of files that change.

use rustls::HandshakeKind;

use crate::kit::directory::Directory;
use crate::kit::http::Client;
use crate::kit::process::{Process, Stream};
use crate::kit::raw::{Raw, RawMaster};
use crate::kit::tls_master::{Asks, Authority, TlsMaster};
use crate::kit::{Baton, Config, among_others, eventually};

/// `tls` of the upstream, with this authority trusted and further keys.
fn tls(ca: &std::path::Path, keys: &str) -> String {
    format!("tls: {{ ca: \"{}\", {keys} }}", ca.display())
}

async fn answer_one(master: &TlsMaster, path: &str) -> Raw<tokio_rustls::server::TlsStream<tokio::net::TcpStream>> {
    let mut upstream = master.accept().await;
    assert!(upstream.head().await.starts_with(&format!("GET {path} ")));
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    upstream
}

#[tokio::test]
async fn requests_go_over_verified_connections_that_are_kept_and_resumed() {
    let _machine = among_others().await;
    let (directory, authority) = (Directory::new(), Authority::new());
    let master = TlsMaster::bind(&authority.sign(&["bot.internal"]), Asks::Nothing, &["http/1.1"]).await;
    let config = Config::empty()
        .workers(1)
        .master("a", master.address, "server_name: bot.internal")
        .upstream(&tls(&authority.write(&directory, "ca.pem"), ""));
    let baton = Baton::start_unprobed(&config).await;
    let mut client = Client::connect(baton.address()).await;
    let (answer, stream) = tokio::join!(client.get("/1"), async {
        let stream = master.handshake().await.expect("a certificate that is trusted");
        let (_, session) = stream.get_ref();
        assert_eq!((session.server_name(), session.alpn_protocol()), (Some("bot.internal"), Some(&b"http/1.1"[..])));
        assert_eq!(session.handshake_kind(), Some(HandshakeKind::Full));
        let mut upstream = Raw::over(stream);
        assert!(upstream.head().await.starts_with("GET /1 "));
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        upstream
    });
    assert_eq!((answer.status, &*answer.body), (200, "ok"));

    let mut upstream = stream;
    for (path, keep) in [("/2", "keep-alive"), ("/3", "close")] {
        let (answer, ()) = tokio::join!(client.get(path), async {
            assert!(upstream.head().await.starts_with(&format!("GET {path} ")));
            upstream.send(format!("HTTP/1.1 200 OK\r\nConnection: {keep}\r\nContent-Length: 2\r\n\r\nok")).await;
        });
        assert_eq!(answer.status, 200);
    }
    let (answer, kind) = tokio::join!(client.get("/4"), async {
        let stream = master.handshake().await.expect("a certificate that is trusted");
        let kind = stream.get_ref().1.handshake_kind();
        let mut upstream = Raw::over(stream);
        upstream.head().await;
        upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        kind
    });
    assert_eq!((answer.status, kind), (204, Some(HandshakeKind::Resumed)));
    assert_eq!(baton.metric("baton_upstream_connections_total", &[("outcome", "opened")]).await, 2.0);
}

#[tokio::test]
async fn a_master_with_a_wrong_certificate_gets_no_byte_and_the_request_goes_to_another() {
    let _machine = among_others().await;
    let (directory, authority) = (Directory::new(), Authority::new());
    let ca = authority.write(&directory, "ca.pem");
    let good = TlsMaster::bind(&authority.sign(&["bot.internal"]), Asks::Nothing, &[]).await;
    let good_address = good.address;
    let answered = good.answer_all();
    for (signed, problem) in [
        (Authority::new().sign(&["bot.internal"]), "is signed by nobody who is trusted"),
        (authority.sign(&["other.internal"]), "is not for bot.internal but for"),
        (authority.sign_expired(&["bot.internal"]), "has expired"),
    ] {
        let wrong = TlsMaster::bind(&signed, Asks::Nothing, &[]).await;
        let address = wrong.address;
        let notes = wrong.answer_all();
        let config = Config::empty()
            .workers(1)
            .master("wrong", address, "priority: 0")
            .master("good", good_address, "priority: 1")
            .upstream("strategy: priority")
            .upstream(&tls(&ca, "server_name: bot.internal"));
        let baton = Baton::start_unprobed(&config).await;
        // Not even a method that may not be repeated is lost: nothing was sent.
        let answer = Client::connect(baton.address()).await.post("/pay", "1").await;
        assert_eq!((answer.status, &*answer.body), (200, "ok"), "{problem}");
        let labels = [("master", "wrong"), ("outcome", "tls")];
        assert_eq!(baton.metric("baton_upstream_connections_total", &labels).await, 1.0);
        assert_eq!(baton.metric("baton_retries_total", &[("reason", "connect")]).await, 1.0);
        eventually("the master hears of the refusal", async || (!notes.lock().unwrap().is_empty()).then_some(())).await;
        assert!(notes.lock().unwrap().iter().all(|note| note.starts_with("failed: ")), "{notes:?}");
        let said = baton.process.said(Stream::Err);
        let told = said.lines().find(|line| line.contains("TLS failed")).unwrap_or_else(|| panic!("{said}"));
        for word in ["master wrong of bots", &address.to_string(), problem] {
            assert!(told.contains(word), "{word} is missing: {told}");
        }
    }
    assert_eq!(answered.lock().unwrap().iter().filter(|note| note.starts_with("POST /pay ")).count(), 3);
}

#[tokio::test]
async fn a_master_at_an_address_must_have_that_in_its_certificate() {
    let _machine = among_others().await;
    let (directory, authority) = (Directory::new(), Authority::new());
    let master = TlsMaster::bind(&authority.sign(&["127.0.0.1"]), Asks::Nothing, &[]).await;
    let ca = authority.write(&directory, "ca.pem");
    let config = Config::empty().master("a", master.address, "").upstream(&tls(&ca, ""));
    let baton = Baton::start_unprobed(&config).await;
    let mut client = Client::connect(baton.address()).await;
    let (answer, _upstream) = tokio::join!(client.get("/"), answer_one(&master, "/"));
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_master_that_asks_for_a_certificate_gets_the_one_configured() {
    let _machine = among_others().await;
    let (directory, authority, clients) = (Directory::new(), Authority::new(), Authority::new());
    let ca = authority.write(&directory, "ca.pem");
    let (cert, key) = clients.sign(&["baton.internal"]).write(&directory, "baton");
    let master = TlsMaster::bind(&authority.sign(&["127.0.0.1"]), Asks::Certificate(&clients), &[]).await;
    let address = master.address;
    let notes = master.answer_all();
    let config = |keys: &str| Config::empty().workers(1).master("a", address, "").upstream(&tls(&ca, keys));

    let pair = format!("cert: \"{}\", key: \"{}\"", cert.display(), key.display());
    let baton = Baton::start_unprobed(&config(&pair)).await;
    assert_eq!(Client::connect(baton.address()).await.post("/with", "1").await.status, 200);
    assert_eq!(*notes.lock().unwrap(), ["POST /with HTTP/1.1"]);

    let baton = Baton::start_unprobed(&config("")).await;
    let answer = Client::connect(baton.address()).await.post("/without", "1").await;
    assert!([502, 503].contains(&answer.status), "{}", answer.status);
    assert!(!notes.lock().unwrap().iter().any(|note| note.contains("/without")), "{notes:?}");
}

#[tokio::test]
async fn new_files_are_for_new_connections_and_bad_ones_change_nothing() {
    let _machine = among_others().await;
    let (directory, old, new) = (Directory::new(), Authority::new(), Authority::new());
    let ca = old.write(&directory, "ca.pem");
    let master = TlsMaster::bind(&new.sign(&["127.0.0.1"]), Asks::Nothing, &[]).await;
    let config = Config::empty()
        .workers(1)
        .master("a", master.address, "")
        .upstream("outlier_detection: off")
        .upstream(&tls(&ca, ""));
    let notes = master.answer_all();
    let baton = Baton::start_unprobed(&config).await;
    let mut client = Client::connect(baton.address()).await;
    assert_eq!(client.get("/early").await.status, 503);

    directory.write("ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    baton.hang_up();
    let error = async || baton.status().await["config_error"].as_str().map(str::to_owned);
    let told = eventually("an error of the reload", &error).await;
    assert!(told.contains("upstream bots") && told.contains(ca.to_str().unwrap()), "{told}");
    assert_eq!(client.get("/still").await.status, 503);

    new.write(&directory, "ca.pem");
    baton.hang_up();
    eventually("a reload without an error", async || error().await.is_none().then_some(())).await;
    assert_eq!(client.get("/late").await.status, 200);
    let answered: Vec<String> = notes.lock().unwrap().iter().filter(|note| note.starts_with("GET")).cloned().collect();
    assert_eq!(answered, ["GET /late HTTP/1.1"]);

    // What a connection was made under counts: the kept one is not used once its master is trusted no more.
    old.write(&directory, "ca.pem");
    let generation = baton.generation().await;
    baton.hang_up();
    eventually("the next generation", async || (baton.generation().await > generation).then_some(())).await;
    assert_eq!(client.get("/too-late").await.status, 503);
}

#[tokio::test]
async fn a_reload_of_something_else_keeps_the_connection_and_its_masters_health() {
    let _machine = among_others().await;
    let (directory, authority) = (Directory::new(), Authority::new());
    let ca = authority.write(&directory, "ca.pem");
    let master = TlsMaster::bind(&authority.sign(&["127.0.0.1"]), Asks::Nothing, &[]).await;
    let config = Config::empty().workers(1).master("a", master.address, "").upstream(&tls(&ca, ""));
    let baton = Baton::start_unprobed(&config.clone().upstream("pool: { idle_timeout: 60s }")).await;
    let mut client = Client::connect(baton.address()).await;
    let (_, mut upstream) = tokio::join!(client.get("/1"), answer_one(&master, "/1"));
    let generation = baton.generation().await;
    baton.write(&config.upstream("pool: { idle_timeout: 59s }"));
    baton.hang_up();
    eventually("the next generation", async || (baton.generation().await > generation).then_some(())).await;
    let (answer, ()) = tokio::join!(client.get("/2"), async {
        assert!(upstream.head().await.starts_with("GET /2 "));
        upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    });
    assert_eq!(answer.status, 204);
}

#[tokio::test]
async fn turning_tls_on_leaves_no_plain_connection_in_use() {
    let _machine = among_others().await;
    let (directory, authority) = (Directory::new(), Authority::new());
    let ca = authority.write(&directory, "ca.pem");
    let master = RawMaster::bind().await;
    let config = Config::empty().workers(1).master("a", master.address, "").upstream("pool: { idle_timeout: 60s }");
    let baton = Baton::start_unprobed(&config).await;
    let mut client = Client::connect(baton.address()).await;
    let (_, mut plain) = tokio::join!(client.get("/1"), async {
        let mut plain = master.accept().await;
        plain.head().await;
        plain.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        plain
    });
    let generation = baton.generation().await;
    baton.write(&config.upstream(&tls(&ca, "")));
    baton.hang_up();
    eventually("the next generation", async || (baton.generation().await > generation).then_some(())).await;
    let (answer, hello) = tokio::join!(client.get("/2"), async {
        let hello = master.accept().await.take(1).await;
        plain.expect_end().await;
        hello
    });
    // The first byte of a handshake; the master then closes.
    assert_eq!((answer.status, hello), (503, vec![22]));
}

#[tokio::test]
async fn a_websocket_passes_over_tls_in_both_directions() {
    let _machine = among_others().await;
    let (directory, authority) = (Directory::new(), Authority::new());
    let ca = authority.write(&directory, "ca.pem");
    let master = TlsMaster::bind(&authority.sign(&["127.0.0.1"]), Asks::Nothing, &[]).await;
    let baton = Baton::start_unprobed(&Config::empty().master("a", master.address, "").upstream(&tls(&ca, ""))).await;
    let mut client = Raw::connect(baton.address()).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst").await;
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    client.expect("first").await;
    let message: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    for _ in 0..3 {
        tokio::join!(client.send(&message), upstream.expect(&message));
        tokio::join!(upstream.send(&message), client.expect(&message));
    }
    client.finish().await;
    upstream.expect_end().await;
}

#[tokio::test]
async fn probes_speak_tls_and_a_wrong_certificate_is_their_evidence() {
    let _machine = among_others().await;
    let (directory, authority) = (Directory::new(), Authority::new());
    let ca = authority.write(&directory, "ca.pem");
    let good = TlsMaster::bind(&authority.sign(&["127.0.0.1"]), Asks::Nothing, &[]).await;
    let wrong = TlsMaster::bind(&Authority::new().sign(&["127.0.0.1"]), Asks::Nothing, &[]).await;
    let config = Config::empty()
        .master("good", good.address, "")
        .master("wrong", wrong.address, "")
        .upstream("health_check: { interval: 500ms, timeout: 500ms, unhealthy_threshold: 1, http: { path: /health } }")
        .upstream(&tls(&ca, ""));
    let (probed, _wrong) = (good.answer_all(), wrong.answer_all());
    let baton = Baton::start_unprobed(&config).await;
    baton.until_health("good", "healthy").await;
    baton.until_health("wrong", "failed").await;
    assert!(probed.lock().unwrap().iter().all(|note| note == "GET /health HTTP/1.1"), "{probed:?}");
    eventually("the evidence in the log", async || {
        let said = baton.process.said(Stream::Err);
        said.lines()
            .any(|line| line.contains("wrong") && line.contains("signed by nobody who is trusted"))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn verification_is_off_only_where_that_is_said_and_it_is_warned_about() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let master = TlsMaster::bind(&Authority::new().sign(&["other.internal"]), Asks::Nothing, &[]).await;
    let config = Config::empty().master("a", master.address, "").upstream("tls: { verify: off }");
    let baton = Baton::start_unprobed(&config).await;
    let mut client = Client::connect(baton.address()).await;
    let (answer, _upstream) = tokio::join!(client.get("/"), answer_one(&master, "/"));
    assert_eq!(answer.status, 200);
    assert!(baton.process.said(Stream::Err).contains("certificates of masters are not verified"));

    let path = directory.write("baton.yaml", &config.text(directory.path()));
    let mut check = Process::start("check", &["check", "--config", path.to_str().unwrap()]);
    assert_eq!(check.ended().await.code(), Some(0));
    assert!(check.said(Stream::Err).contains("certificates of masters are not verified"));
}
