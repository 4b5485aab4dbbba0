//! Webhooks as Meta sends them.

use hyper::Method;

use super::http::{Answer, Client};

/// What the routes of the tests have as `app_secret`.
pub const SECRET: &str = "s3cret";

/// One message as a change of its account.
pub fn change(account: &str, user: &str, id: &str) -> String {
    format!(
        r#"{{"field":"messages","value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"97140000000","phone_number_id":"{account}"}},"contacts":[{{"profile":{{"name":"X"}},"user_id":"{user}"}}],"messages":[{{"from_user_id":"{user}","id":"{id}","timestamp":"1782991799","type":"text","text":{{"body":"hi"}}}}]}}}}"#
    )
}

/// What became of a message, with the note of who sent it.
pub fn status(account: &str, user: &str, id: &str, note: &str) -> String {
    format!(
        r#"{{"field":"messages","value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"97140000000","phone_number_id":"{account}"}},"statuses":[{{"id":"{id}","status":"delivered","timestamp":"1782991799","recipient_user_id":"{user}","biz_opaque_callback_data":"{note}"}}]}}}}"#
    )
}

/// A webhook of these changes.
pub fn webhook(changes: &[String]) -> String {
    format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"102290129340398","changes":[{}]}}]}}"#,
        changes.join(",")
    )
}

/// A webhook of one message.
pub fn message(account: &str, user: &str, id: &str) -> String {
    webhook(&[change(account, user, id)])
}

/// The value of `X-Hub-Signature-256`.
pub fn signature(body: &str) -> String {
    let value = baton::whatsapp::signature::sign_cloud_api(SECRET.as_bytes(), body.as_bytes());
    String::from_utf8(value.to_vec()).unwrap()
}

/// Posts it with its signature.
pub async fn post(client: &mut Client, body: &str) -> Answer {
    let signature = signature(body);
    let headers = [("content-type", "application/json"), ("x-hub-signature-256", &*signature)];
    client.send(Method::POST, "/webhook", &headers, body).await.expect("an answer")
}
