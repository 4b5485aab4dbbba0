//! Payloads of the Evolution API: `event`, `instance`, and `data`.
//!
//! Events about contacts and `*.set` have an array for `data`: one update, nobody's. Every body holds the instance's API key.

use std::borrow::Cow;

use super::chat::{Place, is_shared};
use super::json::{Reader, Slot, Text};
use super::{Id, Kind, Undecodable, Update};

/// What identifies a message; in events about acknowledgements its members stand in `data` itself.
#[derive(Default)]
struct Key<'a> {
    id: Text<'a>,
    remote: Text<'a>,
    remote_alt: Text<'a>,
    previous_remote: Text<'a>,
    sender_number: Text<'a>,
    sender_lid: Text<'a>,
    participant: Text<'a>,
    participant_alt: Text<'a>,
    participant_number: Text<'a>,
    from_me: Slot<bool>,
}

#[derive(Default)]
struct Data<'a> {
    key: Key<'a>,
    key_seen: bool,
    flat: Key<'a>,
    key_id: Text<'a>,
    status: Text<'a>,
    class: Text<'a>,
}

pub fn decode<'a>(body: &'a [u8], into: &mut Vec<Update<'a>>) -> Result<(), Undecodable> {
    let (mut event, mut instance, mut sender) = (Text::default(), Text::default(), Text::default());
    let (mut data, mut seen) = (Data::default(), false);
    let mut reader = Reader::new(body);
    reader.object(|key, value| match key.name {
        b"event" => value.text(&mut event),
        b"instance" => value.text(&mut instance),
        b"sender" => value.text(&mut sender),
        b"data" => {
            value.once(&mut seen)?;
            read(value, &mut data)
        }
        _ => Ok(()),
    })?;
    reader.end()?;
    let event = event.take().ok_or(Undecodable::Unknown)?;
    let mut key = if data.key_seen { data.key } else { std::mem::take(&mut data.flat) };
    let from_me = key.from_me.value.or(data.flat.from_me.value).unwrap_or(false);
    let remote = key.remote.take().or_else(|| data.flat.remote.take());
    let kind = match () {
        () if is(&event, "messages.upsert") && from_me => Kind::Own,
        () if is(&event, "messages.upsert") => Kind::Message,
        () if is(&event, "send.message") => Kind::Own,
        () if is(&event, "messages.update") => Kind::Status,
        _ => Kind::Event,
    };
    let mut update = Update::new(kind, event);
    update.account = instance.take();
    let id = data.key_id.take().or_else(|| key.id.take());
    let in_group = remote.as_deref().is_some_and(is_shared);
    let participant = key.participant.take().or_else(|| data.flat.participant.take());
    let state = match kind {
        // The type too: what could not be decrypted at first comes again under the same id.
        Kind::Message | Kind::Own => Some(data.class.take()),
        Kind::Status => data.status.take().map(|status| match &participant {
            Some(who) if in_group => Some(Cow::Owned(format!("{status} {who}"))),
            _ => Some(status),
        }),
        Kind::Event => None,
    };
    // An event about a chat (presence) has its JID for an id.
    let about = id.clone().filter(|id| kind == Kind::Event && id.contains('@'));
    update.id = id.zip(state).map(|(message, state)| Id { message, event: update.event.clone(), state });
    // Who sent it is the other person only when it was not the account itself.
    let sent = |name: Option<_>| name.filter(|_| !from_me);
    let persons = if in_group {
        [sent(participant), sent(key.participant_alt.take()), sent(key.participant_number.take()), None, None]
    } else {
        [
            key.remote_alt.take(),
            key.previous_remote.take(),
            sent(key.sender_number.take()),
            sent(key.sender_lid.take()),
            None,
        ]
    };
    Place { chat: remote.or(about), persons, own: [sender.take(), None] }.tell(&mut update);
    into.push(update);
    Ok(())
}

fn read<'a>(reader: &mut Reader<'a>, data: &mut Data<'a>) -> Result<(), Undecodable> {
    reader
        .object(|key, value| match key.name {
            b"key" => {
                value.once(&mut data.key_seen)?;
                let key = &mut data.key;
                value.object(|name, value| member(name.name, value, key)).map(drop)
            }
            b"keyId" => value.text(&mut data.key_id),
            b"status" => value.text(&mut data.status),
            b"messageType" => value.text(&mut data.class),
            name => member(name, value, &mut data.flat),
        })
        .map(drop)
}

