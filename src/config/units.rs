//! Values that are one piece of text: durations, sizes, numbers, names, addresses, and what an HTTP message may contain.
//!
//! Each says how it is written, in its error and in the schema. A number carries its bounds in its type, so that an
//! impossible one is refused where it is read.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::model::{AccessLog, Address, AffinityKey, HostPattern, ListenAddress, StrategyKind};
use super::shape::{Decode, Decoder, Kind, List, Scalar, scalars};
use super::tree::{NodeId, Value};

/// Longest duration: a longer one is a mistake, and microseconds of this fit every counter.
const TIME_MAX: Duration = Duration::from_secs(365 * 86_400);

/// Names are labels of metrics and words of commands.
const NAME_CHARS_MAX: usize = 64;

/// `sun_path` of Linux without its last zero byte.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// Longest text that is compared with or sent in an HTTP message.
const TEXT_BYTES_MAX: usize = 4096;

const TIME_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZE_UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

scalars! {
    Time; TimeOrZero; Size<MIN, MAX> where MIN: u64, MAX: u64; Int<MIN, MAX> where MIN: u64, MAX: u64;
    Degrees<MAX> where MAX: i32; Name; Text; FilePath; Phone; Country; Listen; MasterAddress; Host; UrlPath; ProbePath;
    Method; HeaderName; Affinity; Log; Workers; Pointer; StatusRange; Bool;
}

/// A number and a unit, without anything between them.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The largest unit that leaves a whole number.
fn show(value: u64, units: &[(&str, u64)]) -> String {
    let unit = units.iter().rev().find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor));
    let (name, factor) = unit.unwrap_or(&units[0]);
    format!("{}{name}", value / factor)
}

/// A duration as a configuration has it: `250ms`.
pub fn show_time(time: Duration) -> String {
    match u64::try_from(time.as_millis()) {
        Ok(0) => "0s".into(),
        millis => show(millis.unwrap_or(u64::MAX), &TIME_UNITS),
    }
}

/// A size as a configuration has it: `32KiB`.
pub fn show_size(bytes: u64) -> String {
    show(bytes, &SIZE_UNITS)
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let help = "write a whole number and a unit: 250ms, 5s, 10m, 24h, 7d";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let time = Duration::from_millis(quantity(text, &TIME_UNITS).ok_or(help)?);
    if time > TIME_MAX { Err("it is at most 365d".into()) } else { Ok(time) }
}

const TIME_PATTERN: &str = "^([0-9]+(ms|s|m|h|d)|0)$";

/// A duration above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

impl Scalar for Time {
    const NAME: &'static str = "a duration";

    fn parse(text: &str) -> Result<Self, String> {
        let time = parse_time(text)?;
        if time.is_zero() { Err("it must be longer than zero".into()) } else { Ok(Self(time)) }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^0*[1-9][0-9]*(ms|s|m|h|d)$", "examples": ["250ms", "5s", "24h"] })
    }
}

/// A duration that may be zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOrZero(pub Duration);

impl Scalar for TimeOrZero {
    const NAME: &'static str = "a duration";

    fn parse(text: &str) -> Result<Self, String> {
        parse_time(text).map(Self)
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": TIME_PATTERN, "examples": ["0s", "30s"] })
    }
}

/// A number of bytes from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size<const MIN: u64, const MAX: u64>(pub u64);

impl<const MIN: u64, const MAX: u64> Scalar for Size<MIN, MAX> {
    const NAME: &'static str = "a size";

    fn parse(text: &str) -> Result<Self, String> {
        match quantity(text, &SIZE_UNITS) {
            None => Err("write a whole number and a unit: 512B, 32KiB, 4MiB, 1GiB".into()),
            Some(bytes) if (MIN..=MAX).contains(&bytes) => Ok(Self(bytes)),
            Some(_) => Err(format!("it is from {} to {}", show_size(MIN), show_size(MAX))),
        }
    }

