//! `baton ctl` in the hands of an operator, with masters under load.

use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use super::admin::token;
use super::kit::bot::Bot;
use super::kit::config::PROBES;
use super::kit::directory::Directory;
use super::kit::http::Client;
use super::kit::load::{until_served, webhooks};
use super::kit::process::Stream;
use super::kit::{Baton, Config, among_others, eventually, masters, meta};

/// Runs `baton ctl` against a Baton, without holding up the tasks of the test.
async fn ctl(baton: &Baton, token: Option<&str>, arguments: &[&str]) -> Output {
    ctl_at(&format!("http://{}", baton.admin), token, arguments).await
}

async fn ctl_at(admin: &str, token: Option<&str>, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
    command.arg("ctl").args(arguments).env("BATON_ADMIN", admin).env_remove("BATON_TOKEN");
    if let Some(token) = token {
        command.env("BATON_TOKEN", token);
    }
    tokio::task::spawn_blocking(move || command.output().expect("the binary starts")).await.expect("no panic")
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", err(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&out(output)).unwrap()
}

/// Requests that a master has got.
async fn requests(baton: &Baton, name: &str) -> u64 {
    baton.master(name).await["requests"].as_u64().unwrap()
}

#[tokio::test]
async fn masters_are_taken_out_and_back_under_load_without_a_failed_request() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    let baton = Baton::start(&Config::of(&masters).upstream(PROBES)).await;
    let token = token(&baton.config_path(), "operator");
    let load = webhooks(baton.address(), Duration::from_secs(30));
    until_served(&load, "a", 100).await;
    until_served(&load, "b", 100).await;
    for (command, state) in [("drain", "drain"), ("maintenance", "maintenance")] {
        let would = out(&ctl(&baton, Some(&token), &[command, "a", "--dry-run"]).await);
        assert!(
            would.starts_with("a of bots from ready to") && would.contains(" go to b") | would.contains(" goes to b"),
            "{would}"
        );
        assert_eq!(baton.master("a").await["operator_state"], "ready");
        let said = out(&ctl(&baton, Some(&token), &[command, "a", "--reason", "a new disk"]).await);
        assert!(said.starts_with(&format!("a of bots: ready -> {state}; ")), "{said}");
        let (a, b) = (masters[0].seen().await.requests, requests(&baton, "b").await);
        eventually("200 requests for b", async || (requests(&baton, "b").await >= b + 200).then_some(())).await;
        // A few may have been on their way when it was told.
        let more = masters[0].seen().await.requests - a;
        assert!(more <= 4, "{more} requests for a in {state}");
        let probes = async || baton.metric("baton_health_probes_total", &[("master", "a")]).await;
        let before = probes().await;
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(probes().await > before, state == "drain", "probes in {state}");
        assert_eq!(baton.master("a").await["operator_state"], state);
        out(&ctl(&baton, Some(&token), &["ready", "a"]).await);
        baton.until_health("a", "healthy").await;
        let a = requests(&baton, "a").await;
        eventually("100 requests for a", async || (requests(&baton, "a").await >= a + 100).then_some(())).await;
    }
    let report = load.stop().await;
    assert_eq!(report.failed, 0, "{:?}", report.by_status);
    for part in
        ["\"action\":\"operator-state\"", "\"who\":\"ann\"", "\"reason\":\"a new disk\"", "\"outcome\":\"done\""]
    {
        let expected = format!("{part} in the log");
        eventually(&expected, async || baton.process.said(Stream::Err).contains(part).then_some(())).await;
    }
}

