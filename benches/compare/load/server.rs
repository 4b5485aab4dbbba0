//! Masters: every request is answered with the same small 200 from one thread, at once or at a rate.
//!
//! `GET /count` answers how many webhooks each address has received, which shows whether a proxy spread them, and
//! `GET /echo` answers with the request itself, which shows what a proxy made of it.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::message;
use crate::poller::Poller;

/// Larger than any request of this benchmark.
const BUFFER: usize = 16 * 1024;
/// How often the owner is looked for; masters must not outlive it.
const OWNER_CHECK: Duration = Duration::from_millis(500);

/// Serves until the process that started it is gone.
///
/// `pause`: between two answers of one master to webhooks, at least.
pub fn run(addresses: &[SocketAddr], journal: Option<&Path>, pause: Duration) -> io::Result<()> {
    let mut masters = Masters {
        poller: Poller::new()?,
        listeners: Vec::new(),
        received: vec![0; addresses.len()],
        pause,
        free: vec![Instant::now(); addresses.len()],
        late: VecDeque::new(),
        journal: journal.map(|path| OpenOptions::new().create(true).append(true).open(path)).transpose()?,
        connections: HashMap::new(),
        next: addresses.len() as u64,
    };
    for (number, address) in addresses.iter().enumerate() {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        masters.poller.add(&listener, number as u64)?;
        masters.listeners.push(listener);
    }
    masters.serve()
}

struct Masters {
    poller: Poller,
    listeners: Vec<TcpListener>,
    received: Vec<u64>,
    pause: Duration,
    /// When each master has done what it was given.
    free: Vec<Instant>,
    /// Connections that are answered later, and when, the next one first.
    late: VecDeque<(Instant, u64)>,
    journal: Option<File>,
    connections: HashMap<u64, Connection>,
    next: u64,
}

struct Connection {
    stream: TcpStream,
    master: usize,
    buffer: Vec<u8>,
    filled: usize,
}

impl Masters {
    fn serve(&mut self) -> io::Result<()> {
        let owner = rustix::process::getppid();
        let mut checked = Instant::now();
        let mut ready = Vec::new();
        loop {
            ready.clear();
            let next = self.late.front().map_or(OWNER_CHECK, |(due, _)| due.saturating_duration_since(Instant::now()));
            ready.extend_from_slice(self.poller.wait(Some(next.min(OWNER_CHECK)))?);
            self.answer_late()?;
            if checked.elapsed() >= OWNER_CHECK {
                checked = Instant::now();
                if rustix::process::getppid() != owner {
                    return Ok(());
                }
            }
            for &number in &ready {
                if let Ok(master) = usize::try_from(number)
                    && master < self.listeners.len()
                {
                    self.accept(master)?;
                } else if !self.advance(number)? {
                    self.connections.remove(&number);
                }
            }
        }
    }

    fn answer_late(&mut self) -> io::Result<()> {
        let now = Instant::now();
        while let Some((_, number)) = self.late.pop_front_if(|(due, _)| *due <= now) {
            let Some(connection) = self.connections.get_mut(&number) else { continue };
            if connection.stream.write_all(ANSWER).is_err() {
                self.connections.remove(&number);
            }
        }
        Ok(())
    }

    fn accept(&mut self, master: usize) -> io::Result<()> {
        let stream = match self.listeners[master].accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        self.poller.add(&stream, self.next)?;
        let connection = Connection { stream, master, buffer: vec![0; BUFFER], filled: 0 };
        self.connections.insert(self.next, connection);
        self.next += 1;
        Ok(())
    }

    /// Reads and answers what has come; `false` when the connection is over.
    fn advance(&mut self, number: u64) -> io::Result<bool> {
        let Some(connection) = self.connections.get_mut(&number) else { return Ok(true) };
        match connection.stream.read(&mut connection.buffer[connection.filled..]) {
            Ok(0) => return Ok(false),
            Ok(read) => connection.filled += read,
            Err(error) => return Ok(error.kind() == io::ErrorKind::WouldBlock),
        }
        let mut used = 0;
        while let Some(question) = match message::question(&connection.buffer[used..connection.filled]) {
            Ok(question) => question,
            // Closing shows in the results as a failed request.
            Err(_) => return Ok(false),
        } {
            let answered = match question.path {
                "/count" => {
                    let counts = serde_json::json!(self.received).to_string();
                    connection.stream.write_all(&with_body(counts.as_bytes()))
                }
                "/echo" => {
                    let request = &connection.buffer[used..used + question.length];
                    connection.stream.write_all(&with_body(request))
                }
                path => {
                    if path.starts_with("/webhook") {
                        self.received[connection.master] += 1;
                    }
                    if let (Some(journal), Some(number)) = (&mut self.journal, question.number) {
                        journal.write_all(&[number, b"\n"].concat())?;
                    }
                    if self.pause.is_zero() || !path.starts_with("/webhook") {
                        connection.stream.write_all(ANSWER)
                    } else {
                        let free = &mut self.free[connection.master];
                        *free = (*free).max(Instant::now()) + self.pause;
                        let at = self.late.partition_point(|(due, _)| *due <= *free);
                        self.late.insert(at, (*free, number));
                        Ok(())
                    }
                }
            };
            if answered.is_err() {
                return Ok(false);
            }
            used += question.length;
        }
        connection.buffer.copy_within(used..connection.filled, 0);
        connection.filled -= used;
        Ok(connection.filled < BUFFER)
    }
}

fn with_body(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"status\":\"ok\"}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_answer_states_its_own_length() {
        let read = message::answer(ANSWER).unwrap().unwrap();
        assert_eq!((read.status, read.length), (200, ANSWER.len()));
    }
}
