//! A webhook's body: each part of a batch is JSON and says what the whole said of it, and a reader with a tree finds the body
//! no more broken than Baton does.

use baton::whatsapp::{Part, Provider, UPDATES_MAX, Update, decode, write_part};
use serde_json::Value;

pub fn run(data: &[u8]) {
    let Some((&which, body)) = data.split_first() else { return };
    let (provider, _) = Provider::ALL[usize::from(which) % Provider::ALL.len()];
    let mut updates = Vec::new();
    if decode(provider, body, &mut updates).is_err() {
        return assert!(updates.is_empty());
    }
    assert!((1..=UPDATES_MAX).contains(&updates.len()));
    let tree: Option<Value> = serde_json::from_slice(body).ok();
    let mut total = 0;
    for update in &updates {
        assert!(update.event.len() <= 64 && update.account.as_ref().is_none_or(|account| account.len() <= 256));
        let mut part = Vec::new();
        write_part(provider, body, &update.part, &mut part);
        total += part.len();
        if update.part == Part::Whole {
            assert!(updates.len() == 1 && part == body);
            continue;
        }
        let mut again = Vec::new();
        decode(provider, &part, &mut again).expect("a part is a body");
        assert_eq!(again.len(), 1, "a part has one update");
        assert_eq!(told(&again[0]), told(update));
        if tree.is_some() {
            assert!(serde_json::from_slice::<Value>(&part).is_ok(), "a part of JSON is JSON");
        }
    }
    assert!(total <= 16 * body.len() + (2 << 20), "{total} bytes of {}", body.len());
}

/// What an update says but for its part.
fn told(update: &Update<'_>) -> String {
    let Update { account, group, names, moved, id, kind, event, master, .. } = update;
    format!("{account:?} {group:?} {names:?} {moved:?} {id:?} {kind:?} {event} {master:?}")
}
