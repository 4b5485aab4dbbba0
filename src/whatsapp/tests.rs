//! The samples of the gateways, what a single update must say, and that nothing from the network breaks a decoder.

use std::borrow::Cow;

use proptest::prelude::*;

use super::*;

/// Bodies as Meta, WAHA and Evolution send them, in the order of the constants below.
const SAMPLES: &str = include_str!("../../tests/corpus/whatsapp/samples.json");
const TEXT: usize = 0;
const IMAGE: usize = 1;
const REPLY: usize = 2;
const STATUS: usize = 3;
const BATCH: usize = 4;
const ACCOUNT_UPDATE: usize = 5;

fn samples() -> Vec<String> {
    serde_json::from_str(SAMPLES).unwrap()
}

/// What an update says, as text that compares.
#[derive(Debug, PartialEq)]
pub struct Told {
    pub account: String,
    pub group: String,
    pub names: Vec<String>,
    pub moved: Vec<String>,
    /// Message, event and state, separated by `|`.
    pub id: String,
    pub kind: String,
    pub event: String,
}

/// The only update of a body.
pub fn told(provider: Provider, body: &str) -> Told {
    let update = one(provider, body);
    let text = |word: &Option<Cow<'_, str>>| word.clone().unwrap_or_default().into_owned();
    let list = |names: &Names<'_>| names.iter().map(str::to_owned).collect();
    let id = update.id.as_ref().map(|id| {
        let parts = [Some(&id.message), Some(&id.event), id.state.as_ref()];
        parts.into_iter().flatten().map(|part| &**part).collect::<Vec<_>>().join("|")
    });
    Told {
        account: text(&update.account),
        group: text(&update.group),
        names: list(&update.names),
        moved: list(&update.moved),
        id: id.unwrap_or_default(),
        kind: format!("{:?}", update.kind),
        event: update.event.into_owned(),
    }
}

fn names<'u>(names: &'u Names<'_>) -> Vec<&'u str> {
    names.iter().collect()
}

fn one<'a>(provider: Provider, body: &'a str) -> Update<'a> {
    let mut updates = Vec::new();
    decode(provider, body.as_bytes(), &mut updates).unwrap();
    assert_eq!(updates.len(), 1, "{updates:?}");
    updates.pop().unwrap()
}

#[test]
fn a_text_names_its_number_its_writer_and_its_message() {
    let samples = samples();
    let update = one(Provider::CloudApi, &samples[TEXT]);
    assert_eq!(update.account.as_deref(), Some("106540352242922"));
    assert_eq!(names(&update.names), ["AE.13491208655302741918", "971501234567"]);
    assert_eq!((update.kind, &*update.event), (Kind::Message, "messages"));
    let id = update.id.unwrap();
    assert_eq!((&*id.message, &*id.event, id.state), ("wamid.HBgMOTcxNTAxMjM0NTY3FQIAEhgUM0EB01", "messages", None));
    assert_eq!(update.part, Part::Whole);
    assert!(update.moved.is_empty() && update.group.is_none() && update.master.is_none());
}

#[test]
fn a_user_without_a_number_is_known_by_the_scoped_id() {
    let samples = samples();
    assert_eq!(names(&one(Provider::CloudApi, &samples[IMAGE]).names), ["SA.77120045518830021144"]);
}

#[test]
fn the_number_in_a_context_is_nobodys_in_the_conversation() {
    let samples = samples();
    let update = one(Provider::CloudApi, &samples[REPLY]);
    assert_eq!(names(&update.names), ["AE.13491208655302741918", "971501234567"]);
    assert!(update.id.unwrap().message.ends_with("EB03"));
}

#[test]
fn a_status_names_its_recipient_and_the_master_that_sent_the_message() {
    let samples = samples();
    let update = one(Provider::CloudApi, &samples[STATUS]);
    assert_eq!((update.kind, &*update.event, update.master.as_deref()), (Kind::Status, "statuses", Some("m2")));
    assert_eq!(names(&update.names), ["AE.13491208655302741918", "971501234567"]);
    assert_eq!(update.id.unwrap().state.as_deref(), Some("delivered"));
}