#[tokio::test]
async fn a_draining_master_keeps_the_conversations_it_has_and_a_reload_keeps_it_draining() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    let config = Config::of(&masters).upstream("affinity: { key: \"header:x-chat\" }");
    let baton = Baton::start(&config).await;
    let token = token(&baton.config_path(), "operator");
    let mut client = Client::connect(baton.address()).await;
    let mut owners = Vec::new();
    for chat in 0..20 {
        owners.push(client.get_with("/", &[("x-chat", &chat.to_string())]).await.master().to_owned());
    }
    assert!(owners.contains(&"a".to_owned()) && owners.contains(&"b".to_owned()));
    out(&ctl(&baton, Some(&token), &["drain", "a"]).await);
    baton.write(&config.clone().upstream("connect_timeout: 2s"));
    baton.hang_up();
    eventually("the next generation", async || (baton.generation().await == 2).then_some(())).await;
    assert_eq!(baton.master("a").await["operator_state"], "drain");
    for (chat, owner) in owners.iter().enumerate() {
        assert_eq!(client.get_with("/", &[("x-chat", &chat.to_string())]).await.master(), owner, "chat {chat}");
    }
    for chat in 100..120 {
        assert_eq!(client.get_with("/", &[("x-chat", &chat.to_string())]).await.master(), "b", "chat {chat}");
    }
    out(&ctl(&baton, Some(&token), &["maintenance", "a"]).await);
    for chat in 0..20 {
        assert_eq!(client.get_with("/", &[("x-chat", &chat.to_string())]).await.master(), "b", "chat {chat}");
    }
    // With b away as well, one that only drains still serves.
    out(&ctl(&baton, Some(&token), &["drain", "a"]).await);
    out(&ctl(&baton, Some(&token), &["maintenance", "b"]).await);
    assert_eq!(client.get("/").await.master(), "a");
}

