//! What a route changes on the way: header fields, path and host; and that nothing else is touched.

use crate::kit::raw::{Raw, RawMaster, header};
use crate::kit::{Baton, Config, among_others, eventually};

async fn start(route: &str) -> (RawMaster, Baton) {
    let master = RawMaster::bind().await;
    let config = Config::empty().master("a", master.address, "").route(route);
    let baton = Baton::start_unprobed(&config).await;
    (master, baton)
}

/// What a master gets for this request, and the client for this answer.
async fn pass(master: &RawMaster, baton: &Baton, request: &str, answer: &str) -> (String, String) {
    let mut client = Raw::connect(baton.address()).await;
    client.send(request).await;
    let mut upstream = master.accept().await;
    let asked = upstream.head().await;
    upstream.send(answer).await;
    (asked, client.head().await)
}

const ANSWER: &str = "HTTP/1.1 200 OK\r\nServer: bot\r\nX-Kept: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn header_rules_change_the_request_and_the_answer_and_nothing_else() {
    let _machine = among_others().await;
    let rules = "\
request_headers:
  remove: [x-internal]
  set: [{ name: x-role, value: guest }, { name: x-from, value: \"{client-ip} {host} {path} {scheme}\" }]
  add: [{ name: via-route, value: webhooks }]
response_headers:
  remove: [server]
  set: [{ name: strict-transport-security, value: max-age=60 }, { name: x-request-id, value: \"{request-id}\" }]";
    let (master, baton) = start(rules).await;
    // A name with underscores is the same to many masters, so it cannot get past a rule.
    let request = "GET /a?b=c HTTP/1.1\r\nHost: bot.example\r\nX_Role: admin\r\nX-Role: root\r\nX-Internal: 1\r\nX-Own: kept\r\nX-Request-Id: id-7\r\n\r\n";
    let (asked, answered) = pass(&master, &baton, request, ANSWER).await;
    assert!(asked.starts_with("GET /a?b=c HTTP/1.1\r\nHost: bot.example\r\nX-Own: kept\r\n"), "{asked}");
    assert!(!asked.contains("admin") && !asked.contains("root") && !asked.contains("X-Internal"), "{asked}");
    assert_eq!(header(&asked, "x-role"), Some("guest"));
    assert_eq!(header(&asked, "x-from"), Some("127.0.0.1 bot.example /a http"));
    assert_eq!(header(&asked, "via-route"), Some("webhooks"));
    let wanted = "HTTP/1.1 200 OK\r\nX-Kept: 1\r\nContent-Length: 0\r\nstrict-transport-security: max-age=60\r\nx-request-id: id-7\r\n\r\n";
    assert_eq!(answered, wanted);
}

#[tokio::test]
async fn a_prefix_is_replaced_and_the_master_learns_what_the_client_asked_for() {
    let _machine = among_others().await;
    let route = "match: { path_prefix: /api }\nrewrite: { path_prefix: /, host: inner.example }";
    let (master, baton) = start(route).await;
    let request = "GET /api/v1/a%20b?c=/api HTTP/1.1\r\nHost: bot.example\r\nX-Forwarded-Prefix: /mine\r\n\r\n";
    let (asked, _) = pass(&master, &baton, request, ANSWER).await;
    assert!(asked.starts_with("GET /v1/a%20b?c=/api HTTP/1.1\r\n"), "{asked}");
    assert_eq!(header(&asked, "host"), Some("inner.example"));
    assert_eq!(header(&asked, "x-forwarded-host"), Some("bot.example"));
    assert_eq!(header(&asked, "x-forwarded-prefix"), Some("/api"));
    assert!(!asked.contains("/mine"), "a stranger's prefix is not believed: {asked}");
}

#[tokio::test]
async fn a_master_can_be_asked_by_its_own_address_also_on_another_attempt() {
    let _machine = among_others().await;
    let (one, two) = (RawMaster::bind().await, RawMaster::bind().await);
    let config = Config::empty()
        .master("a", one.address, "priority: 0")
        .master("b", two.address, "priority: 1")
        .upstream("strategy: priority")
        .route("rewrite: { host: upstream, path: /hook }");
    let baton = Baton::start_unprobed(&config).await;
    let mut client = Raw::connect(baton.address()).await;
    client.send("GET /a/b?c HTTP/1.1\r\nHost: bot.example\r\n\r\n").await;
    for master in [&one, &two] {
        let mut upstream = master.accept().await;
        let asked = upstream.head().await;
        assert!(asked.starts_with("GET /hook?c HTTP/1.1\r\n"), "{asked}");
        assert_eq!(header(&asked, "host"), Some(&*master.address.to_string()));
        assert_eq!(header(&asked, "x-forwarded-host"), Some("bot.example"));
    }
}

#[tokio::test]
async fn what_a_signature_covers_reaches_the_master_as_it_came() {
    let _machine = among_others().await;
    let (master, baton) = start("match: { path_prefix: /hooks }").await;
    let request = "POST /hooks/%7Ea/b;c?x=%2b//../&y HTTP/1.1\r\nHoSt: Bot.Example:443\r\nContent-Length: 0\r\n\r\n";
    let (asked, _) = pass(&master, &baton, request, ANSWER).await;
    assert!(asked.starts_with("POST /hooks/%7Ea/b;c?x=%2b//../&y HTTP/1.1\r\nHoSt: Bot.Example:443\r\n"), "{asked}");
}

#[tokio::test]
async fn a_reload_changes_rules_for_the_next_request_on_the_same_connections() {
    let _machine = among_others().await;
    let master = RawMaster::bind().await;
    let config = |value: &str| {
        let rule = format!("request_headers: {{ set: [{{ name: x-token, value: {value} }}] }}");
        Config::empty().master("a", master.address, "").route(&rule)
    };
    let baton = Baton::start_unprobed(&config("first")).await;
    let mut client = Raw::connect(baton.address()).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut upstream = master.accept().await;
    assert_eq!(header(&upstream.head().await, "x-token"), Some("first"));
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    client.head().await;
    baton.write(&config("second"));
    let before = baton.generation().await;
    baton.hang_up();
    eventually("another generation", async || (baton.generation().await > before).then_some(())).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(header(&upstream.head().await, "x-token"), Some("second"));
}
