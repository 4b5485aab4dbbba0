//! The few bytes of HTTP/1.1 that both ends need: a request with a slot for its number, and where a message ends.

use std::io;

/// Digits of a message number; ten hold any run.
pub const DIGITS: usize = 10;
/// Stands in the header that carries the number; the masters look for it.
pub const NUMBER_HEADER: &str = "X-Message";
/// More headers than any of the proxies adds.
const MAX_HEADERS: usize = 32;

/// A formatted request whose number is written in place.
pub struct Template {
    bytes: Vec<u8>,
    slots: Vec<usize>,
}

impl Template {
    /// A GET, or a POST with a JSON body of about `body` bytes, shaped like a gateway's webhook.
    pub fn new(body: Option<usize>) -> Self {
        let zeros = "0".repeat(DIGITS);
        let head = format!("Host: bot.example\r\nUser-Agent: load\r\nAccept: */*\r\n{NUMBER_HEADER}: {zeros}\r\n");
        let text = match body {
            None => format!("GET /webhook HTTP/1.1\r\n{head}\r\n"),
            Some(size) => {
                let open = format!(
                    "{{\"object\":\"whatsapp_business_account\",\"entry\":[{{\"id\":\"1\",\"changes\":[{{\"field\":\"messages\",\
                     \"value\":{{\"metadata\":{{\"phone_number_id\":\"106540352242922\"}},\"messages\":[{{\"from\":\"97150{zeros}\",\
                     \"id\":\"wamid.{zeros}\",\"timestamp\":\"1700000000\",\"type\":\"text\",\"text\":{{\"body\":\""
                );
                let close = "\"}}]}}]}]}";
                let filler = "a".repeat(size.saturating_sub(open.len() + close.len()));
                let body = format!("{open}{filler}{close}");
                format!(
                    "POST /webhook HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )
            }
        };
        let slots = text.match_indices(&zeros).map(|(at, _)| at).collect();
        Self { bytes: text.into_bytes(), slots }
    }

    /// The request with its number in every slot.
    pub fn numbered(&mut self, number: u64) -> &[u8] {
        let mut digits = [b'0'; DIGITS];
        let mut rest = number;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        for &slot in &self.slots {
            self.bytes[slot..slot + DIGITS].copy_from_slice(&digits);
        }
        &self.bytes
    }
}

/// A complete answer at the start of a buffer.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    /// Bytes of head and body.
    pub length: usize,
    pub close: bool,
}

/// Reads one answer; `None` while it is incomplete.
pub fn answer(buffer: &[u8]) -> io::Result<Option<Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_length) = head.parse(buffer).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let status = head.code.unwrap_or_default();
    let body = match status {
        204 | 304 => 0,
        _ => content_length(head.headers)?.ok_or_else(|| unreadable("an answer without Content-Length"))?,
    };
    let close = value(head.headers, "connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
    Ok(complete(buffer, head_length, body).map(|length| Answer { status, length, close }))
}

/// A complete request at the start of a buffer.
#[derive(Debug, PartialEq)]
pub struct Question<'a> {
    pub path: &'a str,
    /// The message's number as it was sent, if it carries one.
    pub number: Option<&'a [u8]>,
    /// Bytes of head and body.
    pub length: usize,
}

/// Reads one request; `None` while it is incomplete.
pub fn question(buffer: &[u8]) -> io::Result<Option<Question<'_>>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head_length) = head.parse(buffer).map_err(io::Error::other)? else {
        return Ok(None);
    };
    if value(head.headers, "transfer-encoding").is_some() {
        return Err(unreadable("a request with Transfer-Encoding"));
    }
    let body = content_length(head.headers)?.unwrap_or_default();
    let path = head.path.unwrap_or_default();
    let number = value(head.headers, NUMBER_HEADER);
    Ok(complete(buffer, head_length, body).map(|length| Question { path, number, length }))
}

fn complete(buffer: &[u8], head: usize, body: usize) -> Option<usize> {
    head.checked_add(body).filter(|&length| length <= buffer.len())
}

fn value<'a>(headers: &[httparse::Header<'a>], name: &str) -> Option<&'a [u8]> {
    headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

fn content_length(headers: &[httparse::Header<'_>]) -> io::Result<Option<usize>> {
    let Some(value) = value(headers, "content-length") else { return Ok(None) };
    let length = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
    length.map(Some).ok_or_else(|| unreadable("a Content-Length that is no number"))
}

fn unreadable(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numbered_template_is_a_request_with_that_number() {
        let mut template = Template::new(Some(600));
        let bytes = template.numbered(1_234_567);
        let read = question(bytes).unwrap().unwrap();
        assert_eq!(read, Question { path: "/webhook", number: Some(b"0001234567"), length: bytes.len() });
        assert!(String::from_utf8_lossy(bytes).contains("wamid.0001234567"));
    }

    #[test]
    fn the_body_of_a_template_has_the_size_asked_for() {
        let text = String::from_utf8(Template::new(Some(600)).numbered(0).to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(body.len(), 600);
        assert!(head.contains("Content-Length: 600"));
    }

    #[test]
    fn an_answer_is_complete_only_with_its_body() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        assert_eq!(answer(&bytes[..bytes.len() - 1]).unwrap(), None);
        assert_eq!(answer(bytes).unwrap(), Some(Answer { status: 200, length: bytes.len(), close: false }));
    }

    #[test]
    fn an_answer_that_ends_its_connection_says_so() {
        let bytes = b"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        assert!(answer(bytes).unwrap().unwrap().close);
    }

    #[test]
    fn a_message_of_unknown_length_is_refused() {
        assert!(answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(question(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
    }
}
