//! Clients: a number of keep-alive connections driven from one thread, by answers (closed) or by the clock (open).

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use crate::carrier::Carrier;
use crate::message::{self, Template};
use crate::poller::Poller;
use crate::summary::Summary;

/// Larger than any answer of this benchmark.
const BUFFER: usize = 16 * 1024;
/// A closed run in which nothing has been answered for this long is over.
const STALL: Duration = Duration::from_secs(15);
/// Seed of the arrival times: every proxy gets the same sequence.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// When requests are due.
pub struct Plan {
    /// Moments since the start in nanoseconds, ascending; `None` for as soon as a connection is free.
    arrivals: Option<Vec<u64>>,
    requests: u64,
    /// No request is sent after this.
    at_most: Duration,
    /// How long to wait for the last answers.
    grace: Duration,
}

impl Plan {
    pub fn closed(requests: u64, at_most: Duration) -> Self {
        Self { arrivals: None, requests, at_most, grace: STALL }
    }

    /// Poisson arrivals: many independent senders, which is what a gateway's traffic looks like.
    pub fn open(rate: f64, seconds: f64, grace: Duration) -> Self {
        let mut state = SEED;
        let mut at = 0.0;
        let arrivals: Vec<u64> = std::iter::from_fn(|| {
            at += -unit(&mut state).ln() / rate;
            (at < seconds).then_some((at * 1e9) as u64)
        })
        .collect();
        Self { requests: arrivals.len() as u64, arrivals: Some(arrivals), at_most: Duration::MAX, grace }
    }
}

/// The next of a sequence of numbers in (0, 1]: xorshift64*.
fn unit(state: &mut u64) -> f64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    let bits = state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11;
    (bits + 1) as f64 / (1u64 << 53) as f64
}

pub struct Client {
    target: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    template: Template,
    next_number: u64,
    poller: Poller,
    connections: Vec<Connection>,
    /// Connections with nothing in flight; the one used last is used next, as pools do.
    free: Vec<usize>,
}

struct Connection {
    stream: Carrier,
    buffer: Box<[u8]>,
    filled: usize,
    /// When the request in flight was due.
    due: Option<u64>,
}

/// What reading a connection brought.
enum Event {
    Nothing,
    Answer { status: u16, due: u64, close: bool },
    Broken { due: Option<u64> },
}

impl Client {
    /// `tls`: over it, with every handshake made before the first request.
    pub fn connect(
        target: SocketAddr,
        tls: Option<Arc<ClientConfig>>,
        connections: usize,
        template: Template,
        first: u64,
    ) -> io::Result<Self> {
        // By default the kernel may be 50 microseconds late with a wake-up, more than a fast proxy takes.
        rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
        let poller = Poller::new()?;
        let connections = (0..connections as u64)
            .map(|number| {
                let connection = Connection::open(target, tls.as_ref())?;
                poller.add(&connection.stream, number)?;
                Ok(connection)
            })
            .collect::<io::Result<Vec<_>>>()?;
        let free = (0..connections.len()).rev().collect();
        let mut this = Self { target, tls, template, next_number: first, poller, connections, free };
        this.shake_hands()?;
        Ok(this)
    }

    fn shake_hands(&mut self) -> io::Result<()> {
        let open = |connection: &Connection| connection.stream.handshake().is_none();
        while self.tls.is_some() && self.connections.iter().any(open) {
            let ready = self.poller.wait(Some(STALL))?.to_vec();
            if ready.is_empty() {
                return Err(io::Error::other("a handshake hangs"));
            }
            for number in ready {
                if let Event::Broken { .. } = self.connections[number as usize].read() {
                    return Err(io::Error::other("a connection broke in its handshake"));
                }
            }
        }
        Ok(())
    }

    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// One request on each connection, one after the other.
    pub fn ask_each_once(mut self) -> io::Result<Self> {
        while let Some(index) = self.free.pop() {
            self.send(index, 0);
            loop {
                self.poller.wait(Some(STALL))?;
                match self.connections[index].read() {
                    Event::Nothing => {}
                    Event::Answer { status: 200..300, .. } => break,
                    Event::Answer { status, .. } => return Err(io::Error::other(format!("answered {status}"))),
                    Event::Broken { .. } => return Err(io::Error::other("connection closed without an answer")),
                }
            }
        }
        Ok(self)
    }