    fn schema() -> Json {
        let range = format!("from {} to {}", show_size(MIN), show_size(MAX));
        json!({ "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$", "examples": ["32KiB", "4MiB"], "$comment": range })
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Int<const MIN: u64, const MAX: u64>(pub u64);

impl<const MIN: u64, const MAX: u64> Scalar for Int<MIN, MAX> {
    const NAME: &'static str = "a whole number";

    fn parse(text: &str) -> Result<Self, String> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits && (MIN..=MAX).contains(&number) => Ok(Self(number)),
            _ => Err(format!("it is from {MIN} to {MAX}")),
        }
    }

    fn schema() -> Json {
        json!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

impl<const MIN: u64, const MAX: u64> Size<MIN, MAX> {
    pub fn usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> Int<MIN, MAX> {
    pub fn u32(self) -> u32 {
        const { assert!(MAX <= u32::MAX as u64) };
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }

    pub fn u16(self) -> u16 {
        const { assert!(MAX <= u16::MAX as u64) };
        u16::try_from(self.0).unwrap_or(u16::MAX)
    }

    pub fn usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Degrees from `-MAX` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Degrees<const MAX: i32>(pub f64);

impl<const MAX: i32> Scalar for Degrees<MAX> {
    const NAME: &'static str = "a number of degrees";

    fn parse(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            Ok(degrees) if degrees.abs() <= f64::from(MAX) => Ok(Self(degrees)),
            _ => Err(format!("it is from -{MAX} to {MAX}, such as 25.2048")),
        }
    }

    fn schema() -> Json {
        json!({ "type": "number", "minimum": -MAX, "maximum": MAX })
    }
}

/// What listeners, routes, upstreams and masters are called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(pub String);

impl Scalar for Name {
    const NAME: &'static str = "a name";

    fn parse(text: &str) -> Result<Self, String> {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !text.is_empty() && text.len() <= NAME_CHARS_MAX && text.bytes().all(valid) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("up to {NAME_CHARS_MAX} letters, digits, `.`, `_` and `-`"))
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": format!("^[A-Za-z0-9._-]{{1,{NAME_CHARS_MAX}}}$") })
    }
}

/// Any text in one line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Text(pub String);

impl Scalar for Text {
    const NAME: &'static str = "a text";

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(format!("one line of up to {TEXT_BYTES_MAX} bytes, without control characters"));
        }
        Ok(Self(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": TEXT_BYTES_MAX })
    }
}

/// A file or a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePath(pub PathBuf);

impl Scalar for FilePath {
    const NAME: &'static str = "a path";

    fn parse(text: &str) -> Result<Self, String> {
        Text::parse(text).map(|text| Self(PathBuf::from(text.0)))
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

/// A phone number as E.164 has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phone(pub String);

impl Scalar for Phone {
    const NAME: &'static str = "a phone number";

    fn parse(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix('+').unwrap_or_default();
        let valid = (7..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err("write `+`, the country and the number: \"+971501234567\"".into())
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^\\+[1-9][0-9]{6,14}$" })
    }
}

/// A country as ISO 3166-1 alpha-2 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Country(pub [u8; 2]);

impl Scalar for Country {
    const NAME: &'static str = "a country";

    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_uppercase().as_bytes() {
            // Often written, never assigned.
            [b'U', b'K'] => Err("the code of the United Kingdom is GB".into()),
            &[a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => Ok(Self([a, b])),
            _ => Err("write its two letters: AE, DE, GB".into()),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Za-z]{2}$", "examples": ["AE", "DE"] })
    }
}

fn parse_unix(path: &str) -> Result<PathBuf, String> {
    let valid = !path.is_empty() && path.len() <= UNIX_PATH_BYTES_MAX && !path.contains('\0');
    if valid {
        Ok(PathBuf::from(path))
    } else {
        Err(format!("a path of 1 to {UNIX_PATH_BYTES_MAX} bytes follows `unix:`"))
    }
}

/// Where something listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Listen(pub ListenAddress);

impl Scalar for Listen {
    const NAME: &'static str = "an address to listen on";

    fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return parse_unix(path).map(|path| Self(ListenAddress::Unix(path)));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self(ListenAddress::Tcp(address)));
        }
        let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
        match (host, port.parse()) {
            ("localhost", Ok(port)) => {
                Ok(Self(ListenAddress::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))))
            }
            ("" | "*", Ok(port)) => {
                Err(format!("write 0.0.0.0:{port} for every IPv4 address or [::]:{port} for IPv6 as well"))
            }
            _ => Err("write an IP address and a port, 127.0.0.1:8080 or [::1]:8080, or unix:/path".into()),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["127.0.0.1:8080", "[::1]:8080", "unix:/run/baton.sock"] })
    }
}

