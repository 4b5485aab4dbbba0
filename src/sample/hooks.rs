//! A sample master's own state, and the hooks by which it is fetched and handed over.
//!
//! The state of each account is how many messages were handled while this master, or one that its state comes from, was active. It
//! tells no accounts apart in messages: one that comes counts for each account that it is active for.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::{HeaderMap, Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock;
use crate::failover::hooks::signature::{self, Said, sha256};

/// Accounts whose state is kept; calls about further ones are refused.
const ACCOUNTS_MAX: usize = 1000;
/// How long a hook hangs that is to hang: longer than anybody waits.
const HANG: Duration = Duration::from_secs(3600);
/// Bytes of a state that is to be too large.
const LARGE: usize = 17 << 20;

/// How hooks misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum HookFault {
    #[value(name = "export-500")]
    #[serde(rename = "export-500")]
    ExportFails,
    /// The digest is that of another state
    ExportLies,
    /// More than 16 MiB
    ExportLarge,
    ExportHangs,
    #[value(name = "import-500")]
    #[serde(rename = "import-500")]
    ImportFails,
    /// The digest is that of another state
    ImportLies,
    ImportHangs,
    #[value(name = "activate-500")]
    #[serde(rename = "activate-500")]
    ActivateFails,
    /// It is done, and nobody hears of it
    ActivateHangs,
    #[value(name = "deactivate-500")]
    #[serde(rename = "deactivate-500")]
    DeactivateFails,
    DeactivateHangs,
}

/// What a hook answers.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
    /// The value of [`signature::DIGEST`], where there is one.
    pub digest: Option<String>,
}

/// The states.
#[derive(Debug, Default)]
pub struct Own {
    /// Calls have to be signed with it.
    secret: Option<String>,
    accounts: Mutex<BTreeMap<String, Account>>,
}

#[derive(Debug, Default)]
struct Account {
    active: bool,
    handled: u64,
    /// Epoch and time of the last call that was obeyed.
    last: (u32, u64),
}

/// The state as it is handed over.
#[derive(Serialize, Deserialize)]
struct Handed {
    handled: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hook {
    Export,
    Import,
    Activate,
    Deactivate,
}

impl Hook {
    fn of(method: &Method, path: &str) -> Option<Self> {
        match (method, path) {
            (&Method::GET, "/state") => Some(Self::Export),
            (&Method::POST | &Method::PUT, "/state") => Some(Self::Import),
            (&Method::POST, "/activate") => Some(Self::Activate),
            (&Method::POST, "/deactivate") => Some(Self::Deactivate),
            _ => None,
        }
    }
}

impl Own {
    /// None yet. Calls have to be signed with the secret, if there is one.
    #[must_use]
    pub fn new(secret: Option<String>) -> Self {
        Self { secret, accounts: Mutex::default() }
    }

    /// Counts messages for every account that this master is active for.
    pub fn note(&self, messages: u64) {
        self.accounts().values_mut().filter(|account| account.active).for_each(|account| account.handled += messages);
    }

    /// By account: whether it is active, since which epoch, and what it has handled.
    #[must_use]
    pub fn seen(&self) -> Value {
        let accounts = self.accounts();
        let one = |(name, it): (&String, &Account)| {
            (name.clone(), json!({ "active": it.active, "epoch": it.last.0, "handled": it.handled }))
        };
        Value::Object(accounts.iter().map(one).collect())
    }

    /// Answers a request that is one for a hook; `None` for any other.
    pub async fn answer(
        &self,
        (method, path): (&Method, &str),
        headers: &HeaderMap,
        body: &[u8],
        fault: Option<HookFault>,
    ) -> Option<Answer> {
        let hook = Hook::of(method, path)?;
        let answer = match self.check(method, path, headers, body) {
            Ok((account, at)) => self.obey(hook, &account, at, body),
            Err(answer) => answer,
        };
        match (hook, fault) {
            (Hook::Export, Some(HookFault::ExportHangs))
            | (Hook::Import, Some(HookFault::ImportHangs))
            | (Hook::Activate, Some(HookFault::ActivateHangs))
            | (Hook::Deactivate, Some(HookFault::DeactivateHangs)) => tokio::time::sleep(HANG).await,
            _ => {}
        }
        Some(spoilt(hook, fault, answer))
    }

