//! Plain proxying, without a word about WhatsApp in the configuration: what the libraries check is still there.

use aws_lc_rs::digest;

use crate::kit::directory::Directory;
use crate::kit::http::Client;
use crate::kit::raw::Raw;
use crate::kit::tls::{Pair, handshake, trusting};
use crate::kit::{Baton, Config, among_others};
use crate::meta::{Text, send, send_signed, signature};
use crate::peer::{Peer, VERIFY_TOKEN};

/// A Baton that passes everything on to one bot.
async fn before(bot: &Peer) -> Baton {
    Baton::start_unprobed(&Config::empty().master(&bot.name, bot.address, "")).await
}

#[tokio::test]
#[ignore = "needs bot libraries: scripts/test peers"]
async fn a_signature_still_fits_the_body_at_every_library_that_checks_it() {
    let _machine = among_others().await;
    for program in ["pywa_bot.py", "whatsapp_api_js.mjs", "chat_sdk.mjs"] {
        let bot = Peer::start(program, program).await;
        let baton = before(&bot).await;
        let body = Text::of("971501234567", "AE.13491208655302741918", "wamid.A").body();
        assert_eq!(send(baton.address(), &body).await.status, 200, "{program}");
        assert_eq!(bot.seen_all(1).await, ["wamid.A"], "{program}");

        let mut client = Client::connect(baton.address()).await;
        let answer = send_signed(&mut client, &body, &signature("another body")).await;
        assert!([401, 403].contains(&answer.status), "{program} answers {}", answer.status);
        assert_eq!(bot.seen().await.len(), 1, "{program}");
    }
}

#[tokio::test]
#[ignore = "needs bot libraries: scripts/test peers"]
async fn the_handshake_passes_and_a_wrong_token_is_refused_by_every_library() {
    let _machine = among_others().await;
    for program in ["pywa_bot.py", "whatsapp_api_js.mjs", "chat_sdk.mjs", "whatsapp_cloud_api.cjs"] {
        let bot = Peer::start(program, program).await;
        let baton = before(&bot).await;
        let mut client = Client::connect(baton.address()).await;
        let path = |token| format!("/webhook?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={token}");
        let answer = client.get(&path(VERIFY_TOKEN)).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "1158201444"), "{program}");
        assert_eq!(client.get(&path("wrong")).await.status, 403, "{program}");
    }
}

#[tokio::test]
#[ignore = "needs bot libraries: scripts/test peers"]
async fn a_body_of_three_megabytes_arrives_byte_for_byte_with_its_length() {
    let _machine = among_others().await;
    // The first refuses a body in chunks, and one whose signature does not fit; the second tells what it got. The first also
    // expects everything beyond ASCII escaped, as Meta does, when it computes the signature.
    for (program, text) in [("whatsapp_api_js.mjs", "abc"), ("pywa_bot.py", "ß3")] {
        let text = text.repeat(1_000_000);
        let body = Text { text: &text, ..Text::of("971501234567", "AE.13491208655302741918", "wamid.BIG") }.body();
        let bot = Peer::start(program, program).await;
        let baton = before(&bot).await;
        assert_eq!(send(baton.address(), &body).await.status, 200, "{program}");
        assert_eq!(bot.seen_all(1).await, ["wamid.BIG"], "{program}");
        let request = &bot.requests().await[0];
        assert_eq!(request["headers"]["content-length"], body.len().to_string(), "{program}");
        assert_eq!(request["headers"]["x-hub-signature-256"], signature(&body), "{program}");
        if program == "pywa_bot.py" {
            let hash = digest::digest(&digest::SHA256, body.as_bytes());
            let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(request["sha256"], hash);
        }
    }
}

#[tokio::test]
#[ignore = "needs bot libraries: scripts/test peers"]
async fn a_signature_of_twilio_stays_valid_at_express_behind_https() {
    let _machine = among_others().await;
    // Made by Twilio's own library with key `tok` for `https://hooks.example.com/twilio` and this form.
    let signature = "bMNvEoUdr9halBkPjtNB0RYAMKk=";
    let form = "SmsMessageSid=SM0123456789abcdef0123456789abcdef&NumMedia=0&ProfileName=Layla&MessageType=text\
                &SmsSid=SM0123456789abcdef0123456789abcdef&WaId=971501234567&SmsStatus=received\
                &Body=Is+the+15%3A30+slot+still+free%3F&To=whatsapp%3A%2B97140000000&NumSegments=1\
                &MessageSid=SM0123456789abcdef0123456789abcdef&AccountSid=AC0123456789abcdef0123456789abcdef\
                &From=whatsapp%3A%2B971501234567&ApiVersion=2010-04-01";
    let directory = Directory::new();
    let pair = Pair::make(&directory, "hooks", &["hooks.example.com"]);
    let bot = Peer::start_with("twilio", "twilio_bot.cjs", &[("APP_SECRET", "tok")]).await;
    let (cert, key) = (pair.cert.display(), pair.key.display());
    let tls = format!("tls: {{ certificates: [{{ cert: \"{cert}\", key: \"{key}\" }}] }}");
    let config = Config::empty().master(&bot.name, bot.address, "").listener(&tls);
    let baton = Baton::start_unprobed(&config).await;

    let tls = trusting(&pair.der, &["http/1.1"]);
    let stream = handshake(baton.address(), "hooks.example.com", tls).await.expect("a certificate that is trusted");
    let mut client = Raw::over(stream);
    for (signature, status) in [(signature, "200"), ("AMNvEoUdr9halBkPjtNB0RYAMKk=", "403")] {
        let head = format!(
            "POST /twilio HTTP/1.1\r\nHost: hooks.example.com\r\nX-Twilio-Signature: {signature}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
            form.len()
        );
        client.send(head).await.send(form).await;
        let answer = client.head().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        let length = crate::kit::raw::header(&answer, "content-length").expect("an answer with a length");
        let body = client.take(length.parse().expect("a number")).await;
        // What the bot says is the answer to the person.
        assert_eq!(String::from_utf8_lossy(&body).contains("<Message>ok</Message>"), status == "200");
    }
    assert_eq!(bot.seen().await, ["SM0123456789abcdef0123456789abcdef"]);
}