/// Where a master is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MasterAddress(pub Address);

impl Scalar for MasterAddress {
    const NAME: &'static str = "the address of a master";

    fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return parse_unix(path).map(|path| Self(Address::Unix(path)));
        }
        if let Some((_, rest)) = text.split_once("://") {
            let rest = rest.split('/').next().unwrap_or_default();
            return Err(format!("write the host and the port alone: {rest}"));
        }
        let help = "write host:port, such as 127.0.0.1:9001, bot-1:9001 or [::1]:9001, or unix:/path";
        let (host, port) = text.rsplit_once(':').ok_or(help)?;
        let port: u16 = port.parse().map_err(|_| help)?;
        if port == 0 {
            return Err("a port is from 1 to 65535".into());
        }
        if let Ok(address) = text.parse() {
            return Ok(Self(Address::Socket(address)));
        }
        if is_host_name(host) {
            Ok(Self(Address::Name { host: host.to_ascii_lowercase(), port }))
        } else {
            Err(help.into())
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["127.0.0.1:9001", "bot-1:9001", "[::1]:9001", "unix:/run/bot.sock"] })
    }
}

/// Labels of letters, digits, `-` and `_` (containers have it), the last one not a number: that would be a wrong IP address.
fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    host.len() <= 253 && host.split('.').all(label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

/// A host of requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host(pub HostPattern);

impl Scalar for Host {
    const NAME: &'static str = "a host";

    fn parse(text: &str) -> Result<Self, String> {
        let host = text.to_ascii_lowercase();
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        match host.strip_prefix("*.") {
            Some(rest) if is_host_name(rest) => Ok(Self(HostPattern::Wildcard(format!(".{rest}")))),
            None if is_host_name(&host)
                || host.parse::<Ipv4Addr>().is_ok()
                || address.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()) =>
            {
                Ok(Self(HostPattern::Exact(host)))
            }
            _ if host == "*" => Err("leave out `hosts` to match every host".into()),
            _ => Err("write bot.example or *.bot.example, without a port".into()),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["bot.example", "*.bot.example"] })
    }
}

/// A path of requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UrlPath(pub String);

impl Scalar for UrlPath {
    const NAME: &'static str = "a path of a URL";

