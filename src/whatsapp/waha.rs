//! Payloads of WAHA: an envelope with `event`, `session` and `payload`.

use std::borrow::Cow;

use super::chat::{MessageKey, Place, is_shared};
use super::json::{Reader, Slot, Text};
use super::{Id, Kind, Undecodable, Update};

#[derive(Default)]
struct Payload<'a> {
    key: MessageKey<'a>,
    chat: Text<'a>,
    from: Text<'a>,
    to: Text<'a>,
    participant: Text<'a>,
    from_me: Slot<bool>,
    ack: Text<'a>,
    /// The group of an event about groups.
    group: Text<'a>,
    /// Other names of chat and writer, as the engine below has them.
    chat_alt: Text<'a>,
    sender_alt: Text<'a>,
    recipient_alt: Text<'a>,
    data: bool,
}

pub fn decode<'a>(body: &'a [u8], into: &mut Vec<Update<'a>>) -> Result<(), Undecodable> {
    let (mut envelope, mut event, mut session) = (Text::default(), Text::default(), Text::default());
    let (mut own, mut own_lid) = (Text::default(), Text::default());
    let (mut payload, mut inner) = (Payload::default(), Payload::default());
    let (mut payload_seen, mut me_seen) = (false, false);
    let mut reader = Reader::new(body);
    reader.object(|key, value| match key.name {
        b"id" => value.text(&mut envelope),
        b"event" => value.text(&mut event),
        b"session" => value.text(&mut session),
        b"me" => {
            value.once(&mut me_seen)?;
            value
                .object(|key, value| match key.name {
                    b"id" => value.text(&mut own),
                    b"lid" => value.text(&mut own_lid),
                    _ => Ok(()),
                })
                .map(drop)
        }
        b"payload" => {
            value.once(&mut payload_seen)?;
            read(value, &mut payload, Some(&mut inner))
        }
        _ => Ok(()),
    })?;
    reader.end()?;
    let event = event.take().ok_or(Undecodable::Unknown)?;
    if payload.key.is_own().is_none() && payload.from.value.is_none() {
        // A revoked message, a vote: the message itself lies deeper.
        payload.from = inner.from;
        payload.to = inner.to;
        payload.participant = inner.participant;
        payload.chat = inner.chat;
        payload.from_me.value = payload.from_me.value.or(inner.from_me.value).or(inner.key.is_own());
    }
    let from_me = payload.from_me.value.or(payload.key.is_own()).unwrap_or(false);
    let kind = match &*event {
        "message.ack" | "message.ack.group" => Kind::Status,
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
    update.account = session.take().or_else(|| own.value.clone());
    let message = payload.key.id();
    let participant = payload.participant.take();
    update.id = id(&update, message.clone(), envelope.take(), payload.ack.take(), participant.as_deref());
    let (from, to) = (payload.from.take(), payload.to.take());
    let group = payload.group.take().or_else(|| from.clone().filter(|from| is_shared(from)));
    // Acknowledgements of some engines have the other person in `from`, and no `to`.
    let other = if from_me { to.or(from) } else { from };
    // An event about a chat (presence) has its JID for an id.
    let about = message.filter(|id| kind == Kind::Event && id.contains('@') && !id.contains('_'));
    let alt = if from_me { payload.recipient_alt.take() } else { payload.sender_alt.take() };
    let chat = payload.chat.take();
    let place = Place {
        chat: group.or(other).or_else(|| chat.clone()).or(about),
        persons: [participant, chat, payload.chat_alt.take(), alt, None],
        own: [own.take(), own_lid.take()],
    };
    place.tell(&mut update);
    into.push(update);
    Ok(())
}

/// What is the same in repeats: the message's id where an event comes once for each message (and acknowledgement), else the
/// envelope's, which a repeat keeps as well.
fn id<'a>(
    update: &Update<'a>,
    message: Option<Cow<'a, str>>,
    envelope: Option<Cow<'a, str>>,
    ack: Option<Cow<'a, str>>,
    participant: Option<&str>,
) -> Option<Id<'a>> {
    let event = update.event.clone();
    let (message, state) = match (&*event, message, ack) {
        ("message" | "message.any" | "message.waiting" | "message.reaction", Some(message), _) => (message, None),
        ("message.ack" | "message.ack.group", Some(message), Some(ack)) => match participant {
            Some(who) => (message, Some(Cow::Owned(format!("{ack} {who}")))),
            None => (message, Some(ack)),
        },
        _ => (envelope?, None),
    };
    Some(Id { message, event, state })
}

fn read<'a>(
    reader: &mut Reader<'a>,
    payload: &mut Payload<'a>,
    mut inner: Option<&mut Payload<'a>>,
) -> Result<(), Undecodable> {
    let mut nested = false;
    reader
        .object(|key, value| match key.name {
            b"id" => payload.key.read(value),
            b"from" => value.text(&mut payload.from),
            b"to" => value.text(&mut payload.to),
            b"chatId" => value.text(&mut payload.chat),
            b"participant" => value.text(&mut payload.participant),
            b"fromMe" => value.flag(&mut payload.from_me),
            b"ack" => value.text(&mut payload.ack),
            b"group" | b"groupId" => value.text_or_member(&mut payload.group, b"id"),
            b"_data" => {
                value.once(&mut payload.data)?;
                engine(value, payload)
            }
            b"after" | b"before" | b"vote" if !nested => match inner.as_deref_mut() {
                Some(inner) => {
                    // `after` may be null.
                    nested = value.peek() == Some(b'{');
                    read(value, inner, None)
                }
                None => Ok(()),
            },
            _ => Ok(()),
        })
        .map(drop)
}

