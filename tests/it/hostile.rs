//! What attackers, broken peers and bad luck send, and that nobody else has to suffer for it.

use crate::kit::raw::{Raw, RawMaster};
use crate::kit::{Baton, Config, among_others};

/// A Baton in front of one scripted master, and a connection to it.
async fn between() -> (Baton, RawMaster, Raw) {
    between_with(Config::empty()).await
}

async fn between_with(config: Config) -> (Baton, RawMaster, Raw) {
    let master = RawMaster::bind().await;
    let baton = Baton::start_unprobed(&config.master("a", master.address, "")).await;
    let client = Raw::connect(baton.address()).await;
    (baton, master, client)
}

#[tokio::test]
async fn a_refused_client_that_goes_on_sending_can_read_why_to_the_end() {
    let _machine = among_others().await;
    let (_baton, _master, mut client) = between().await;
    let request = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n";
    client.send(request.to_owned() + &"a".repeat(10_000)).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    // Whoever closes with bytes unread resets the connection, and the answer may be lost on the way.
    for _ in 0..5 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        client.send("a".repeat(1_000)).await;
    }
    client.finish().await;
    assert!(client.rest().await.ends_with("}\n"));
}
