//! A body that is received whole before anything is done with it.

use crate::clock;
use crate::exchange::{ClientEnd, Part, Requester};
use crate::net::watch::Watched;
use crate::upstream::connection::Pool;

/// Receives what is to come of the body. Its limit is the requester's.
///
/// # Errors
/// [`ClientEnd`], as [`Requester::poll_body`] has it, and [`ClientEnd::TooSlow`] after too long a pause.
pub async fn hold<R: Requester>(requester: &mut R, watched: &Watched<Pool>) -> Result<Vec<u8>, ClientEnd> {
    let mut held = Vec::new();
    loop {
        watched.arm(clock::now().saturating_add(requester.pause()));
        let next = std::future::poll_fn(|cx| {
            requester.poll_body(cx).map_ok(|part| match part {
                Part::Data(data) => {
                    held.extend_from_slice(data);
                    data.len()
                }
                Part::End { .. } => 0,
            })
        });
        match watched.guard(next).await {
            Ok(Ok(0)) => return Ok(held),
            Ok(Ok(count)) => requester.sent(count),
            Ok(Err(end)) => return Err(end),
            Err(_) => return Err(ClientEnd::TooSlow),
        }
    }
}
