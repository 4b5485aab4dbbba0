//! Payloads of wwebjs-api and whatsapp-api: `dataType`, `sessionId`, and `data` with what whatsapp-web.js gave.

use super::chat::{MessageKey, Place, is_shared};
use super::json::{Reader, Slot, Text};
use super::{Id, Kind, Undecodable, Update};

/// A message, or something else that has a chat.
#[derive(Default)]
struct Subject<'a> {
    key: MessageKey<'a>,
    seen: bool,
    id_seen: bool,
    from: Text<'a>,
    to: Text<'a>,
    author: Text<'a>,
    sender: Text<'a>,
    chat: Text<'a>,
    from_me: Slot<bool>,
}

pub fn decode<'a>(body: &'a [u8], into: &mut Vec<Update<'a>>) -> Result<(), Undecodable> {
    let (mut event, mut session, mut ack) = (Text::default(), Text::default(), Text::default());
    let (mut old, mut new) = (Text::default(), Text::default());
    let (mut subject, mut data) = (Subject::default(), false);
    let mut reader = Reader::new(body);
    reader.object(|key, value| match key.name {
        b"dataType" => value.text(&mut event),
        b"sessionId" => value.text(&mut session),
        b"data" => {
            value.once(&mut data)?;
            value
                .object(|key, value| match key.name {
                    b"ack" => value.text(&mut ack),
                    b"oldId" => value.text_or_member(&mut old, b"_serialized"),
                    b"newId" => value.text_or_member(&mut new, b"_serialized"),
                    b"message" | b"reaction" | b"call" | b"chat" | b"notification" | b"vote" => {
                        value.once(&mut subject.seen)?;
                        read(value, &mut subject)
                    }
                    _ => Ok(()),
                })
                .map(drop)
        }
        _ => Ok(()),
    })?;
    reader.end()?;
    let event = event.take().ok_or(Undecodable::Unknown)?;
    let from_me = subject.from_me.value.or(subject.key.is_own()).unwrap_or(false);
    let kind = match &*event {
        "message_ack" => Kind::Status,
        "media_uploaded" => Kind::Own,
        "media" | "message" => Kind::Message,
        message if message.starts_with("message_") => Kind::Message,
        _ => Kind::Event,
    };
    let kind = if kind == Kind::Message && from_me { Kind::Own } else { kind };
    let message = subject.key.id();
    let mut update = Update::new(kind, event);
    update.account = session.take();
    // A contact has another number.
    old.take().into_iter().for_each(|name| update.moved.push(name));
    new.take().into_iter().for_each(|name| update.names.push(name));
    // Edits, reactions and the like come several times for one message.
    let state = match &*update.event {
        "message" | "message_create" | "media" | "message_revoke_everyone" | "message_revoke_me" => Some(None),
        "message_ack" if ack.value.is_some() => Some(ack.take()),
        _ => None,
    };
    // What is a chat itself has its JID for an id.
    let about = message.clone().filter(|id| kind == Kind::Event && id.contains('@') && !id.contains('_'));
    update.id = message.zip(state).map(|(message, state)| Id { message, event: update.event.clone(), state });
    let (other, oneself) = match from_me {
        true => (subject.to.take(), subject.from.take()),
        false => (subject.from.take(), subject.to.take()),
    };
    let (remote, chat) = (subject.key.remote.take(), subject.chat.take());
    let group = [&chat, &remote, &other].into_iter().flatten().find(|jid| is_shared(jid)).cloned();
    let writer = |name: Option<_>| name.filter(|_| !from_me);
    let place = Place {
        chat: group.or(chat).or_else(|| other.clone()).or_else(|| remote.clone()).or(about),
        persons: [
            writer(subject.author.take()),
            writer(subject.sender.take()),
            writer(subject.key.participant.take()),
            other,
            remote,
        ],
        own: [oneself.filter(|jid| !is_shared(jid)), None],
    };
    place.tell(&mut update);
    into.push(update);
    Ok(())
}