#[tokio::test]
async fn what_masters_were_set_to_outlives_a_restart_of_baton() {
    let _machine = among_others().await;
    let masters = masters(["a", "b", "c"]).await;
    let baton = Baton::start(&Config::of(&masters).upstream(PROBES)).await;
    let token = token(&baton.config_path(), "operator");
    out(&ctl(&baton, Some(&token), &["maintenance", "a"]).await);
    out(&ctl(&baton, Some(&token), &["drain", "b"]).await);
    let kept = baton.directory().join("data/operator-states.json");
    eventually("it is written", async || {
        let text = std::fs::read_to_string(&kept).ok()?;
        (text.contains("maintenance") && text.contains("drain")).then_some(())
    })
    .await;
    let before = masters[0].seen().await.requests;
    let baton = Baton::start_again(baton.kill().await).await;
    for (master, state) in [("a", "maintenance"), ("b", "drain"), ("c", "ready")] {
        assert_eq!(baton.master(master).await["operator_state"], state);
    }
    let mut client = Client::connect(baton.address()).await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.master(), "c");
    }
    assert_eq!(masters[0].seen().await.requests, before, "nothing came to a, not even a probe");
    out(&ctl(&baton, Some(&token), &["ready", "a"]).await);
    baton.until_health("a", "healthy").await;
    eventually("it is written that nothing is set for a", async || {
        (!std::fs::read_to_string(&kept).ok()?.contains("maintenance")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_status_is_a_table_for_people_and_a_document_for_programs() {
    let _machine = among_others().await;
    let masters = masters(["dubai-1", "dubai-2"]).await;
    let baton = Baton::start(&Config::of(&masters).upstream(PROBES)).await;
    let token = token(&baton.config_path(), "operator");
    baton.all_health("all healthy", |health| health == "healthy").await;
    let text = out(&ctl(&baton, None, &["status"]).await);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("Baton ") && lines[0].ends_with("health score 100"), "{text}");
    assert!(lines[2].starts_with("UPSTREAM  MASTER   ADDRESS"), "{text}");
    let cells: Vec<&str> = lines[3].split_whitespace().collect();
    let address = masters[0].address.to_string();
    assert_eq!(cells[..7], ["bots", "dubai-1", &*address, "healthy", "ready", "closed", "active"], "{text}");
    let document = json(&ctl(&baton, None, &["status", "--json"]).await);
    assert_eq!(document["upstreams"][0]["masters"][1]["name"], "dubai-2");
    let set = json(&ctl(&baton, Some(&token), &["--json", "drain", "dubai-2", "--upstream", "bots"]).await);
    let expected = serde_json::json!({
        "upstream": "bots", "master": "dubai-2", "before": "ready", "operator_state": "drain", "dry_run": false,
        "effects": ["the conversations that it has stay with it", "new conversations go to dubai-1"],
    });
    assert_eq!(set, expected);
    let again = out(&ctl(&baton, Some(&token), &["drain", "dubai-2"]).await);
    assert_eq!(again.trim(), "dubai-2 of bots was in drain already");
}

/// Address, token and arguments; the exit code, and what is said.
type Case<'a> = (&'a str, Option<&'a str>, &'a [&'a str], i32, &'a str);

#[tokio::test]
async fn what_goes_wrong_is_said_with_the_way_out() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    let more = format!("  - {{ name: others, masters: [{{ name: a, address: \"{}\" }}] }}", masters[1].address);
    let baton = Baton::start(&Config::of(&masters).upstreams(&more)).await;
    let viewer = token(&baton.config_path(), "viewer");
    let operator = token(&baton.config_path(), "operator");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let here = format!("http://{}", baton.admin);
    let master = format!("http://{}", masters[0].address);
    let cases: &[Case<'_>] = &[
        (&here, None, &["drain", "b"], 1, "this needs a token"),
        (&here, Some(&viewer), &["drain", "b"], 1, "needs the role operator; the token has viewer"),
        (&here, Some("x.y.z"), &["status"], 1, "the token was refused"),
        (&here, Some("x\ny"), &["status"], 2, "characters of no token"),
        (&here, Some(&operator), &["drain", "c"], 1, "there is no master c; there are a, b"),
        (&here, Some(&operator), &["drain", "a"], 2, "say which with --upstream, one of bots, others"),
        (&here, Some(&operator), &["drain", "a", "--upstream", "cats"], 1, "there is no upstream cats"),
        (&here, Some(&operator), &["drain", "a/b", "--upstream", "bots"], 2, "a/b is no name"),
        (&here, None, &["drain"], 2, "<MASTER>"),
        (&here, None, &["dance"], 2, "unrecognized subcommand"),
        (&here, None, &["spool"], 1, "there is no spool"),
        (&here, Some(&operator), &["dead-letters", "replay", "1"], 1, "there is no spool"),
        (&here, Some(&operator), &["dead-letters", "replay"], 2, "say which"),
        (&here, Some(&operator), &["dead-letters", "discard", "--all"], 2, "--yes"),
        (&here, Some(&operator), &["dead-letters", "discard", "1", "--all", "--yes"], 2, "cannot be used with"),
        (&here, Some(&operator), &["dead-letters", "list", "--reason", "boredom"], 2, "attempts, masters, expired"),
        (&nowhere, None, &["status"], 1, "nobody answers at"),
        ("unix:/nowhere/baton.sock", None, &["status"], 1, "nobody answers at unix:/nowhere/baton.sock"),
        ("https://127.0.0.1:1", None, &["status"], 2, "https is not spoken"),
        (&master, None, &["status"], 1, "no Baton of this version"),
    ];
    for (admin, token, arguments, code, word) in cases {
        let output = ctl_at(admin, *token, arguments).await;
        let said = err(&output);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {said}");
        assert!(said.contains(word) && output.stdout.is_empty(), "{arguments:?}: {said}");
    }
    let output = ctl(&baton, None, &["--json", "drain", "b"]).await;
    let document: Value = serde_json::from_str(&err(&output)).unwrap();
    assert!(document["error"].as_str().unwrap().starts_with("this needs a token"), "{document}");
}

#[tokio::test]
async fn a_unix_socket_is_as_good_as_an_address() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let directory = Directory::new();
    let socket = directory.path().join("admin.sock");
    let text = Config::of(&masters).text(&directory.path().join("data"));
    let address = format!("admin: {{ address: \"unix:{}\" }}", socket.display());
    let text = text.replace("admin: { address: \"127.0.0.1:0\" }", &address);
    let path = directory.write("baton.yaml", &text);
    let mut process = super::kit::baton::run(&path);
    process.line("ready", |line| (line == "ready").then_some(())).await;
    let admin = format!("unix:{}", socket.display());
    let token = token(&path, "operator");
    assert!(out(&ctl_at(&admin, None, &["status"]).await).contains("bots"));
    out(&ctl_at(&admin, Some(&token), &["drain", "a"]).await);
    let status = json(&ctl_at(&admin, None, &["status", "--json"]).await);
    assert_eq!(status["upstreams"][0]["masters"][0]["operator_state"], "drain");
}

