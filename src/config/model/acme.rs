//! Certificates by ACME.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A certificate ordered from an ACME server.
#[derive(Debug, Clone, PartialEq)]
pub struct Acme {
    /// URL of the server's directory.
    pub directory: String,
    /// `mailto:` URLs.
    pub contact: Vec<String>,
    /// In lower case; at least one.
    pub domains: Vec<String>,
    pub challenge: AcmeChallenge,
    /// `None`: a third of its validity.
    pub renew_before: Option<Duration>,
    /// PEM file with the authorities of the directory itself; `None` trusts those of the system.
    pub ca: Option<PathBuf>,
    /// The account with the authority that the one by ACME is bound to.
    pub eab: Option<Eab>,
}

/// An external account (RFC 8555 section 7.3.4).
#[derive(Clone, PartialEq, Eq)]
pub struct Eab {
    pub kid: String,
    /// Shown to nobody.
    pub hmac_key: Vec<u8>,
}

impl fmt::Debug for Eab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eab").field("kid", &self.kid).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcmeChallenge {
    TlsAlpn01,
    Http01,
}