#[test]
fn what_names_no_number_belongs_to_the_business_account() {
    let samples = samples();
    let update = one(Provider::CloudApi, &samples[ACCOUNT_UPDATE]);
    assert_eq!(update.account.as_deref(), Some("102290129340398"));
    assert_eq!((update.kind, &*update.event), (Kind::Event, "account_update"));
    assert!(update.id.is_none() && update.names.is_empty());
}

#[test]
fn the_updates_of_a_batch_keep_their_order_and_their_accounts() {
    let samples = samples();
    let mut updates = Vec::new();
    decode(Provider::CloudApi, samples[BATCH].as_bytes(), &mut updates).unwrap();
    let seen: Vec<_> = updates
        .iter()
        .map(|update| (update.account.as_deref().unwrap(), &*update.id.as_ref().unwrap().message, update.kind))
        .collect();
    let expected = [
        ("106540352242922", "wamid.BATCH01", Kind::Message),
        ("106540352242999", "wamid.BATCH02", Kind::Message),
        ("106540352242922", "wamid.BATCH03", Kind::Message),
        ("106540352242999", "wamid.OUT77", Kind::Status),
    ];
    assert_eq!(seen, expected);
}

const WAHA: usize = 6;
const EVOLUTION: usize = 7;

#[test]
fn the_samples_of_self_hosted_gateways_say_who_wrote() {
    let samples = samples();
    let waha = told(Provider::Waha, &samples[WAHA]);
    assert_eq!((&*waha.account, &*waha.names[0], &*waha.kind), ("default", "971501234567@c.us", "Message"));
    assert_eq!(waha.id, "false_971501234567@c.us_3EB0C431C26A1916E07E|message");
    let evolution = told(Provider::Evolution, &samples[EVOLUTION]);
    assert_eq!((&*evolution.account, &*evolution.kind), ("clinic-01", "Message"));
    assert_eq!(evolution.names, ["971501234567@s.whatsapp.net", "251556368777322@lid"]);
    assert_eq!(evolution.id, "3EB0C431C26A1916E07E|messages.upsert|conversation");
}

