//! Requests that come over HTTP/2 and go on as HTTP/1.1: whatever the frames say, the master sees what Baton understood,
//! under one framing, and of what is refused it sees nothing.

mod cases;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;

use crate::kit::directory::Directory;
use crate::kit::frames::{DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, RST_STREAM, frame, literal};
use crate::kit::process::Stream;
use crate::kit::{Baton, Config, among_others, eventually};
use crate::smuggling::{Line, Seen, compare, master, passed_line};
use cases::{Case, Expected, Outcome};

/// Bytes of DATA in one frame.
const PIECE: usize = 16 * 1024;

fn block(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(name, value)).collect()
}

/// The frames of a case on a stream.
fn frames(case: &Case, stream: u32) -> Vec<u8> {
    let ended = case.data.is_empty() && case.trailers.is_empty() && !case.open;
    let flags = END_HEADERS | if ended { END_STREAM } else { 0 };
    let mut bytes = frame(HEADERS, flags, stream, &block(&case.fields));
    let pieces: Vec<&[u8]> =
        case.data.iter().flat_map(|data| data.chunks(PIECE).chain(data.is_empty().then_some(&[][..]))).collect();
    for (number, piece) in pieces.iter().enumerate() {
        let last = number + 1 == pieces.len() && case.trailers.is_empty();
        bytes.extend(frame(DATA, if last { END_STREAM } else { 0 }, stream, piece));
    }
    if !case.trailers.is_empty() {
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&case.trailers)));
    }
    bytes
}

/// A client's connection, opened again when a case has ended it.
struct Client {
    frames: Frames,
    stream: u32,
}

impl Client {
    async fn connect(baton: &Baton) -> Self {
        Self { frames: Frames::connect(baton.address()).await, stream: 1 }
    }

    /// Sends a request and reads how it ended. A body that Baton answers is either the master's, which is the target, or a
    /// problem document, which has the status.
    async fn ask(&mut self, case: &Case) -> Outcome {
        let stream = self.stream;
        self.stream += 2;
        self.frames.write(&frames(case, stream)).await;
        let mut body = Vec::new();
        loop {
            let Some(got) = self.frames.next().await else { return Outcome::Closed(0) };
            let Frame { kind, flags, payload, .. } = got;
            match kind {
                GOAWAY => return Outcome::Closed(u32::from_be_bytes(payload[4..8].try_into().unwrap())),
                RST_STREAM if got.stream == stream => {
                    return Outcome::Reset(u32::from_be_bytes(payload[..4].try_into().unwrap()));
                }
                DATA if got.stream == stream => body.extend(payload),
                _ => {}
            }
            if got.stream == stream && flags & END_STREAM != 0 {
                break;
            }
        }
        match serde_json::from_slice::<serde_json::Value>(&body).ok().and_then(|document| document["status"].as_u64()) {
            Some(status) => Outcome::Status(status),
            None => Outcome::Passed,
        }
    }
}

/// How many requests were refused by now, by reason.
async fn refusals(baton: &Baton) -> BTreeMap<String, u64> {
    let (_, text) = baton::sample::client::get(baton.admin, "/metrics").await.expect("the metrics can be read");
    let text = String::from_utf8(text.to_vec()).expect("metrics are text");
    let series = text.lines().filter(|line| line.starts_with("baton_refused_total{"));
    let counted = series.filter_map(|line| {
        let (labels, count) = line.rsplit_once(' ')?;
        let reason = labels.split("reason=\"").nth(1)?.split('"').next()?;
        Some((reason.to_owned(), count.parse::<f64>().ok()? as u64)).filter(|(_, count)| *count > 0)
    });
    counted.fold(BTreeMap::new(), |mut sums, (reason, count)| {
        *sums.entry(reason).or_default() += count;
        sums
    })
}

#[tokio::test]
async fn what_a_master_sees_of_a_stream_is_what_baton_understood() {
    let _machine = among_others().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let directory = Directory::new();
    let log = directory.path().join("access.log");
    // One worker, so that the log has the order of the requests.
    let config = Config::empty().master("a", listener.local_addr().unwrap(), "").access_log(&log).workers(1);
    let config =
        config.listener("limits: { body_timeout: 500ms, body_bytes: 1MiB }").upstream("outlier_detection: off");
    let seen = Arc::<Mutex<Seen>>::default();
    tokio::spawn(master(listener, seen.clone()));
    let baton = Baton::start_unprobed(&config).await;
    let mut client = Client::connect(&baton).await;

    let (cases, probe) = (cases::all(), cases::probe());
    let (mut faults, mut understood, mut refused) = (Vec::new(), Vec::<Line>::new(), BTreeMap::<String, u64>::new());
    for case in &cases {
        let outcome = client.ask(case).await;
        if matches!(outcome, Outcome::Closed(_)) {
            client = Client::connect(&baton).await;
        }
        let mut found = Vec::new();
        // Whatever was left of the case at the master would be taken for the beginning of this.
        if client.ask(&probe).await != Outcome::Passed {
            found.push("the probe was not answered".to_owned());
        }
        let mut got = std::mem::take(&mut *seen.lock().unwrap());
        found.append(&mut got.faults);
        if got.requests.pop().is_none_or(|last| last.target != "/probe" || !last.body.is_empty()) {
            found.push("the master did not see the probe last".to_owned());
        }
        match &case.expected {
            Expected::Passed(passed) => {
                if outcome != Outcome::Passed {
                    found.push(format!("{outcome:?}"));
                }
                match &got.requests[..] {
                    [request] => compare(passed, request, &mut found),
                    others => found.push(format!("the master saw {} requests", others.len())),
                }
                let path = passed.target.split(|byte| *byte == b'?').next().unwrap();
                let path = String::from_utf8_lossy(path).into_owned();
                understood.push((passed.method.clone(), path, passed.body.len()));
            }
            Expected::Refused(expected, reason) => {
                if outcome != *expected {
                    found.push(format!("{outcome:?}, not {expected:?}"));
                }
                let seen = got.requests.iter().map(|request| format!("the master saw {}", request.target));
                found.extend(seen);
                *refused.entry((*reason).to_owned()).or_default() += 1;
            }
        }
        understood.push(("GET".to_owned(), "/probe".to_owned(), 0));
        faults.extend(found.into_iter().map(|fault| format!("{}: {fault}", case.what)));
        if refusals(&baton).await != refused {
            let counted = refusals(&baton).await;
            faults.push(format!("{}: counted as {counted:?}, not {refused:?}", case.what));
            refused = counted;
        }
    }
    assert!(faults.is_empty(), "{} of {} cases:\n{}", faults.len(), cases.len(), faults.join("\n"));

    let passed = eventually("the log has every request", async || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let passed: Vec<_> = text.lines().filter_map(passed_line).collect();
        (passed.len() >= understood.len()).then_some(passed)
    })
    .await;
    assert_eq!(passed, understood);
    assert!(!baton.process.said(Stream::Err).contains("panicked"));
}
