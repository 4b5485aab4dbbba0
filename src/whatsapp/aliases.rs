//! stub
use super::Update;
#[derive(Debug)]
pub struct Aliases;
impl Aliases {
    pub fn new(_max: usize, _ttl: u64) -> Self {
        Self
    }
    pub fn conversation(&self, account: &str, update: &Update<'_>, _now: u64) -> Option<u64> {
        let name = update.group.as_deref().or(update.names.first())?;
        Some(xxhash_rust::xxh3::xxh3_64(format!("{account}/{name}").as_bytes()))
    }
}