fn member<'a>(name: &[u8], value: &mut Reader<'a>, key: &mut Key<'a>) -> Result<(), Undecodable> {
    match name {
        b"id" => value.text(&mut key.id),
        b"remoteJid" => value.text(&mut key.remote),
        b"remoteJidAlt" => value.text(&mut key.remote_alt),
        b"previousRemoteJid" => value.text(&mut key.previous_remote),
        b"senderPn" => value.text(&mut key.sender_number),
        b"senderLid" => value.text(&mut key.sender_lid),
        b"participant" => value.text(&mut key.participant),
        b"participantAlt" => value.text(&mut key.participant_alt),
        b"participantPn" => value.text(&mut key.participant_number),
        b"fromMe" => value.flag(&mut key.from_me),
        _ => Ok(()),
    }
}

/// Whether an event is the one meant: some releases write `MESSAGES_UPSERT` or `messages-upsert`.
fn is(event: &str, meant: &str) -> bool {
    let plain = |byte: u8| if matches!(byte, b'_' | b'-') { b'.' } else { byte.to_ascii_lowercase() };
    event.len() == meant.len() && event.bytes().map(plain).eq(meant.bytes())
}

#[cfg(test)]
mod tests {
    use super::super::Provider;
    use super::super::tests::{Told, told};

    fn read(body: &str) -> Told {
        told(Provider::Evolution, body)
    }

    #[test]
    fn an_acknowledgement_is_known_by_message_and_status() {
        let ack = read(
            r#"{"event":"messages.update","instance":"i","data":{"messageId":"db1","keyId":"3EB0","remoteJid":"971@s.whatsapp.net","fromMe":true,"participant":"971@s.whatsapp.net","status":"READ","instanceId":"x"},"sender":"9714@s.whatsapp.net"}"#,
        );
        assert_eq!(
            (&*ack.kind, &*ack.id, ack.names),
            ("Status", "3EB0|messages.update|READ", vec!["971@s.whatsapp.net".to_owned()])
        );
        let older = read(
            r#"{"event":"messages.update","instance":"i","data":{"id":"3EB0","remoteJid":"1@g.us","participant":"5@lid","fromMe":true,"status":"READ"}}"#,
        );
        assert_eq!((&*older.id, &*older.group), ("3EB0|messages.update|READ 5@lid", "1@g.us"));
        let poll = read(
            r#"{"event":"messages.update","instance":"i","data":{"keyId":"3EB0","remoteJid":"971@s.whatsapp.net","fromMe":true,"pollUpdates":[{}]}}"#,
        );
        assert_eq!(poll.id, "", "votes come several times for one message");
    }

    #[test]
    fn own_messages_and_the_accounts_own_number_name_nobody_else() {
        for event in ["messages.upsert", "send.message", "MESSAGES_UPSERT", "messages-upsert"] {
            let own = read(&format!(
                r#"{{"event":"{event}","instance":"i","data":{{"key":{{"remoteJid":"251@lid","fromMe":true,"id":"A","senderPn":"9714@s.whatsapp.net","previousRemoteJid":"971@s.whatsapp.net"}},"messageType":"conversation"}},"sender":"9714@s.whatsapp.net"}}"#
            ));
            assert_eq!((&*own.kind, own.names), ("Own", vec!["971@s.whatsapp.net".to_owned(), "251@lid".to_owned()]));
        }
    }

    #[test]
    fn arrays_are_one_event_of_their_instance() {
        let set = read(
            r#"{"event":"contacts.update","instance":"i","data":[{"remoteJid":"971@s.whatsapp.net"},{"remoteJid":"972@s.whatsapp.net"}],"apikey":"k"}"#,
        );
        assert_eq!((&*set.kind, &*set.account, &*set.event, &*set.id), ("Event", "i", "contacts.update", ""));
        assert!(set.names.is_empty());
    }

    #[test]
    fn a_group_message_is_the_groups_and_its_participants() {
        let group = read(
            r#"{"event":"messages.upsert","instance":"i","data":{"messageType":"conversation","key":{"remoteJid":"1@g.us","fromMe":false,"id":"A","participant":"2@lid","participantAlt":"971@s.whatsapp.net","senderPn":"972@s.whatsapp.net"}}}"#,
        );
        assert_eq!((&*group.group, group.names), ("1@g.us", vec!["971@s.whatsapp.net".to_owned(), "2@lid".to_owned()]));
        let presence =
            read(r#"{"event":"presence.update","instance":"i","data":{"id":"971@s.whatsapp.net","presences":{}}}"#);
        assert_eq!((&*presence.id, presence.names), ("", vec!["971@s.whatsapp.net".to_owned()]));
    }
}
