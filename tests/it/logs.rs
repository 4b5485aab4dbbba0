//! The access log as an operator reads it: a line for every request, whatever came over the network and whatever the disk
//! does.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::kit::baton::run;
use crate::kit::config::{PROBES, RETRY};
use crate::kit::directory::Directory;
use crate::kit::http::Client;
use crate::kit::process::Stream;
use crate::kit::raw::{Raw, RawMaster, header};
use crate::kit::{Baton, Config, among_others, eventually, masters};

/// Every line of the file; a torn one, or one that is not JSON, fails the test.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the log is text");
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is torn: {text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"))).collect()
}

/// Waits until the file has so many lines.
async fn until_lines(path: &Path, count: usize) -> Vec<Value> {
    // A reader can be quicker than the one write that it looks at, so whole lines are counted before they are judged.
    let written = async || {
        let text = std::fs::read(path).unwrap_or_default();
        (text.ends_with(b"\n") && text.iter().filter(|byte| **byte == b'\n').count() >= count).then_some(())
    };
    eventually(&format!("{count} lines"), written).await;
    let lines = lines(path);
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

async fn dropped(baton: &Baton, reason: &str) -> f64 {
    baton.metric("baton_access_log_dropped_total", &[("reason", reason)]).await
}

/// The answer as its status and its number of bytes on the wire.
async fn answer(client: &mut Raw) -> (u16, usize) {
    let head = client.head().await;
    let length = header(&head, "content-length").map_or(0, |length| length.parse().expect("a length"));
    client.take(length).await;
    (head[9..12].parse().expect("a status"), head.len() + length)
}

#[tokio::test]
async fn a_line_tells_what_was_asked_who_answered_and_how_it_ended() {
    let _machine = among_others().await;
    let (directory, masters) = (Directory::new(), masters(["a"]).await);
    let log = directory.path().join("access.log");
    let config = Config::of(&masters).route("match: { path_prefix: /webhook }").access_log(&log);
    let baton = Baton::start(&config).await;
    let mut client = Raw::connect(baton.address()).await;
    client.send("POST /webhook/x?hub.verify_token=secret HTTP/1.1\r\nHost: Bot.Example:8080\r\n").await;
    client.send("X-Request-Id: my-id\r\nContent-Length: 5\r\n\r\nhello").await;
    let ok = answer(&mut client).await;
    client.send("GET /elsewhere HTTP/1.1\r\nHost: bot.example\r\n\r\n").await;
    let unknown = answer(&mut client).await;
    client.send("GET /webhook HTTP/1.0\r\n\r\n").await;
    let old = answer(&mut client).await;

    let lines = until_lines(&log, 3).await;
    let fields =
        |names: &[&str], line: &Value| Value::from(names.iter().map(|name| line[name].clone()).collect::<Vec<_>>());
    let asked = ["client", "method", "path", "protocol", "bytes_in"];
    assert_eq!(fields(&asked, &lines[0]), serde_json::json!(["127.0.0.1", "POST", "/webhook/x", "HTTP/1.1", 5]));
    assert_eq!(fields(&asked, &lines[1]), serde_json::json!(["127.0.0.1", "GET", "/elsewhere", "HTTP/1.1", 0]));
    assert_eq!(fields(&asked, &lines[2]), serde_json::json!(["127.0.0.1", "GET", "/webhook", "HTTP/1.0", 0]));
    let ended = ["status", "bytes_out", "route", "upstream", "master", "attempts", "end"];
    let expected = serde_json::json!([ok.0, ok.1, "webhooks", "bots", "a", 1, "complete"]);
    assert_eq!((ok.0, fields(&ended, &lines[0])), (200, expected));
    let expected = serde_json::json!([unknown.0, unknown.1, null, null, null, 0, "refused"]);
    assert_eq!((unknown.0, fields(&ended, &lines[1])), (404, expected));
    let expected = serde_json::json!([old.0, old.1, "webhooks", "bots", "a", 1, "complete"]);
    assert_eq!(fields(&ended, &lines[2]), expected);
    assert_eq!(lines[0]["request_id"], "my-id");
    assert!(lines[0]["host"].as_str().unwrap().eq_ignore_ascii_case("bot.example:8080"), "{}", lines[0]["host"]);
    assert!(lines[0]["duration_ms"].as_f64().is_some_and(|took| took > 0.0 && took < 10_000.0));
    assert!(!std::fs::read_to_string(&log).unwrap().contains("secret"));
}

#[tokio::test]
async fn every_way_a_request_can_end_has_its_line() {
    let _machine = among_others().await;
    let (directory, masters) = (Directory::new(), masters(["b"]).await);
    let (log, first) = (directory.path().join("access.log"), RawMaster::bind().await);
    let config = Config::empty()
        .master("a", first.address, "priority: 0")
        .master("b", masters[0].address, "priority: 1")
        .upstream("strategy: priority\noutlier_detection: off")
        .upstream(RETRY)
        .access_log(&log);
    let baton = Baton::start_unprobed(&config).await;
    let mut seen = 0;
    let mut last = async || {
        seen += 1;
        let line = until_lines(&log, seen).await.pop().unwrap();
        let number = |name: &str| line[name].as_u64().unwrap();
        (number("status"), line["master"].as_str().map(str::to_owned), number("attempts"), line["end"].to_string())
    };
    let told = |status, master: Option<&str>, attempts, end: &str| {
        (status, master.map(str::to_owned), attempts, format!("\"{end}\""))
    };
    let post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";

    // Broken off by one, answered by the next.
    let mut client = Raw::connect(baton.address()).await;
    client.send(post).await;
    let mut upstream = first.accept().await;
    upstream.head().await;
    upstream.expect("{}").await;
    drop(upstream);
    assert_eq!(answer(&mut client).await.0, 200);
    assert_eq!(last().await, told(200, Some("b"), 2, "complete"));

    // The client does not wait for the answer.
    client.send(post).await;
    let mut upstream = first.accept().await;
    upstream.head().await;
    client.reset();
    assert_eq!(last().await, told(499, Some("a"), 1, "client-gone"));
    drop(upstream);

    // The master breaks off in the middle.
    let mut client = Raw::connect(baton.address()).await;
    client.send(post).await;
    let mut upstream = first.accept().await;
    upstream.head().await;
    upstream.expect("{}").await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    client.head().await;
    drop(upstream);
    assert_eq!(client.rest().await, "half");
    assert_eq!(last().await, told(200, Some("a"), 1, "answer-cut-short"));

    // A tunnel, and its end.
    let mut client = Raw::connect(baton.address()).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let mut upstream = first.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client.send("four").await;
    upstream.expect("four").await;
    upstream.send("answer").await;
    client.expect("answer").await;
    drop((client, upstream));
    assert_eq!(last().await, told(101, Some("a"), 1, "tunnel-closed"));
    let line = lines(&log).pop().unwrap();
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&4.into(), &6.into()));

    // What is no request.
    let mut client = Raw::connect(baton.address()).await;
    client.send("nonsense\r\n\r\n").await;
    assert!(client.rest().await.starts_with("HTTP/1.1 400 "));
    assert_eq!(last().await, told(400, None, 0, "refused"));
}

