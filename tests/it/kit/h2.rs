//! A client of HTTP/2 for what a well-behaved library sends, over a plain connection or any other.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::SOON;

/// A connection that is kept going by a task of its own.
pub struct Client {
    sender: SendRequest<Bytes>,
    /// Ends with the connection, and with its error.
    pub connection: JoinHandle<Result<(), h2::Error>>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    /// The sample master that answered.
    pub fn master(&self) -> &str {
        let name = self.headers.get(baton::sample::MASTER_HEADER);
        name.and_then(|name| name.to_str().ok()).unwrap_or_else(|| panic!("status {} by nobody", self.status))
    }
}

impl Client {
    pub async fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.expect("a connection");
        stream.set_nodelay(true).expect("an option of every TCP socket");
        Self::over(stream, &Builder::new()).await
    }

    pub async fn over<S>(stream: S, builder: &Builder) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = builder.handshake(stream).await.expect("no answer is waited for");
        Self { sender, connection: tokio::spawn(connection) }
    }

    /// A handle for another task: requests of both share the connection.
    pub fn sender(&self) -> SendRequest<Bytes> {
        self.sender.clone()
    }

    /// Begins a request whose body, if any, the test sends.
    pub async fn begin(&mut self, request: Request<()>, ends: bool) -> (ResponseFuture, SendStream<Bytes>) {
        begin(&mut self.sender, request, ends).await.expect("a stream")
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        let (response, _) = self.begin(get(path), true).await;
        answer(response).await.expect("an answer")
    }

    pub async fn post(&mut self, path: &str, body: &str) -> Answer {
        let (response, mut stream) = self.begin(post(path, Some(body.len())), body.is_empty()).await;
        if !body.is_empty() {
            stream.send_data(Bytes::from(body.to_owned()), true).expect("an open stream");
        }
        answer(response).await.expect("an answer")
    }

    /// Waits until the server has said how it wants things, so that what it offers is known.
    pub async fn settled(&mut self) {
        super::eventually("the server's settings", async || {
            self.sender.is_extended_connect_protocol_enabled().then_some(())
        })
        .await;
    }
}

pub fn get(path: &str) -> Request<()> {
    Request::get(format!("http://bot.example{path}")).body(()).expect("a valid request")
}

pub fn post(path: &str, length: Option<usize>) -> Request<()> {
    let request = Request::post(format!("http://bot.example{path}"));
    let request = match length {
        Some(length) => request.header("content-length", length),
        None => request,
    };
    request.body(()).expect("a valid request")
}

pub async fn begin(
    sender: &mut SendRequest<Bytes>,
    request: Request<()>,
    ends: bool,
) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
    std::future::poll_fn(|cx| sender.poll_ready(cx)).await?;
    sender.send_request(request, ends)
}

/// Asks on the connection there is, or on a new one; with the answer, how many connections were opened. As every client does, it
/// asks again on another connection when the server has said goodbye and did not take the request (RFC 9113 section 6.8).
pub async fn ask(
    client: &mut Option<Client>,
    to: SocketAddr,
    request: Request<()>,
) -> Result<(Answer, usize), h2::Error> {
    let mut opened = 0;
    loop {
        let mut open = match client.take() {
            Some(client) => client,
            None => {
                opened += 1;
                Client::connect(to).await
            }
        };
        let outcome = match begin(&mut open.sender, request.clone(), true).await {
            Ok((response, _)) => answer(response).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(answer) => {
                *client = Some(open);
                return Ok((answer, opened));
            }
            Err(error) if error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR) => {}
            Err(error) => return Err(error),
        }
        assert!(opened < 10, "one goodbye after the other");
    }
}

/// The whole answer, its window kept open.
pub async fn answer(response: ResponseFuture) -> Result<Answer, h2::Error> {
    let answer = async { collect(response.await?).await };
    timeout(SOON, answer).await.expect("an answer or an error in time")
}

pub async fn collect(response: Response<RecvStream>) -> Result<Answer, h2::Error> {
    let (head, mut stream) = response.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        body.extend_from_slice(&data);
        stream.flow_control().release_capacity(data.len())?;
    }
    let trailers = stream.trailers().await?;
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body, trailers })
}
