//! Values that are one piece of text: durations, sizes, numbers, names, addresses, and what an HTTP message may contain.
//!
//! Each says how it is written, in its error and in the schema. A number carries its bounds in its type, so that an
//! impossible one is refused where it is read.

mod address;
mod calendar;
mod http;
mod internet;
mod quantity;
mod rate;
mod template;
mod text;
mod words;

pub use address::{Host, Listen, MailServer, MasterAddress, Network, TlsName};
pub use calendar::{Moment, Percent, TimeOfDay, show_moment, show_percent, show_time_of_day};
pub use http::{Affinity, HeaderName, HeaderValue, MediaRange, Method, ProbePath, Secret, StatusRanges, UrlPath};
pub use internet::{Email, HttpsUrl, SecretUrl, WebUrl};
pub use quantity::{Degrees, Int, Number, Size, Time, TimeOrZero, show_size, show_time};
pub use rate::{RateBy, Throughput, Times, show_rate, show_throughput};
pub use template::{HeaderTemplate, NewHost, RedirectStatus, UrlScheme};
pub use text::{Country, FilePath, KnownLabel, LabelName, Literal, Name, NameOrAll, Phone, Pointer, Text};
pub use words::{
    Bool, BuiltinName, Challenge, ClientAuthMode, Delivery, EventKind, Gateway, Level, Log, MailTls, MasterProtocol,
    OnFailure, Protocol, ProxyVersion, SeverityWord, TlsVersion, Verify, Weekday, WhenAllDown, Workers,
};
