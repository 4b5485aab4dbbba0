//! Listeners that pass TCP on: bytes, ends and breaks both ways, and masters chosen, left and kept as for requests.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::kit::directory::Directory;
use crate::kit::raw::{Raw, RawMaster};
use crate::kit::{Baton, Config, SOON, among_others, eventually};

/// A listener that passes on what comes to the upstream.
pub fn tcp() -> Config {
    Config::empty().listener("protocol: tcp\nupstream: bots")
}

fn of(masters: &[&RawMaster]) -> Config {
    let names = ["a", "b", "c", "d"];
    masters.iter().zip(names).fold(tcp(), |config, (master, name)| config.master(name, master.address, ""))
}

/// A master that sends back what it gets, and ends when its client does.
async fn echo() -> SocketAddr {
    // As a server would: with the usual 128 a test of many connections that is kept from running has them fail.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let listener = socket.listen(1024).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

/// A master that begins with its name and then sends back what it gets.
async fn named(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                if write.write_all(name.as_bytes()).await.is_ok() {
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                }
            });
        }
    });
    address
}

/// The name of the master that a new connection got, and the connection.
async fn greeted(to: SocketAddr) -> (String, Raw) {
    let mut client = Raw::connect(to).await;
    let name = String::from_utf8(client.take(1).await).unwrap();
    (name, client)
}

/// Bytes of which each says where it stands, so that none can be lost, doubled or moved unseen.
struct Pattern(u64);

impl Pattern {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            // A multiplicative hash of the position (Knuth, volume 3, 6.4).
            *byte = (self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
            self.0 += 1;
        }
    }

    async fn write(mut self, stream: &mut (impl AsyncWriteExt + Unpin), length: u64) {
        let end = self.0 + length;
        let mut piece = vec![0; 65_536];
        while self.0 < end {
            let count = piece.len().min((end - self.0) as usize);
            self.fill(&mut piece[..count]);
            stream.write_all(&piece[..count]).await.expect("an open connection");
        }
    }

    /// Reads to the end and gives the length.
    async fn check(mut self, stream: &mut (impl AsyncReadExt + Unpin)) -> u64 {
        let (mut got, mut expected) = (vec![0; 65_536], vec![0; 65_536]);
        loop {
            let count = stream.read(&mut got).await.expect("an open connection");
            if count == 0 {
                return self.0;
            }
            self.fill(&mut expected[..count]);
            assert!(got[..count] == expected[..count], "other bytes before {}", self.0);
        }
    }
}

#[tokio::test]
async fn bulk_passes_unchanged_both_ways_at_once_and_each_end_is_passed_on() {
    const BYTES: u64 = 24 << 20;
    let _machine = among_others().await;
    let master = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let baton = Baton::start(&tcp().master("a", master.local_addr().unwrap(), "")).await;
    let side = async |mut stream: TcpStream| {
        let (mut read, mut write) = stream.split();
        let writing = async {
            Pattern(0).write(&mut write, BYTES).await;
            write.shutdown().await.unwrap();
        };
        tokio::join!(writing, Pattern(0).check(&mut read)).1
    };
    let client = async { side(TcpStream::connect(baton.address()).await.unwrap()).await };
    let server = async { side(master.accept().await.unwrap().0).await };
    let both = async { tokio::join!(client, server) };
    assert_eq!(timeout(SOON * 3, both).await.expect("both ends in time"), (BYTES, BYTES));
    let bytes = async |direction| baton.metric("baton_tcp_bytes_total", &[("direction", direction)]).await;
    eventually("the end in the metrics", async || {
        let ended = baton.metric("baton_tcp_connections_total", &[("master", "a"), ("end", "complete")]).await;
        (ended == 1.0).then_some(())
    })
    .await;
    assert_eq!((bytes("to-master").await, bytes("to-client").await), (BYTES as f64, BYTES as f64));
}

