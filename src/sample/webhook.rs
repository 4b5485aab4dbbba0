//! The webhooks that the sample gateway sends, in the shape of each gateway.

use serde_json::{Value, json};

use crate::sample::mark::Mark;
use crate::whatsapp::Provider;

/// Account that the sample conversations belong to, in Meta's terms and in the others'.
pub const PHONE_NUMBER_ID: &str = "106540352242922";
pub const SESSION: &str = "sample";
/// The number of the account.
const OWN_NUMBER: &str = "97140000000";
/// Statuses that a message goes through, in the order in which they come.
const STATUSES: [&str; 3] = ["sent", "delivered", "read"];
/// Statuses that may follow a message.
pub const STATUSES_MAX: u8 = STATUSES.len() as u8;
/// Changes in one entry of a webhook of Meta's, which may have several of both.
const CHANGES_IN_ENTRY: usize = 4;
/// Filler that brings a body to about one kilobyte, the usual size of a text message webhook with its envelope.
const TEXT: &str = "Good morning, is the 15:30 slot on Thursday still free? If it is not, anything after four in the \
    afternoon would do, and please tell me which documents I have to bring along this time. Last time I came without \
    the insurance card and had to come back the next day, which I would like to avoid. My mother will come with me, so \
    please keep a second chair free, and tell us whether the parking behind the building is open again, or where else \
    one can leave a car for an hour. Thank you very much indeed.";

/// One thing that a webhook tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update {
    pub mark: Mark,
    /// The status, from 0, of a message that was sent to the person; `None` for a message of the person.
    pub status: Option<u8>,
}

impl Update {
    /// The update at this place of a conversation in which so many statuses follow each message.
    #[must_use]
    pub fn at(mark: Mark, statuses: u8) -> Self {
        let status = mark.sequence % (1 + u64::from(statuses.min(STATUSES_MAX)));
        Self { mark, status: u8::try_from(status).ok().and_then(|status| status.checked_sub(1)) }
    }

    /// The word for the status.
    fn word(self) -> Option<&'static str> {
        STATUSES.get(usize::from(self.status?)).copied()
    }

    /// The message that a status is about: the same one for those that follow one message.
    fn answer(self) -> String {
        let Mark { run, conversation, sequence } = self.mark;
        format!("ANSWER.{run:x}.{conversation}.{}", sequence - u64::from(self.status.unwrap_or(0)))
    }

    fn person(self) -> String {
        sender(self.mark.conversation)
    }
}

/// The number of the person in the given conversation: always the same one for the same conversation.
#[must_use]
pub fn sender(conversation: u32) -> String {
    format!("97150{conversation:07}")
}

/// The body of a webhook with these updates; `timestamp` is in seconds since 1970. Only Meta's holds more than the first.
#[must_use]
pub fn body(provider: Provider, updates: &[Update], timestamp: u64) -> Vec<u8> {
    let Some(first) = updates.first() else { return Vec::new() };
    let json = match provider {
        Provider::CloudApi => cloud_api(updates, timestamp),
        Provider::Waha => waha(*first, timestamp),
        Provider::Evolution => evolution(*first, timestamp),
        Provider::Wppconnect => wppconnect(*first, timestamp),
        Provider::Wwebjs => wwebjs(*first, timestamp),
        Provider::Gowa => gowa(*first, timestamp),
        Provider::Twilio => return twilio(*first),
    };
    json.to_string().into_bytes()
}

/// The `Content-Type` of such a body.
#[must_use]
pub fn content_type(provider: Provider) -> &'static str {
    if provider == Provider::Twilio { "application/x-www-form-urlencoded" } else { "application/json" }
}