fn change(value: &str) -> String {
    format!(r#"{{"object":"o","entry":[{{"changes":[{{"value":{value},"field":"f"}}],"id":"W"}}]}}"#)
}

#[test]
fn a_system_message_moves_a_person_from_the_old_names_to_the_new() {
    let told = |message: &str| told(Provider::CloudApi, &change(&format!(r#"{{"messages":[{message}]}}"#)));
    let number = told(
        r#"{"from":"971","from_user_id":"AE.1","id":"m","type":"system","system":{"body":"b","wa_id":"972","type":"user_changed_number"}}"#,
    );
    assert_eq!((number.moved, number.names), (vec!["971".to_owned()], vec!["AE.1".to_owned(), "972".to_owned()]));
    let scoped = told(
        r#"{"from":"971","id":"m","type":"system","system":{"type":"user_changed_user_id","user_id":"AE.2","previous_user_id":"AE.1"}}"#,
    );
    assert_eq!((scoped.moved, scoped.names), (vec!["AE.1".to_owned()], vec!["AE.2".to_owned(), "971".to_owned()]));
    let older = told(r#"{"from":"971","id":"m","type":"system","system":{"wa_id":"971","new_wa_id":"972"}}"#);
    assert_eq!((older.moved, older.names), (vec!["971".to_owned()], vec!["972".to_owned()]));
}

#[test]
fn a_user_id_update_moves_a_person_too() {
    let body = change(
        r#"{"contacts":[{"wa_id":"971","user_id":"AE.1"}],"user_id_update":[{"wa_id":"971","user_id":{"previous":"AE.1","current":"AE.2"},"parent_user_id":{"previous":"AE.ENT.1","current":"AE.ENT.2"}}]}"#,
    );
    let told = told(Provider::CloudApi, &body);
    assert_eq!((&*told.kind, &*told.event, &*told.account), ("Event", "f", "W"));
    assert_eq!(told.names, ["AE.ENT.2", "AE.2", "971"]);
    assert_eq!(told.moved, ["AE.ENT.1", "AE.1"]);
}

#[test]
fn a_status_in_a_group_is_each_members_own() {
    let status = |who: &str| {
        told(
            Provider::CloudApi,
            &change(&format!(
                r#"{{"statuses":[{{"id":"m","status":"read","recipient_type":"group","recipient_id":"G","recipient_participant_id":"{who}"}}]}}"#
            )),
        )
    };
    let (one, other) = (status("971"), status("972"));
    assert_eq!((&*one.group, &*one.names[0], &*one.id), ("G", "971", "m|f|read 971"));
    assert_ne!(one.id, other.id);
}

#[test]
fn a_message_in_a_group_names_the_group_and_its_writer() {
    let told = told(Provider::CloudApi, &change(r#"{"messages":[{"id":"m","from":"971","group_id":"G"}]}"#));
    assert_eq!((&*told.group, told.names), ("G", vec!["971".to_owned()]));
}

#[test]
fn echoes_and_calls_belong_to_the_customer() {
    let told = |list: &str| told(Provider::CloudApi, &change(list));
    let echo = told(r#"{"message_echoes":[{"id":"m","from":"9714","to":"971","to_user_id":"AE.1"}]}"#);
    assert_eq!((&*echo.kind, echo.names), ("Own", vec!["AE.1".to_owned(), "971".to_owned()]));
    let call = told(
        r#"{"calls":[{"id":"c","from":"9714","to":"971","event":"terminate","status":"COMPLETED","direction":"BUSINESS_INITIATED"}]}"#,
    );
    assert_eq!((&*call.id, call.names), ("c|f|terminate", vec!["971".to_owned()]));
}

#[test]
fn a_note_may_name_a_master_among_others() {
    let master = |note: &str| {
        let body =
            change(&format!(r#"{{"statuses":[{{"id":"m","status":"sent","biz_opaque_callback_data":"{note}"}}]}}"#));
        one(Provider::CloudApi, &body).master.map(Cow::into_owned)
    };
    assert_eq!(master("order=7;master=m2"), Some("m2".to_owned()));
    assert_eq!(master("\\u006daster=m\\u0032"), Some("m2".to_owned()));
    assert_eq!(master("webmaster=m2"), None);
    assert_eq!(master("master="), None);
}

#[test]
fn wanted_members_count_wherever_they_stand() {
    let media = "A".repeat(3 << 20);
    let body = format!(
        r#"{{"payload":{{"body":"{media}","id":"false_971@c.us_A","from":"971@c.us"}},"session":"s","event":"message"}}"#
    );
    assert_eq!(told(Provider::Waha, &body).id, "false_971@c.us_A|message");
    let body = format!(
        r#"{{"x":"{media}","entry":[{{"changes":[{{"value":{{"messages":[{{"y":["{media}"],"id":"m"}}],"metadata":{{"phone_number_id":"P"}}}}}}]}}]}}"#
    );
    assert_eq!(told(Provider::CloudApi, &body).account, "P");
}

#[test]
fn what_is_no_payload_is_undecodable_and_leaves_nothing() {
    let mut updates = vec![one(Provider::CloudApi, r#"{"object":"o"}"#)];
    for body in ["", "null", "[]", "{}", "\"x\"", "7", "{\"a\":1}", "entry"] {
        for (provider, _) in Provider::ALL {
            assert!(decode(provider, body.as_bytes(), &mut updates).is_err(), "{provider:?} {body}");
            assert_eq!(updates.len(), 1);
        }
    }
}

#[test]
fn ids_of_different_parts_have_different_hashes() {
    let id = |message: &'static str, event: &'static str, state: Option<&'static str>| Id {
        message: message.into(),
        event: event.into(),
        state: state.map(Cow::from),
    };
    let hashes = [
        id("a", "b", None).hash(&["r", "x"]),
        id("ab", "", None).hash(&["r", "x"]),
        id("a", "b", Some("")).hash(&["r", "x"]),
        id("a", "b", None).hash(&["rx", ""]),
        id("a", "b", None).hash(&["r"]),
    ];
    for (i, hash) in hashes.iter().enumerate() {
        assert!(!hashes[..i].contains(hash), "{i}");
    }
    // Kept on disk: it may not change between versions.
    assert_eq!(id("m", "messages", None).hash(&["r", "a"]), PINNED);
}

const PINNED: u128 = 275_358_621_681_819_178_787_834_478_698_966_635_781;

/// Each provider with bodies of its own.
fn corpus() -> Vec<(Provider, Vec<u8>)> {
    let mut corpus: Vec<_> = samples().into_iter().map(|body| (Provider::CloudApi, body.into_bytes())).collect();
    corpus[WAHA].0 = Provider::Waha;
    corpus[EVOLUTION].0 = Provider::Evolution;
    let more: [(Provider, &str); 4] = [
        (
            Provider::Wppconnect,
            r#"{"event":"onack","session":"s","id":{"_serialized":"true_971@c.us_A","fromMe":true},"ack":3,"to":"971@c.us","from":"9714@c.us","sender":{"id":{"_serialized":"9714@c.us"}}}"#,
        ),
        (
            Provider::Wwebjs,
            r#"{"dataType":"message_ack","data":{"message":{"id":{"fromMe":true,"remote":"1@g.us","_serialized":"true_1@g.us_A"},"from":"9714@c.us","to":"1@g.us","author":"9714@c.us"},"ack":2},"sessionId":"s"}"#,
        ),
        (
            Provider::Gowa,
            r#"{"event":"message.ack","device_id":"9714@s.whatsapp.net","payload":{"ids":["A","B"],"chat_id":"1@g.us","from":"971@s.whatsapp.net","receipt_type":"read"}}"#,
        ),
        (
            Provider::CloudApi,
            r#"{"object":"o","entry":[{"id":"W","changes":[{"field":"user_id_update","value":{"user_id_update":[{"user_id":{"previous":"AE.1","current":"AE.2"}}],"errors":[{"code":1}]}}]}]}"#,
        ),
    ];
    corpus.extend(more.map(|(provider, body)| (provider, body.as_bytes().to_vec())));
    corpus
}

/// Decodes and writes all parts: what must never panic.
fn exercise(provider: Provider, body: &[u8]) -> Result<usize, Undecodable> {
    let mut updates = Vec::new();
    let read = decode(provider, body, &mut updates);
    assert_eq!(read.is_err(), updates.is_empty());
    for update in &updates {
        let mut part = Vec::new();
        write_part(provider, body, &update.part, &mut part);
        assert!(!part.is_empty());
    }
    read.map(|()| updates.len())
}

#[test]
fn a_body_cut_short_at_any_byte_is_broken() {
    for (provider, body) in corpus() {
        assert!(exercise(provider, &body).is_ok());
        let text = body.trim_ascii_end();
        for end in 0..text.len() {
            assert!(exercise(provider, &text[..end]).is_err(), "{provider:?} cut at {end}");
        }
    }
}

#[test]
fn the_whole_corpus_is_read_as_a_parser_with_a_tree_reads_it() {
    for (provider, body) in corpus() {
        let tree: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let rewritten = serde_json::to_vec_pretty(&tree).unwrap();
        let said = |body: &[u8]| {
            let mut updates = Vec::new();
            decode(provider, body, &mut updates).unwrap();
            updates
                .iter()
                .map(|u| format!("{:?}", (&u.account, &u.group, &u.names, &u.moved, &u.id, u.kind)))
                .collect::<Vec<_>>()
        };
        assert_eq!(said(&body), said(&rewritten), "{provider:?}");
    }
}

proptest! {
    #[test]
    fn no_decoder_panics_on_changed_samples(
        which in 0_usize..12,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..8),
        any_provider in prop::option::of(0_usize..7),
    ) {
        let corpus = corpus();
        let (provider, mut body) = corpus[which % corpus.len()].clone();
        for (at, byte, change) in changes {
            let at = at.index(body.len());
            match change {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                2 => drop(body.remove(at)),
                _ => {
                    let tail = body.split_off(at);
                    body.extend_from_slice(&tail[..tail.len().min(usize::from(byte))]);
                    body.extend_from_slice(&tail);
                }
            }
            if body.is_empty() {
                break;
            }
        }
        let provider = any_provider.map_or(provider, |i| Provider::ALL[i].0);
        exercise(provider, &body).ok();
    }

    #[test]
    fn no_decoder_panics_on_any_bytes(body in prop::collection::vec(any::<u8>(), 0..512), json in "[\\[\\]{}\",:\\\\a-e0-9u ]{0,200}") {
        for (provider, _) in Provider::ALL {
            exercise(provider, &body).ok();
            exercise(provider, json.as_bytes()).ok();
        }
    }
}