#[tokio::test]
async fn a_transfer_in_bulk_goes_through_pipes_and_messages_do_not() {
    const BYTES: u64 = 32 << 20;
    let _machine = among_others().await;
    let baton = Baton::start(&tcp().workers(1).master("a", echo().await, "")).await;
    let pipes = || {
        let open = std::fs::read_dir(baton.process.proc("fd")).expect("a running process").flatten();
        let names = open.filter_map(|open| std::fs::read_link(open.path()).ok());
        names.filter(|name| name.to_string_lossy().starts_with("pipe:")).count()
    };
    let mut chat = Raw::connect(baton.address()).await;
    chat.send("a").await.expect("a").await;
    let before = pipes();
    for _ in 0..50 {
        chat.send("a message").await.expect("a message").await;
    }
    assert_eq!(pipes(), before);
    let mut client = TcpStream::connect(baton.address()).await.unwrap();
    let (mut read, mut write) = client.split();
    let writing = async {
        Pattern(0).write(&mut write, BYTES).await;
        write.shutdown().await.unwrap();
    };
    let both = async { tokio::join!(writing, Pattern(0).check(&mut read)).1 };
    assert_eq!(timeout(SOON * 3, both).await.expect("the end in time"), BYTES);
    // Two ends of at most one for each direction, which stay for the next transfer.
    let kept = pipes() - before;
    assert!(kept == 2 || kept == 4, "{kept} ends of pipes more");
    chat.send("still here").await.expect("still here").await;
}

#[tokio::test]
async fn a_client_that_has_ended_still_gets_what_the_master_says_later() {
    let _machine = among_others().await;
    let master = RawMaster::bind().await;
    let baton = Baton::start(&of(&[&master])).await;
    let mut client = Raw::connect(baton.address()).await;
    client.send("question").await.finish().await;
    let mut asked = master.accept().await;
    assert_eq!(asked.rest().await, "question");
    asked.send("ans").await;
    client.expect("ans").await;
    asked.send("wer").await.finish().await;
    client.expect("wer").await.expect_end().await;
}

#[tokio::test]
async fn a_master_that_has_ended_still_gets_what_the_client_says_later() {
    let _machine = among_others().await;
    let master = RawMaster::bind().await;
    let baton = Baton::start(&of(&[&master])).await;
    let mut client = Raw::connect(baton.address()).await;
    let mut server = master.accept().await;
    server.send("hello").await.finish().await;
    assert_eq!(client.rest().await, "hello");
    client.send("more").await.finish().await;
    assert_eq!(server.rest().await, "more");
}

/// Fails unless the connection is reset; an end in order is another thing.
async fn expect_reset(mut stream: TcpStream) {
    let mut byte = [0];
    let read = timeout(SOON, stream.read(&mut byte)).await.expect("a reset in time");
    assert_eq!(read.expect_err("a reset, not an end").kind(), std::io::ErrorKind::ConnectionReset);
}

