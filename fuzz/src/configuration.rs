//! A configuration: whatever is wrong is said in bounded words and without a secret, and what is right is right again.

use std::io;
use std::path::Path;

use baton::config::{self, Lookup};

/// What must never be shown, unless the text says it where no secret stands.
const SECRET: &str = "hunter2-of-the-fuzzer";

/// Bytes of all that is said about one text.
const SAID_BYTES_MAX: usize = 256 * 1024;

struct Fixed;

impl Lookup for Fixed {
    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "HOST" => Some("127.0.0.1".to_owned()),
            "PORT" => Some("8080".to_owned()),
            "TOKEN" => Some(SECRET.to_owned()),
            _ => None,
        }
    }

    fn read(&self, path: &Path, _limit: u64) -> io::Result<Vec<u8>> {
        match path.to_str() {
            Some("secret") => Ok(SECRET.as_bytes().to_vec()),
            Some(path) if path.ends_with(".pem") => {
                Ok(b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n-----BEGIN EC PRIVATE KEY-----\nMA==\n-----END EC PRIVATE KEY-----\n".to_vec())
            }
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parse = || config::parse(text, Path::new("baton.yaml"), &Fixed);
    match parse() {
        Err(diagnostics) => {
            assert!(diagnostics.has_errors());
            check(&diagnostics, text);
        }
        Ok(loaded) => {
            assert!(!loaded.warnings.has_errors());
            check(&loaded.warnings, text);
            let again = parse().expect("it was right");
            assert_eq!(loaded.hash, again.hash);
            assert_eq!(config::diff(&loaded.config, &again.config), Vec::<String>::new());
            assert!(!loaded.config.listeners.is_empty());
        }
    }
}

fn check(diagnostics: &config::Diagnostics, text: &str) {
    let said = format!("{diagnostics}{}", diagnostics.lines(1000).join("\n"));
    assert!(said.len() <= SAID_BYTES_MAX, "{} bytes are said about {}", said.len(), text.len());
    assert!(!said.contains(SECRET) || text.contains(SECRET), "a secret is shown:\n{said}");
    assert!(!said.chars().any(|char| char.is_control() && char != '\n'), "a control character is shown: {said:?}");
    assert!(diagnostics.lines(1000).iter().all(|line| !line.contains('\n')));
}
