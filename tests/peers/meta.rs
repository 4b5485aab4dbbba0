//! What Meta's Cloud API sends: bodies, and their signature over the raw bytes.

use std::net::SocketAddr;

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use crate::kit::http::{Answer, Client};
use crate::peer::{PHONE, SECRET};

/// The account of the sample payloads' business, which updates without a phone number belong to.
pub const BUSINESS: &str = "102290129340398";

/// One text message; `phone` and `user` name the person, and at least one of them is there.
pub struct Text<'a> {
    pub account: &'a str,
    pub phone: Option<&'a str>,
    pub user: Option<&'a str>,
    pub id: &'a str,
    pub text: &'a str,
}

impl<'a> Text<'a> {
    /// A message of this person, by both names, to the first account.
    pub fn of(phone: &'a str, user: &'a str, id: &'a str) -> Self {
        Self { account: PHONE, phone: Some(phone), user: Some(user), id, text: "Is the 15:30 slot still free?" }
    }

    pub fn change(&self) -> Value {
        let mut contact = json!({ "profile": { "name": "Layla" } });
        let mut message =
            json!({ "id": self.id, "timestamp": "1782991799", "type": "text", "text": { "body": self.text } });
        if let Some(phone) = self.phone {
            (contact["wa_id"], message["from"]) = (phone.into(), phone.into());
        }
        if let Some(user) = self.user {
            (contact["user_id"], message["from_user_id"]) = (user.into(), user.into());
        }
        change_of(self.account, &json!({ "contacts": [contact], "messages": [message] }))
    }

    pub fn body(&self) -> String {
        envelope([vec![self.change()]])
    }
}

/// One change with all these messages, which are for one account.
pub fn together(texts: &[Text<'_>]) -> Value {
    let (mut contacts, mut messages) = (Vec::new(), Vec::new());
    for text in texts {
        let value = &text.change()["value"];
        if !contacts.contains(&value["contacts"][0]) {
            contacts.push(value["contacts"][0].clone());
        }
        messages.push(value["messages"][0].clone());
    }
    change_of(texts[0].account, &json!({ "contacts": contacts, "messages": messages }))
}

/// A status of a message that the account has sent to this person.
pub fn status(account: &str, phone: &str, user: &str, id: &str, status: &str) -> Value {
    let mut value = json!({ "statuses": [{
        "id": id, "status": status, "timestamp": "1782991812", "recipient_id": phone, "recipient_user_id": user,
    }]});
    if status == "failed" {
        value["statuses"][0]["errors"] = json!([{ "code": 131_026, "title": "Message undeliverable" }]);
    } else {
        value["contacts"] = json!([{ "profile": { "name": "Layla" }, "wa_id": phone, "user_id": user }]);
    }
    change_of(account, &value)
}

/// The update without a phone number that ends the process of one of the libraries.
pub fn account_update() -> String {
    let value = json!({ "event": "VERIFIED_ACCOUNT", "phone_number": "97140000000" });
    envelope([vec![json!({ "field": "account_update", "value": value })]])
}

/// A body with so many entries, each with its changes.
pub fn envelope<const N: usize>(entries: [Vec<Value>; N]) -> String {
    let entry = |changes| json!({ "id": BUSINESS, "time": 1_782_991_800, "changes": changes });
    let entries: Vec<Value> = entries.into_iter().map(entry).collect();
    json!({ "object": "whatsapp_business_account", "entry": entries }).to_string()
}

fn change_of(account: &str, rest: &Value) -> Value {
    let metadata = json!({ "display_phone_number": "97140000000", "phone_number_id": account });
    let mut value = json!({ "messaging_product": "whatsapp", "metadata": metadata });
    for (key, part) in rest.as_object().expect("an object") {
        value[key] = part.clone();
    }
    json!({ "field": "messages", "value": value })
}

/// `sha256=` and the digest in hexadecimal digits.
pub fn signature(body: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), body.as_bytes());
    let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={digits}")
}

/// Sends a body with its signature on a connection of its own.
pub async fn send(to: SocketAddr, body: &str) -> Answer {
    send_signed(&mut Client::connect(to).await, body, &signature(body)).await
}

/// Sends a body with this signature.
pub async fn send_signed(client: &mut Client, body: &str, signature: &str) -> Answer {
    let headers = [("Content-Type", "application/json"), ("X-Hub-Signature-256", signature)];
    client.send(hyper::Method::POST, "/webhook", &headers, body).await.expect("an answer")
}