#[tokio::test]
async fn messages_that_were_given_up_are_looked_at_and_replayed_when_the_bot_is_well_again() {
    let _machine = among_others().await;
    let bot = Bot::start().await;
    bot.answer(500);
    let config = Config::empty()
        .master("bot", bot.address, "")
        .route("delivery: spool\nwhatsapp: { provider: cloud-api, app_secret: \"s3cret\" }")
        .upstream("redelivery: { attempts: 2, backoff: 20ms, max_backoff: 50ms }");
    let baton = Baton::start(&config).await;
    let token = token(&baton.config_path(), "operator");
    let mut client = Client::connect(baton.address()).await;
    for number in 0..4 {
        let body = meta::message("106540352242922", &format!("97150000000{number}"), &format!("wamid.{number}"));
        assert_eq!(meta::post(&mut client, &body).await.status, 200);
    }
    eventually("four dead letters", async || {
        let spool = json(&ctl(&baton, None, &["spool", "--json"]).await);
        (spool["dead_letters"] == 4 && spool["pending"] == 0).then_some(())
    })
    .await;
    assert!(out(&ctl(&baton, None, &["spool"]).await).contains("dead letters  4"));
    assert_eq!(out(&ctl(&baton, None, &["spool", "list"]).await).trim(), "nothing waits");
    let table = out(&ctl(&baton, None, &["dead-letters", "list", "--reason", "attempts"]).await);
    assert!(table.lines().count() == 5 && table.lines().next().unwrap().contains("UPSTREAM"), "{table}");
    let page = json(&ctl(&baton, None, &["dead-letters", "list", "--limit", "3", "--json"]).await);
    let next = page["next"].as_str().unwrap();
    let rest = json(&ctl(&baton, None, &["dead-letters", "list", "--cursor", next, "--json"]).await);
    assert_eq!((page["items"].as_array().unwrap().len(), rest["items"].as_array().unwrap().len()), (3, 1));
    let id = rest["items"][0]["id"].to_string();
    let shown = out(&ctl(&baton, None, &["dead-letters", "show", &id]).await);
    assert!(shown.contains("wamid.") && shown.contains("status 500") && shown.contains("106540352242922"), "{shown}");

    bot.answer(200);
    let before = bot.got().len();
    let said = out(&ctl(&baton, Some(&token), &["dead-letters", "replay", &id, "--comment", "repaired"]).await);
    assert_eq!(said.trim(), "1 in line again");
    eventually("the delivery of one", async || (bot.got().len() > before).then_some(())).await;
    let none = out(&ctl(&baton, Some(&token), &["dead-letters", "discard", "--older-than", "1h"]).await);
    assert_eq!(none.trim(), "0 removed");
    let said = out(&ctl(&baton, Some(&token), &["dead-letters", "replay", "--all", "--yes"]).await);
    assert_eq!(said.trim(), "3 in line again");
    eventually("the delivery of all", async || (bot.got().len() >= before + 4).then_some(())).await;
    eventually("an empty spool", async || {
        let spool = json(&ctl(&baton, None, &["spool", "--json"]).await);
        (spool["dead_letters"] == 0 && spool["pending"] == 0).then_some(())
    })
    .await;
    eventually("both in the audit trail", async || {
        let said = baton.process.said(Stream::Err);
        (said.matches("dead-letters.replay").count() == 2 && said.contains("repaired")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_copy_made_while_baton_runs_brings_back_what_was_stored() {
    let _machine = among_others().await;
    let bot = Bot::start().await;
    bot.answer(500);
    let config = Config::empty()
        .master("bot", bot.address, "")
        .route("delivery: spool\nwhatsapp: { provider: cloud-api, app_secret: \"s3cret\" }")
        .upstream("redelivery: { attempts: 2, backoff: 20ms, max_backoff: 50ms }");
    let mut baton = Baton::start(&config).await;
    let (operator, admin) = (token(&baton.config_path(), "operator"), token(&baton.config_path(), "admin"));
    let mut client = Client::connect(baton.address()).await;
    for number in 0..5 {
        let body = meta::message("106540352242922", &format!("97150000000{number}"), &format!("wamid.{number}"));
        assert_eq!(meta::post(&mut client, &body).await.status, 200);
    }
    eventually("five dead letters", async || {
        (json(&ctl(&baton, None, &["spool", "--json"]).await)["dead_letters"] == 5).then_some(())
    })
    .await;
    let copy = baton.directory().join("copy.redb");
    let copy = copy.to_str().unwrap();
    let refused = ctl(&baton, Some(&operator), &["backup", copy]).await;
    assert!(
        err(&refused).contains("needs the role admin") && !std::path::Path::new(copy).exists(),
        "{}",
        err(&refused)
    );
    let made = json(&ctl(&baton, Some(&admin), &["backup", copy, "--json"]).await);
    assert_eq!((&made["dead_letters"], &made["pending"]), (&5.into(), &0.into()));
    assert_eq!(made["bytes"], std::fs::metadata(copy).unwrap().len());
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(copy).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(!baton.directory().join("data/backup.redb").exists());
    out(&ctl(&baton, Some(&admin), &["dead-letters", "discard", "--all", "--yes"]).await);

    let path = baton.config_path();
    let path = path.to_str().unwrap();
    let running = super::admin::baton(&["restore", copy, "--config", path, "--replace"]);
    assert_eq!(running.status.code(), Some(1), "{}", err(&running));
    assert!(err(&running).contains("has it open"), "{}", err(&running));
    baton.process.signal(rustix::process::Signal::TERM);
    baton.process.ended().await;
    let occupied = super::admin::baton(&["restore", copy, "--config", path]);
    assert!(occupied.status.code() == Some(1) && err(&occupied).contains("already"), "{}", err(&occupied));
    let restored = super::admin::baton(&["restore", copy, "--config", path, "--replace"]);
    assert_eq!(out(&restored).trim(), "restored 0 messages and 5 dead letters");
    let mut again = super::kit::baton::run(&baton.config_path());
    let address = again.line("admin on", |line| Some(line.strip_prefix("admin on ")?.to_owned())).await;
    again.line("ready", |line| (line == "ready").then_some(())).await;
    assert_eq!(json(&ctl_at(&address, None, &["spool", "--json"]).await)["dead_letters"], 5);
}

#[tokio::test]
async fn the_status_is_watched_as_plain_text_where_nobody_sits_at_a_terminal() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters).upstream(PROBES)).await;
    let mut command = Command::new("timeout");
    command.args(["--preserve-status", "-s", "INT", "4", env!("CARGO_BIN_EXE_baton"), "ctl", "status", "--watch"]);
    command.env("BATON_ADMIN", format!("http://{}", baton.admin));
    let said = tokio::task::spawn_blocking(move || command.output().expect("timeout is there")).await.unwrap();
    let text = out(&said);
    assert!(text.matches("UPSTREAM").count() >= 2 && text.contains("healthy"), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
}

#[tokio::test]
async fn a_terminal_gets_a_screen_that_fits_and_is_given_back() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters).upstream(PROBES)).await;
    for (colours, painted) in [("", true), ("NO_COLOR=1 ", false)] {
        let program = env!("CARGO_BIN_EXE_baton");
        let watch = format!("{colours}timeout --foreground --preserve-status -s INT 4 {program} ctl status --watch");
        let mut command = Command::new("script");
        command.args(["-qec", &format!("stty cols 40 rows 12; {watch}"), "/dev/null"]);
        command.env("BATON_ADMIN", format!("http://{}", baton.admin)).env("TERM", "xterm").env_remove("NO_COLOR");
        command.stdin(std::process::Stdio::null());
        let said = tokio::task::spawn_blocking(move || command.output().expect("script is there")).await.unwrap();
        let text = out(&said);
        assert!(text.contains("\x1b[?1049h") && text.trim_end().ends_with("\x1b[?1049l"), "{text:?}");
        assert_eq!(text.contains("\x1b[32mhealthy\x1b[0m"), painted, "{text:?}");
        let visible = text.replace("\x1b[32m", "").replace("\x1b[0m", "");
        let lines = visible
            .split(['\n', '\r'])
            .filter_map(|line| line.split("\x1b[K").next())
            .map(|line| line.rsplit("\x1b[H").next().unwrap_or_default().chars().count());
        assert!(lines.into_iter().all(|width| width <= 40), "{text:?}");
    }
}