#[tokio::test]
async fn a_request_that_no_master_could_take_has_its_line() {
    let _machine = among_others().await;
    let (directory, masters) = (Directory::new(), masters(["a"]).await);
    let log = directory.path().join("access.log");
    masters[0].fault(r#"{"health":"TIMEOUT"}"#).await;
    let baton = Baton::start(&Config::of(&masters).upstream(PROBES).access_log(&log)).await;
    let mut client = Client::connect(baton.address()).await;
    assert_eq!(client.post("/webhook", "{}").await.status, 503);
    let line = until_lines(&log, 1).await.pop().unwrap();
    assert_eq!((&line["status"], &line["attempts"], &line["end"]), (&503.into(), &0.into(), &"no-master".into()));
    assert_eq!((&line["upstream"], &line["master"]), (&"bots".into(), &Value::Null));
}

#[tokio::test]
async fn hostile_bytes_stay_within_their_line_and_their_field() {
    let _machine = among_others().await;
    let (directory, masters) = (Directory::new(), masters(["a"]).await);
    let log = directory.path().join("access.log");
    let baton = Baton::start(&Config::of(&masters).access_log(&log)).await;
    let pieces: &[&[u8]] = &[
        b"\"",
        b"\\",
        b"\\\"},{\\\"status\\\":200",
        b"\x1b[31mred",
        b"\x07\x08\x0b",
        b"\x7f",
        b"%0d%0a",
        b"\xff\xfe",
        "\u{202e}\u{2028}é".as_bytes(),
        b"<script>",
        b"'",
    ];
    let (mut asked, mut accepted) = (0, Vec::new());
    for piece in pieces {
        let requests: [(&str, [&[u8]; 3]); 4] = [
            ("path", [b"GET /", piece, b" HTTP/1.1\r\nHost: x\r\n\r\n"]),
            ("host", [b"GET / HTTP/1.1\r\nHost: x", piece, b"\r\n\r\n"]),
            ("request_id", [b"GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: ", piece, b"\r\n\r\n"]),
            ("method", [b"GET", piece, b" / HTTP/1.1\r\nHost: x\r\n\r\n"]),
        ];
        for (place, request) in requests {
            let mut client = Raw::connect(baton.address()).await;
            client.send(request.concat()).await.finish().await;
            let answer = client.rest().await;
            let status = answer.get(9..12).unwrap_or_default();
            assert!(["200", "400", "405"].contains(&status), "{place} with {piece:?}: {answer:?}");
            asked += 1;
            if status == "200" && place == "path" {
                accepted.push(format!("/{}", String::from_utf8_lossy(piece)));
            }
        }
    }
    until_lines(&log, asked).await;
    let text = std::fs::read_to_string(&log).unwrap();
    let dangerous = |c: char| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c);
    let found: Vec<char> = text.chars().filter(|c| *c != '\n' && dangerous(*c)).collect();
    assert!(found.is_empty(), "{found:?} stand unescaped in the log");
    let logged: Vec<String> = lines(&log).iter().filter_map(|line| line["path"].as_str().map(str::to_owned)).collect();
    assert!(accepted.iter().any(|path| path == "/'"), "{accepted:?}");
    for path in accepted.iter().filter(|path| !path.contains('\u{fffd}')) {
        assert!(logged.contains(path), "{path:?} is not in {logged:?}");
    }
}

