//! stub
use super::Update;
pub fn country_of(_update: &Update<'_>) -> Option<[u8; 2]> {
    None
}
