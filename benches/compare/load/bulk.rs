//! Bytes in bulk over TCP: a source that sends as many as it is asked for, and clients that ask and count.
//!
//! One thread for each connection and blocking calls, because nothing here is small: a quarter of a megabyte at a time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Written and read at once.
const PIECE: usize = 256 * 1024;
/// A client that gets nothing for this long gives up.
const STALL: Duration = Duration::from_secs(15);
/// Between two looks whether the owner is still there.
const OWNER_CHECK: Duration = Duration::from_millis(500);

/// Sends to everybody the number of bytes that it asks for in eight bytes, most significant first, until the process that
/// started it is gone.
pub fn source(listen: SocketAddr) -> io::Result<()> {
    let owner = rustix::process::getppid();
    let listener = TcpListener::bind(listen)?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                // Whoever leaves early shows it in the count at the other end.
                let _ = send(stream);
            });
        }
    });
    while rustix::process::getppid() == owner {
        std::thread::sleep(OWNER_CHECK);
    }
    Ok(())
}

fn send(mut stream: TcpStream) -> io::Result<()> {
    let piece = vec![b'x'; PIECE];
    let mut wanted = [0; 8];
    loop {
        stream.read_exact(&mut wanted)?;
        let mut left = usize::try_from(u64::from_be_bytes(wanted)).map_err(io::Error::other)?;
        while left > 0 {
            let next = left.min(PIECE);
            stream.write_all(&piece[..next])?;
            left -= next;
        }
    }
}

/// Asks for so many bytes on each of the connections at the same time; the result as one line of JSON.
pub fn download(target: SocketAddr, connections: usize, bytes: u64) -> io::Result<String> {
    let start = Instant::now();
    let clients: Vec<_> = (0..connections).map(|_| std::thread::spawn(move || receive(target, bytes))).collect();
    for client in clients {
        client.join().map_err(|_| io::Error::other("a client panicked"))??;
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(serde_json::json!({"bytes": bytes * connections as u64, "seconds": seconds}).to_string())
}

fn receive(target: SocketAddr, bytes: u64) -> io::Result<()> {
    let mut stream = TcpStream::connect(target)?;
    stream.set_read_timeout(Some(STALL))?;
    stream.write_all(&bytes.to_be_bytes())?;
    let mut piece = vec![0; PIECE];
    let mut left = bytes;
    while left > 0 {
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Err(io::Error::other(format!("the connection ended {left} bytes too early")));
        }
        left = left.checked_sub(read as u64).ok_or_else(|| io::Error::other("more came than was asked for"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_bytes_come_as_were_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(send(stream))));
        let bytes = 3 * PIECE as u64 + 17;
        assert!(download(address, 1, bytes).unwrap().contains(&format!("\"bytes\":{bytes}")));
    }
}