    fn parse(text: &str) -> Result<Self, String> {
        let graphic = text.len() <= TEXT_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !text.starts_with('/') {
            Err("it begins with `/`".into())
        } else if !graphic {
            Err("it has neither spaces nor other than ASCII characters; write them as %20".into())
        } else if text.contains(['?', '#']) {
            Err("it ends before `?` and `#`".into())
        } else if text.split('/').any(|segment| segment == "." || segment == "..") {
            Err("it has no segment `.` or `..`".into())
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^/[^?#\\s]*$", "examples": ["/webhook"] })
    }
}

/// A path with a query, to be requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbePath(pub String);

impl Scalar for ProbePath {
    const NAME: &'static str = "a path of a URL";

    fn parse(text: &str) -> Result<Self, String> {
        let graphic = text.len() <= TEXT_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.starts_with('/') && graphic && !text.contains('#') {
            Ok(Self(text.to_owned()))
        } else {
            Err("it begins with `/` and has neither spaces nor `#`, such as /health?deep=1".into())
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^/[^#\\s]*$", "examples": ["/health"] })
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=256).contains(&text.len()) && text.bytes().all(valid)
}

/// A request method.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Method(pub String);

impl Scalar for Method {
    const NAME: &'static str = "a request method";

    fn parse(text: &str) -> Result<Self, String> {
        if is_token(text) { Ok(Self(text.to_ascii_uppercase())) } else { Err("one word, such as GET or POST".into()) }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[!-~]+$", "examples": ["GET", "POST"] })
    }
}

/// The name of a header, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HeaderName(pub String);

impl Scalar for HeaderName {
    const NAME: &'static str = "the name of a header";

    fn parse(text: &str) -> Result<Self, String> {
        if is_token(text) { Ok(Self(text.to_ascii_lowercase())) } else { Err("one word, such as x-tenant".into()) }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[!-~]+$", "examples": ["x-tenant"] })
    }
}

/// What holds a requester to a master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affinity(pub AffinityKey);

impl Scalar for Affinity {
    const NAME: &'static str = "what to recognise a requester by";

    fn parse(text: &str) -> Result<Self, String> {
        let key = match text.split_once(':') {
            None if text == "client-ip" => AffinityKey::ClientIp,
            None if text == "conversation" => {
                return Err(
                    "`conversation` is not available in this version; use client-ip, header:NAME or cookie:NAME".into(),
                );
            }
            Some(("header", name)) if is_token(name) => AffinityKey::Header(name.to_ascii_lowercase()),
            Some(("cookie", name)) if is_token(name) => AffinityKey::Cookie(name.to_owned()),
            _ => return Err("write client-ip, header:NAME or cookie:NAME".into()),
        };
        Ok(Self(key))
    }

    fn schema() -> Json {
        let examples = ["client-ip", "header:x-session", "cookie:session"];
        json!({ "type": "string", "pattern": "^(client-ip|header:.+|cookie:.+)$", "examples": examples })
    }
}

/// Where access lines go.
#[derive(Debug, Clone, PartialEq)]
pub struct Log(pub AccessLog);

impl Scalar for Log {
    const NAME: &'static str = "where to write";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self(AccessLog::Off)),
            "stdout" => Ok(Self(AccessLog::Stdout)),
            _ if text.contains('/') && !text.ends_with('/') => {
                FilePath::parse(text).map(|path| Self(AccessLog::File(path.0)))
            }
            _ => Err("write off, stdout, or the path of a file with a `/` in it, such as ./access.log".into()),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^(off|stdout|.*/.*[^/])$", "examples": ["off", "stdout", "./access.log"] })
    }
}

/// Number of worker threads; `None` for one on each core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workers(pub Option<usize>);

/// More threads than cores only take turns, and no machine has more cores.
const WORKERS_MAX: u64 = 1024;

impl Scalar for Workers {
    const NAME: &'static str = "a number of workers";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self(None));
        }
        Int::<1, WORKERS_MAX>::parse(text)
            .map(|number| Self(Some(number.usize())))
            .map_err(|_| format!("write auto, or a whole number from 1 to {WORKERS_MAX}"))
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "const": "auto" }, { "type": "integer", "minimum": 1, "maximum": WORKERS_MAX }] })
    }
}

/// A JSON pointer (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(pub String);

impl Scalar for Pointer {
    const NAME: &'static str = "a JSON pointer";

    fn parse(text: &str) -> Result<Self, String> {
        let escapes_end = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        if text.len() <= TEXT_BYTES_MAX && (text.is_empty() || text.starts_with('/')) && escapes_end {
            Ok(Self(text.to_owned()))
        } else {
            Err("write the keys on the way, each after a `/`: /checks/whatsapp/state".into())
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^(/([^~]|~[01])*)?$", "examples": ["/state"] })
    }
}

/// A status code or a range of them, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRange(pub u16, pub u16);

impl Scalar for StatusRange {
    const NAME: &'static str = "a status code or a range of them";

    fn parse(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (Int::<100, 599>::parse(first), Int::<100, 599>::parse(last)) {
            (Ok(first), Ok(last)) if first <= last => Ok(Self(first.u16(), last.u16())),
            _ => Err("write 200 or 200-299, from 100 to 599".into()),
        }
    }

