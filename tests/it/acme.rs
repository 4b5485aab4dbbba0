//! Certificates by ACME from a real server: ordered, proven both ways, renewed, kept over a restart; and what happens when the
//! server is away, does not know the account, or finds no proof.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use baton::tls::certificate::Facts;
use rustls::pki_types::CertificateDer;

use crate::kit::acme::{HMAC_KEY, KID, Names, Pebble, Site};
use crate::kit::baton::run;
use crate::kit::directory::Directory;
use crate::kit::process::Stream;
use crate::kit::raw::Raw;
use crate::kit::tls::{seen, served};
use crate::kit::{Baton, Master, among_others, eventually, masters, within};

/// An order takes some round trips and the server's own pace.
const ORDER: Duration = Duration::from_secs(30);

const DAY: u64 = 24 * 3600;

/// A listener that orders a certificate, one without TLS beside it, and a directory for state.
struct Setup {
    state: Directory,
    site: Site,
    names: Names,
    masters: [Master; 1],
    challenge: &'static str,
    /// More keys of `acme`.
    keys: String,
}

impl Setup {
    async fn new(challenge: &'static str) -> Self {
        let state = Directory::new();
        let site = Site::new(&state);
        Self { site, state, names: Names::start(), masters: masters(["a"]).await, challenge, keys: String::new() }
    }

