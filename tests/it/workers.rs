//! Few and long-lived connections, as gateways make them, keep every worker busy.
//!
//! Which worker serves a connection is seen from outside: its thread is the one that spends processor time while requests
//! go over that connection and no other.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::Signal;

use crate::kit::http::Client;
use crate::kit::raw::{Raw, header};
use crate::kit::{Baton, Config, among_others, eventually, masters};

/// Requests that tell one worker from another, which only sweeps meanwhile.
const BURST: usize = 40;

/// Processor time in nanoseconds that each worker has spent so far.
fn spent(baton: &Baton) -> BTreeMap<String, u64> {
    let tasks = std::fs::read_dir(baton.process.proc("task")).expect("a running process has threads");
    let spent = tasks.filter_map(|task| {
        let task = task.ok()?.path();
        let name = std::fs::read_to_string(task.join("comm")).ok()?.trim().to_owned();
        let schedule = std::fs::read_to_string(task.join("schedstat")).ok()?;
        let nanos = schedule.split(' ').next()?.parse().ok()?;
        name.starts_with("worker-").then_some((name, nanos))
    });
    spent.collect()
}

/// The worker that serves this connection.
async fn worker(baton: &Baton, client: &mut Client) -> String {
    let before = spent(baton);
    for _ in 0..BURST {
        assert_eq!(client.get("/").await.status, 200);
    }
    let after = spent(baton);
    let grown = |name: &String| after[name] - before.get(name).copied().unwrap_or(0);
    after.keys().max_by_key(|name| grown(name)).expect("there are workers").clone()
}

/// How many of the connections each worker serves, the fewest first; workers without one are not in it.
async fn dealt(baton: &Baton, clients: &mut [Client]) -> Vec<usize> {
    let mut counts = BTreeMap::new();
    for client in clients {
        *counts.entry(worker(baton, client).await).or_default() += 1;
    }
    let mut counts: Vec<usize> = counts.into_values().collect();
    counts.sort_unstable();
    counts
}

async fn connect(baton: &Baton, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(Client::connect(baton.address()).await);
    }
    clients
}

/// Waits until Baton has noticed that only so many are left.
async fn until_open(baton: &Baton, connections: usize) {
    let expected = connections as f64;
    eventually(&format!("{connections} open connections"), async || {
        (baton.metric("baton_connections", &[("listener", "gateway")]).await == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn few_connections_are_spread_evenly() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    for (workers, connections, expected) in
        [(4, 8, &[2, 2, 2, 2][..]), (4, 4, &[1, 1, 1, 1]), (2, 4, &[2, 2]), (2, 3, &[1, 2])]
    {
        let baton = Baton::start(&Config::of(&masters).workers(workers)).await;
        let mut clients = connect(&baton, connections).await;
        assert_eq!(dealt(&baton, &mut clients).await, expected, "{connections} connections on {workers} workers");
    }
}

#[tokio::test]
async fn connections_made_at_once_are_spread_evenly() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters).workers(4)).await;
    let connecting: Vec<_> = (0..8).map(|_| tokio::spawn(Client::connect(baton.address()))).collect();
    let mut clients = Vec::new();
    for client in connecting {
        clients.push(client.await.unwrap());
    }
    assert_eq!(dealt(&baton, &mut clients).await, [2, 2, 2, 2]);
}

#[tokio::test]
async fn workers_that_lost_their_connections_get_the_next_ones() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters).workers(4)).await;
    let mut clients = connect(&baton, 8).await;
    let mut workers = Vec::new();
    for client in &mut clients {
        workers.push(worker(&baton, client).await);
    }
    // Everything that two of the workers have is closed.
    let mut idle: Vec<String> = workers.clone();
    idle.sort_unstable();
    idle.dedup();
    idle.truncate(2);
    let mut kept: Vec<Client> = clients
        .into_iter()
        .zip(&workers)
        .filter(|(_, worker)| !idle.contains(worker))
        .map(|(client, _)| client)
        .collect();
    assert_eq!(kept.len(), 4);
    until_open(&baton, 4).await;

    kept.extend(connect(&baton, 4).await);
    assert_eq!(dealt(&baton, &mut kept).await, [2, 2, 2, 2]);
}

#[tokio::test]
async fn short_connections_do_not_upset_the_balance_of_long_ones() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters).workers(2)).await;
    let mut clients = Vec::new();
    for number in 1..=4 {
        clients.extend(connect(&baton, 1).await);
        for _ in 0..5 {
            Client::connect(baton.address()).await.get("/").await;
        }
        until_open(&baton, number).await;
    }
    assert_eq!(dealt(&baton, &mut clients).await, [2, 2]);
    assert!(baton.metric("baton_connections_total", &[]).await >= 24.0);
    // What was measured is told apart from noise: a worker without requests spends next to nothing.
    let before = spent(&baton);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let after = spent(&baton);
    let idle = after.iter().map(|(name, nanos)| nanos - before[name]).max().unwrap();
    let (owner, before) = (worker(&baton, &mut clients[0]).await, after);
    let busy = spent(&baton)[&owner] - before[&owner];
    assert!(busy > idle, "{busy} ns for {BURST} requests, {idle} ns for none");
}

#[tokio::test]
async fn what_came_while_baton_was_kept_from_running_is_in_time() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let limits = "limits: { idle_timeout: 1s, header_timeout: 1s, body_timeout: 1s }";
    let baton = Baton::start(&Config::of(&masters).listener(limits).workers(1)).await;
    let whole = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi";
    // Where the connection is when time stands still: before a request, in its head, in its body.
    for sent in [0, 20, whole.len() - 1] {
        let mut client = Raw::connect(baton.address()).await;
        client.send(whole).await;
        let head = client.head().await;
        client.take(header(&head, "content-length").unwrap().parse().unwrap()).await;
        client.send(&whole[..sent]).await;
        // So that it has been read, and a wait for the rest has begun.
        tokio::time::sleep(Duration::from_millis(100)).await;
        baton.process.signal(Signal::STOP);
        client.send(&whole[sent..]).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        baton.process.signal(Signal::CONT);
        let head = client.head_or_end().await.unwrap_or_default();
        assert!(head.starts_with("HTTP/1.1 200 "), "after {sent} bytes: {head:?}");
    }
}
