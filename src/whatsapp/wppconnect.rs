//! Payloads of wppconnect-server: the event's data with `event` and `session` among its members.

use super::chat::{MessageKey, Place, is_shared};
use super::json::{Reader, Slot, Text};
use super::{Id, Kind, Undecodable, Update};

pub fn decode<'a>(body: &'a [u8], into: &mut Vec<Update<'a>>) -> Result<(), Undecodable> {
    let (mut event, mut session, mut ack) = (Text::default(), Text::default(), Text::default());
    let (mut chat, mut from, mut to) = (Text::default(), Text::default(), Text::default());
    let (mut author, mut sender) = (Text::default(), Text::default());
    let mut from_me = Slot::default();
    let (mut id, mut id_seen, mut sender_seen) = (MessageKey::default(), false, false);
    let mut reader = Reader::new(body);
    let known = reader.object(|key, value| match key.name {
        b"event" => value.text(&mut event),
        b"session" => value.text(&mut session),
        b"id" => {
            value.once(&mut id_seen)?;
            id.read(value)
        }
        b"chatId" => value.text_or_member(&mut chat, b"_serialized"),
        b"from" => value.text_or_member(&mut from, b"_serialized"),
        b"to" => value.text_or_member(&mut to, b"_serialized"),
        b"author" => value.text_or_member(&mut author, b"_serialized"),
        b"fromMe" => value.flag(&mut from_me),
        b"ack" => value.text(&mut ack),
        b"sender" => {
            value.once(&mut sender_seen)?;
            value
                .object(|key, value| match key.name {
                    b"id" => value.text_or_member(&mut sender, b"_serialized"),
                    _ => Ok(()),
                })
                .map(drop)
        }
        _ => Ok(()),
    })?;
    reader.end()?;
    if !known || (event.value.is_none() && session.value.is_none()) {
        return Err(Undecodable::Unknown);
    }
    let event = event.take().unwrap_or_default();
    let from_me = from_me.value.or(id.is_own()).unwrap_or(&*event == "onselfmessage");
    let kind = match &*event {
        "onack" => Kind::Status,
        "onmessage" | "onanymessage" | "unreadmessages" | "onselfmessage" | "onreactionmessage"
        | "onrevokedmessage" | "onpollresponse" => {
            if from_me {
                Kind::Own
            } else {
                Kind::Message
            }
        }
        _ => Kind::Event,
    };
    let (message, ack) = (id.id(), ack.take());
    let mut update = Update::new(kind, event);
    update.account = session.take();
    // Other events come several times for one message.
    let state = match &*update.event {
        "onmessage" | "onanymessage" | "unreadmessages" | "onselfmessage" => Some(None),
        "onack" if ack.is_some() => Some(ack),
        _ => None,
    };
    update.id = message.zip(state).map(|(message, state)| Id { message, event: update.event.clone(), state });
    let (other, oneself) = if from_me { (to.take(), from.take()) } else { (from.take(), to.take()) };
    let (remote, chat) = (id.remote.take(), chat.take());
    let group = [&chat, &other, &remote].into_iter().flatten().find(|jid| is_shared(jid)).cloned();
    let sender = sender.take().filter(|_| !from_me);
    let place = Place {
        chat: group.or_else(|| chat.clone()).or_else(|| other.clone()).or(remote),
        persons: [author.take().filter(|_| !from_me), id.participant.take().filter(|_| !from_me), other, chat, sender],
        own: [oneself.filter(|jid| !is_shared(jid)), None],
    };
    place.tell(&mut update);
    into.push(update);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Provider;
    use super::super::tests::{Told, told};

    fn read(body: &str) -> Told {
        told(Provider::Wppconnect, body)
    }

    #[test]
    fn ids_and_chats_are_strings_or_objects() {
        for (id, chat) in [
            (r#""false_971@c.us_A""#, r#""971@c.us""#),
            (
                r#"{"fromMe":false,"remote":"971@c.us","id":"A","_serialized":"false_971@c.us_A"}"#,
                r#"{"server":"c.us","user":"971","_serialized":"971@c.us"}"#,
            ),
        ] {
            let told = read(&format!(
                r#"{{"event":"onmessage","session":"s","id":{id},"from":"971@c.us","to":"9714@c.us","chatId":{chat},"sender":{{"id":"971@c.us"}}}}"#
            ));
            assert_eq!(
                (&*told.id, told.names, &*told.kind),
                ("false_971@c.us_A|onmessage", vec!["971@c.us".to_owned()], "Message")
            );
        }
    }

    #[test]
    fn an_acknowledgement_belongs_to_the_chat_of_its_message() {
        let ack = read(
            r#"{"event":"onack","session":"s","id":{"_serialized":"true_971@c.us_A","id":"A","fromMe":true},"ack":3,"to":"971@c.us","from":"9714@c.us"}"#,
        );
        assert_eq!(
            (&*ack.kind, &*ack.id, ack.names),
            ("Status", "true_971@c.us_A|onack|3", vec!["971@c.us".to_owned()])
        );
    }

    #[test]
    fn a_group_message_is_the_groups_and_an_own_one_nobodys_number() {
        let group = read(
            r#"{"event":"onmessage","session":"s","id":"false_1@g.us_A","from":"1@g.us","author":"971@c.us","to":"9714@c.us","isGroupMsg":true}"#,
        );
        assert_eq!((&*group.group, group.names), ("1@g.us", vec!["971@c.us".to_owned()]));
        let own = read(
            r#"{"event":"onselfmessage","session":"s","id":"true_971@c.us_A","from":"9714@c.us","to":"971@c.us","sender":{"id":"9714@c.us"}}"#,
        );
        assert_eq!((&*own.kind, own.names), ("Own", vec!["971@c.us".to_owned()]));
    }

    #[test]
    fn what_says_only_its_session_is_an_event_of_it() {
        let status = read(r#"{"session":"s","event":"status-find","status":"qrReadSuccess"}"#);
        assert_eq!((&*status.kind, &*status.account, &*status.id), ("Event", "s", ""));
        let covered = read(r#"{"session":"s","event":7,"id":"x"}"#);
        assert_eq!((&*covered.account, &*covered.event), ("s", "7"));
    }
}
