//! The two ends of the side-by-side benchmark: masters that answer, and clients that ask.
//!
//! Both run on one core beside the proxy under test, so they must cost less than it does: one thread, one epoll set,
//! preformatted bytes, no runtime. Nothing here is part of the product; see `benches/compare/run`.
//!
//! Clients over HTTP/1.1: `closed` keeps every connection busy (saturation, cost of a request), `open` sends at given moments
//! whether or not earlier answers have come (latency, counted from the moment the request was due, so that a stall
//! shows in every request it delayed), `idle` holds connections that have each made one request (memory), `handshakes`
//! makes a TLS connection for each. `source` and `download` are the two ends of a transfer in bulk over bare TCP.

mod bulk;
mod carrier;
mod client;
mod handshakes;
mod message;
mod poller;
mod server;
mod summary;

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use client::{Client, Plan};

/// Load and masters for the side-by-side benchmark; results are one line of JSON on standard output.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Answer every request with a small 200, until standard input closes.
    Masters {
        /// An address to listen on; may be repeated.
        #[arg(long, required = true)]
        listen: Vec<SocketAddr>,
        /// Appends the number of each message received, one a line.
        #[arg(long)]
        journal: Option<PathBuf>,
        /// What each answers in a second at most; what comes sooner waits.
        #[arg(long)]
        rate: Option<f64>,
    },
    /// Send a fixed number of requests, each connection asking again as soon as it is answered.
    Closed {
        #[command(flatten)]
        target: Target,
        #[arg(long)]
        requests: u64,
        /// Stops asking after this many seconds, however few requests that were.
        #[arg(long, default_value_t = 60.0)]
        at_most: f64,
    },
    /// Send at a fixed mean rate with exponential gaps, whatever the answers do.
    Open {
        #[command(flatten)]
        target: Target,
        /// Requests a second.
        #[arg(long)]
        rate: f64,
        /// How long to send.
        #[arg(long)]
        seconds: f64,
        /// How long to wait for the last answers.
        #[arg(long, default_value_t = 15.0)]
        grace: f64,
    },
    /// Make a connection over TLS for every request.
    Handshakes {
        #[arg(long)]
        target: SocketAddr,
        #[arg(long, default_value_t = 16)]
        connections: usize,
        #[arg(long)]
        handshakes: u64,
        /// Takes up the session of an earlier connection each time.
        #[arg(long)]
        resuming: bool,
        /// Begins none after this many seconds.
        #[arg(long, default_value_t = 60.0)]
        at_most: f64,
    },
    /// Send as many bytes as each connection asks for, until the parent is gone.
    Source {
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Get so many bytes from a source on each connection.
    Download {
        #[arg(long)]
        target: SocketAddr,
        #[arg(long, default_value_t = 4)]
        connections: usize,
        #[arg(long)]
        bytes: u64,
    },
    /// Make one request on each connection, say so, and hold them until standard input closes.
    Idle {
        #[command(flatten)]
        target: Target,
    },
}

#[derive(clap::Args)]
struct Target {
    #[arg(long)]
    target: SocketAddr,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Over TLS, with certificates unchecked.
    #[arg(long)]
    tls: bool,
    #[command(flatten)]
    shape: message::Shape,
    /// Number of the first message.
    #[arg(long, default_value_t = 0)]
    first: u64,
}

impl Target {
    fn client(&self) -> io::Result<Client> {
        let tls = if self.tls { Some(carrier::tls(false)?) } else { None };
        Client::connect(self.target, tls, self.connections, message::Template::new(&self.shape), self.first)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout();
    match Arguments::parse().mode {
        Mode::Masters { listen, journal, rate } => {
            let pause = rate.map(|rate| Duration::from_secs_f64(1.0 / rate)).unwrap_or_default();
            server::run(&listen, journal.as_deref(), pause)?;
        }
        Mode::Closed { target, requests, at_most } => {
            let report = target.client()?.run(&Plan::closed(requests, Duration::from_secs_f64(at_most)))?;
            writeln!(out, "{report}")?;
        }
        Mode::Open { target, rate, seconds, grace } => {
            let plan = Plan::open(rate, seconds, Duration::from_secs_f64(grace));
            let report = target.client()?.run(&plan)?;
            writeln!(out, "{report}")?;
        }
        Mode::Handshakes { target, connections, handshakes, resuming, at_most } => {
            let at_most = Duration::from_secs_f64(at_most);
            let plan = handshakes::Plan { target, connections, handshakes, resuming, at_most };
            writeln!(out, "{}", handshakes::run(&plan)?)?;
        }
        Mode::Source { listen } => bulk::source(listen)?,
        Mode::Download { target, connections, bytes } => {
            writeln!(out, "{}", bulk::download(target, connections, bytes)?)?;
        }
        Mode::Idle { target } => {
            // Held while the caller reads the proxy's memory.
            let client = target.client()?.ask_each_once()?;
            writeln!(out, "{{\"held\":{}}}", client.connections())?;
            out.flush()?;
            io::stdin().read_to_end(&mut Vec::new())?;
        }
    }
    Ok(())
}