/// A connection that is turned away. Its reset may be here before the client knows that it is connected.
async fn expect_refused(address: SocketAddr) {
    match TcpStream::connect(address).await {
        Ok(stream) => expect_reset(stream).await,
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

#[tokio::test]
async fn a_reset_is_passed_on_as_a_reset() {
    let _machine = among_others().await;
    let master = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let baton = Baton::start(&tcp().master("a", master.local_addr().unwrap(), "")).await;
    let reset = |stream: TcpStream| socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();

    let pair = async || {
        let mut client = TcpStream::connect(baton.address()).await.unwrap();
        let (mut server, _) = master.accept().await.unwrap();
        server.write_all(b"x").await.unwrap();
        assert_eq!(timeout(SOON, client.read_u8()).await.unwrap().unwrap(), b'x');
        (client, server)
    };
    let (client, server) = pair().await;
    reset(server);
    expect_reset(client).await;
    let (client, server) = pair().await;
    reset(client);
    expect_reset(server).await;
    eventually("both in the metrics", async || {
        let count = async |end| baton.metric("baton_tcp_connections_total", &[("end", end)]).await;
        (count("client-reset").await == 1.0 && count("master-reset").await == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_master_that_refuses_costs_no_client_its_connection() {
    let _machine = among_others().await;
    let gone = RawMaster::bind().await;
    let live = named("b").await;
    let config = tcp().master("a", gone.address, "").master("b", live, "");
    let baton = Baton::start(&config).await;
    drop(gone);
    for _ in 0..6 {
        assert_eq!(greeted(baton.address()).await.0, "b");
    }
    assert!(baton.metric("baton_retries_total", &[("reason", "connect")]).await >= 1.0);
    assert_eq!(baton.metric("baton_tcp_connections_total", &[("end", "unreachable")]).await, 0.0);
}

#[tokio::test]
async fn without_a_master_a_client_is_reset_and_counted() {
    let _machine = among_others().await;
    let gone = RawMaster::bind().await;
    let baton = Baton::start(&of(&[&gone])).await;
    drop(gone);
    for _ in 0..2 {
        expect_refused(baton.address()).await;
    }
    assert_eq!(baton.metric("baton_tcp_connections_total", &[("end", "unreachable")]).await, 1.0);
    assert_eq!(baton.metric("baton_refused_total", &[("reason", "no-master")]).await, 1.0);
}

#[tokio::test]
async fn open_connections_are_dealt_evenly_by_every_strategy_that_promises_it() {
    let _machine = among_others().await;
    let masters = [("a", named("a").await), ("b", named("b").await), ("c", named("c").await)];
    for strategy in ["round-robin", "weighted-round-robin", "least-loaded", "priority"] {
        let config =
            masters.iter().fold(tcp().upstream(&format!("strategy: {strategy}")).workers(1), |config, master| {
                config.master(master.0, master.1, "")
            });
        let baton = Baton::start(&config).await;
        let mut open = Vec::new();
        for _ in 0..12 {
            open.push(greeted(baton.address()).await);
        }
        for (name, _) in masters {
            let count = open.iter().filter(|(got, _)| got == name).count();
            assert_eq!(count, 4, "{strategy}: {name}");
            assert_eq!(baton.master(name).await["in_flight"], 4, "{strategy}");
        }
    }
}

#[tokio::test]
async fn a_client_address_keeps_its_master() {
    let _machine = among_others().await;
    let masters = [("a", named("a").await), ("b", named("b").await), ("c", named("c").await)];
    for keys in ["affinity: { key: client-ip }", "strategy: ip-hash"] {
        let config = masters.iter().fold(tcp().upstream(keys), |config, (name, at)| config.master(name, *at, ""));
        let baton = Baton::start(&config).await;
        let from = async |host: u8| {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
            let mut stream = socket.connect(baton.address()).await.unwrap();
            timeout(SOON, stream.read_u8()).await.unwrap().unwrap()
        };
        let mut seen = std::collections::BTreeSet::new();
        for host in 1..9 {
            let first = from(host).await;
            for _ in 0..4 {
                assert_eq!(from(host).await, first, "127.0.0.{host} with {keys}");
            }
            seen.insert(first);
        }
        assert!(seen.len() > 1, "{keys}: all are at one master");
    }
}

#[tokio::test]
async fn a_full_master_has_a_queue_and_what_does_not_fit_is_turned_away() {
    let _machine = among_others().await;
    let master = named("a").await;
    let limits = "limits: { max_in_flight: 1, max_queue: 1, queue_timeout: 60s }";
    let baton = Baton::start(&tcp().master("a", master, "").upstream(limits)).await;
    let (_, first) = greeted(baton.address()).await;
    let mut second = Raw::connect(baton.address()).await;
    second.send("kept").await;
    eventually("one in the queue", async || (baton.master("a").await["queued"] == 1).then_some(())).await;
    expect_refused(baton.address()).await;
    assert_eq!(baton.metric("baton_refused_total", &[("reason", "queue-full")]).await, 1.0);
    drop(first);
    second.expect("akept").await;
}

#[tokio::test]
async fn nobody_queues_for_longer_than_configured_or_after_leaving() {
    let _machine = among_others().await;
    let master = named("a").await;
    let limits = "limits: { max_in_flight: 1, max_queue: 5, queue_timeout: 300ms }";
    let baton = Baton::start(&tcp().master("a", master, "").upstream(limits)).await;
    let (_, _first) = greeted(baton.address()).await;
    let leaving = Raw::connect(baton.address()).await;
    eventually("one in the queue", async || (baton.master("a").await["queued"] == 1).then_some(())).await;
    leaving.reset();
    eventually("an empty queue", async || (baton.master("a").await["queued"] == 0).then_some(())).await;
    expect_refused(baton.address()).await;
    assert_eq!(baton.metric("baton_refused_total", &[("reason", "queue-timeout")]).await, 1.0);
}

const PROBES: &str =
    "health_check: { interval: 200ms, timeout: 200ms, unhealthy_threshold: 2, healthy_threshold: 1, tcp: {} }";

#[tokio::test]
async fn probes_take_a_master_out_and_its_open_connections_go_on_or_are_closed_as_configured() {
    let _machine = among_others().await;
    for (policy, closes) in [("keep", false), ("close", true)] {
        let (going, other) = (RawMaster::bind().await, named("b").await);
        let config = tcp().master("a", going.address, "").master("b", other, "").upstream(PROBES);
        let config = config.upstream(&format!("tcp_connections_on_failure: {policy}\nstrategy: priority"));
        let baton = Baton::start(&config).await;
        // Connections of probes arrive there, too, and end without a byte.
        let mut client = Raw::connect(baton.address()).await;
        client.send("x").await;
        let mut server = loop {
            let mut server = going.accept().await;
            if server.first().await == Some(b'x') {
                break server;
            }
        };
        drop(going);
        baton.until_health("a", "failed").await;
        for _ in 0..4 {
            assert_eq!(greeted(baton.address()).await.0, "b");
        }
        if closes {
            assert_eq!(client.rest().await, "");
            let ends = [("end", "master-failed"), ("master", "a")];
            eventually("the end", async || {
                (baton.metric("baton_tcp_connections_total", &ends).await >= 1.0).then_some(())
            })
            .await;
        } else {
            server.send("still here").await;
            client.expect("still here").await;
        }
    }
}

#[tokio::test]
async fn a_master_that_breaks_off_before_its_first_byte_is_ejected() {
    let _machine = among_others().await;
    let (breaking, good) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), named("b").await);
    let address = breaking.local_addr().unwrap();
    // What a container's port does whose process is gone: it takes the connection and ends it.
    let broken = tokio::spawn(async move {
        while let Ok((stream, _)) = breaking.accept().await {
            drop(stream);
        }
    });
    let config = tcp().master("a", address, "").master("b", good, "");
    let baton =
        Baton::start(&config.upstream("outlier_detection: { consecutive_failures: 3, base_ejection: 60s }")).await;
    eventually("the ejection", async || {
        let mut client = Raw::connect(baton.address()).await;
        client.first().await;
        (baton.master("a").await["ejected"] == true).then_some(())
    })
    .await;
    for _ in 0..6 {
        assert_eq!(greeted(baton.address()).await.0, "b");
    }
    broken.abort();
}

#[tokio::test]
async fn a_reload_leaves_open_connections_where_they_are() {
    let _machine = among_others().await;
    let (old, new) = (named("a").await, named("b").await);
    let baton = Baton::start(&tcp().master("a", old, "")).await;
    let (_, mut client) = greeted(baton.address()).await;

    // The master is replaced, then the listener speaks something else, then its upstream is gone too.
    baton.write(&tcp().master("b", new, ""));
    baton.hang_up();
    eventually("the new master", async || (greeted(baton.address()).await.0 == "b").then_some(())).await;
    client.send("one").await.expect("one").await;
    let generation = baton.generation().await;
    baton.write(&Config::empty().master("c", new, ""));
    baton.hang_up();
    eventually("the next generation", async || (baton.generation().await > generation).then_some(())).await;
    client.send("two").await.expect("two").await.finish().await.expect_end().await;
    eventually("its end", async || (baton.metric("baton_connections", &[]).await == 0.0).then_some(())).await;
}

#[tokio::test]
async fn sigterm_lets_connections_finish_and_then_cuts_those_that_do_not() {
    let _machine = among_others().await;
    let (master, directory) = (named("a").await, Directory::new());
    let log = directory.path().join("access.log");
    let config = tcp().master("a", master, "").top("drain_timeout: 1s").access_log(&log);
    let mut baton = Baton::start(&config).await;
    let (_, mut finishing) = greeted(baton.address()).await;
    let (_, mut staying) = greeted(baton.address()).await;
    let before = Instant::now();
    baton.process.signal(Signal::TERM);
    let address = baton.address();
    eventually("no new connection", async || TcpStream::connect(address).await.is_err().then_some(())).await;
    finishing.send("last words").await.expect("last words").await.finish().await.expect_end().await;
    assert!(before.elapsed() < Duration::from_secs(1), "the test is too slow to tell");
    staying.rest().await;
    assert!(baton.process.ended().await.success());
    assert!(before.elapsed() >= Duration::from_millis(900), "{:?}", before.elapsed());
    let lines = std::fs::read_to_string(log).unwrap();
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let cut: Vec<_> = lines.iter().filter(|line| line["end"] == "stopped").collect();
    assert_eq!((cut.len(), &cut[0]["bytes_out"]), (1, &1.into()), "{lines:?}");
    let whole = lines.iter().find(|line| line["bytes_in"] == 10).unwrap_or_else(|| panic!("{lines:?}"));
    assert_eq!((&whole["end"], &whole["protocol"]), (&"complete".into(), &"TCP".into()));
    assert_eq!((&whole["bytes_out"], &whole["upstream"], &whole["master"]), (&11.into(), &"bots".into(), &"a".into()));
    assert_eq!((&whole["client"], &whole["attempts"]), (&"127.0.0.1".into(), &1.into()));
}

#[tokio::test]
async fn sigterm_ends_a_process_as_soon_as_its_last_connection_has_ended() {
    let _machine = among_others().await;
    let master = named("a").await;
    let mut baton = Baton::start(&tcp().master("a", master, "")).await;
    let (_, client) = greeted(baton.address()).await;
    baton.process.signal(Signal::TERM);
    drop(client);
    assert!(baton.process.ended().await.success());
}

#[tokio::test]
async fn a_connection_without_a_byte_for_long_is_closed_and_one_with_bytes_is_not() {
    let _machine = among_others().await;
    let master = named("a").await;
    let config = tcp().master("a", master, "").listener("limits: { tunnel_timeout: 700ms }");
    let baton = Baton::start(&config).await;
    let (_, mut idle) = greeted(baton.address()).await;
    let (_, mut busy) = greeted(baton.address()).await;
    let before = Instant::now();
    let ended = async {
        idle.expect_end().await;
        before.elapsed()
    };
    let busy = async {
        for _ in 0..10 {
            busy.send("x").await.expect("x").await;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    };
    let (after, ()) = tokio::join!(ended, busy);
    assert!(after >= Duration::from_millis(600), "{after:?}");
    assert_eq!(baton.metric("baton_tcp_connections_total", &[("end", "idle")]).await, 1.0);
}

#[tokio::test]
async fn a_connection_that_has_had_its_time_is_closed_although_bytes_pass() {
    let _machine = among_others().await;
    let master = named("a").await;
    let baton = Baton::start(&tcp().master("a", master, "").listener("limits: { lifetime: 500ms }")).await;
    let before = Instant::now();
    let mut client = TcpStream::connect(baton.address()).await.unwrap();
    let (mut bytes, mut passed) = ([0; 64], 0);
    // An echo of each byte, until the end.
    while let Ok(count @ 1..) = timeout(SOON, client.read(&mut bytes)).await.expect("bytes or the end in time") {
        passed += count;
        tokio::time::sleep(Duration::from_millis(20)).await;
        if client.write_all(b"x").await.is_err() {
            break;
        }
    }
    assert!(before.elapsed() >= Duration::from_millis(450), "{:?}", before.elapsed());
    assert!(passed > 3, "{passed} bytes passed");
    eventually("its end is counted", async || {
        (baton.metric("baton_tcp_connections_total", &[("end", "lifetime")]).await == 1.0).then_some(())
    })
    .await;
    assert_eq!(greeted(baton.address()).await.0, "a");
}

#[tokio::test]
async fn a_master_killed_in_the_middle_of_a_transfer_breaks_that_connection_alone() {
    let _machine = among_others().await;
    let (dying, living) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), named("b").await);
    let config = tcp().master("a", dying.local_addr().unwrap(), "").master("b", living, "");
    let baton = Baton::start(&config.upstream("strategy: round-robin").workers(1)).await;
    let (mut broken, mut whole) = (None, None);
    for _ in 0..2 {
        let mut client = TcpStream::connect(baton.address()).await.unwrap();
        let mut byte = [0];
        tokio::select! {
            accepted = dying.accept() => broken = Some((client, accepted.unwrap().0)),
            _ = client.read_exact(&mut byte) => whole = Some(client),
        }
    }
    let ((mut client, mut server), mut other) = (broken.unwrap(), whole.unwrap());
    Pattern(0).write(&mut server, 1 << 20).await;
    socket2::SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
    drop((server, dying));
    let mut sink = vec![0; 65_536];
    let end = loop {
        match timeout(SOON, client.read(&mut sink)).await.expect("the end in time") {
            Ok(0) => break None,
            Ok(_) => {}
            Err(error) => break Some(error.kind()),
        }
    };
    assert_eq!(end, Some(std::io::ErrorKind::ConnectionReset));
    other.write_all(b"x").await.unwrap();
    assert_eq!(timeout(SOON, other.read_u8()).await.unwrap().unwrap(), b'x');
}

#[tokio::test]
async fn a_thousand_connections_are_served_at_once() {
    let _machine = among_others().await;
    let masters = [echo().await, echo().await];
    let config = tcp().master("a", masters[0], "").master("b", masters[1], "");
    let baton =
        Baton::start(&config.upstream("limits: { max_in_flight: 500, max_queue: 0 }\nstrategy: least-loaded")).await;
    let mut clients = Vec::new();
    for _ in 0..1000 {
        let mut client = TcpStream::connect(baton.address()).await.unwrap();
        client.write_all(b"ping").await.unwrap();
        clients.push(client);
    }
    let mut answers = JoinSet::new();
    for mut client in clients {
        answers.spawn(async move {
            let mut answer = [0; 4];
            timeout(SOON, client.read_exact(&mut answer)).await.expect("an answer in time").expect("an answer");
            assert_eq!(&answer, b"ping");
            client
        });
    }
    let clients = answers.join_all().await;
    for name in ["a", "b"] {
        assert_eq!(baton.master(name).await["in_flight"], 500);
    }
    drop(clients);
    eventually("all places free again", async || {
        let [a, b] = [baton.master("a").await, baton.master("b").await];
        (a["in_flight"] == 0 && b["in_flight"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn unix_sockets_are_passed_on_from_and_to() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let (inner, outer) = (directory.path().join("master"), directory.path().join("baton"));
    let master = UnixListener::bind(&inner).unwrap();
    let text = format!(
        "listeners: [{{ name: gateway, address: \"unix:{}\", protocol: tcp, upstream: bots }}]\n\
         upstreams: [{{ name: bots, masters: [{{ name: a, address: \"unix:{}\" }}] }}]\nadmin: {{ address: \"127.0.0.1:0\" }}\n",
        outer.display(),
        inner.display()
    );
    let mut process = crate::kit::baton::run(&directory.write("baton.yaml", &text));
    process.line("ready", |line| (line == "ready").then_some(())).await;
    let mut client = Raw::over(UnixStream::connect(&outer).await.unwrap());
    let mut server = Raw::over(timeout(SOON, master.accept()).await.unwrap().unwrap().0);
    client.send("ping").await.finish().await;
    assert_eq!(server.rest().await, "ping");
    server.send("pong").await.finish().await;
    assert_eq!(client.rest().await, "pong");
}
