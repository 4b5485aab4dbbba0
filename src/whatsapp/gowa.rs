//! Payloads of go-whatsapp-web-multidevice: `event`, `device_id` or `session_id`, and `payload`.

use std::borrow::Cow;

use super::chat::{Place, is_shared};
use super::json::{Reader, Slot, Text};
use super::{Id, Kind, Undecodable, Update};

#[derive(Default)]
struct Payload<'a> {
    id: Text<'a>,
    /// The messages that a receipt is about, separated by commas.
    ids: Text<'a>,
    chat: Text<'a>,
    newsletter: Text<'a>,
    from: Text<'a>,
    from_lid: Text<'a>,
    from_me: Slot<bool>,
    receipt: Text<'a>,
    call: Text<'a>,
    group: Text<'a>,
}

pub fn decode<'a>(body: &'a [u8], into: &mut Vec<Update<'a>>) -> Result<(), Undecodable> {
    let (mut event, mut session, mut device) = (Text::default(), Text::default(), Text::default());
    let (mut payload, mut seen) = (Payload::default(), false);
    let mut reader = Reader::new(body);
    reader.object(|key, value| match key.name {
        b"event" => value.text(&mut event),
        b"session_id" => value.text(&mut session),
        b"device_id" => value.text(&mut device),
        b"payload" => {
            value.once(&mut seen)?;
            read(value, &mut payload)
        }
        _ => Ok(()),
    })?;
    reader.end()?;
    let event = event.take().ok_or(Undecodable::Unknown)?;
    let from_me = payload.from_me.value.unwrap_or(false);
    let kind = match &*event {
        "message.ack" => Kind::Status,
        message if message == "message" || message.starts_with("message.") => {
            if from_me {
                Kind::Own
            } else {
                Kind::Message
            }
        }
        _ => Kind::Event,
    };
    let mut update = Update::new(kind, event);
    update.account = session.take().or_else(|| device.value.clone().map(without_device));
    // Releases before version 7 wrote `SENDER in GROUP`.
    let from = payload.from.take().map(first_word);
    let chat = payload.group.take().or_else(|| payload.chat.take()).or_else(|| payload.newsletter.take());
    let in_group = chat.as_deref().is_some_and(is_shared);
    let receipt = payload.receipt.take();
    update.id = match kind {
        Kind::Status => payload.ids.take().zip(receipt.clone()).map(|(ids, receipt)| {
            let who = from.as_deref().filter(|_| in_group);
            let state = who.map_or(receipt.clone(), |who| Cow::Owned(format!("{receipt} {who}")));
            Id { message: ids, event: update.event.clone(), state: Some(state) }
        }),
        Kind::Message | Kind::Own => {
            payload.id.take().map(|message| Id { message, event: update.event.clone(), state: None })
        }
        Kind::Event => payload.call.take().map(|message| Id { message, event: update.event.clone(), state: None }),
    };
    // Another device of the account read it.
    let by_oneself = from_me || receipt.is_some_and(|receipt| receipt.contains("self") || receipt.contains("sender"));
    let other = |name: Option<_>| name.filter(|_| !by_oneself);
    let (from, from_lid) = (other(from), other(payload.from_lid.take()));
    let place = Place {
        chat: chat.or_else(|| from.clone()),
        persons: [from, from_lid, None, None, None],
        own: [device.take(), None],
    };
    place.tell(&mut update);
    into.push(update);
    Ok(())
}

fn read<'a>(reader: &mut Reader<'a>, payload: &mut Payload<'a>) -> Result<(), Undecodable> {
    let mut ids = false;
    reader
        .object(|key, value| match key.name {
            b"id" => value.text(&mut payload.id),
            b"ids" => {
                value.once(&mut ids)?;
                read_ids(value, &mut payload.ids)
            }
            b"chat_id" => value.text(&mut payload.chat),
            b"newsletter_id" => value.text(&mut payload.newsletter),
            b"from" => value.text(&mut payload.from),
            b"from_lid" => value.text(&mut payload.from_lid),
            b"is_from_me" => value.flag(&mut payload.from_me),
            b"receipt_type" => value.text(&mut payload.receipt),
            b"call_id" => value.text(&mut payload.call),
            b"group_jid" => value.text(&mut payload.group),
            _ => Ok(()),
        })
        .map(drop)
}

