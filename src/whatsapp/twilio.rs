//! Twilio's webhooks: forms with `MessageSid`, `From` and `To`; a status call-back has `MessageStatus` besides.

use std::borrow::Cow;

use super::chat::Place;
use super::form;
use super::json::Slot;
use super::{Id, Kind, Undecodable, Update};

pub fn decode<'a>(body: &'a [u8], into: &mut Vec<Update<'a>>) -> Result<(), Undecodable> {
    let [mut from, mut to, mut wa_id, mut account, mut message, mut older_message, mut status, mut older_status]: [Slot<
        Cow<'a, str>,
    >;
        8] = Default::default();
    for (name, value) in form::pairs(body) {
        let slot = match &*name {
            b"From" => &mut from,
            b"To" => &mut to,
            b"WaId" => &mut wa_id,
            b"AccountSid" => &mut account,
            b"MessageSid" => &mut message,
            b"SmsSid" => &mut older_message,
            b"MessageStatus" => &mut status,
            b"SmsStatus" => &mut older_status,
            _ => continue,
        };
        slot.put(text(value)?)?;
    }
    let (message, status) = (message.take().or(older_message.take()), status.take().or(older_status.take()));
    if message.is_none() && account.value.is_none() {
        return Err(Undecodable::Unknown);
    }
    let (kind, event) = match status.as_deref() {
        _ if message.is_none() => (Kind::Event, ""),
        None | Some("received" | "receiving") => (Kind::Message, "message"),
        Some(_) => (Kind::Status, "status"),
    };
    let mut update = Update::new(kind, Cow::Borrowed(event));
    let (own, other) = if kind == Kind::Status { (from, to) } else { (to, from) };
    update.account = own.value.map(number).or_else(|| account.take());
    update.id = message.map(|message| {
        let state = status.filter(|_| kind == Kind::Status);
        Id { message, event: update.event.clone(), state }
    });
    let persons = [wa_id.take(), None, None, None, None];
    Place { chat: other.value, persons, own: [None, None] }.tell(&mut update);
    into.push(update);
    Ok(())
}

fn text(value: Cow<'_, [u8]>) -> Result<Cow<'_, str>, Undecodable> {
    let broken = Undecodable::Broken { at: 0 };
    match value {
        Cow::Borrowed(value) => std::str::from_utf8(value).map(Cow::Borrowed).map_err(|_| broken),
        Cow::Owned(value) => String::from_utf8(value).map(Cow::Owned).map_err(|_| broken),
    }
}

/// An address without its channel: `+97140000000`.
fn number(address: Cow<'_, str>) -> Cow<'_, str> {
    match address.strip_prefix("whatsapp:") {
        Some(number) => Cow::Owned(number.to_owned()),
        None => address,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Told, told};
    use super::super::{Provider, Undecodable, decode};

    fn read(body: &str) -> Told {
        told(Provider::Twilio, body)
    }

    const SAMPLE: &str = "SmsMessageSid=SM0123456789abcdef0123456789abcdef&NumMedia=0&ProfileName=Layla&MessageType=text\
        &SmsSid=SM0123456789abcdef0123456789abcdef&WaId=971501234567&SmsStatus=received&Body=Is+the+15%3A30+slot+still+free%3F\
        &To=whatsapp%3A%2B97140000000&NumSegments=1&MessageSid=SM0123456789abcdef0123456789abcdef\
        &AccountSid=AC0123456789abcdef0123456789abcdef&From=whatsapp%3A%2B971501234567&ApiVersion=2010-04-01";

    #[test]
    fn a_message_belongs_to_the_number_it_was_sent_to() {
        let message = read(SAMPLE);
        assert_eq!((&*message.account, &*message.kind), ("+97140000000", "Message"));
        assert_eq!(message.names, ["whatsapp:+971501234567", "971501234567"]);
        assert_eq!(message.id, "SM0123456789abcdef0123456789abcdef|message");
    }

    #[test]
    fn a_status_belongs_to_the_number_that_sent_the_message() {
        let status =
            read("MessageSid=SM1&MessageStatus=read&SmsStatus=delivered&From=whatsapp:%2B9714&To=whatsapp:%2B971");
        assert_eq!((&*status.account, &*status.kind, &*status.id), ("+9714", "Status", "SM1|status|read"));
        assert_eq!(status.names, ["whatsapp:+971"]);
    }

    #[test]
    fn an_account_alone_is_an_event_of_it() {
        let event = read("AccountSid=AC1&EventType=onConversationAdded");
        assert_eq!((&*event.account, &*event.kind, &*event.id), ("AC1", "Event", ""));
    }

    #[test]
    fn what_two_readers_could_understand_differently_is_refused() {
        let refused = |body: &str| decode(Provider::Twilio, body.as_bytes(), &mut Vec::new()).unwrap_err();
        assert_eq!(refused("MessageSid=a&From=1&From=2"), Undecodable::Repeated { at: 0 });
        assert_eq!(refused("MessageSid=%ff"), Undecodable::Broken { at: 0 });
        assert_eq!(refused("Body=hello"), Undecodable::Unknown);
    }
}
