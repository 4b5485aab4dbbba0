//! Which certificate a client gets: by the name it asks for, an exact one before a wildcard before the first.
//!
//! Names are those of the certificates themselves, read once when the table is built. Several certificates may carry the
//! same name, with keys of different kinds: the first one that the client can verify is taken.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Facts;

/// A chain with its key, and what stands in it.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub key: Arc<CertifiedKey>,
    pub facts: Facts,
}

/// The certificates of a listener by name.
#[derive(Debug, Default)]
pub struct Table {
    all: Vec<Arc<CertifiedKey>>,
    /// Positions by name, in lower case.
    exact: HashMap<String, Vec<usize>>,
    /// Positions by what follows the `*.` of a wildcard, which stands for exactly one label (RFC 9525 section 6.3).
    wildcard: HashMap<String, Vec<usize>>,
}

impl Table {
    /// Earlier certificates win over later ones of the same name.
    #[must_use]
    pub fn build(certificates: &[Loaded]) -> Self {
        let mut table = Self::default();
        for Loaded { key, facts } in certificates {
            let position = table.all.len();
            table.all.push(key.clone());
            for name in &facts.dns_names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut table.wildcard, rest),
                    None => (&mut table.exact, &**name),
                };
                names.entry(name.to_owned()).or_default().push(position);
            }
        }
        table
    }

    /// Positions of those that carry this name, given in lower case as rustls does; else of all.
    fn named(&self, name: Option<&str>) -> Option<&[usize]> {
        let name = name?;
        let found = self.exact.get(name).or_else(|| self.wildcard.get(name.split_once('.')?.1));
        found.map(Vec::as_slice)
    }

    /// Whether a certificate carries this name.
    #[must_use]
    pub fn has(&self, name: Option<&str>) -> bool {
        self.named(name).is_some()
    }

    /// The certificate for a client; `None` when none fits.
    #[must_use]
    pub fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        match self.named(name) {
            // With one there is no choice: that it does not fit is for the handshake to find out.
            Some([one]) => self.all.get(*one).cloned(),
            Some(several) => several.iter().filter_map(|position| self.all.get(*position)).find(fits).cloned(),
            None => self.all.first().cloned(),
        }
    }
}

impl ResolvesServerCert for Table {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::aws_lc_rs;

    const SCHEMES: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519];

    fn loaded(names: &[&str], algorithm: &'static rcgen::SignatureAlgorithm) -> Loaded {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let made = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let der = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let facts = Facts::read(made.der());
        let key = CertifiedKey::from_der(vec![made.der().clone()], der, &aws_lc_rs::default_provider()).unwrap();
        Loaded { key: Arc::new(key), facts }
    }

    fn chosen(certificates: &[Loaded], name: Option<&str>, schemes: &[SignatureScheme]) -> Option<usize> {
        let key = Table::build(certificates).choose(name, schemes)?;
        certificates.iter().position(|loaded| Arc::ptr_eq(&loaded.key, &key))
    }

    #[test]
    fn an_exact_name_goes_before_a_wildcard_and_a_wildcard_before_the_first() {
        let certificates = [
            loaded(&["default.example"], &rcgen::PKCS_ECDSA_P256_SHA256),
            loaded(&["*.bot.example"], &rcgen::PKCS_ECDSA_P256_SHA256),
            loaded(&["a.bot.example", "*.a.bot.example"], &rcgen::PKCS_ECDSA_P256_SHA256),
        ];
        for (name, expected) in [
            ("default.example", 0),
            ("a.bot.example", 2),
            ("b.bot.example", 1),
            ("x.a.bot.example", 2),
            ("x.b.bot.example", 0),
            ("bot.example", 0),
            ("example", 0),
            ("", 0),
        ] {
            assert_eq!(chosen(&certificates, Some(name), SCHEMES), Some(expected), "{name}");
        }
        assert_eq!(chosen(&certificates, None, SCHEMES), Some(0));
    }

    #[test]
    fn of_two_with_one_name_the_client_gets_the_one_it_can_verify() {
        let certificates =
            [loaded(&["bot.example"], &rcgen::PKCS_ED25519), loaded(&["bot.example"], &rcgen::PKCS_ECDSA_P256_SHA256)];
        assert_eq!(chosen(&certificates, Some("bot.example"), SCHEMES), Some(0));
        assert_eq!(chosen(&certificates, Some("bot.example"), &SCHEMES[..1]), Some(1));
        assert_eq!(chosen(&certificates, Some("bot.example"), &[]), None);
    }
}
