//! The admin API.

use super::{ListenAddress, Secret};

#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    pub address: ListenAddress,
    /// The first one signs, all are accepted. Empty when the one in the state directory is used.
    pub keys: Vec<AdminKey>,
    /// For whom tokens have to be. Default `baton-admin`.
    pub audience: String,
}

/// A key that signs tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminKey {
    pub id: String,
    /// At least 32 bytes.
    pub secret: Secret,
}
