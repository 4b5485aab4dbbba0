//! Words, and values that are either a word or something else.

use serde_json::{Value as Json, json};

use super::quantity::Int;
use super::text::FilePath;
use crate::config::model::{
    AccessLog, BUILTIN, Basis, ClientAddress, Coding, Comparison, CompressionLevel, DotSegments, Failback,
    FailoverMode, RepeatedSlashes, Signal, StrategyKind, Strictness,
};
use crate::config::shape::{Decode, Decoder, Kind, Scalar, scalars};
use crate::config::tree::NodeId;
use crate::events;

scalars! { Log; Workers; Bool; }

/// Where access lines go.
#[derive(Debug, Clone, PartialEq)]
pub struct Log(pub AccessLog);

impl Scalar for Log {
    const NAME: &'static str = "`off`, `stdout` or the path of a file";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self(AccessLog::Off)),
            "stdout" => Ok(Self(AccessLog::Stdout)),
            _ if text.contains('/') && !text.ends_with('/') => {
                FilePath::parse(text).map(|path| Self(AccessLog::File(path.0)))
            }
            _ => Err("a path has a `/` in it: ./access.log".into()),
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
    const NAME: &'static str = "`auto` or a whole number";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self(None));
        }
        Int::<1, WORKERS_MAX>::parse(text)
            .map(|number| Self(Some(number.usize())))
            .map_err(|_| format!("a number is from 1 to {WORKERS_MAX}"))
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "const": "auto" }, { "type": "integer", "minimum": 1, "maximum": WORKERS_MAX }] })
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

/// A kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventKind(pub events::Kind);

impl Decode for EventKind {
    fn decode(decoder: &mut Decoder, node: NodeId) -> Option<Self> {
        let words: Vec<_> = events::Kind::ALL.iter().map(|kind| (Self(*kind), kind.word())).collect();
        decoder.word(node, &words, &[])
    }

    fn kind() -> Kind {
        Kind::Words(events::Kind::ALL.iter().map(|kind| kind.word()).collect())
    }
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeverityWord(pub events::Severity);

impl Decode for SeverityWord {
    fn decode(decoder: &mut Decoder, node: NodeId) -> Option<Self> {
        decoder.word(node, &events::Severity::ALL.map(|(severity, word)| (Self(severity), word)), &[])
    }

    fn kind() -> Kind {
        Kind::Words(events::Severity::ALL.iter().map(|(_, word)| *word).collect())
    }
}

/// A rule of alerts that Baton comes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BuiltinName(pub &'static str);

impl Decode for BuiltinName {
    fn decode(decoder: &mut Decoder, node: NodeId) -> Option<Self> {
        let words: Vec<_> = BUILTIN.iter().map(|rule| (Self(rule.name), rule.name)).collect();
        decoder.word(node, &words, &[])
    }

    fn kind() -> Kind {
        Kind::Words(BUILTIN.iter().map(|rule| rule.name).collect())
    }
}

/// Reads words that stand in the model, each with its variant.
macro_rules! model_words {
    ($($name:ident $(later $later:literal)?),+) => {$(
        impl Decode for $name {
            fn decode(decoder: &mut Decoder, node: NodeId) -> Option<Self> {
                decoder.word(node, &Self::ALL, &[$($later)?])
            }

            fn kind() -> Kind {
                Kind::Words(Self::ALL.iter().map(|(_, name)| *name).collect())
            }
        }
    )+};
}

model_words! {
    Basis, ClientAddress, Coding, Comparison, CompressionLevel, DotSegments, Failback, FailoverMode later "active-active",
    RepeatedSlashes, Signal, StrategyKind, Strictness, Weekday
}

/// A day of the week; as a number, Monday is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    /// Each with the word a configuration uses for it.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Monday, "monday"),
        (Self::Tuesday, "tuesday"),
        (Self::Wednesday, "wednesday"),
        (Self::Thursday, "thursday"),
        (Self::Friday, "friday"),
        (Self::Saturday, "saturday"),
        (Self::Sunday, "sunday"),
    ];
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
    enum Protocol { Http = "http", Tcp = "tcp" }
    /// How a request gets to a master.
    enum Delivery { Inline = "inline", InlineThenSpool = "inline-then-spool", Spool = "spool" }
    /// A WhatsApp gateway.
    enum Gateway {
        CloudApi = "cloud-api", Dialog360 = "360dialog", Waha = "waha", Evolution = "evolution", Wppconnect = "wppconnect", Wwebjs = "wwebjs-api",
        Gowa = "gowa", Twilio = "twilio"
    }
    /// What to do when no master is usable.
    enum WhenAllDown { Reject = "reject", Panic = "panic" } later { "spool" }
    /// What masters speak.
    enum MasterProtocol { Http1 = "http1", Http2 = "http2", Auto = "auto" }
    /// The oldest version of TLS.
    enum TlsVersion { V12 = "1.2", V13 = "1.3" }
    /// Whether a certificate is looked at.
    enum Verify { On = "on", Off = "off" }
    /// How a name is proven.
    enum Challenge { TlsAlpn01 = "tls-alpn-01", Http01 = "http-01" }
    /// Whether a client must show a certificate.
    enum ClientAuthMode { Require = "require", Request = "request" }
    /// A version of the PROXY protocol.
    enum ProxyVersion { V1 = "v1", V2 = "v2" }
    /// What to do with a failed master's open connections.
    enum OnFailure { Keep = "keep", Close = "close" }
    /// How a connection to a mail server is secured.
    enum MailTls { Starttls = "starttls", Implicit = "implicit", Off = "off" }
    /// How much is logged.
    enum Level { Error = "error", Warn = "warn", Info = "info", Debug = "debug", Trace = "trace" }
}