fn cloud_api(updates: &[Update], timestamp: u64) -> Value {
    let change = |update: &Update| {
        let person = update.person();
        let mut value = json!({
            "messaging_product": "whatsapp",
            "metadata": { "display_phone_number": OWN_NUMBER, "phone_number_id": PHONE_NUMBER_ID },
            "contacts": [{ "profile": { "name": format!("Sample {}", update.mark.conversation) }, "wa_id": person }],
        });
        match update.word() {
            None => {
                value["messages"] = json!([{
                    "from": person,
                    "id": format!("wamid.{}", update.mark),
                    "timestamp": timestamp.to_string(),
                    "type": "text",
                    "text": { "body": TEXT },
                }]);
            }
            Some(status) => {
                value["statuses"] = json!([{
                    "id": format!("wamid.{}", update.answer()),
                    "status": status,
                    "timestamp": timestamp.to_string(),
                    "recipient_id": person,
                    "biz_opaque_callback_data": update.mark.to_string(),
                }]);
            }
        }
        json!({ "field": "messages", "value": value })
    };
    let entry = |updates: &[Update]| json!({ "id": "102290129340398", "time": timestamp, "changes": updates.iter().map(change).collect::<Vec<_>>() });
    let entries: Vec<_> = updates.chunks(CHANGES_IN_ENTRY).map(entry).collect();
    json!({ "object": "whatsapp_business_account", "entry": entries })
}

fn waha(update: Update, timestamp: u64) -> Value {
    let (own, chat) = (format!("{OWN_NUMBER}@c.us"), format!("{}@c.us", update.person()));
    let (event, payload) = match update.status {
        None => {
            let id = format!("false_{chat}_{}", update.mark);
            (
                "message",
                json!({ "id": id, "timestamp": timestamp, "from": chat, "fromMe": false, "to": own, "body": TEXT }),
            )
        }
        Some(status) => {
            let (id, ack) = (format!("true_{chat}_{}", update.answer()), status + 1);
            ("message.ack", json!({ "id": id, "from": own, "to": chat, "fromMe": true, "ack": ack }))
        }
    };
    json!({
        "id": format!("evt_{}", update.mark), "timestamp": timestamp * 1000, "event": event, "session": SESSION,
        "me": { "id": own }, "payload": payload, "engine": "NOWEB",
    })
}

fn evolution(update: Update, timestamp: u64) -> Value {
    let jid = format!("{}@s.whatsapp.net", update.person());
    let (event, data) = match update.status {
        None => {
            let key = json!({ "remoteJid": jid, "fromMe": false, "id": update.mark.to_string() });
            let message = json!({ "conversation": TEXT });
            let data =
                json!({ "key": key, "message": message, "messageType": "conversation", "messageTimestamp": timestamp });
            ("messages.upsert", data)
        }
        Some(status) => {
            let word = ["SERVER_ACK", "DELIVERY_ACK", "READ"].get(usize::from(status)).copied();
            let data = json!({ "keyId": update.answer(), "remoteJid": jid, "fromMe": true, "status": word });
            ("messages.update", data)
        }
    };
    let sender = format!("{OWN_NUMBER}@s.whatsapp.net");
    json!({ "event": event, "instance": SESSION, "data": data, "sender": sender, "sample": update.mark.to_string() })
}

fn wppconnect(update: Update, timestamp: u64) -> Value {
    let (own, chat) = (format!("{OWN_NUMBER}@c.us"), format!("{}@c.us", update.person()));
    match update.status {
        None => json!({
            "event": "onmessage", "session": SESSION, "id": format!("false_{chat}_{}", update.mark), "chatId": chat,
            "from": chat, "to": own, "fromMe": false, "type": "chat", "body": TEXT, "timestamp": timestamp,
        }),
        Some(status) => json!({
            "event": "onack", "session": SESSION, "id": { "_serialized": format!("true_{chat}_{}", update.answer()) },
            "from": own, "to": chat, "chatId": chat, "fromMe": true, "ack": status + 1, "sample": update.mark.to_string(),
        }),
    }
}

fn wwebjs(update: Update, timestamp: u64) -> Value {
    let (own, chat) = (format!("{OWN_NUMBER}@c.us"), format!("{}@c.us", update.person()));
    let id = |from_me: bool, id: String| json!({ "fromMe": from_me, "_serialized": format!("{from_me}_{chat}_{id}") });
    let (kind, data) = match update.status {
        None => {
            let id = id(false, update.mark.to_string());
            let message =
                json!({ "id": id, "from": chat, "to": own, "fromMe": false, "body": TEXT, "timestamp": timestamp });
            ("message", json!({ "message": message }))
        }
        Some(status) => {
            let id = id(true, update.answer());
            (
                "message_ack",
                json!({ "message": { "id": id, "from": own, "to": chat, "fromMe": true }, "ack": status + 1 }),
            )
        }
    };
    json!({ "dataType": kind, "data": data, "sessionId": SESSION, "sample": update.mark.to_string() })
}

