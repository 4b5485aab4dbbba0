//! A reader of `/api/v1/events`.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::SOON;

/// An open stream.
pub struct Events {
    body: Incoming,
    unread: Vec<u8>,
    /// The last number that the stream has said.
    pub last_id: Option<u64>,
}

impl Events {
    /// Opens a stream of what happens from now on; `query` such as `?kinds=master-health`, or empty. Gives the status
    /// where that is not 200.
    pub async fn open(admin: SocketAddr, query: &str) -> Result<Self, u16> {
        Self::open_after(admin, query, None).await
    }

    /// Opens a stream that goes on after the event with this number.
    pub async fn open_after(admin: SocketAddr, query: &str, last_id: Option<u64>) -> Result<Self, u16> {
        let stream = TcpStream::connect(admin).await.expect("a connection");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("no bytes are exchanged yet");
        tokio::spawn(connection);
        let mut request = Request::get(format!("/api/v1/events{query}")).header("host", admin.to_string());
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let request = request.body(Empty::<Bytes>::new()).expect("a test writes valid requests");
        let answer = timeout(SOON, sender.send_request(request)).await.expect("an answer in time").expect("an answer");
        if answer.status() != 200 {
            return Err(answer.status().as_u16());
        }
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let mut events = Self { body: answer.into_body(), unread: Vec::new(), last_id: None };
        // From here on nothing is missed.
        events.piece().await.expect("a first piece");
        Ok(events)
    }

    /// The next event that `pick` accepts; others are passed over.
    pub async fn until<T>(&mut self, expected: &str, mut pick: impl FnMut(&Value) -> Option<T>) -> T {
        let mut passed = Vec::new();
        loop {
            let event = timeout(SOON, self.event()).await.unwrap_or_else(|_| panic!("{expected}; came: {passed:?}"));
            let event = event.unwrap_or_else(|| panic!("the end before {expected}; came: {passed:?}"));
            match pick(&event) {
                Some(value) => return value,
                None => passed.push(event["message"].clone()),
            }
        }
    }

    /// The next event of this kind.
    pub async fn of_kind(&mut self, kind: &str) -> Value {
        self.until(kind, |event| (event["kind"] == kind).then(|| event.clone())).await
    }

    /// The next event, or what is said of missed ones; `None` at a proper end.
    pub async fn event(&mut self) -> Option<Value> {
        loop {
            let piece = self.piece().await?;
            let data = piece.lines().find_map(|line| line.strip_prefix("data: "));
            if let Some(data) = data {
                return Some(serde_json::from_str(data).expect("data is JSON"));
            }
        }
    }

    async fn piece(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\n\n") {
                let piece = String::from_utf8(self.unread.drain(..end + 2).collect()).expect("text");
                let id = piece.lines().find_map(|line| line.strip_prefix("id: "));
                self.last_id = id.map(|id| id.parse().expect("a number")).or(self.last_id);
                return Some(piece);
            }
            let frame = self.body.frame().await?.expect("a stream that does not break off");
            self.unread.extend_from_slice(&frame.into_data().expect("data"));
        }
    }
}