    /// The account and the moment of a call that may be believed.
    fn check(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(String, (u32, u64)), Answer> {
        let text = |name: &str| headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
        let number = |name: &str| text(name).and_then(|text| text.parse::<u64>().ok());
        let wrong = |what: &str| said(StatusCode::BAD_REQUEST, what);
        let (Some(epoch), Some(time)) = (number(signature::EPOCH), number(signature::TIME)) else {
            return Err(wrong("epoch or time is missing"));
        };
        let epoch = u32::try_from(epoch).map_err(|_| wrong("no such epoch"))?;
        let account = text(signature::ACCOUNT).unwrap_or_default();
        let digest = sha256(body);
        if text(signature::DIGEST) != Some(&digest) {
            return Err(wrong("the digest is missing or wrong"));
        }
        let upstream = text(signature::UPSTREAM).unwrap_or_default();
        let call = Said { method: method.as_str(), path, upstream, account, epoch, time, digest: &digest };
        if let Some(secret) = &self.secret {
            let given = headers.get(signature::SIGNATURE).map_or(&b""[..], |value| value.as_bytes());
            if !call.is_signed(secret.as_bytes(), given, clock::unix_millis()) {
                return Err(said(StatusCode::UNAUTHORIZED, "the signature is missing or wrong"));
            }
        }
        Ok((account.to_owned(), (epoch, time)))
    }

    fn obey(&self, hook: Hook, name: &str, at: (u32, u64), body: &[u8]) -> Answer {
        let mut accounts = self.accounts();
        if !accounts.contains_key(name) && accounts.len() >= ACCOUNTS_MAX {
            return said(StatusCode::INSUFFICIENT_STORAGE, "there are too many accounts");
        }
        let account = accounts.entry(name.to_owned()).or_default();
        if hook == Hook::Export {
            return if account.active {
                let body = account.state();
                Answer { status: StatusCode::OK, digest: Some(sha256(&body)), body }
            } else {
                said(StatusCode::CONFLICT, "this master is not active")
            };
        }
        if at <= account.last {
            return said(StatusCode::CONFLICT, "this call is older than another one");
        }
        match hook {
            Hook::Export => {}
            Hook::Activate => account.active = true,
            Hook::Deactivate => account.active = false,
            Hook::Import => match serde_json::from_slice(body) {
                Ok(Handed { handled }) => account.handled = handled,
                Err(_) => return said(StatusCode::BAD_REQUEST, "this is no state of a sample master"),
            },
        }
        account.last = at;
        let digest = (hook == Hook::Import).then(|| sha256(&account.state()));
        Answer { digest, ..said(StatusCode::OK, "done") }
    }

    fn accounts(&self) -> MutexGuard<'_, BTreeMap<String, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    fn state(&self) -> Bytes {
        json!(Handed { handled: self.handled }).to_string().into()
    }
}

fn said(status: StatusCode, what: &str) -> Answer {
    Answer { status, body: format!("{what}\n").into(), digest: None }
}

/// The answer as the fault has it.
fn spoilt(hook: Hook, fault: Option<HookFault>, answer: Answer) -> Answer {
    match (hook, fault) {
        (Hook::Export, Some(HookFault::ExportFails))
        | (Hook::Import, Some(HookFault::ImportFails))
        | (Hook::Activate, Some(HookFault::ActivateFails))
        | (Hook::Deactivate, Some(HookFault::DeactivateFails)) => {
            said(StatusCode::INTERNAL_SERVER_ERROR, "this hook fails on purpose")
        }
        (Hook::Export, Some(HookFault::ExportLies)) | (Hook::Import, Some(HookFault::ImportLies)) => {
            Answer { digest: Some(sha256(b"another state")), ..answer }
        }
        (Hook::Export, Some(HookFault::ExportLarge)) => Answer { body: vec![0; LARGE].into(), digest: None, ..answer },
        _ => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call, signed with `secret` if there is one.
    async fn call(own: &Own, (method, path): (&str, &str), at: (u32, u64), body: &str, secret: Option<&str>) -> Answer {
        let (digest, time) = (sha256(body.as_bytes()), clock::unix_millis() + at.1);
        let call = Said { method, path, upstream: "bots", account: "1", epoch: at.0, time, digest: &digest };
        let mut headers = HeaderMap::new();
        headers.insert(signature::UPSTREAM, "bots".parse().unwrap());
        headers.insert(signature::ACCOUNT, "1".parse().unwrap());
        headers.insert(signature::EPOCH, at.0.into());
        headers.insert(signature::TIME, time.into());
        headers.insert(signature::DIGEST, digest.parse().unwrap());
        if let Some(secret) = secret {
            headers.insert(signature::SIGNATURE, call.sign(secret.as_bytes()).parse().unwrap());
        }
        let method = method.parse().unwrap();
        own.answer((&method, path), &headers, body.as_bytes(), None).await.unwrap()
    }

    #[tokio::test]
    async fn a_state_goes_from_one_master_to_another_that_answers_with_its_digest() {
        let (from, to) = (Own::default(), Own::default());
        assert_eq!(call(&from, ("GET", "/state"), (0, 0), "", None).await.status, 409, "it is not active yet");
        assert_eq!(call(&from, ("POST", "/activate"), (0, 1000), "", None).await.status, 200);
        from.note(3);
        let state = call(&from, ("GET", "/state"), (0, 2000), "", None).await;
        assert_eq!((state.status, &*state.body), (StatusCode::OK, &br#"{"handled":3}"#[..]));
        let body = std::str::from_utf8(&state.body).unwrap();
        let given = call(&to, ("POST", "/state"), (1, 3000), body, None).await;
        assert_eq!((given.status, given.digest), (StatusCode::OK, state.digest));
        to.note(1);
        call(&to, ("POST", "/activate"), (1, 4000), "", None).await;
        to.note(1);
        assert_eq!(to.seen(), json!({ "1": { "active": true, "epoch": 1, "handled": 4 } }));
    }

    #[tokio::test]
    async fn a_call_that_is_older_than_another_one_is_not_obeyed() {
        let own = Own::default();
        call(&own, ("POST", "/activate"), (2, 9000), "", None).await;
        for old in [(1, 10_000), (2, 0)] {
            assert_eq!(call(&own, ("POST", "/deactivate"), old, "", None).await.status, 409, "{old:?}");
        }
        assert_eq!(call(&own, ("POST", "/deactivate"), (3, 0), "", None).await.status, 200);
        assert_eq!(own.seen()["1"]["active"], false);
    }

    #[tokio::test]
    async fn with_a_secret_only_signed_calls_are_obeyed() {
        let own = Own::new(Some("s3cret".into()));
        for (secret, status) in [(None, 401), (Some("another"), 401), (Some("s3cret"), 200)] {
            assert_eq!(call(&own, ("POST", "/activate"), (1, 0), "", secret).await.status, status, "{secret:?}");
        }
    }
}