fn read<'a>(reader: &mut Reader<'a>, subject: &mut Subject<'a>) -> Result<(), Undecodable> {
    reader
        .object(|key, value| match key.name {
            b"id" => {
                value.once(&mut subject.id_seen)?;
                subject.key.read(value)
            }
            b"from" => value.text_or_member(&mut subject.from, b"_serialized"),
            b"to" => value.text_or_member(&mut subject.to, b"_serialized"),
            b"author" => value.text_or_member(&mut subject.author, b"_serialized"),
            b"senderId" | b"voter" => value.text_or_member(&mut subject.sender, b"_serialized"),
            b"chatId" => value.text_or_member(&mut subject.chat, b"_serialized"),
            b"fromMe" => value.flag(&mut subject.from_me),
            _ => Ok(()),
        })
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::Provider;
    use super::super::tests::{Told, told};

    fn read(body: &str) -> Told {
        told(Provider::Wwebjs, body)
    }

    #[test]
    fn a_message_is_known_by_its_serialized_id_and_what_happened_to_it() {
        let body = |kind: &str, rest: &str| {
            format!(
                r#"{{"dataType":"{kind}","data":{{"message":{{"_data":{{"id":{{"_serialized":"x"}}}},"id":{{"fromMe":false,"remote":"971@c.us","id":"A","_serialized":"false_971@c.us_A"}},"from":"971@c.us","to":"9714@c.us","author":null,"fromMe":false}}{rest}}},"sessionId":"s"}}"#
            )
        };
        let message = read(&body("message", ""));
        assert_eq!((&*message.id, &*message.account, &*message.kind), ("false_971@c.us_A|message", "s", "Message"));
        assert_eq!(message.names, ["971@c.us"]);
        assert_eq!(read(&body("message_ack", r#","ack":2"#)).id, "false_971@c.us_A|message_ack|2");
        assert_eq!(read(&body("message_edit", r#","newBody":"b""#)).id, "", "edits come several times for one message");
    }

    #[test]
    fn without_a_serialized_id_the_short_one_serves() {
        let message = read(
            r#"{"dataType":"message","data":{"message":{"id":{"fromMe":true,"remote":"971@c.us","id":"A","$1":"true_971@c.us_A"},"to":"971@c.us","from":"9714@c.us"}},"sessionId":"s"}"#,
        );
        assert_eq!((&*message.id, &*message.kind, message.names), ("A|message", "Own", vec!["971@c.us".to_owned()]));
    }

    #[test]
    fn a_group_message_names_its_author() {
        let group = read(
            r#"{"dataType":"message","data":{"message":{"id":{"fromMe":false,"remote":"1@g.us","_serialized":"false_1@g.us_A_971@c.us","participant":{"_serialized":"971@c.us"}},"from":"1@g.us","author":"971@c.us","to":"9714@c.us"}},"sessionId":"s"}"#,
        );
        assert_eq!((&*group.group, group.names), ("1@g.us", vec!["971@c.us".to_owned()]));
    }

    #[test]
    fn a_contact_that_changed_its_number_moves() {
        let moved = read(
            r#"{"dataType":"contact_changed","data":{"message":{"id":{"remote":"971@c.us","_serialized":"false_971@c.us_A"},"from":"971@c.us"},"oldId":"971@c.us","newId":"972@c.us","isContact":true},"sessionId":"s"}"#,
        );
        assert_eq!((moved.moved, moved.names), (vec!["971@c.us".to_owned()], vec!["972@c.us".to_owned()]));
        let chat = read(
            r#"{"dataType":"unread_count","data":{"chat":{"id":{"server":"c.us","user":"971","_serialized":"971@c.us"}}},"sessionId":"s"}"#,
        );
        assert_eq!((chat.names, &*chat.id), (vec!["971@c.us".to_owned()], ""));
        assert_eq!(read(r#"{"dataType":"ready","sessionId":"s"}"#).kind, "Event");
    }
}