fn read_ids<'a>(reader: &mut Reader<'a>, into: &mut Text<'a>) -> Result<(), Undecodable> {
    reader
        .array(|element| {
            let Some(id) = element.scalar()? else { return Ok(()) };
            match &mut into.value {
                None => into.value = Some(id),
                Some(ids) => {
                    let ids = ids.to_mut();
                    ids.push(',');
                    ids.push_str(&id);
                }
            }
            Ok(())
        })
        .map(drop)
}

/// A JID without the number of the linked device, which is another one after the next login.
fn without_device(jid: Cow<'_, str>) -> Cow<'_, str> {
    match jid.split_once(':').and_then(|(user, rest)| Some((user, rest.split_once('@')?.1))) {
        Some((user, server)) => Cow::Owned(format!("{user}@{server}")),
        None => jid,
    }
}

fn first_word(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.split(' ').next().unwrap_or(text)),
        Cow::Owned(text) => Cow::Owned(text.split(' ').next().unwrap_or(&text).to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Provider;
    use super::super::tests::{Told, told};

    fn read(body: &str) -> Told {
        told(Provider::Gowa, body)
    }

    #[test]
    fn a_message_names_its_writer_by_number_and_lid() {
        let message = read(
            r#"{"event":"message","device_id":"9714:3@s.whatsapp.net","payload":{"id":"3EB0","chat_id":"251@lid","from":"971@s.whatsapp.net","from_lid":"251@lid","is_from_me":false}}"#,
        );
        assert_eq!(
            (&*message.id, &*message.account, &*message.kind),
            ("3EB0|message", "9714@s.whatsapp.net", "Message")
        );
        assert_eq!(message.names, ["971@s.whatsapp.net", "251@lid"]);
        let session = read(
            r#"{"event":"message","device_id":"d","session_id":"s","payload":{"id":"A","chat_id":"971@s.whatsapp.net","from":"9714@s.whatsapp.net","from_lid":"7@lid","is_from_me":true}}"#,
        );
        assert_eq!(
            (&*session.account, &*session.kind, session.names),
            ("s", "Own", vec!["971@s.whatsapp.net".to_owned()])
        );
    }

    #[test]
    fn receipts_are_known_by_their_messages_type_and_in_groups_by_reader() {
        let ack = |ids: &str, chat: &str, kind: &str| {
            read(&format!(
                r#"{{"event":"message.ack","device_id":"9714@s.whatsapp.net","payload":{{"ids":{ids},"chat_id":"{chat}","from":"971@s.whatsapp.net in 1@g.us","receipt_type":"{kind}"}}}}"#
            ))
        };
        let one = ack(r#"["A"]"#, "971@s.whatsapp.net", "read");
        assert_eq!(
            (&*one.id, &*one.kind, one.names),
            ("A|message.ack|read", "Status", vec!["971@s.whatsapp.net".to_owned()])
        );
        assert_eq!(ack(r#"["A","B"]"#, "1@g.us", "read").id, "A,B|message.ack|read 971@s.whatsapp.net");
        assert_eq!(ack("[]", "1@g.us", "read").id, "");
        assert_eq!(ack(r#"["A"]"#, "5@lid", "read-self").names, ["5@lid"], "an own device read it");
    }

    #[test]
    fn calls_and_channels_have_conversations() {
        let call =
            read(r#"{"event":"call.offer","device_id":"d","payload":{"call_id":"C","from":"971@s.whatsapp.net"}}"#);
        assert_eq!((&*call.id, call.names), ("C|call.offer", vec!["971@s.whatsapp.net".to_owned()]));
        let channel = read(
            r#"{"event":"newsletter.message","device_id":"d","payload":{"newsletter_id":"1@newsletter","messages":[]}}"#,
        );
        assert_eq!((&*channel.group, &*channel.id), ("1@newsletter", ""));
    }
}