    async fn baton(&self) -> Baton {
        let text = format!(
            "\
workers: 1
listeners:
  - name: gateway
    address: \"127.0.0.1:0\"
    tls:
      acme:
        directory: \"{}\"
        ca: \"{}\"
        domains: [bot.example, www.bot.example]
        contact: [operator@bot.example]
        terms_of_service_agreed: true
        challenge: {}
        {}
  - {{ name: plain, address: \"127.0.0.1:0\" }}
routes: [{{ name: all, upstream: bots }}]
upstreams:
  - name: bots
    masters: [{{ name: a, address: \"{}\" }}]
state: {{ path: \"{}\" }}
admin: {{ address: \"127.0.0.1:0\" }}
",
            self.site.url(),
            self.site.authority().display(),
            self.challenge,
            self.keys,
            self.masters[0].address,
            self.state.path().display(),
        );
        let directory = Directory::new();
        let path = directory.write("baton.yaml", &text);
        Baton::started(run(&path), directory).await
    }

    fn pebble(&self, baton: &Baton, validity: u64) -> Pebble {
        let (http, tls) = (baton.address_of("plain").port(), baton.address().port());
        Pebble::start(&self.site, &self.names, http, tls, validity)
    }
}

async fn issued(baton: &Baton, expected: &str) -> CertificateDer<'static> {
    within(ORDER, expected, async || seen(baton.address(), "bot.example").await).await
}

async fn orders(baton: &Baton, outcome: &str) -> f64 {
    baton.metric("baton_acme_orders_total", &[("name", "bot.example"), ("outcome", outcome)]).await
}

async fn told(baton: &Baton) -> Option<String> {
    baton.status().await["listeners"][0]["acme"]["error"].as_str().map(str::to_owned)
}

async fn answers(baton: &Baton) -> bool {
    let mut client = Raw::connect(baton.address_of("plain")).await;
    client.send("GET / HTTP/1.1\r\nHost: bot.example\r\nConnection: close\r\n\r\n").await;
    client.rest().await.starts_with("HTTP/1.1 200 ")
}

#[tokio::test]
async fn a_certificate_is_proven_by_tls_and_kept_over_a_restart_and_a_forgotten_account_is_made_anew() {
    let _machine = among_others().await;
    let setup = Setup::new("tls-alpn-01").await;
    let baton = setup.baton().await;
    // The server is away. Others are served, and clients of this listener are turned away for a reason that is counted.
    assert!(answers(&baton).await);
    assert!(seen(baton.address(), "bot.example").await.is_none());
    eventually("a reason", async || {
        let bare = baton.metric("baton_refused_total", &[("reason", "no-certificate")]).await;
        (bare == 1.0).then_some(())
    })
    .await;
    let error = eventually("an error", async || told(&baton).await).await;
    assert!(error.contains(&setup.site.port.to_string()), "{error}");

    let pebble = setup.pebble(&baton, 90 * DAY);
    let certificate = issued(&baton, "a certificate as soon as the server is there").await;
    let facts = Facts::read(&certificate);
    let mut names = facts.dns_names.clone();
    names.sort();
    assert_eq!(names, ["bot.example", "www.bot.example"]);
    assert!(served(baton.address(), "www.bot.example").await == certificate);
    eventually("an order that is counted", async || (orders(&baton, "issued").await == 1.0).then_some(())).await;
    let status = eventually("no error", async || {
        let status = baton.status().await["listeners"][0].clone();
        status["acme"]["error"].is_null().then_some(status)
    })
    .await;
    let (_, end) = facts.validity().unwrap();
    assert_eq!(status["certificates"][0]["expires"], end);
    let next = status["acme"]["next_order"].as_i64().unwrap();
    assert!(next < end - 29 * 24 * 3600 && next > end - 46 * 24 * 3600, "{next} of {end}");
    // Nobody gets at the proof's protocol without a challenge that is open.
    assert!(crate::kit::tls::offering(baton.address(), "bot.example", &["acme-tls/1"]).await.is_err());

    let kept = setup.state.path().join("acme");
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o700);
    let files: Vec<_> = std::fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    for file in &files {
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
    drop((baton, pebble));

    // Without the server.
    let baton = setup.baton().await;
    assert!(served(baton.address(), "bot.example").await == certificate);
    assert_eq!((orders(&baton, "issued").await, orders(&baton, "failed").await), (0.0, 0.0));
    drop(baton);

    // Another server at the same address knows nobody.
    let certificate_file = files.iter().find(|file| file.extension().is_some_and(|end| end == "pem")).unwrap();
    std::fs::write(certificate_file, "damaged").unwrap();
    let baton = setup.baton().await;
    let _pebble = setup.pebble(&baton, 90 * DAY);
    let error = within(ORDER, "a refusal", async || told(&baton).await.filter(|told| told.contains("account"))).await;
    assert!(error.contains("does not know the account"), "{error}");
    // The next attempt is minutes away; a reload asks for it now.
    within(ORDER, "a certificate by a new account", async || {
        baton.hang_up();
        tokio::time::sleep(Duration::from_millis(200)).await;
        seen(baton.address(), "bot.example").await
    })
    .await;
}

#[tokio::test]
async fn a_certificate_is_proven_by_http_and_renewed_before_it_ends() {
    let _machine = among_others().await;
    let setup = Setup::new("http-01").await;
    let baton = setup.baton().await;
    let _pebble = setup.pebble(&baton, 12);
    let first = issued(&baton, "a certificate").await;
    let second = within(ORDER, "another certificate", async || {
        // Never without one in between.
        let now = served(baton.address(), "bot.example").await;
        (now != first).then_some(now)
    })
    .await;
    let (begin, end) = Facts::read(&first).validity().unwrap();
    assert!((11..=12).contains(&(end - begin)), "{begin} to {end}");
    let renewed = Facts::read(&second).validity().unwrap().0;
    assert!(renewed >= begin + 5 && renewed < end, "a certificate of {begin} to {end} was renewed at {renewed}");
    // Between orders no proof is told, and such paths are requests like others.
    let mut client = Raw::connect(baton.address_of("plain")).await;
    client.send("GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let answer = client.rest().await;
    assert!(answer.to_ascii_lowercase().contains("x-request-id") || !answer.contains("octet-stream"), "{answer}");
    assert!(baton.process.said(Stream::Err).contains("a new certificate for bot.example is in use"));
}

#[tokio::test]
async fn an_order_without_proof_fails_with_the_servers_reason_and_is_made_again_with_patience() {
    let _machine = among_others().await;
    let setup = Setup::new("tls-alpn-01").await;
    setup.names.right.store(false, Ordering::Relaxed);
    let baton = setup.baton().await;
    let _pebble = setup.pebble(&baton, 90 * DAY);
    let error = within(ORDER, "a refusal", async || told(&baton).await.filter(|told| told.contains("proven"))).await;
    assert!(error.contains("bot.example could not be proven"), "{error}");
    let failed = orders(&baton, "failed").await;
    let next = baton.status().await["listeners"][0]["acme"]["next_order"].as_u64().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(next > now + 60, "the server is asked again in {} s", next - now);

    setup.names.right.store(true, Ordering::Relaxed);
    within(ORDER, "a certificate", async || {
        baton.hang_up();
        tokio::time::sleep(Duration::from_millis(200)).await;
        seen(baton.address(), "bot.example").await
    })
    .await;
    assert_eq!(orders(&baton, "failed").await, failed);
}

#[tokio::test]
async fn an_account_is_bound_to_the_external_one_where_the_server_asks_for_that() {
    let _machine = among_others().await;
    let mut setup = Setup::new("http-01").await;
    setup.site.bound = true;
    let baton = setup.baton().await;
    let _pebble = setup.pebble(&baton, 30 * DAY);
    // Without one there is no account.
    within(ORDER, "a refusal", async || told(&baton).await.filter(|told| told.contains("xternal")).map(|_| ())).await;
    drop(baton);

    setup.keys = format!("eab: {{ kid: {KID}, hmac_key: {HMAC_KEY} }}");
    drop(_pebble);
    let baton = setup.baton().await;
    let _pebble = setup.pebble(&baton, 30 * DAY);
    issued(&baton, "a certificate").await;
    assert!(!baton.process.said(Stream::Err).contains(HMAC_KEY));
}
