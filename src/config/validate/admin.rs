//! The admin API: keys that can be told apart and not be guessed.

use super::super::file;
use super::super::model::{Admin, AdminKey, Secret};
use super::super::shape::At;
use super::Checker;

/// As many as the hash has (RFC 7518, section 3.2).
const SECRET_BYTES_MIN: usize = 32;

pub fn check(checker: &mut Checker<'_, '_>, at: &At<file::Admin>) -> Option<Admin> {
    let admin = at.get()?;
    let ids = admin.keys.get().into_iter().flatten().filter_map(At::get).map(|key| &key.id);
    checker.unique("id", ids.filter_map(|id| Some((id.get()?, id.node))));
    let keys = checker.each_of(&admin.keys, "key", false, key);
    Some(Admin { address: admin.address.get()?.0.clone(), keys: keys?, audience: admin.audience.get()?.0.clone() })
}

fn key(checker: &mut Checker<'_, '_>, at: &At<file::AdminKey>) -> Option<AdminKey> {
    let key = at.get()?;
    let secret = key.secret.get()?;
    if secret.0.len() < SECRET_BYTES_MIN {
        let message = format!("this secret has fewer than {SECRET_BYTES_MIN} bytes and could be guessed");
        let report = checker.error(key.secret.node, message);
        checker.push(report.help("make one with `openssl rand -hex 32`"));
        return None;
    }
    Some(AdminKey { id: key.id.get()?.0.clone(), secret: Secret(secret.0.clone()) })
}
