//! Requests that two programs could understand differently: what a master sees is what Baton understood, and the request
//! behind them is answered for itself.

pub mod corpus;

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::kit::directory::Directory;
use crate::kit::process::Stream;
use crate::kit::raw::{Raw, header};
use crate::kit::strict::{Incoming, Received};
use crate::kit::{Baton, Config, among_others, eventually};
use corpus::{Case, Expected, Passed};

const PROBE: &str = "GET /probe HTTP/1.1\r\nHost: probe\r\n\r\n";

/// What one master has seen, in order, and what it found fault with.
#[derive(Default)]
pub struct Seen {
    pub requests: Vec<Received>,
    pub faults: Vec<String>,
}

/// Answers every request with its own target.
pub async fn master(listener: TcpListener, seen: Arc<Mutex<Seen>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let seen = seen.clone();
        tokio::spawn(async move {
            let mut connection = Incoming::new(stream);
            loop {
                match connection.next().await {
                    Ok(Some(request)) => {
                        let body = if request.method == "HEAD" { "" } else { &request.target };
                        let length = request.target.len();
                        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
                        // Before the answer: whoever has that may look.
                        seen.lock().unwrap().requests.push(request);
                        if connection.stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => return,
                    Err(fault) => {
                        let bytes = String::from_utf8_lossy(connection.unread()).into_owned();
                        seen.lock().unwrap().faults.push(format!("{fault}: {bytes:?}"));
                        return;
                    }
                }
            }
        });
    }
}

