//! Who may do what through the admin API, as a stranger, a viewer, an operator and an administrator meet it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use baton::admin::role::{Need, Role};
use baton::admin::table::endpoints;
use baton::admin::token::{Key, Keyring};
use hyper::Method;

use super::kit::http::{Answer, Client};
use super::kit::process::{Process, Stream};
use super::kit::{Baton, Config, among_others, masters};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn keys(ids: &[(&str, &str)]) -> String {
    let key = |(id, secret): &(&str, &str)| format!("{{ id: {id}, secret: \"{secret}\" }}");
    format!("[{}]", ids.iter().map(key).collect::<Vec<_>>().join(", "))
}

/// The keyring of a Baton with these keys.
fn ring(id: &str, secret: &str) -> Keyring {
    let key = Key { id: id.to_owned(), secret: secret.as_bytes().to_vec(), local: false };
    Keyring { keys: vec![key], audience: "baton-admin".to_owned() }
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// What `baton token` prints for the configuration of a running Baton.
pub fn token(config: &Path, role: &str) -> String {
    let output = baton(&["token", "--role", role, "--name", "ann", "--config", config.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// `baton ARGUMENTS`, to its end.
pub fn baton(arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
    command.args(arguments).env_remove("BATON_ADMIN").env_remove("BATON_TOKEN").output().expect("the binary starts")
}

async fn ask(to: SocketAddr, method: &Method, path: &str, token: Option<&str>) -> Answer {
    let authorization = token.map(|token| format!("Bearer {token}"));
    let host = to.to_string();
    let mut headers = vec![("host", &*host), ("content-type", "application/json")];
    headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
    let body = if *method == Method::GET { "" } else { "{}" };
    Client::connect(to).await.send(method.clone(), path, &headers, body).await.expect("an answer")
}

#[tokio::test]
async fn every_path_asks_for_its_role() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters)).await;
    let endpoints = endpoints();
    assert!(endpoints.len() >= 6);
    let tokens = Role::ALL.map(|role| (role, token(&baton.config_path(), role.word())));
    for endpoint in &endpoints {
        // Names that nothing has: whoever is let in changes nothing.
        let path: Vec<&str> =
            endpoint.path.split('/').map(|part| if part.starts_with('{') { "0" } else { part }).collect();
        // A stream of events has no end to wait for; a question that is wrong has an answer.
        let query = if endpoint.path == "/api/v1/events" { "?kinds=none" } else { "" };
        let path = path.join("/") + query;
        let named = format!("{} {path}", endpoint.method);
        let refused = |answer: &Answer| [401, 403].contains(&answer.status);
        let anonymous = ask(baton.admin, &endpoint.method, &path, None).await;
        let open = match endpoint.need {
            Need::Nothing | Need::Role(Role::Viewer) => true,
            Need::Role(_) => false,
        };
        assert_eq!(refused(&anonymous), !open, "{named} without a token: {}", anonymous.status);
        assert!(open || anonymous.headers.contains_key("www-authenticate"), "{named}");
        assert!(open || endpoint.method != Method::GET || path.starts_with("/api/"), "{named}");
        for (role, token) in &tokens {
            let answer = ask(baton.admin, &endpoint.method, &path, Some(token)).await;
            let expected = match endpoint.need {
                Need::Role(needed) if *role < needed => Some(403),
                _ => None,
            };
            match expected {
                Some(status) => assert_eq!(answer.status, status, "{named} as {role}"),
                None => assert!(!refused(&answer) && answer.status < 500, "{named} as {role}: {}", answer.status),
            }
        }
        let changes = endpoint.method != Method::GET;
        assert!(!changes || matches!(endpoint.need, Need::Role(Role::Operator | Role::Admin)), "{named}");
    }
}

#[tokio::test]
async fn a_token_that_is_not_quite_right_is_refused_and_written_down() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let config = Config::of(&masters).admin(&format!("keys: {}", keys(&[("main", SECRET)])));
    let baton = Baton::start(&config).await;
    let path = "/api/v1/status";
    let good = ring("main", SECRET);
    let issue = |ring: &Keyring, from: u64| ring.issue("eve", Role::Admin, from, 60).unwrap();
    let fine = issue(&good, now());
    assert_eq!(ask(baton.admin, &Method::GET, path, Some(&fine)).await.status, 200);
    let audience = Keyring { audience: "another-baton".to_owned(), ..good.clone() };
    let (head, rest) = fine.split_once('.').unwrap();
    let claims = rest.split('.').next().unwrap();
    // {"alg":"none","kid":"main"} and {"alg":"HS384","kid":"main"}
    let none = "eyJhbGciOiJub25lIiwia2lkIjoibWFpbiJ9";
    let other = "eyJhbGciOiJIUzM4NCIsImtpZCI6Im1haW4ifQ";
    let signature = fine.rsplit('.').next().unwrap();
    for (wrong, word) in [
        (issue(&good, now() - 3600), "expired"),
        (issue(&audience, now()), "audience"),
        (issue(&ring("main", "another secret of thirty-two bytes"), now()), "signature"),
        (issue(&ring("other", SECRET), now()), "kid"),
        (format!("{none}.{claims}."), "token"),
        (format!("{none}.{claims}.{signature}"), "token"),
        (format!("{other}.{claims}.{signature}"), "HS256"),
        (format!("{head}.{claims}."), "signature"),
        (format!("{head}.{claims}"), "JWT"),
        ("x".repeat(5000), "JWT"),
    ] {
        let answer = ask(baton.admin, &Method::GET, path, Some(&wrong)).await;
        assert_eq!(answer.status, 401, "{wrong}");
        let detail: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert!(detail["detail"].as_str().unwrap().contains(word), "{word}: {detail}");
    }
    let audits = |said: &str| {
        let of_callers =
            |line: &&str| line.contains("\"message\":\"audit\"") && line.contains("\"from\":\"127.0.0.1\"");
        said.lines().filter(of_callers).map(str::to_owned).collect::<Vec<_>>()
    };
    let said = super::kit::eventually("ten lines of the audit trail", async || {
        let said = baton.process.said(Stream::Err);
        (audits(&said).len() == 10).then_some(said)
    })
    .await;
    assert!(audits(&said).iter().all(|line| line.contains("refused")), "{said}");
    assert!(!said.contains(signature) && !said.contains(SECRET), "{said}");
}