fn gowa(update: Update, timestamp: u64) -> Value {
    let chat = format!("{}@s.whatsapp.net", update.person());
    let (event, payload) = match update.status {
        None => {
            let id = update.mark.to_string();
            let payload = json!({
                "id": id, "chat_id": chat, "from": chat, "is_from_me": false, "body": TEXT, "timestamp": timestamp,
            });
            ("message", payload)
        }
        Some(status) => {
            let kind = ["sent", "delivered", "read"].get(usize::from(status)).copied();
            let payload = json!({ "ids": [update.answer()], "chat_id": chat, "from": chat, "receipt_type": kind });
            ("message.ack", payload)
        }
    };
    json!({ "event": event, "session_id": SESSION, "payload": payload, "sample": update.mark.to_string() })
}

fn twilio(update: Update) -> Vec<u8> {
    let (account, person) = ("ACSAMPLE", update.person());
    let form = match update.word() {
        None => format!(
            "MessageSid=SM{}&AccountSid={account}&From=whatsapp%3A%2B{person}&To=whatsapp%3A%2B{OWN_NUMBER}&WaId={person}\
             &SmsStatus=received&NumMedia=0&Body={}",
            update.mark,
            TEXT.replace(' ', "+").replace(',', "%2C").replace(':', "%3A").replace('?', "%3F")
        ),
        // Of what the account sends, it is itself the sender.
        Some(status) => format!(
            "MessageSid=SM{}&AccountSid={account}&From=whatsapp%3A%2B{OWN_NUMBER}&To=whatsapp%3A%2B{person}\
             &MessageStatus={status}&Sample={}",
            update.answer(),
            update.mark
        ),
    };
    form.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::mark::marks;

    fn update(sequence: u64, statuses: u8) -> Update {
        Update::at(Mark { run: 0xabc, conversation: 42, sequence }, statuses)
    }

    #[test]
    fn every_body_shows_its_mark_whatever_gateway_and_kind() {
        for (provider, name) in Provider::ALL {
            for sequence in 0..4 {
                let update = update(sequence, 3);
                assert_eq!(marks(&body(provider, &[update], 1_782_991_800)), [update.mark], "{name} {sequence}");
            }
        }
    }

    #[test]
    fn a_message_is_about_a_kilobyte() {
        let body = body(Provider::CloudApi, &[update(7, 0)], 1_782_991_800);
        assert!((900..1_300).contains(&body.len()), "{} bytes", body.len());
    }

    #[test]
    fn statuses_follow_each_message_and_are_about_the_same_one() {
        let words: Vec<_> = (0..5).map(|sequence| update(sequence, 3).word()).collect();
        assert_eq!(words, [None, Some("sent"), Some("delivered"), Some("read"), None]);
        assert_eq!(update(1, 3).answer(), update(3, 3).answer());
        assert_ne!(update(3, 3).answer(), update(5, 3).answer());
        assert_eq!(update(5, 0).word(), None);
    }

    #[test]
    fn the_decoders_read_back_what_the_gateways_send() {
        for (provider, name) in Provider::ALL {
            for (sequence, kind) in [(4, crate::whatsapp::Kind::Message), (6, crate::whatsapp::Kind::Status)] {
                let body = body(provider, &[update(sequence, 3)], 1_782_991_800);
                let mut read = Vec::new();
                crate::whatsapp::decode(provider, &body, &mut read).unwrap();
                assert_eq!(read.len(), 1, "{name}");
                assert_eq!(read[0].kind, kind, "{name} {}", String::from_utf8_lossy(&body));
                assert!(read[0].account.is_some() && read[0].id.is_some(), "{name} {:?}", read[0]);
                let person = sender(42);
                assert!(read[0].names.iter().any(|who| who.contains(&person)), "{name} {:?}", read[0].names);
            }
        }
    }

    #[test]
    fn a_batch_of_meta_has_every_update_in_order() {
        let updates: Vec<_> = (0..10).map(|sequence| update(sequence, 1)).collect();
        let body = body(Provider::CloudApi, &updates, 0);
        assert_eq!(marks(&body), updates.iter().map(|update| update.mark).collect::<Vec<_>>());
        let json: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(json["entry"].as_array().unwrap().len(), 3);
    }
}
