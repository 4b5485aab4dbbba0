//! Stored messages and dead letters, over a real store.

use std::path::PathBuf;

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::spool::record::{Attempt, Ending, Incoming};
use crate::spool::schedule::{Reason, Settlement};
use crate::whatsapp::Kind;

struct Spooled {
    running: Running,
    store: Store,
    ids: Vec<u64>,
    directory: PathBuf,
    _events: tokio::sync::mpsc::UnboundedReceiver<crate::spool::store::Event>,
}

impl Drop for Spooled {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Messages of upstream `bots`, the first `dead` of them given up: one by one for attempts and for masters.
fn spooled(name: &str, messages: u64, dead: u64) -> Spooled {
    let directory = std::env::temp_dir().join(format!("baton-admin-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    let text = "listeners: [{ name: a, address: \"127.0.0.1:0\" }]\nroutes: [{ name: a, upstream: a }]\n\
                upstreams: [{ name: a, masters: [{ name: a, address: \"127.0.0.1:1\" }] }]";
    let loaded = crate::config::parse(text, std::path::Path::new("a"), &crate::config::System).unwrap();
    let (sender, events) = tokio::sync::mpsc::unbounded_channel();
    let (store, _) = Store::open(&directory, &loaded.config.spool, sender).unwrap();
    let message = |number: u64| Incoming {
        seq: store.next_seq(),
        id: Some(number.into()),
        conversation: number % 3,
        route: "webhooks".into(),
        upstream: "bots".into(),
        account: Some(format!("account-{}", number % 2).into()),
        country: None,
        message_id: format!("wamid.{number}").into(),
        kind: Kind::Message,
        event: "messages\u{1b}[31m".into(),
        preferred: None,
        head: Bytes::from_static(b"POST /webhook HTTP/1.1\r\nx-api-key: hunter2\r\n\r\n"),
        body: Bytes::from_static(b"{\"text\":\"a secret of two people\"}"),
        maybe_delivered: false,
        ordered: true,
    };
    let batch: Vec<Incoming> = (0..messages).map(message).collect();
    let ids: Vec<u64> = batch.iter().map(|message| message.seq).collect();
    store.accept(&batch).unwrap().blocking_recv().unwrap().unwrap();
    for (number, id) in ids.iter().take(usize::try_from(dead).unwrap()).enumerate() {
        let reason = if number % 2 == 0 { Reason::Attempts } else { Reason::Masters };
        let attempt = Attempt { at: 1, master: "dubai-1".into(), ending: Ending::Status(500) };
        store.settle(*id, Settlement::Dead { reason, attempts: 6, breaks: 0 }, Some(attempt));
    }
    store.flush().blocking_recv().unwrap();
    let running = running_on(Some(store.clone()), server::Patience::default());
    Spooled { running, store, ids, directory, _events: events }
}

impl Spooled {
    fn get(&self, path: &str) -> Value {
        let answer = get(self.running.address, path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert!(!answer.body.contains("hunter2") && !answer.body.contains("secret"), "{}", answer.body);
        answer.json()
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.running.post(path, "application/json", &body.to_string());
        (answer.status, answer.json())
    }

    fn dead(&self, query: &str) -> Vec<u64> {
        let page = self.get(&format!("/api/v1/dead-letters?{query}"));
        page["items"].as_array().unwrap().iter().map(|letter| letter["id"].as_u64().unwrap()).collect()
    }
}

#[test]
fn a_summary_counts_what_waits_and_what_was_given_up() {
    let spooled = spooled("summary", 7, 3);
    let summary = spooled.get("/api/v1/spool");
    assert_eq!((&summary["pending"], &summary["dead_letters"]), (&4.into(), &3.into()));
    assert_eq!((&summary["stored"], &summary["full"], &summary["failed"]), (&7.into(), &json!(null), &json!(null)));
    assert!(summary["pending_bytes"].as_u64().unwrap() > 0 && summary["disk_bytes"].as_u64().unwrap() > 0, "{summary}");
}

#[test]
fn lists_come_in_pages_that_join_without_a_gap() {
    let spooled = spooled("pages", 25, 12);
    for (path, total) in [("/api/v1/spool/messages", 13), ("/api/v1/dead-letters", 12)] {
        let mut seen = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = spooled.get(&format!("{path}?limit=5{cursor}"));
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= 5);
            seen.extend(items.iter().map(|item| item["id"].as_u64().unwrap()));
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let mut unique = seen.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!((seen.len(), unique.len()), (total, total), "{path}");
    }
    let first = &spooled.get("/api/v1/spool/messages?limit=1")["items"][0];
    assert_eq!((&first["upstream"], &first["message"]["message_id"]), (&"bots".into(), &"wamid.12".into()));
}

#[test]
fn a_dead_letter_is_shown_with_its_reason_and_its_attempts() {
    let spooled = spooled("show", 2, 2);
    let letter = spooled.get(&format!("/api/v1/dead-letters/{}", spooled.ids[1]));
    assert_eq!(
        (&letter["reason"], &letter["attempts"], &letter["upstream"]),
        (&"masters".into(), &6.into(), &"bots".into())
    );
    let attempt = json!({ "at": 1, "master": "dubai-1", "ending": "status 500" });
    assert_eq!(letter["history"], json!([attempt]));
    for path in ["/api/v1/dead-letters/999999", "/api/v1/dead-letters/x"] {
        assert_eq!(get(spooled.running.address, path).status, 404, "{path}");
    }
}

#[test]
fn filters_choose_what_is_listed_replayed_and_discarded() {
    let spooled = spooled("filters", 10, 8);
    assert_eq!(spooled.dead("reason=masters").len(), 4);
    assert_eq!(spooled.dead("account=account-1&reason=attempts").len(), 0);
    assert_eq!(spooled.dead("upstream=others").len(), 0);
    assert_eq!(spooled.dead("older_than_seconds=3600").len(), 0);
    assert_eq!(spooled.dead("older_than_seconds=0").len(), 8);
    let one = spooled.ids[0];
    assert_eq!(spooled.post("/api/v1/dead-letters/replay", &json!({ "id": one })), (200, json!({ "count": 1 })));
    assert!(!spooled.dead("").contains(&one));
    assert_eq!(spooled.store.stats().pending, 3);
    let masters = json!({ "reason": "masters", "comment": "never again" });
    assert_eq!(spooled.post("/api/v1/dead-letters/discard", &masters), (200, json!({ "count": 4 })));
    assert_eq!((spooled.dead("").len(), spooled.store.stats().pending), (3, 3));
    let all = json!({ "all": true });
    assert_eq!(spooled.post("/api/v1/dead-letters/replay", &all), (200, json!({ "count": 3 })));
    assert_eq!((spooled.dead("").len(), spooled.store.stats().pending), (0, 6));
    assert_eq!(spooled.post("/api/v1/dead-letters/replay", &all), (200, json!({ "count": 0 })));
}

#[test]
fn what_is_not_said_clearly_changes_nothing() {
    let spooled = spooled("unclear", 4, 4);
    for (body, status) in [
        (json!({}), 422),
        (json!({ "all": true, "upstream": "bots" }), 422),
        (json!({ "id": spooled.ids[0], "all": true }), 422),
        (json!({ "ids": [1, 2] }), 422),
        (json!({ "reason": "boredom" }), 400),
        (json!({ "id": 999_999 }), 404),
        (json!({ "all": true, "comment": "a\nb" }), 422),
    ] {
        for action in ["replay", "discard"] {
            let (got, answer) = spooled.post(&format!("/api/v1/dead-letters/{action}"), &body);
            assert_eq!(got, status, "{action} {body}: {answer}");
        }
    }
    for query in
        ["limit=0", "limit=1001", "limit=x", "cursor=x", "reason=boredom", "older_than_seconds=-1", "color=red"]
    {
        let answer = get(spooled.running.address, &format!("/api/v1/dead-letters?{query}"));
        assert_eq!(answer.status, 400, "{query}: {}", answer.body);
        assert!(answer.head.contains("application/problem+json"), "{}", answer.head);
    }
    assert_eq!(spooled.dead("").len(), 4);
}

#[test]
fn without_a_store_it_is_said_that_there_is_none() {
    let running = running();
    for path in ["/api/v1/spool", "/api/v1/spool/messages", "/api/v1/dead-letters", "/api/v1/dead-letters/1"] {
        let answer = get(running.address, path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("no spool"), "{}", answer.body);
    }
}
