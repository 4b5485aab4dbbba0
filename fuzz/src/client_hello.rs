//! A ClientHello: the same name however it arrives, and the one that a TLS library reads where it takes the message, too.

use baton::tls::hello::{HelloReader, Name, NotAHello, RECORDS_BYTES_MAX};

pub fn run(data: &[u8]) {
    let Some((&step, bytes)) = data.split_first() else { return };
    let whole = HelloReader::default().read(bytes);
    let pieces = piecewise(bytes, usize::from(step) + 1);
    assert_eq!(pieces, whole, "the name depends on how it arrives");
    if bytes.len() >= RECORDS_BYTES_MAX + 5 {
        // Where the records are as small as can be their headers take more, and whoever reads has a limit of its own.
        return;
    }
    let Ok(Some(name)) = whole else { return };
    if let Some(name) = &name {
        assert!(!name.is_empty() && name.len() <= 253);
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)));
        assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase()));
    }
    if let Some(theirs) = other_reading(bytes) {
        assert_eq!(name.as_deref(), Some(&*theirs), "two readers see two names");
    }
}

fn piecewise(bytes: &[u8], step: usize) -> Result<Option<Name>, NotAHello> {
    let mut reader = HelloReader::default();
    let mut end = 0;
    loop {
        end = (end + step).min(bytes.len());
        match reader.read(&bytes[..end]) {
            Ok(None) if end < bytes.len() => {}
            verdict => return verdict,
        }
    }
}

/// The name that rustls sees, if it takes the message and sees one.
fn other_reading(bytes: &[u8]) -> Option<String> {
    let mut acceptor = rustls::server::Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        acceptor.read_tls(&mut rest).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            let name = accepted.client_hello().server_name()?.to_ascii_lowercase();
            return Some(name.strip_suffix('.').unwrap_or(&name).to_owned());
        }
    }
    None
}