/// Sends one case with a probe behind it, and says what is not as expected.
async fn try_case(baton: &Baton, case: &Case, seen: &Mutex<Seen>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut client = Raw::connect(baton.address()).await;
    client.send_if_open([&case.request, PROBE.as_bytes()].concat()).await;
    let (mut statuses, mut bodies) = (Vec::new(), Vec::new());
    let to_head = matches!(&case.expected, Expected::Passed(passed) if passed.method == "HEAD");
    let (answers, ends) = match &case.expected {
        Expected::Refused { kept, .. } => (if *kept { 2 } else { 1 }, !kept),
        Expected::Passed(passed) => (if passed.closes { 1 } else { 2 }, passed.closes),
    };
    for answer in 0..answers {
        let Some(head) = client.head_or_end().await else { break };
        statuses.push(head.split(' ').nth(1).unwrap_or_default().to_owned());
        let length = header(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let length = if to_head && answer == 0 { 0 } else { length };
        bodies.push(client.take(length).await);
    }
    if ends {
        client.finish_if_open().await;
        let rest = client.rest().await;
        if !rest.is_empty() {
            faults.push(format!("then came {rest:?}"));
        }
    }
    let mut got = std::mem::take(&mut *seen.lock().unwrap());
    faults.append(&mut got.faults);
    let mut got = got.requests.into_iter();
    let probe_answered = answers == 2;
    match &case.expected {
        Expected::Refused { status, .. } => {
            if statuses.first() != Some(status) {
                faults.push(format!("answered {statuses:?}"));
            }
        }
        Expected::Passed(passed) => {
            if statuses.first().is_none_or(|status| status != "200") {
                faults.push(format!("answered {statuses:?}"));
            }
            match got.next() {
                Some(request) => compare(passed, &request, &mut faults),
                None => faults.push("the master saw nothing".to_owned()),
            }
        }
    }
    if probe_answered {
        let seen = got.next().map(|request| (request.target, request.body.len()));
        if seen != Some(("/probe".to_owned(), 0)) || bodies.last().is_none_or(|body| body != b"/probe") {
            faults.push(format!("the probe was seen as {seen:?}"));
        }
    }
    faults.extend(got.map(|request| format!("the master also saw {} {}", request.method, request.target)));
    faults
}

/// What a master must have got, against what it got.
pub fn compare(passed: &Passed, request: &Received, faults: &mut Vec<String>) {
    let target: String = passed.target.iter().map(|byte| char::from(*byte)).collect();
    if (&request.method, &request.target) != (&passed.method, &target) {
        faults.push(format!("the master saw {} {}", request.method, request.target));
    }
    if request.body != passed.body {
        faults.push(format!("the master saw the body {:?}", String::from_utf8_lossy(&request.body)));
    }
    for line in &passed.has {
        let (name, value) = line.split_once(':').unwrap();
        if !request.all(&name.to_ascii_lowercase()).contains(&value.trim()) {
            faults.push(format!("no {line}, but {:?}", request.all(&name.to_ascii_lowercase())));
        }
    }
    faults.extend(passed.lacks.iter().filter(|name| !request.all(name).is_empty()).map(|name| format!("has {name}")));
    if let Some(sent) = &passed.untouched {
        let text = request.head.strip_suffix(b"\r\n\r\n").unwrap();
        let lines: Vec<&[u8]> =
            text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
        if !sent.iter().zip(&lines).all(|(sent, got)| sent == got) || lines.len() < sent.len() {
            faults.push(format!("the master saw {}", String::from_utf8_lossy(text)));
        }
        let added: &[&[u8]] = &[b"X-Forwarded-", b"Forwarded: ", b"X-Request-Id: "];
        let strange = lines.iter().skip(sent.len()).filter(|line| !added.iter().any(|start| line.starts_with(start)));
        faults.extend(strange.map(|line| format!("added {}", String::from_utf8_lossy(line))));
    }
}

#[tokio::test]
async fn what_a_master_sees_is_what_baton_understood() {
    let _machine = among_others().await;
    let cases = corpus::read();
    let untouched = |case: &&Case| matches!(&case.expected, Expected::Passed(passed) if passed.untouched.is_some());
    let passing = cases.iter().filter(untouched).count();
    assert!(passing >= 40 && cases.len() - passing >= 120, "{} cases, {passing} of them untouched", cases.len());

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let directory = Directory::new();
    let log = directory.path().join("access.log");
    let config = Config::empty().master("a", listener.local_addr().unwrap(), "").access_log(&log);
    // One worker, so that the log has the order of the requests.
    let config = config.workers(1).listener("limits: { header_timeout: 500ms, body_timeout: 500ms, body_bytes: 1MiB }");
    // The corpus is about HTTP/1; its preface of HTTP/2 is a request line of a version that is not spoken.
    let config = config.listener("http2: { enabled: false }");
    let seen = Arc::<Mutex<Seen>>::default();
    tokio::spawn(master(listener, seen.clone()));
    let baton = Baton::start_unprobed(&config.upstream("outlier_detection: off")).await;

    let (mut faults, mut understood) = (Vec::new(), Vec::new());
    for case in &cases {
        let found = try_case(&baton, case, &seen).await;
        faults.extend(found.into_iter().map(|fault| format!("{}: {fault}", case.name)));
        match &case.expected {
            Expected::Refused { kept, .. } => understood.extend(kept.then(probe_line)),
            Expected::Passed(passed) => {
                let path = passed.target.split(|byte| *byte == b'?').next().unwrap();
                understood.push((passed.method.clone(), String::from_utf8_lossy(path).into_owned(), passed.body.len()));
                understood.extend((!passed.closes).then(probe_line));
            }
        }
    }
    assert!(faults.is_empty(), "{} of {} cases:\n{}", faults.len(), cases.len(), faults.join("\n"));
    // By its own account Baton understood just that and passed nothing else on.
    let passed = eventually("the log has every request", async || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let passed: Vec<_> = text.lines().filter_map(passed_line).collect();
        (passed.len() >= understood.len()).then_some(passed)
    })
    .await;
    for (logged, understood) in passed.iter().zip(&understood) {
        // A long path is cut short in the log, and says so.
        let path_agrees = match logged.1.strip_suffix('…') {
            Some(beginning) => understood.1.starts_with(beginning),
            None => logged.1 == understood.1,
        };
        assert!(
            path_agrees && (&logged.0, logged.2) == (&understood.0, understood.2),
            "{logged:?}, not {understood:?}"
        );
    }
    assert_eq!(passed.len(), understood.len());
    assert!(!baton.process.said(Stream::Err).contains("panicked"));
}

/// Method, path and bytes of body, as the access log has them.
pub type Line = (String, String, usize);

fn probe_line() -> Line {
    ("GET".to_owned(), "/probe".to_owned(), 0)
}

/// A line about a request that a master answered.
pub fn passed_line(line: &str) -> Option<Line> {
    let line: Value = serde_json::from_str(line).expect("every line is JSON");
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    (line["status"] == 200).then(|| (text("method"), text("path"), line["bytes_in"].as_u64().unwrap() as usize))
}
