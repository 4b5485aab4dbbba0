//! Takes messages that other processes pass on, because the store that they used is this process's by now: see
//! [`crate::spool::relay`].

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::Control;
use crate::listener::link::peer;
use crate::spool::Spool;
use crate::spool::relay::{self, Frame, Outcome};
use crate::spool::store::Refused;

/// Frames under way at once; further ones wait in the socket's queue.
const FRAMES_MAX: usize = 256;

/// How long a frame waits for the store to be open, which it is when this process has taken the other one's place. Whoever
/// passes something on waits as long.
const OPENING: Duration = Duration::from_secs(5);

/// How often that is looked for.
const POLL: Duration = Duration::from_millis(5);

/// Wait after an accept failed, so that being out of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// The socket, served. Dropping it ends that, and removes its file unless a newer process has put its own there.
pub struct Relay {
    path: PathBuf,
    /// Device and number of the file.
    file: (u64, u64),
    serving: JoinHandle<()>,
}

impl Relay {
    /// Puts this process's socket in the place of an older one's, in one step, and serves it.
    ///
    /// # Errors
    /// It cannot be bound.
    pub fn start(control: &Arc<Control>, state: &Path) -> io::Result<Self> {
        let path = relay::socket_path(state);
        let own = path.with_extension(format!("{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&own);
        let listener = UnixListener::bind(&own)?;
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&own, &path)?;
        let file = identity(&path)?;
        let serving = tokio::spawn(serve(listener, control.clone()));
        Ok(Self { path, file, serving })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.serving.abort();
        if identity(&self.path).is_ok_and(|found| found == self.file) {
            // It has done its service; should it be gone already, so much the better.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

async fn serve(listener: UnixListener, control: Arc<Control>) {
    let places = Arc::new(Semaphore::new(FRAMES_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept what other processes pass on");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let control = control.clone();
        tokio::spawn(async move {
            if let Err(error) = take(stream, &control).await {
                tracing::warn!("a message that another process passes on is not taken, and may come again: {error}");
            }
            drop(place);
        });
    }
}

async fn take(mut stream: UnixStream, control: &Control) -> io::Result<()> {
    if !peer(&stream)?.is_trusted() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let frame = relay::receive(&mut stream).await?;
    let outcome = match (open_spool(control).await, frame) {
        (None, _) => Outcome::Failed,
        (Some(spool), Frame::Messages(mut messages)) => {
            messages.iter_mut().for_each(|message| message.seq = spool.store.next_seq());
            match spool.take_in(&messages).await {
                Ok(()) => Outcome::Stored,
                Err(Refused::Full { retry_after, .. }) => Outcome::Full { retry_after },
                Err(Refused::Closed | Refused::Failed(_)) => Outcome::Failed,
            }
        }
        (Some(spool), Frame::Ids(ids)) => {
            spool.store.note_seen(ids);
            Outcome::Stored
        }
    };
    relay::answer(&mut stream, outcome).await
}

/// The store that this process has, or is about to have.
async fn open_spool(control: &Control) -> Option<Spool> {
    let opened = async {
        loop {
            let present = control.published.load().spool.clone();
            if let Some(spool) = present.filter(|spool| !spool.store.is_closed()) {
                return spool;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(OPENING, opened).await.ok()
}