#[tokio::test]
async fn a_full_disk_costs_lines_that_are_counted_and_no_request() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters).access_log(Path::new("/dev/full"))).await;
    let mut client = Client::connect(baton.address()).await;
    for _ in 0..200 {
        assert_eq!(client.get("/").await.status, 200);
    }
    eventually("200 lines that are counted as lost", async || {
        (dropped(&baton, "write-error").await == 200.0).then_some(())
    })
    .await;
    assert_eq!(baton.status().await["access_log_dropped"]["write_error"], 200);
    let said = baton.process.said(Stream::Err);
    assert_eq!(said.matches("cannot write the access log").count(), 1, "{said}");
}

#[tokio::test]
async fn a_log_that_nobody_reads_blocks_no_request_and_no_stop() {
    let _machine = among_others().await;
    let (directory, masters) = (Directory::new(), masters(["a"]).await);
    let pipe = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    // Somebody has it open and never reads.
    let _reader = OpenOptions::new().read(true).write(true).open(&pipe).expect("a pipe");
    let config = Config::of(&masters).route("match: { path: /webhook }").access_log(&pipe);
    let mut baton = Baton::start(&config).await;
    let mut client = Client::connect(baton.address()).await;
    // As long as a line gets, so that some thousand fill pipe and queue.
    let path = format!("/{}", "a".repeat(2000));
    let mut slowest = Duration::ZERO;
    let mut requests = 0;
    while dropped(&baton, "queue-full").await == 0.0 {
        assert!(requests < 20_000, "{requests} lines and none is lost");
        for _ in 0..200 {
            let start = Instant::now();
            assert_eq!(client.get(&path).await.status, 404);
            slowest = slowest.max(start.elapsed());
            requests += 1;
        }
    }
    assert!(slowest < Duration::from_secs(2), "a request took {slowest:?}");
    assert!(requests > 1000, "the queue was full after {requests} lines");
    baton.process.signal(Signal::TERM);
    assert_eq!(baton.process.ended().await.code(), Some(0));
    assert!(baton.process.said(Stream::Err).contains("did not take its last lines in time"));
}