    fn schema() -> Json {
        let range = json!({ "type": "string", "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$", "examples": ["200-299"] });
        json!({ "anyOf": [{ "type": "integer", "minimum": 100, "maximum": 599 }, range] })
    }
}

/// One range of status codes, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRanges(pub Vec<StatusRange>);

impl Decode for StatusRanges {
    fn decode(decoder: &mut Decoder, node: NodeId) -> Option<Self> {
        if !matches!(decoder.tree.node(node).value, Value::List(_)) {
            return StatusRange::decode(decoder, node).map(|range| Self(vec![range]));
        }
        let ranges = List::<StatusRange>::decode(decoder, node)?;
        if ranges.is_empty() {
            decoder.expected(node, StatusRange::NAME, "a list has at least one");
            return None;
        }
        ranges.iter().map(|range| range.get().copied()).collect::<Option<Vec<_>>>().map(Self)
    }

    fn kind() -> Kind {
        let one = StatusRange::schema();
        let list = json!({ "type": "array", "items": one, "minItems": 1 });
        Kind::Scalar("status codes, ranges of them, or a list", json!({ "anyOf": [one, list] }))
    }
}

/// A value of JSON that is compared as text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Literal(pub String);

impl Decode for Literal {
    fn decode(decoder: &mut Decoder, node: NodeId) -> Option<Self> {
        match &decoder.tree.node(node).value {
            Value::Scalar(scalar) if !(scalar.plain && scalar.text.is_empty()) => Some(Self(scalar.text.clone())),
            _ => {
                decoder.expected(node, "a text, a number, true, false or null", "");
                None
            }
        }
    }

    fn kind() -> Kind {
        Kind::Scalar(
            "a text, a number, true, false or null",
            json!({ "type": ["string", "number", "boolean", "null"] }),
        )
    }
}

/// A value of a header of a request that Baton sends itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderValue(pub String);

impl Decode for HeaderValue {
    fn decode(decoder: &mut Decoder, node: NodeId) -> Option<Self> {
        decoder.tree.hide(node);
        let text = decoder.text(node, "the value of a header")?;
        if text.len() <= TEXT_BYTES_MAX && text.chars().all(|character| !character.is_control()) {
            return Some(Self(text));
        }
        // Such values are often credentials: what was found is not repeated.
        let report = decoder.error(node, "the value of this header has control characters or is too long");
        decoder.reports.push(report.help(format!("one line of up to {TEXT_BYTES_MAX} bytes")));
        None
    }

    fn kind() -> Kind {
        Kind::Scalar("a text", json!({ "type": "string", "maxLength": TEXT_BYTES_MAX }))
    }
}

/// `true` or `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bool(pub bool);

impl Scalar for Bool {
    const NAME: &'static str = "true or false";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "true" => Ok(Self(true)),
            "false" => Ok(Self(false)),
            _ => Err(String::new()),
        }
    }

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }
}

impl Decode for StrategyKind {
    fn decode(decoder: &mut Decoder, node: NodeId) -> Option<Self> {
        decoder.word(node, &Self::ALL, &[])
    }

    fn kind() -> Kind {
        Kind::Words(Self::ALL.iter().map(|(_, name)| *name).collect())
    }
}

/// Declares words that a value may be, each for one variant.
macro_rules! words {
    ($( $(#[$attribute:meta])* enum $name:ident { $($variant:ident = $word:literal),+ } $(later { $($later:literal),+ })? )+) => {$(
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($variant),+ }

        impl Decode for $name {
            fn decode(decoder: &mut Decoder, node: NodeId) -> Option<Self> {
                decoder.word(node, &[$((Self::$variant, $word)),+], &[$($($later),+)?])
            }

            fn kind() -> Kind {
                Kind::Words(vec![$($word),+])
            }
        }
    )+};
}

words! {
    /// What a listener speaks.
    enum Protocol { Http = "http" } later { "tcp" }
    /// How a request gets to a master.
    enum Delivery { Inline = "inline" } later { "inline-then-spool", "spool" }
    /// What to do when no master is usable.
    enum WhenAllDown { Reject = "reject", Panic = "panic" } later { "spool" }
    /// How much is logged.
    enum Level { Error = "error", Warn = "warn", Info = "info", Debug = "debug", Trace = "trace" }
}
