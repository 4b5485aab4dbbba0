//! Parts of batches: what they have of the whole, and that they are read as the whole is.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::super::{Undecodable, Update, decode};
use super::*;

fn updates(body: &str) -> Vec<Update<'_>> {
    let mut updates = Vec::new();
    decode(Provider::CloudApi, body.as_bytes(), &mut updates).unwrap();
    updates
}

fn parts(body: &str) -> Vec<String> {
    let write = |update: &Update<'_>| {
        let mut out = Vec::new();
        write_part(Provider::CloudApi, body.as_bytes(), &update.part, &mut out);
        String::from_utf8(out).unwrap()
    };
    updates(body).iter().map(write).collect()
}

fn parsed(body: &str) -> Vec<Json> {
    parts(body).iter().map(|part| serde_json::from_str(part).unwrap()).collect()
}

fn batch(value: &Json) -> String {
    json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]})
        .to_string()
}

/// A property of the value of each part.
fn of_each(parts: &[Json], pointer: &str) -> Vec<Json> {
    let pointer = format!("/entry/0/changes/0/value{pointer}");
    parts.iter().map(|part| part.pointer(&pointer).cloned().unwrap_or(Json::Null)).collect()
}

#[test]
fn a_single_update_goes_on_in_the_bytes_it_came_in() {
    let body = r#" {"entry":[ {"changes":[ {"value":{"messages":[{"id":"a"}]}} ]} ]} "#;
    assert_eq!(parts(body), [body]);
}

#[test]
fn a_part_is_the_batch_without_the_other_updates() {
    let body = r#"{"object":"o","entry":[
        {"time":7, "changes":[{"value":{"metadata":{"phone_number_id":"P"} ,"messages":[{"id":"a"}, {"id" : "b"}],"x":1},"field":"messages"}],"id":"W"},
        {"id":"V","changes":[{"field":"account_update","value":{"event":"E"}}]}],"more":true}"#;
    let expected = [
        r#"{"object":"o","entry":[{"time":7, "changes":[{"value":{"metadata":{"phone_number_id":"P"},"x":1,"messages":[{"id":"a"}]},"field":"messages"}],"id":"W"}],"more":true}"#,
        r#"{"object":"o","entry":[{"time":7, "changes":[{"value":{"metadata":{"phone_number_id":"P"},"x":1,"messages":[{"id" : "b"}]},"field":"messages"}],"id":"W"}],"more":true}"#,
        r#"{"object":"o","entry":[{"id":"V","changes":[{"field":"account_update","value":{"event":"E"}}]}],"more":true}"#,
    ];
    assert_eq!(parts(body), expected);
}

#[test]
fn a_part_has_the_contacts_of_its_person_only() {
    let body = batch(&json!({
        "contacts": [{"wa_id": "1", "user_id": "AE.1"}, {"user_id": "AE.2"}, {"wa_id": "3"}, {"wa_id": "9"}],
        "messages": [{"from": "1", "id": "a"}, {"from_user_id": "AE.2", "id": "b"}, {"from": "8", "id": "d"}],
        "statuses": [{"recipient_id": "3", "id": "c", "status": "sent"}],
    }));
    let parts = parsed(&body);
    let expected = [
        json!([{"wa_id": "1", "user_id": "AE.1"}]),
        json!([{"user_id": "AE.2"}]),
        // Nobody's contact may be this one's, somebody's is not.
        json!([{"wa_id": "9"}]),
        json!([{"wa_id": "3"}]),
    ];
    assert_eq!(of_each(&parts, "/contacts"), expected);
    assert_eq!(of_each(&parts, "/messages/0/id"), [json!("a"), json!("b"), json!("d"), Json::Null]);
    assert_eq!(of_each(&parts, "/statuses/0/id"), [Json::Null, Json::Null, Json::Null, json!("c")]);
}

#[test]
fn what_belongs_to_no_list_is_a_part_of_its_own() {
    let body = json!({"entry": [
        {"id": "1", "messaging": [1]},
        {"id": "2", "changes": [{"field": "messages", "value": {"errors": [{"code": 1}, {"code": 2}], "messages": []}}]},
        {"id": "3", "changes": [{"field": "messages", "value": {"errors": [{"code": 3}], "messages": [{"id": "a"}]}}]},
        null,
        {"id": "4", "changes": []},
    ]})
    .to_string();
    let expected = [
        json!({"entry": [{"id": "1", "messaging": [1]}]}),
        json!({"entry": [{"id": "2", "changes": [{"field": "messages", "value": {"errors": [{"code": 1}, {"code": 2}]}}]}]}),
        json!({"entry": [{"id": "3", "changes": [{"field": "messages", "value": {"messages": [{"id": "a"}]}}]}]}),
        json!({"entry": [{"id": "3", "changes": [{"field": "messages", "value": {"errors": [{"code": 3}]}}]}]}),
        json!({"entry": [null]}),
        json!({"entry": [{"id": "4", "changes": []}]}),
    ];
    assert_eq!(parsed(&body), expected);
    let events: Vec<_> = updates(&body).iter().map(|update| update.event.to_string()).collect();
    assert_eq!(events, ["", "errors", "messages", "errors", "", ""]);
}