#[tokio::test]
async fn rotation_under_load_loses_no_line() {
    let _machine = among_others().await;
    let (directory, masters) = (Directory::new(), masters(["a"]).await);
    let log = directory.path().join("access.log");
    let baton = Baton::start(&Config::of(&masters).access_log(&log)).await;
    let mut client = Client::connect(baton.address()).await;
    let mut requests = 0;
    let rotated: Vec<_> = (1..=3).map(|number| directory.path().join(format!("access.log.{number}"))).collect();
    for file in &rotated {
        for _ in 0..20 {
            client.get("/before").await;
            requests += 1;
        }
        std::fs::rename(&log, file).unwrap();
        baton.hang_up();
        eventually("a new file", async || {
            client.get("/meanwhile").await;
            requests += 1;
            log.exists().then_some(())
        })
        .await;
    }
    client.get("/after").await;
    requests += 1;
    let all = || rotated.iter().chain([&log]).flat_map(|file| lines(file)).collect::<Vec<_>>();
    eventually("a line for every request", async || (all().len() >= requests).then_some(())).await;
    assert_eq!(all().len(), requests);
    assert_eq!(lines(&log).last().unwrap()["path"], "/after");
    assert_eq!((dropped(&baton, "queue-full").await, dropped(&baton, "write-error").await), (0.0, 0.0));
}

#[tokio::test]
async fn lines_are_complete_when_baton_has_stopped() {
    let _machine = among_others().await;
    let (directory, masters) = (Directory::new(), masters(["a"]).await);
    let log = directory.path().join("access.log");
    let mut baton = Baton::start(&Config::of(&masters).access_log(&log)).await;
    for _ in 0..10 {
        assert_eq!(Client::connect(baton.address()).await.get("/").await.status, 200);
    }
    baton.process.signal(Signal::TERM);
    assert_eq!(baton.process.ended().await.code(), Some(0));
    assert_eq!(lines(&log).len(), 10);
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_is_told_at_the_start() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let log = directory.path().join("absent/access.log");
    let config = Config::empty().master("a", "127.0.0.1:9".parse().unwrap(), "").access_log(&log);
    let mut process = run(&directory.write("baton.yaml", &config.text(directory.path())));
    assert_eq!(process.ended().await.code(), Some(1));
    let said = process.said(Stream::Err);
    for word in [log.to_str().unwrap(), "logging.access_log", "No such file"] {
        assert!(said.contains(word), "{word} is missing: {said}");
    }
}

#[tokio::test]
async fn a_reload_takes_the_log_elsewhere_and_switches_it_off_and_on() {
    let _machine = among_others().await;
    let (directory, masters) = (Directory::new(), masters(["a"]).await);
    let (one, two) = (directory.path().join("one.log"), directory.path().join("two.log"));
    let config = Config::of(&masters);
    let baton = Baton::start(&config.clone().access_log(&one)).await;
    let mut client = Client::connect(baton.address()).await;
    let reload = async |config: &Config| {
        let generation = baton.generation().await;
        baton.write(config);
        baton.hang_up();
        eventually("the next generation", async || (baton.generation().await > generation).then_some(())).await;
    };
    client.get("/1").await;
    until_lines(&one, 1).await;
    reload(&config.clone().access_log(&two)).await;
    client.get("/2").await;
    assert_eq!(until_lines(&two, 1).await[0]["path"], "/2");
    reload(&config).await;
    client.get("/unseen").await;
    reload(&config.clone().access_log(&one)).await;
    client.get("/3").await;
    assert_eq!(until_lines(&one, 2).await[1]["path"], "/3");
    assert_eq!(lines(&two).len(), 1);

    // One that cannot be opened is refused, and the old one stays in use.
    baton.write(&config.access_log(&directory.path().join("absent/access.log")));
    baton.hang_up();
    eventually("an error of the reload", async || {
        baton.status().await["config_error"].as_str().filter(|error| error.contains("access_log")).map(|_| ())
    })
    .await;
    client.get("/4").await;
    assert_eq!(until_lines(&one, 3).await[2]["path"], "/4");
}

#[tokio::test]
async fn a_pipe_whose_reader_has_gone_does_not_stop_reloads_and_the_end() {
    let _machine = among_others().await;
    let (directory, masters) = (Directory::new(), masters(["a"]).await);
    let pipe = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let reader = OpenOptions::new().read(true).write(true).open(&pipe).expect("a pipe");
    let config = Config::of(&masters).access_log(&pipe);
    let mut baton = Baton::start(&config).await;
    let generation = baton.generation().await;
    drop(reader);
    baton.write(&config.route("timeout: 20s"));
    baton.hang_up();
    eventually("a reload, or its refusal", async || {
        let status = baton.status().await;
        (status["generation"].as_u64() > Some(generation) || status["config_error"].is_string()).then_some(())
    })
    .await;
    assert_eq!(Client::connect(baton.address()).await.get("/").await.status, 200);
    baton.process.signal(Signal::TERM);
    assert_eq!(baton.process.ended().await.code(), Some(0));
}
