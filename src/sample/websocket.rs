//! A WebSocket (RFC 6455) that sends every message back, for trying out upgrades through the balancer.
//!
//! Strict where it costs nothing: unmasked, reserved or oversized frames end the connection with the close code that
//! section 7.4.1 gives for them. What it leaves out: extensions, subprotocols, and a check that text is UTF-8.

use hyper::HeaderMap;
use hyper::header::{SEC_WEBSOCKET_KEY, UPGRADE};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest frame that is echoed; the buffer for it is the only memory a client can make this connection hold.
const MAX_FRAME_BYTES: u64 = 1 << 20;

const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
const PROTOCOL_ERROR: u16 = 1002;
const TOO_BIG: u16 = 1009;

/// The value of `Sec-WebSocket-Accept` when these are the headers of a WebSocket handshake.
#[must_use]
pub fn accept(headers: &HeaderMap) -> Option<String> {
    let wanted = headers.get(UPGRADE)?.to_str().ok()?;
    let key = headers.get(SEC_WEBSOCKET_KEY)?.to_str().ok()?;
    wanted.eq_ignore_ascii_case("websocket").then(|| crate::http::websocket::accept(key.as_bytes()))
}

/// Echoes frames until either side closes.
///
/// # Errors
/// Those of the stream. A client that breaks the protocol is told so and is no error.
pub async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut payload = Vec::new();
    loop {
        let [first, second] = read_array(&mut stream).await?;
        let (opcode, control) = (first & 0x0F, first & 0x08 != 0);
        let length = match second & 0x7F {
            126 => u64::from(u16::from_be_bytes(read_array(&mut stream).await?)),
            127 => u64::from_be_bytes(read_array(&mut stream).await?),
            short => u64::from(short),
        };
        let (reserved, masked, last) = (first & 0x70 != 0, second & 0x80 != 0, first & 0x80 != 0);
        if reserved || !masked || !matches!(opcode, 0..=2 | CLOSE..=PONG) || (control && (!last || length > 125)) {
            return close(&mut stream, PROTOCOL_ERROR).await;
        }
        if length > MAX_FRAME_BYTES {
            return close(&mut stream, TOO_BIG).await;
        }
        let mask: [u8; 4] = read_array(&mut stream).await?;
        payload.clear();
        (&mut stream).take(length).read_to_end(&mut payload).await?;
        if (payload.len() as u64) < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        match opcode {
            PONG => {}
            PING => write_frame(&mut stream, 0x80 | PONG, &payload).await?,
            CLOSE => {
                write_frame(&mut stream, 0x80 | CLOSE, &payload).await?;
                return stream.shutdown().await;
            }
            // A message in several frames goes back in the same frames.
            _ => write_frame(&mut stream, first, &payload).await?,
        }
    }
}

async fn close(stream: &mut (impl AsyncWrite + Unpin), code: u16) -> io::Result<()> {
    write_frame(stream, 0x80 | CLOSE, &code.to_be_bytes()).await?;
    stream.shutdown().await
}

async fn write_frame(stream: &mut (impl AsyncWrite + Unpin), first: u8, payload: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(payload.len() + 10);
    frame.push(first);
    match u16::try_from(payload.len()) {
        Ok(short @ 0..=125) => frame.push(short.to_be_bytes()[1]),
        Ok(medium) => {
            frame.push(126);
            frame.extend(medium.to_be_bytes());
        }
        Err(_) => {
            frame.push(127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    stream.write_all(&frame).await?;
    stream.flush().await
}

async fn read_array<const N: usize>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn the_handshake_of_the_standard_gets_the_answer_of_the_standard() {
        let mut headers = HeaderMap::new();
        headers.insert(UPGRADE, HeaderValue::from_static("WebSocket"));
        assert_eq!(accept(&headers), None);
        headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!(accept(&headers).as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    /// A masked client frame.
    fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x37, 0xFA, 0x21, 0x3D];
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..=125 => frame.push(0x80 | short as u8),
            medium @ ..=0xFFFF => {
                frame.push(0x80 | 126);
                frame.extend((medium as u16).to_be_bytes());
            }
            long => {
                frame.push(0x80 | 127);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    /// Everything the echo sends in answer to these bytes.
    async fn answer_to(sent: &[u8]) -> Vec<u8> {
        let (client, server) = tokio::io::duplex(4 << 20);
        let (mut reader, mut writer) = tokio::io::split(client);
        let mut received = Vec::new();
        let talk = async {
            writer.write_all(sent).await.unwrap();
            writer.shutdown().await.unwrap();
            reader.read_to_end(&mut received).await.unwrap();
        };
        let (_, ()) = tokio::join!(echo(server), talk);
        received
    }

    #[tokio::test]
    async fn frames_of_every_length_come_back_unmasked() {
        for length in [0usize, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let received = answer_to(&client_frame(0x81, &payload)).await;
            let header = match length {
                ..=125 => 2,
                126..=65_535 => 4,
                _ => 10,
            };
            assert_eq!(received[0], 0x81);
            assert_eq!(received[header..], payload, "a frame of {length} bytes");
        }
    }

    #[tokio::test]
    async fn a_ping_gets_a_pong_and_a_close_gets_a_close() {
        let mut sent = client_frame(0x89, b"are you there");
        sent.extend(client_frame(0x88, &1000u16.to_be_bytes()));
        assert_eq!(answer_to(&sent).await, [&[0x8A, 13][..], b"are you there", &[0x88, 2, 0x03, 0xE8]].concat());
    }

    #[tokio::test]
    async fn a_broken_frame_closes_with_a_protocol_error() {
        let unmasked = vec![0x81, 0x01, b'x'];
        let long_ping = client_frame(0x89, &[0; 126]);
        let ping_in_pieces = client_frame(0x09, b"");
        let reserved_bit = client_frame(0xC1, b"");
        let unknown_opcode = client_frame(0x83, b"");
        for frame in [unmasked, long_ping, ping_in_pieces, reserved_bit, unknown_opcode] {
            assert_eq!(answer_to(&frame).await, [0x88, 2, 0x03, 0xEA], "{frame:x?}");
        }
    }

    #[tokio::test]
    async fn a_frame_that_claims_to_be_huge_is_refused_before_it_is_read() {
        let mut frame = vec![0x82, 0x80 | 127];
        frame.extend((1u64 << 40).to_be_bytes());
        assert_eq!(answer_to(&frame).await, [0x88, 2, 0x03, 0xF1]);
    }
}