/// What the engines NOWEB and GOWS know of other names.
fn engine<'a>(reader: &mut Reader<'a>, payload: &mut Payload<'a>) -> Result<(), Undecodable> {
    let (mut noweb, mut gows) = (false, false);
    reader
        .object(|key, value| match key.name {
            b"key" => {
                value.once(&mut noweb)?;
                value
                    .object(|key, value| match key.name {
                        b"remoteJidAlt" => value.text(&mut payload.chat_alt),
                        b"participantAlt" => value.text(&mut payload.sender_alt),
                        _ => Ok(()),
                    })
                    .map(drop)
            }
            b"Info" => {
                value.once(&mut gows)?;
                value
                    .object(|key, value| match key.name {
                        b"SenderAlt" => value.text(&mut payload.sender_alt),
                        b"RecipientAlt" => value.text(&mut payload.recipient_alt),
                        _ => Ok(()),
                    })
                    .map(drop)
            }
            _ => Ok(()),
        })
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::Provider;
    use super::super::tests::{Told, told};

    fn read(body: &str) -> Told {
        told(Provider::Waha, body)
    }

    #[test]
    fn a_message_and_the_same_as_any_message_are_two_events() {
        let body = |event: &str| {
            format!(
                r#"{{"id":"evt_1","event":"{event}","session":"s","me":{{"id":"9714@c.us"}},"payload":{{"id":"false_971@c.us_A","from":"971@c.us","to":"9714@c.us","fromMe":false,"ack":1}}}}"#
            )
        };
        let (message, any) = (read(&body("message")), read(&body("message.any")));
        assert_eq!(message.names, ["971@c.us"]);
        assert_eq!((&*message.id, &*any.id), ("false_971@c.us_A|message", "false_971@c.us_A|message.any"));
        assert_eq!((&*message.kind, &*any.kind), ("Message", "Message"));
    }

    #[test]
    fn an_own_message_belongs_to_whom_it_was_sent_to() {
        let own = read(
            r#"{"payload":{"_data":{"Info":{"SenderAlt":"9714@s.whatsapp.net","RecipientAlt":"971:7@s.whatsapp.net"}},"to":"55@lid","from":"9714@c.us","fromMe":true,"id":"true_55@lid_A"},"session":"s","event":"message.any"}"#,
        );
        assert_eq!((&*own.kind, &*own.account), ("Own", "s"));
        assert_eq!(own.names, ["971:7@s.whatsapp.net", "55@lid"]);
    }

    #[test]
    fn a_group_names_the_conversation_and_the_participant_the_writer() {
        let group = read(
            r#"{"event":"message","session":"s","payload":{"id":"false_1@g.us_A_971@c.us","from":"1@g.us","participant":"2@lid","_data":{"key":{"participantAlt":"971@s.whatsapp.net"}}}}"#,
        );
        assert_eq!((&*group.group, group.names), ("1@g.us", vec!["971@s.whatsapp.net".to_owned(), "2@lid".to_owned()]));
    }

    #[test]
    fn acknowledgements_differ_by_stage_and_in_a_group_by_member() {
        let ack = |rest: &str| {
            read(&format!(
                r#"{{"id":"evt_1","event":"message.ack","session":"s","payload":{{"id":"true_1_A","from":"1@c.us","to":"9@c.us","fromMe":true,{rest}}}}}"#
            ))
        };
        assert_eq!((&*ack(r#""ack":2"#).id, &*ack(r#""ack":2"#).kind), ("true_1_A|message.ack|2", "Status"));
        let short = read(
            r#"{"event":"message.ack","session":"s","payload":{"id":"true_1_A","from":"1@c.us","participant":null,"fromMe":true,"ack":3}}"#,
        );
        assert_eq!(short.names, ["1@c.us"]);
        assert_eq!(ack(r#""ack":3,"participant":"5@c.us""#).id, "true_1_A|message.ack|3 5@c.us");
    }

    #[test]
    fn events_that_come_often_for_one_chat_are_told_apart_by_their_envelope() {
        let presence = read(
            r#"{"id":"evt_1","event":"presence.update","session":"s","payload":{"id":"971@c.us","presences":[]}}"#,
        );
        assert_eq!((&*presence.id, &*presence.kind), ("evt_1|presence.update", "Event"));
        assert_eq!(presence.names, ["971@c.us"]);
        let edited = read(
            r#"{"id":"evt_2","event":"message.edited","session":"s","payload":{"id":"false_971@c.us_A","from":"971@c.us"}}"#,
        );
        assert_eq!(edited.id, "evt_2|message.edited");
        assert_eq!(read(r#"{"event":"session.status","session":"s","payload":{"status":"WORKING"}}"#).id, "");
    }

    #[test]
    fn a_revoked_message_and_a_vote_are_found_where_they_lie() {
        for payload in [
            r#""after":null,"before":{"id":"false_971@c.us_A","from":"971@c.us"}"#,
            r#""vote":{"id":"false_971@c.us_A","from":"971@c.us","fromMe":false},"poll":{"id":"x"}"#,
        ] {
            let told =
                read(&format!(r#"{{"id":"e","event":"message.revoked","session":"s","payload":{{{payload}}}}}"#));
            assert_eq!(told.names, ["971@c.us"]);
        }
    }
}
