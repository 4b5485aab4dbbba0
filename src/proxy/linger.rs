//! The last moment of a client's connection.

use std::time::Duration;

use crate::clock;
use crate::net::stream::Stream;
use crate::net::watch::Watched;
use crate::upstream::connection::Pool;

/// How long a client that was refused is listened to before the connection is closed: closing while bytes arrive would
/// reset the connection and could take the answer with it.
pub const LINGER: Duration = Duration::from_secs(1);

/// Bytes listened to meanwhile.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

const STEP: usize = 16 * 1024;

/// How long an idle connection stays open when its worker drains: a request may be on its way, or in the kernel, and to
/// close on it loses it.
pub const DRAIN_GRACE: Duration = Duration::from_millis(100);

/// Ends our side and listens until the client ends its own, for a moment.
pub async fn linger(stream: &Stream, watched: &Watched<Pool>) {
    watched.arm(clock::now().saturating_add(clock::micros(LINGER)));
    let listen = async {
        stream.shutdown().await?;
        let (mut heard, mut unheeded) = (0, vec![0; STEP]);
        while heard < LINGER_BYTES_MAX {
            match stream.read(&mut unheeded).await? {
                0 => break,
                count => heard += count,
            }
        }
        std::io::Result::Ok(())
    };
    // Whatever happens here, the connection is closed next.
    let _ = watched.guard(listen).await;
}
