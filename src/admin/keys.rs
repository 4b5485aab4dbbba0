//! Where the keys of the admin API come from: the configuration, or else a file in the state directory, made once.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::token::{Key, Keyring};
use crate::config::model::Config;

/// In the state directory.
const FILE: &str = "admin-key.json";
/// As many as the hash has (RFC 7518, section 3.2).
const SECRET_BYTES: usize = 32;
/// The file has about 150 bytes.
const FILE_BYTES_MAX: u64 = 4096;

#[derive(Serialize, Deserialize)]
struct Stored {
    id: String,
    /// In hexadecimal digits.
    secret: String,
}

/// The keys of a configuration. Without any there, the key in its state directory, which is made if it is not there.
///
/// # Errors
/// One line: the file cannot be read or made, or others may read it.
pub fn of(config: &Config) -> Result<Keyring, String> {
    let audience = config.admin.audience.clone();
    let configured = |key: &crate::config::model::AdminKey| Key {
        id: key.id.clone(),
        secret: key.secret.0.as_bytes().to_vec(),
        local: false,
    };
    let mut keys: Vec<Key> = config.admin.keys.iter().map(configured).collect();
    if keys.is_empty() {
        keys.push(stored(&config.state_path)?);
    }
    Ok(Keyring { keys, audience })
}

fn stored(state: &Path) -> Result<Key, String> {
    let path = state.join(FILE);
    let key = match read(&path)? {
        Some(key) => key,
        None => {
            make(state, &path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
            read(&path)?.ok_or_else(|| format!("{} has gone again", path.display()))?
        }
    };
    Ok(key)
}

fn read(path: &Path) -> Result<Option<Key>, String> {
    let named = |reason: &dyn std::fmt::Display| format!("{}: {reason}", path.display());
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|error| named(&error))?,
    };
    let mode = file.metadata().map_err(|error| named(&error))?.mode();
    if mode & 0o077 != 0 {
        return Err(named(&format_args!(
            "others than its owner may use this key (mode {:03o}): remove it, so that another one is made",
            mode & 0o777
        )));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| named(&error))?;
    // What the reader of JSON says may repeat the text.
    let stored: Stored =
        serde_json::from_str(&text).map_err(|_| named(&"this is no key: remove it, so that another one is made"))?;
    let secret = unhex(&stored.secret).filter(|secret| secret.len() >= SECRET_BYTES);
    let secret = secret.ok_or_else(|| named(&"the key is too short: remove it, so that another one is made"))?;
    Ok(Some(Key { id: stored.id, secret, local: true }))
}

/// Of several processes that make it at once, one succeeds and all read the same one.
fn make(state: &Path, path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(state)?;
    let mut random = [0; SECRET_BYTES + 4];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no randomness"))?;
    let (secret, id) = random.split_at(SECRET_BYTES);
    let text = serde_json::to_string(&Stored { id: format!("local-{}", hex(id)), secret: hex(secret) })?;
    let new: PathBuf = path.with_extension(format!("{}.new", hex(id)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    // A link, unlike a rename, does not replace a key that somebody else has made meanwhile.
    let linked = match std::fs::hard_link(&new, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    };
    let _ = std::fs::remove_file(&new);
    linked?;
    File::open(state)?.sync_all()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.bytes().map(|digit| char::from(digit).to_digit(16)).collect::<Option<Vec<u32>>>()?;
    let byte = |pair: &[u32]| u8::try_from(pair.first()? << 4 | pair.get(1)?).ok();
    digits.chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("baton-keys-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn the_key_is_made_once_for_its_owner_alone() {
        let state = directory("once");
        let made: Vec<Key> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| stored(&state).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(made.iter().all(|key| *key == made[0] && key.local && key.secret.len() == SECRET_BYTES));
        let mode = std::fs::metadata(state.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&state).unwrap().count(), 1);
        std::fs::remove_dir_all(&state).unwrap();
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused_without_being_shown() {
        let state = directory("bad");
        stored(&state).unwrap();
        let path = state.join(FILE);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(stored(&state).unwrap_err().contains("mode 640"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        for text in ["", "{}", "{\"id\":\"a\",\"secret\":\"hunter2\"}", "{\"id\":\"a\",\"secret\":\"abcd\"}"] {
            std::fs::write(&path, text).unwrap();
            let error = stored(&state).unwrap_err();
            assert!(error.contains("remove it") && !error.contains("hunter2"), "{error}");
        }
        std::fs::remove_dir_all(&state).unwrap();
    }

    #[test]
    fn bytes_are_read_as_they_were_written() {
        assert_eq!(unhex(&hex(&[0, 1, 0x7f, 0xff])), Some(vec![0, 1, 0x7f, 0xff]));
        assert_eq!((unhex("abc"), unhex("zz")), (None, None));
    }
}
