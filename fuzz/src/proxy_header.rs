//! The PROXY protocol's header: no byte more changes a verdict, and what was read is written and read again as the same.

use baton::config::model::ProxyVersion;
use baton::listener::proxy_protocol::{HEADER_BYTES_MAX, read, write};

pub fn run(data: &[u8]) {
    let mut verdict = Ok(None);
    for cut in 0..=data.len().min(HEADER_BYTES_MAX + 16) {
        let now = read(&data[..cut]);
        if verdict != Ok(None) {
            assert_eq!(now, verdict, "more bytes changed what the first {cut} say");
        }
        verdict = now;
    }
    assert!(verdict != Ok(None) || data.len() < HEADER_BYTES_MAX, "a header without an end");
    let Ok(Some(header)) = verdict else { return };
    assert!(header.length <= HEADER_BYTES_MAX && header.length <= data.len());
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let mut written = Vec::new();
        write(version, header.ends, &mut written);
        let again = read(&written).expect("what is written is taken").expect("and is whole");
        assert_eq!(again.length, written.len());
        let told = |ends: Option<baton::listener::proxy_protocol::Ends>| {
            ends.map(|ends| [ends.source, ends.destination].map(|end| (end.ip().to_canonical(), end.port())))
        };
        assert_eq!(told(again.ends), told(header.ends));
    }
}
