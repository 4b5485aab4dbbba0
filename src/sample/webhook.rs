//! The webhook that the sample gateway sends and the sample master reads: the shape of WhatsApp's Cloud API, with the
//! place of the message in its conversation at the end of its id.
//!
//! The number is what makes loss, doubling and reordering visible from outside: a master that was handed 4, 5, 7 of a
//! conversation tells it.

use serde::Deserialize;
use serde_json::json;

/// Account that the sample conversations belong to.
pub const PHONE_NUMBER_ID: &str = "106540352242922";
/// Filler that brings a body to about one kilobyte, the usual size of a text message webhook with its envelope.
const TEXT: &str = "Good morning, is the 15:30 slot on Thursday still free? If it is not, anything after four in the \
    afternoon would do, and please tell me which documents I have to bring along this time. Last time I came without \
    the insurance card and had to come back the next day, which I would like to avoid. My mother will come with me, so \
    please keep a second chair free, and tell us whether the parking behind the building is open again, or where else \
    one can leave a car for an hour. Thank you very much indeed.";

/// One message of a conversation, as far as the samples care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Number of the person who wrote, digits only; it names the conversation.
    pub from: String,
    /// Place in the conversation, from 0; `None` when the message does not come from the sample gateway.
    pub sequence: Option<u64>,
}

/// The number of the person in the given conversation: always the same one for the same conversation.
#[must_use]
pub fn sender(conversation: u32) -> String {
    format!("97150{conversation:07}")
}

/// The body of a webhook that carries one text message.
///
/// `run` keeps the ids of two runs apart, so that nobody takes the second run for repetitions of the first. `timestamp`
/// is in seconds since 1970.
#[must_use]
pub fn body(run: u64, conversation: u32, sequence: u64, timestamp: u64) -> Vec<u8> {
    let from = sender(conversation);
    json!({
        "object": "whatsapp_business_account",
        "entry": [{ "id": "102290129340398", "time": timestamp, "changes": [{ "field": "messages", "value": {
            "messaging_product": "whatsapp",
            "metadata": { "display_phone_number": "97140000000", "phone_number_id": PHONE_NUMBER_ID },
            "contacts": [{ "profile": { "name": format!("Sample {conversation}") }, "wa_id": from }],
            "messages": [{
                "from": from,
                "id": format!("wamid.SAMPLE.{run:x}.{conversation}.{sequence}"),
                "timestamp": timestamp.to_string(),
                "type": "text",
                "text": { "body": TEXT },
            }],
        }}]}],
    })
    .to_string()
    .into_bytes()
}

/// The messages in a webhook of the Cloud API; empty for any other body.
#[must_use]
pub fn messages(body: &[u8]) -> Vec<Message> {
    let Ok(envelope) = serde_json::from_slice::<Envelope>(body) else { return Vec::new() };
    let changes = envelope.entry.into_iter().flat_map(|entry| entry.changes);
    changes
        .flat_map(|change| change.value.messages)
        .map(|raw| Message { sequence: sequence(&raw.id), from: raw.from })
        .collect()
}

fn sequence(id: &str) -> Option<u64> {
    id.strip_prefix("wamid.SAMPLE.")?.rsplit('.').next()?.parse().ok()
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    entry: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    changes: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    #[serde(default)]
    value: Value,
}

#[derive(Deserialize, Default)]
struct Value {
    #[serde(default)]
    messages: Vec<RawMessage>,
}

#[derive(Deserialize)]
struct RawMessage {
    #[serde(default)]
    from: String,
    #[serde(default)]
    id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_master_reads_back_what_the_gateway_wrote() {
        let body = body(0xabc, 42, 7, 1_782_991_800);
        assert_eq!(messages(&body), [Message { from: "971500000042".into(), sequence: Some(7) }]);
        assert!((900..1_300).contains(&body.len()), "{} bytes are not about a kilobyte", body.len());
    }

    #[test]
    fn a_message_of_a_real_gateway_has_no_sequence() {
        let body = br#"{"entry":[{"changes":[{"value":{"messages":[{"from":"1","id":"wamid.HBgM"}]}}]}]}"#;
        assert_eq!(messages(body), [Message { from: "1".into(), sequence: None }]);
    }

    #[test]
    fn other_bodies_carry_no_message() {
        for body in [&b""[..], b"{}", b"[]", b"not json", br#"{"entry":[{"changes":[{"value":{"statuses":[]}}]}]}"#] {
            assert_eq!(messages(body), []);
        }
    }
}
