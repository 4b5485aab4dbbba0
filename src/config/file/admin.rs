//! Keys of the admin API.

use super::super::shape::{List, shape};
use super::super::units::{Listen, Name, Secret, Text};

shape! {
    /// The admin API, `/metrics`, `/healthz` and `/readyz`.
    struct Admin {
        /// An IP address and a port, or `unix:/path`.
        address: Listen = "127.0.0.1:9900",
        /// Keys that sign tokens (HS256): the first one signs those of `baton token`, all are accepted. Left out, one is made
        /// in the state directory, which counts for callers on this machine only.
        keys: List<AdminKey> = "[]",
        /// For whom tokens have to be (`aud`). Give each Baton its own where several share a key.
        audience: Text = "baton-admin",
    }

    /// A key that signs tokens of the admin API.
    struct AdminKey {
        /// What tokens call it (`kid`), unique among keys.
        id: Name,
        /// At least 32 random bytes: `openssl rand -hex 32`. Never shown.
        secret: Secret,
    }
}