#[test]
fn a_thousand_updates_become_a_thousand_bodies_of_their_own() {
    let person = |i: usize| format!("9715{:08}", i / 2);
    let body = batch(&json!({
        "metadata": {"phone_number_id": "P"},
        "contacts": (0..500).map(|i| json!({"wa_id": person(2 * i)})).collect::<Vec<_>>(),
        "messages": (0..1000).map(|i| json!({"from": person(i), "id": format!("wamid.{i}")})).collect::<Vec<_>>(),
    }));
    for (i, part) in parts(&body).iter().enumerate() {
        let update = &updates(part)[0];
        assert_eq!(update.id.as_ref().unwrap().message, format!("wamid.{i}"));
        let part: Json = serde_json::from_str(part).unwrap();
        assert_eq!(part.pointer("/entry/0/changes/0/value/contacts"), Some(&json!([{"wa_id": person(i)}])));
    }
}

#[test]
fn what_would_swell_to_many_times_its_size_is_not_split() {
    let messages: Vec<_> = (0..1000).map(|i| json!({"id": i.to_string()})).collect();
    let body = batch(&json!({"large": "x".repeat(100_000), "messages": messages}));
    let mut into = Vec::new();
    assert_eq!(decode(Provider::CloudApi, body.as_bytes(), &mut into), Err(Undecodable::TooMany));
    assert!(into.is_empty());
    let body = batch(&json!({"messages": vec![json!({}); 4097]}));
    assert_eq!(decode(Provider::CloudApi, body.as_bytes(), &mut into), Err(Undecodable::TooMany));
}

/// All that is read from an update.
fn told(update: &Update<'_>) -> String {
    format!("{:?}", Update { part: Part::Whole, ..update.clone() })
}

#[test]
fn what_is_too_long_to_mean_anything_is_in_no_update() {
    let long = |length: usize| format!("\\u0041{}", "x".repeat(length));
    let body = |length: usize| {
        let long = long(length);
        format!(
            r#"{{"entry":[{{"id":"{long}","changes":[{{"field":"{long}","value":{{"metadata":{{"phone_number_id":"{long}"}},"messages":[{{"id":"a"}},{{"id":"b"}}]}}}}]}}]}}"#
        )
    };
    let said = |body: &str| {
        let update = &updates(body)[1];
        (update.account.clone().map(|account| account.len()), update.event.len())
    };
    assert_eq!(said(&body(63)), (Some(64), 64));
    assert_eq!(said(&body(64)), (Some(65), "messages".len()));
    assert_eq!(said(&body(256)), (None, "messages".len()));
}

fn update_of(person: usize, i: usize, status: bool) -> Json {
    let (phone, user) = (format!("9715012345{person:02}"), format!("AE.{person}"));
    match (status, person % 3) {
        (true, _) => {
            json!({"id": format!("s{i}"), "status": "read", "recipient_id": phone, "recipient_user_id": user})
        }
        (_, 0) => json!({"id": format!("m{i}"), "from": phone, "group_id": "g"}),
        (_, 1) => json!({"id": format!("m{i}"), "from_user_id": user}),
        _ => json!({"id": format!("m{i}"), "from": phone, "from_user_id": user, "text": {"body": "a \"b\" ]}"}}),
    }
}

fn change(persons: &[(usize, bool)], at: usize, last: bool) -> Json {
    let list = |status: bool| {
        let persons = persons.iter().enumerate().filter(|(_, (_, is_status))| *is_status == status);
        persons.map(|(i, (person, _))| update_of(*person, 100 * at + i, status)).collect::<Vec<_>>()
    };
    let contact = |person: usize| json!({"wa_id": format!("9715012345{person:02}"), "user_id": format!("AE.{person}")});
    let contacts: Vec<_> = persons.iter().map(|(person, _)| contact(*person)).collect();
    let metadata = json!({"phone_number_id": format!("P{}", at % 2)});
    let lists = json!({"messages": list(false), "statuses": list(true), "contacts": contacts, "metadata": metadata});
    if last { json!({"value": lists, "field": "messages"}) } else { json!({"field": "messages", "value": lists}) }
}

proptest! {
    #[test]
    fn what_is_read_from_the_parts_is_what_was_read_from_the_batch(
        entries in prop::collection::vec(
            prop::collection::vec((prop::collection::vec((0_usize..8, any::<bool>()), 0..6), any::<bool>()), 0..4),
            1..4,
        ),
    ) {
        let entries: Vec<_> = entries.iter().enumerate().map(|(i, changes)| {
            let changes = changes.iter().enumerate().map(|(j, (persons, last))| change(persons, 10 * i + j, *last));
            json!({"id": "W", "changes": changes.collect::<Vec<_>>()})
        }).collect();
        let body = json!({"object": "o", "entry": entries}).to_string();
        let whole = updates(&body);
        let parts = parts(&body);
        prop_assert_eq!(whole.len(), parts.len());
        for (update, part) in whole.iter().zip(&parts) {
            let alone = updates(part);
            prop_assert_eq!(alone.len(), 1);
            prop_assert_eq!(told(&alone[0]), told(update));
        }
    }
}
