//! Messages for a store that has gone to another process: how the process that they come to passes them on to it.
//!
//! In an upgrade the store goes over in a moment, and connections in their own time: gateways keep them, and send on them what is
//! to be stored. The process that has the store now listens at a Unix socket below `state.path`, takes one frame on each
//! connection, and answers when what was in it is on disk. The newest process has the socket's path, so whoever asks
//! comes to the right one however many upgrades it has outlived.

mod frame;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

pub use frame::{Frame, Outcome};

use super::record::Incoming;

/// The socket's name below `state.path`.
const SOCKET_NAME: &str = "relay.sock";

/// What whoever connects may take to say what it wants.
const FRAME_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the process that has the store of this state directory takes what others pass on.
#[must_use]
pub fn socket_path(state: &Path) -> PathBuf {
    state.join(SOCKET_NAME)
}

/// Has messages stored by the process that has the store. When this is given up, they may be stored all the same.
///
/// # Errors
/// Nobody is there, or whoever was has gone, in which case they may be stored; trying again is safe for messages with an id.
pub async fn store(state: &Path, messages: &[Incoming]) -> io::Result<Outcome> {
    ask(state, &frame::of_messages(messages)?).await
}

/// Has ids remembered there, of messages that were delivered here.
///
/// # Errors
/// As [`store`].
pub async fn note_seen(state: &Path, ids: &[u128]) -> io::Result<Outcome> {
    ask(state, &frame::of_ids(ids)?).await
}

async fn ask(state: &Path, frame: &[u8]) -> io::Result<Outcome> {
    let mut stream = UnixStream::connect(socket_path(state)).await?;
    stream.write_all(frame).await?;
    let mut answer = [0; frame::ANSWER_BYTES];
    stream.read_exact(&mut answer).await?;
    Ok(frame::read_answer(answer))
}

/// Reads what is passed on over a connection.
///
/// # Errors
/// It is no frame, longer than one may be, or does not come in time.
pub async fn receive(stream: &mut UnixStream) -> io::Result<Frame> {
    let reading = async {
        let mut head = [0; frame::HEAD_BYTES];
        stream.read_exact(&mut head).await?;
        let length = frame::length_of(&head)?;
        // Grows with what comes, not with what is announced.
        let mut body = Vec::new();
        if stream.take(length).read_to_end(&mut body).await? as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        frame::read(&head, &body)
    };
    tokio::time::timeout(FRAME_TIMEOUT, reading).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Tells whoever passed something on what came of it.
///
/// # Errors
/// It has gone.
pub async fn answer(stream: &mut UnixStream, outcome: Outcome) -> io::Result<()> {
    stream.write_all(&frame::write_answer(outcome)).await
}
