//! A stretch of network before a master, which a test breaks and mends.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// What becomes of connections and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    Works,
    /// The port is closed, and what was open ends.
    Refuses,
    /// Every connection is reset, also those that were open.
    Resets,
    /// Nothing arrives and nothing ends, in either direction. What is under way arrives when it works again.
    Vanishes,
}

/// Passes connections on to a master. Its address is not 127.0.0.1, from where others connect: one of them could be given its port
/// while it is closed.
pub struct Relay {
    pub address: SocketAddr,
    network: watch::Sender<Network>,
    task: AbortHandle,
}

impl Relay {
    pub async fn start(master: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.2:0").await.expect("a port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (network, seen) = watch::channel(Network::Works);
        let task = tokio::spawn(run(listener, master, seen)).abort_handle();
        Self { address, network, task }
    }

    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(listener: TcpListener, master: SocketAddr, mut network: watch::Receiver<Network>) {
    let address = listener.local_addr().expect("a bound socket has an address");
    let mut listener = Some(listener);
    // They end with this task.
    let mut connections = JoinSet::new();
    loop {
        let now = *network.borrow_and_update();
        if now == Network::Refuses {
            listener = None;
        } else if listener.is_none() {
            listener = Some(TcpListener::bind(address).await.expect("the port it had"));
        }
        let accepted = async {
            match (&listener, now) {
                (Some(listener), Network::Works | Network::Resets) => listener.accept().await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = network.changed() => if changed.is_err() { return },
            Ok((stream, _)) = accepted => { connections.spawn(pass(stream, master, network.clone())); }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// One connection, until either side or the network ends it.
async fn pass(mut client: TcpStream, master: SocketAddr, mut network: watch::Receiver<Network>) {
    let (to_master, to_client) = (network.clone(), network.clone());
    let passed = async {
        let mut master = TcpStream::connect(master).await?;
        // The bytes come in the pieces in which they were sent.
        client.set_nodelay(true)?;
        master.set_nodelay(true)?;
        let (mut from_client, mut into_client) = client.split();
        let (mut from_master, mut into_master) = master.split();
        tokio::try_join!(
            one_way(&mut from_client, &mut into_master, to_master),
            one_way(&mut from_master, &mut into_client, to_client),
        )
    };
    let ended = network.wait_for(|network| matches!(network, Network::Refuses | Network::Resets));
    let reset = tokio::select! {
        _ = passed => false,
        network = ended => network.is_ok_and(|network| *network == Network::Resets),
    };
    if reset {
        // A socket that does not linger is closed by a reset.
        let _ = socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO));
    }
}

async fn one_way(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    mut network: watch::Receiver<Network>,
) -> io::Result<()> {
    let mut bytes = vec![0; 16 << 10];
    loop {
        let count = from.read(&mut bytes).await?;
        let _ = network.wait_for(|network| *network != Network::Vanishes).await;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&bytes[..count]).await?;
    }
}
