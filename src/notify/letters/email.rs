//! A notice as an e-mail: plain text, so that nothing in it can be more than that.

use lettre::Message;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};

use crate::alerts::notices::{NAMED_MAX, Notice};
use crate::config::model::Email;

/// Says that no person wrote it, so that nobody's holiday answers (RFC 3834).
#[derive(Debug, Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// The whole message. `id` is the same for each attempt to send it.
///
/// # Errors
/// An address is none.
pub fn message(receiver: &str, email: &Email, notice: &Notice, id: u64) -> Result<Message, String> {
    let mailbox = |address: &str| {
        let address = address.parse().map_err(|error| format!("{address} is no address: {error}"));
        address.map(|address| Mailbox::new(None, address))
    };
    let host = email.from.rsplit_once('@').map_or("baton", |(_, host)| host);
    let mut builder = Message::builder()
        .from(mailbox(&email.from)?)
        // One line by `title`, and encoded where it is not plain ASCII.
        .subject(format!("[Baton] {}", super::title(notice)))
        .message_id(Some(format!("<baton-{id:016x}@{host}>")))
        .header(AutoSubmitted)
        .header(ContentType::TEXT_PLAIN);
    for address in &email.to {
        builder = builder.to(mailbox(address)?);
    }
    let lines = super::lines(notice, NAMED_MAX).join("\n\n");
    let foot = format!("Baton, as receiver {receiver} of its configuration. Look after it with `baton ctl alerts`.");
    builder.body(format!("{lines}\n\n-- \n{foot}\n")).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::kit::{many, notice};
    use super::*;
    use crate::config::model::MailTls;

    fn email() -> Email {
        Email {
            to: vec!["ann@bot.example".to_owned(), "bob@bot.example".to_owned()],
            from: "baton@bot.example".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 25,
            tls: MailTls::Off,
            login: None,
            ca: None,
        }
    }

    fn text(notice: &Notice) -> String {
        String::from_utf8(message("mail", &email(), notice, 7).unwrap().formatted()).unwrap()
    }

    /// The names of the headers.
    fn headers(text: &str) -> Vec<&str> {
        let head = text.split("\r\n\r\n").next().unwrap();
        let begins = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t']));
        begins.map(|line| line.split_once(':').unwrap().0).collect()
    }

    #[test]
    fn a_message_has_what_mail_servers_want_and_a_line_for_each_alert() {
        let text = text(&many());
        assert!(text.contains("Subject: [Baton] WARNING: 60 alerts\r\n"), "{text}");
        assert!(text.contains("Message-ID: <baton-0000000000000007@bot.example>\r\n"), "{text}");
        assert!(text.contains("To: ann@bot.example, bob@bot.example\r\n"), "{text}");
        assert!(text.contains("Auto-Submitted: auto-generated\r\n") && text.contains("Date: "), "{text}");
        assert!(text.contains("and 10 more"), "{text}");
    }

    proptest! {
        #[test]
        fn no_sentence_becomes_a_header(sentence in r"(?s)[\r\n: a-zA-ZüΩ\u{2028}<>@.=?]{0,200}") {
            let names = headers(&text(&notice("x"))).len();
            let with = text(&notice(&format!("{sentence}\r\nBcc: eve@example.com\r\n\r\nhello")));
            prop_assert_eq!(headers(&with).len(), names, "{}", with);
            prop_assert!(!headers(&with).contains(&"Bcc"));
        }
    }
}
