//! Masters inside the test that note every message in one list, in the order of arrival, and the judge of that list.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use baton::sample::mark::{Mark, marks};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// One message of the sample gateway as a master read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    pub mark: Mark,
    /// Baton says that a master may have had it before.
    pub possible_repeat: bool,
}

/// What all masters of a test have read.
#[derive(Debug, Clone, Default)]
pub struct Arrivals(Arc<Mutex<Vec<Arrival>>>);

impl Arrivals {
    pub fn list(&self) -> Vec<Arrival> {
        self.0.lock().unwrap().clone()
    }

    /// How many of these have not been read yet.
    pub fn missing(&self, wanted: &BTreeSet<Mark>) -> usize {
        let read: BTreeSet<Mark> = self.0.lock().unwrap().iter().map(|arrival| arrival.mark).collect();
        wanted.difference(&read).count()
    }
}

/// A master that can be taken down, with all its connections, and brought up again at the same address. That is not 127.0.0.1,
/// from where others connect: one of them could be given its port while it is down, or reach itself.
pub struct Reader {
    pub address: SocketAddr,
    arrivals: Arrivals,
    up: Option<AbortHandle>,
}

impl Reader {
    pub async fn start(arrivals: &Arrivals) -> Self {
        let listener = TcpListener::bind("127.0.0.2:0").await.expect("a port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let up = Some(tokio::spawn(accept(listener, arrivals.clone())).abort_handle());
        Self { address, arrivals: arrivals.clone(), up }
    }

    pub fn down(&mut self) {
        if let Some(task) = self.up.take() {
            task.abort();
        }
    }

    pub async fn up(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("the port it had");
        self.up = Some(tokio::spawn(accept(listener, self.arrivals.clone())).abort_handle());
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.down();
    }
}

async fn accept(listener: TcpListener, arrivals: Arrivals) {
    // They end with this task.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, arrivals.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, arrivals: Arrivals) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let arrivals = arrivals.clone();
        async move {
            let possible_repeat = request.headers().contains_key("baton-redelivery");
            // What is cut short has not been read.
            if let Ok(body) = request.into_body().collect().await {
                let read = marks(&body.to_bytes()).into_iter().map(|mark| Arrival { mark, possible_repeat });
                arrivals.0.lock().unwrap().extend(read);
            }
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// What is wrong with the list: nothing of what was acknowledged may be missing, nothing may come twice unless the repeat says
/// so, and no conversation may go back.
pub fn faults(arrivals: &[Arrival], acknowledged: &BTreeSet<Mark>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut read = BTreeSet::new();
    let mut latest: BTreeMap<(u64, u32), u64> = BTreeMap::new();
    for Arrival { mark, possible_repeat } in arrivals {
        if !read.insert(*mark) && !possible_repeat {
            faults.push(format!("{mark} came again, and nothing says so"));
        }
        let latest = latest.entry((mark.run, mark.conversation)).or_default();
        if mark.sequence < *latest {
            faults.push(format!("{mark} came after {latest} of its conversation"));
        }
        *latest = (*latest).max(mark.sequence);
    }
    faults.extend(acknowledged.difference(&read).map(|mark| format!("{mark} was acknowledged and not read")));
    faults
}

#[test]
fn the_judge_sees_what_is_lost_doubled_and_reordered() {
    let mark = |sequence| Mark { run: 1, conversation: 2, sequence };
    let arrival = |sequence, possible_repeat| Arrival { mark: mark(sequence), possible_repeat };
    let all: BTreeSet<_> = (0..3).map(mark).collect();
    let judged = |list: &[Arrival]| faults(list, &all);
    assert_eq!(judged(&[arrival(0, false), arrival(1, false), arrival(1, true), arrival(2, false)]), [""; 0]);
    assert_eq!(judged(&[arrival(0, false), arrival(1, false)]), ["SAMPLE.1.2.2 was acknowledged and not read"]);
    let doubled = judged(&[arrival(0, false), arrival(1, false), arrival(1, false), arrival(2, false)]);
    assert_eq!(doubled, ["SAMPLE.1.2.1 came again, and nothing says so"]);
    let reordered = judged(&[arrival(0, false), arrival(2, false), arrival(1, false)]);
    assert_eq!(reordered, ["SAMPLE.1.2.1 came after 2 of its conversation"]);
}