    /// Carries out the plan. Refused and broken requests are counted; only a target that is gone is an error.
    pub fn run(mut self, plan: &Plan) -> io::Result<Summary> {
        let start = Instant::now();
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let now = || nanos(start.elapsed());
        let (grace, at_most) = (nanos(plan.grace), nanos(plan.at_most));
        let mut requests = plan.requests;
        let mut summary = Summary { latencies: Vec::with_capacity(plan.requests as usize), ..Summary::default() };
        let mut waiting: VecDeque<u64> = VecDeque::new();
        let (mut issued, mut settled, mut last_settled, mut last_good) = (0, 0, 0, 0);
        let mut ready = Vec::new();

        while settled < requests {
            let time = now();
            if time > at_most {
                requests = issued;
                if settled >= requests {
                    break;
                }
            }
            match &plan.arrivals {
                None => {
                    while issued < requests && waiting.len() < self.free.len() {
                        waiting.push_back(time);
                        issued += 1;
                    }
                }
                Some(arrivals) => {
                    while let Some(&due) = arrivals.get(issued as usize).filter(|&&due| due <= time) {
                        waiting.push_back(due);
                        issued += 1;
                    }
                }
            }
            while let Some(&due) = waiting.front()
                && let Some(index) = self.free.pop()
            {
                waiting.pop_front();
                self.send(index, due);
            }
            let next_due = plan.arrivals.as_ref().and_then(|arrivals| arrivals.get(issued as usize).copied());
            let deadline = next_due.unwrap_or(last_settled.max(plan.last_due()).saturating_add(grace));
            let time = now();
            if next_due.is_none() && time >= deadline {
                break;
            }
            ready.clear();
            ready.extend_from_slice(self.poller.wait(Some(Duration::from_nanos(deadline.saturating_sub(time))))?);
            for &number in &ready {
                let index = number as usize;
                let event = self.connections[index].read();
                match event {
                    Event::Nothing => continue,
                    Event::Answer { status, due, close } => {
                        let time = now();
                        *summary.answers.entry(status).or_default() += 1;
                        summary.latencies.push(time.saturating_sub(due));
                        if (200..300).contains(&status) {
                            summary.largest_gap = summary.largest_gap.max(Duration::from_nanos(time - last_good));
                            last_good = time;
                        }
                        settled += 1;
                        last_settled = time;
                        if close {
                            self.reopen(index)?;
                        }
                        self.free.push(index);
                    }
                    Event::Broken { due } => {
                        let time = now();
                        if due.is_some() {
                            summary.broken += 1;
                            settled += 1;
                            last_settled = time;
                            self.free.push(index);
                        }
                        self.reopen(index)?;
                    }
                }
            }
        }
        summary.requests = requests;
        summary.unanswered = requests - settled;
        summary.elapsed = start.elapsed();
        summary.largest_gap = summary.largest_gap.max(Duration::from_nanos(last_settled.saturating_sub(last_good)));
        Ok(summary)
    }

    /// Sends the next request on a free connection. What goes wrong shows when the connection is read.
    fn send(&mut self, index: usize, due: u64) {
        let request = self.template.numbered(self.next_number);
        self.next_number += 1;
        let connection = &mut self.connections[index];
        connection.due = Some(due);
        // With nothing in flight the socket's buffer has room for the whole request: a short write is a dead connection.
        if connection.stream.write(request).ok() != Some(request.len()) {
            connection.stream.close();
        }
    }

    fn reopen(&mut self, index: usize) -> io::Result<()> {
        // Closing the old socket takes it out of the poller.
        self.connections[index] = Connection::open(self.target, self.tls.as_ref())?;
        self.poller.add(&self.connections[index].stream, index as u64)
    }
}

impl Plan {
    fn last_due(&self) -> u64 {
        self.arrivals.as_ref().and_then(|arrivals| arrivals.last().copied()).unwrap_or_default()
    }
}

impl Connection {
    fn open(target: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let mut stream = Carrier::open(target, tls)?;
        stream.flush()?;
        Ok(Self { stream, buffer: vec![0; BUFFER].into_boxed_slice(), filled: 0, due: None })
    }

    fn read(&mut self) -> Event {
        match self.stream.read(&mut self.buffer[self.filled..]) {
            Ok(1..) if self.due.is_none() => return Event::Broken { due: None },
            Ok(read @ 1..) => self.filled += read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Event::Nothing,
            Ok(0) | Err(_) => return Event::Broken { due: self.due.take() },
        }
        match message::answer(&self.buffer[..self.filled]) {
            Ok(Some(answer)) if answer.length == self.filled => {
                self.filled = 0;
                let Some(due) = self.due.take() else { return Event::Nothing };
                Event::Answer { status: answer.status, due, close: answer.close }
            }
            Ok(None) if self.filled < self.buffer.len() => Event::Nothing,
            Ok(_) | Err(_) => Event::Broken { due: self.due.take() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_arrivals_come_at_the_mean_rate_and_in_order() {
        let plan = Plan::open(10_000.0, 10.0, Duration::ZERO);
        let arrivals = plan.arrivals.unwrap();
        assert!((98_000..102_000).contains(&arrivals.len()), "{}", arrivals.len());
        assert!(arrivals.is_sorted());
    }
}