#[tokio::test]
async fn keys_are_rotated_by_a_reload() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let with = |ids: &[(&str, &str)]| Config::of(&masters).admin(&format!("keys: {}", keys(ids)));
    let (old, new) = (("old", SECRET), ("new", "fedcba9876543210fedcba9876543210"));
    let baton = Baton::start(&with(&[old])).await;
    let first = token(&baton.config_path(), "viewer");
    let status = async |token: &str| ask(baton.admin, &Method::GET, "/api/v1/status", Some(token)).await.status;
    assert_eq!(status(&first).await, 200);
    let reload = async |config: &Config, generation: u64| {
        baton.write(config);
        baton.hang_up();
        super::kit::eventually("the next generation", async || (baton.generation().await == generation).then_some(()))
            .await;
    };
    reload(&with(&[new, old]), 2).await;
    let second = token(&baton.config_path(), "viewer");
    assert_eq!((status(&first).await, status(&second).await), (200, 200));
    reload(&with(&[new]), 3).await;
    assert_eq!((status(&first).await, status(&second).await), (401, 200));
}

#[tokio::test]
async fn the_key_of_its_own_is_made_once_and_kept() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let mut baton = Baton::start(&Config::of(&masters)).await;
    let token = token(&baton.config_path(), "operator");
    let file = std::fs::metadata(baton.directory().join("data/admin-key.json")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o777, 0o600);
    baton.process.signal(rustix::process::Signal::INT);
    baton.process.ended().await;
    let again = Process::start("baton", &["run", "--config", baton.config_path().to_str().unwrap()]);
    let mut again = again;
    let admin = again.line("admin on", |line| line.strip_prefix("admin on http://")?.parse::<SocketAddr>().ok()).await;
    again.line("ready", |line| (line == "ready").then_some(())).await;
    assert_eq!(ask(admin, &Method::GET, "/api/v1/status", Some(&token)).await.status, 200);
}

#[tokio::test]
async fn a_token_is_not_made_for_nobody_or_without_a_configuration() {
    let wrong = [
        (vec!["token", "--role", "root", "--config", "x.yaml"], 2, "viewer, operator, admin"),
        (vec!["token", "--role", "viewer", "--config", "/nowhere/x.yaml"], 2, "cannot read"),
        (vec!["token", "--role", "viewer", "--ttl", "soon", "--config", "x.yaml"], 2, "whole number and a unit"),
        (vec!["token", "--role", "viewer"], 2, "--config"),
    ];
    for (arguments, code, word) in wrong {
        let output = baton(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(word) && output.stdout.is_empty(), "{arguments:?}: {said}");
    }
}
