//! The samples of the gateways' documentation, and what a single update must say.

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
