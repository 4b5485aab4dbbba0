//! Addresses: where something listens, where a master is, which host a request names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde_json::{Value as Json, json};

use ipnet::IpNet;

use crate::config::model::{Address, HostPattern, ListenAddress};
use crate::config::shape::{Scalar, scalars};

/// `sun_path` of Linux without its last zero byte.
const UNIX_PATH_BYTES_MAX: usize = 107;

const PORTS: &str = "a port is from 1 to 65535";

scalars! { Listen; MasterAddress; MailServer; Host; Network; TlsName; }

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
        if text.contains("://") {
            return Err("write the host and the port alone, such as bot-1:9001".into());
        }
        let help = "write host:port, such as 127.0.0.1:9001, bot-1:9001 or [::1]:9001, or unix:/path";
        let (host, port) = text.rsplit_once(':').ok_or(help)?;
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port: u16 = port.parse().map_err(|_| if is_number { PORTS } else { help })?;
        if port == 0 {
            return Err(PORTS.into());
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

/// Where a mail server is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MailServer {
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
}

impl Scalar for MailServer {
    const NAME: &'static str = "the address of a mail server";

    fn parse(text: &str) -> Result<Self, String> {
        match MasterAddress::parse(text) {
            Ok(MasterAddress(Address::Socket(address))) => {
                Ok(Self { host: address.ip().to_string(), port: address.port() })
            }
            Ok(MasterAddress(Address::Name { host, port })) => Ok(Self { host, port }),
            _ => Err("write host:port, such as mail.example.com:587 or 127.0.0.1:25".into()),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["mail.example.com:587", "127.0.0.1:25"] })
    }
}

/// A network of addresses, or a single one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Network(pub IpNet);

impl Scalar for Network {
    const NAME: &'static str = "a network";

    fn parse(text: &str) -> Result<Self, String> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let network =
            network.map_err(|_| "write an address and a prefix length, 10.0.0.0/8 or fd00::/8, or one address")?;
        if network.addr() != network.network() {
            return Err(format!("it has bits beyond its prefix length; the network is {}", network.trunc()));
        }
        Ok(Self(network))
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["10.0.0.0/8", "fd00::/8", "127.0.0.1"] })
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    /// # Errors
    /// How to write one.
    fn from_str(text: &str) -> Result<Self, String> {
        Listen::parse(text).map(|listen| listen.0)
    }
}

impl FromStr for Address {
    type Err = String;

    /// # Errors
    /// How to write one.
    fn from_str(text: &str) -> Result<Self, String> {
        MasterAddress::parse(text).map(|address| address.0)
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
                || address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()) =>
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

/// The name that a certificate is to be for: a host name in lower case, or an IP address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TlsName(pub String);

impl Scalar for TlsName {
    const NAME: &'static str = "the name in a certificate";

    fn parse(text: &str) -> Result<Self, String> {
        if text.parse::<IpAddr>().is_ok() || is_host_name(text) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err("write a host name without a port, such as bot.example, or an IP address".into())
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["bot.example", "10.0.3.1"] })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn host_names_of_containers_are_names_and_wrong_addresses_are_not() {
        let address = |text: &str| text.parse::<Address>();
        assert_eq!(address("bot_1:9001"), Ok(Address::Name { host: "bot_1".into(), port: 9001 }));
        assert_eq!(address("Bot.Example:80"), Ok(Address::Name { host: "bot.example".into(), port: 80 }));
        assert_eq!(address("[::1]:80"), Ok(Address::Socket("[::1]:80".parse().unwrap())));
        assert_eq!(address("unix:/run/bot.sock"), Ok(Address::Unix("/run/bot.sock".into())));
        for wrong in ["1.2.3:80", "a..b:80", "a:0", "a", ":80", "a:80:80", "", "http://a:80"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn localhost_is_the_only_name_to_listen_on() {
        assert_eq!("localhost:80".parse(), Ok(ListenAddress::Tcp("127.0.0.1:80".parse().unwrap())));
        assert!("bot.example:80".parse::<ListenAddress>().is_err());
        assert!(format!("unix:/{}", "a".repeat(UNIX_PATH_BYTES_MAX)).parse::<ListenAddress>().is_err());
    }

    proptest! {
        #[test]
        fn addresses_read_what_they_write(text in "(unix:/[a-z]{1,9}|[a-z]{1,3}[a-z0-9-]{0,4}[a-z](\\.[a-z]{2,5}){0,2}:[1-9][0-9]{0,3}|\\[::[0-9a-f]{1,4}\\]:[1-9][0-9]{0,3})") {
            let address: Address = text.parse().unwrap();
            prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
        }
    }
}
