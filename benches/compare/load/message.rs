//! The few bytes of HTTP/1.1 that both ends need: a request with a slot for its number, and where a message ends.

use std::io;

use aws_lc_rs::hmac;

/// Digits of a message number; ten hold any run.
pub const DIGITS: usize = 10;
/// Stands in the header that carries the number; the masters look for it.
pub const NUMBER_HEADER: &str = "X-Message";
/// More headers than any of the proxies adds.
const MAX_HEADERS: usize = 32;

/// Digits of a signature: HMAC-SHA-256 in hexadecimal.
const SIGNATURE: usize = 64;
/// Stands where a number is written, and where the number of a conversation is.
const NUMBER_SLOT: &str = "NNNNNNNNNN";
const CONVERSATION_SLOT: &str = "CCCCCCCCCC";

/// A formatted request whose number is written in place.
pub struct Template {
    bytes: Vec<u8>,
    slots: Vec<usize>,
    /// Where the conversation's number is, and how many conversations there are.
    conversations: (Vec<usize>, u64),
    seal: Option<Seal>,
}

/// A signature as Meta's webhooks have it.
struct Seal {
    key: hmac::Key,
    slot: usize,
    body: usize,
}

/// What a request is.
#[derive(clap::Args, Clone, Default)]
pub struct Shape {
    /// Size of a POST body in bytes; without it the requests are GETs.
    #[arg(long)]
    pub body: Option<usize>,
    /// Signs each body with it, as Meta's Cloud API does.
    #[arg(long, requires = "body")]
    pub secret: Option<String>,
    /// Messages are of so many conversations in turn; without it each is of one of its own.
    #[arg(long, requires = "body")]
    pub conversations: Option<u64>,
}

impl Template {
    /// A GET, or a POST with a JSON body of about the size asked for, a gateway's webhook.
    pub fn new(shape: &Shape) -> Self {
        let head =
            format!("Host: bot.example\r\nUser-Agent: load\r\nAccept: */*\r\n{NUMBER_HEADER}: {NUMBER_SLOT}\r\n");
        let text = match shape.body {
            None => format!("GET /webhook HTTP/1.1\r\n{head}\r\n"),
            Some(size) => {
                let signature = match shape.secret {
                    Some(_) => format!("X-Hub-Signature-256: sha256={}\r\n", "S".repeat(SIGNATURE)),
                    None => String::new(),
                };
                let body = webhook(size);
                let length = body.len();
                let fields = format!("{signature}Content-Type: application/json\r\nContent-Length: {length}\r\n");
                format!("POST /webhook HTTP/1.1\r\n{head}{fields}\r\n{body}")
            }
        };
        let slots_of = |slot: &str| text.match_indices(slot).map(|(at, _)| at).collect();
        let (slots, conversations) = (slots_of(NUMBER_SLOT), slots_of(CONVERSATION_SLOT));
        let seal = shape.secret.as_ref().and_then(|secret| {
            let slot = text.find(&"S".repeat(SIGNATURE))?;
            let body = text.find("\r\n\r\n")? + 4;
            Some(Seal { key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), slot, body })
        });
        Self {
            bytes: text.into_bytes(),
            slots,
            conversations: (conversations, shape.conversations.unwrap_or(u64::MAX)),
            seal,
        }
    }

    /// The request with its number in every slot, signed.
    pub fn numbered(&mut self, number: u64) -> &[u8] {
        let (of_conversation, conversations) = &self.conversations;
        for (slots, number) in [(&self.slots, number), (of_conversation, number % conversations)] {
            let digits = digits(number);
            for &slot in slots {
                self.bytes[slot..slot + DIGITS].copy_from_slice(&digits);
            }
        }
        if let Some(seal) = &self.seal {
            let tag = hmac::sign(&seal.key, &self.bytes[seal.body..]);
            for (place, byte) in self.bytes[seal.slot..seal.slot + SIGNATURE].chunks_exact_mut(2).zip(tag.as_ref()) {
                place.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
        &self.bytes
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn digits(number: u64) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

/// One message of Meta's Cloud API, with slots for its number and its sender's.
fn webhook(size: usize) -> String {
    let open = format!(
        "{{\"object\":\"whatsapp_business_account\",\"entry\":[{{\"id\":\"1\",\"changes\":[{{\"field\":\"messages\",\
         \"value\":{{\"metadata\":{{\"phone_number_id\":\"106540352242922\"}},\"messages\":[{{\"from\":\"97150{CONVERSATION_SLOT}\",\
         \"id\":\"wamid.{NUMBER_SLOT}\",\"timestamp\":\"1700000000\",\"type\":\"text\",\"text\":{{\"body\":\""
    );
    let close = "\"}}]}}]}]}";
    let filler = "a".repeat(size.saturating_sub(open.len() + close.len()));
    format!("{open}{filler}{close}")
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

    fn of_size(size: usize) -> Shape {
        Shape { body: Some(size), ..Shape::default() }
    }

    #[test]
    fn a_secret_signs_every_body_anew() {
        let secret = "not a secret";
        let mut template =
            Template::new(&Shape { secret: Some(secret.to_owned()), conversations: Some(10), ..of_size(600) });
        template.numbered(3);
        let text = String::from_utf8(template.numbered(17).to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(body.contains("971500000000007") && body.contains("wamid.0000000017"), "{body}");
        let signature = head.split_once("sha256=").unwrap().1.lines().next().unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag: Vec<String> =
            hmac::sign(&key, body.as_bytes()).as_ref().iter().map(|it| format!("{it:02x}")).collect();
        assert_eq!(signature, tag.concat());
    }

    #[test]
    fn a_numbered_template_is_a_request_with_that_number() {
        let mut template = Template::new(&of_size(600));
        let bytes = template.numbered(1_234_567);
        let read = question(bytes).unwrap().unwrap();
        assert_eq!(read, Question { path: "/webhook", number: Some(b"0001234567"), length: bytes.len() });
        assert!(String::from_utf8_lossy(bytes).contains("wamid.0001234567"));
    }

    #[test]
    fn the_body_of_a_template_has_the_size_asked_for() {
        let text = String::from_utf8(Template::new(&of_size(600)).numbered(0).to_vec()).unwrap();
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
