use proptest::prelude::*;

use super::*;

const META_BODY: &[u8] = br#"{"object":"whatsapp_business_account","entry":[]}"#;
const META: &str = "sha256=dec6a680679a968e7e0319355b23599cbfc54502c0784668e9618baa0c633756";
const WAHA_BODY: &[u8] = br#"{"event":"message","session":"default"}"#;
const WAHA: &str = "4b8884c6a06c31931bd128875a6af78d1c10b3d42134490369b717711bb97545\
                    cd30dab98c7306a223c957ae3dafffb638587ba3437604429ffcc80ba7fb5f6b";
const TWILIO_BODY: &[u8] = b"SmsMessageSid=SM0123456789abcdef0123456789abcdef&NumMedia=0&ProfileName=Layla&MessageType=text\
    &SmsSid=SM0123456789abcdef0123456789abcdef&WaId=971501234567&SmsStatus=received&Body=Is+the+15%3A30+slot+still+free%3F\
    &To=whatsapp%3A%2B97140000000&NumSegments=1&MessageSid=SM0123456789abcdef0123456789abcdef\
    &AccountSid=AC0123456789abcdef0123456789abcdef&From=whatsapp%3A%2B971501234567&ApiVersion=2010-04-01";
const TWILIO_URL: &str = "https://hooks.example.com/twilio";
const TWILIO: &str = "bMNvEoUdr9halBkPjtNB0RYAMKk=";

// Made by PyJWT with the secret below; issued at `ISSUED`, and for ten minutes.
const EVOLUTION: &str = "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3ODI5OTE3OTksImV4cCI6MTc4Mjk5MjM5OSwiYXBwIjoiZXZvbHV0aW\
    9uIiwiYWN0aW9uIjoid2ViaG9vayJ9.knFfD2BcyPK8v5zcRBqdICHX4GyL3b-qYZK4asodYGs";
const WITH_HS384: &str = "Bearer eyJhbGciOiJIUzM4NCIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3ODI5OTE3OTksImV4cCI6MTc4Mjk5MjM5OX0.\
    lfv1DYAZW7ypTNzpsnOPIGf_pCYRgVyDHSItEPNxHqaIb3SfOe-h9O_WZ7ZhwhyD";
const WITH_NONE: &str = "Bearer eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJleHAiOjE3ODI5OTIzOTl9.";
const WITHOUT_EXP: &str =
    "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3ODI5OTE3OTl9.J8VRh4lc11jHLJDtstNJr3jNopu5ElSjDVDvbsqCONg";
const ISSUED: u64 = 1_782_991_799;

fn check(provider: Provider, secret: &str, body: &[u8], value: &str) -> Result<(), BadSignature> {
    verify(provider, &[secret], &Signed { body, values: &[value.as_bytes()], url: TWILIO_URL }, ISSUED)
}

/// Each gateway that signs, with a secret, a body and the signature that it sends.
fn vectors() -> [(Provider, &'static str, &'static [u8], &'static str); 6] {
    [
        (Provider::CloudApi, "test_app_secret", META_BODY, META),
        (Provider::Gowa, "test_app_secret", META_BODY, META),
        (Provider::Waha, "waha_key", WAHA_BODY, WAHA),
        (Provider::Twilio, "tok", TWILIO_BODY, TWILIO),
        (Provider::Evolution, "evolution secret", b"{}", EVOLUTION),
        (Provider::Wwebjs, "the key", b"{}", "the key"),
    ]
}

#[test]
fn the_right_signature_is_accepted() {
    for (provider, secret, body, value) in vectors() {
        assert_eq!(check(provider, secret, body, value), Ok(()), "{provider:?}");
    }
}

#[test]
fn a_wrong_secret_is_refused() {
    for (provider, secret, body, value) in vectors() {
        for other in [&secret[1..], "", "x"] {
            assert_eq!(check(provider, other, body, value), Err(BadSignature::Wrong), "{provider:?} {other}");
        }
    }
}

#[test]
fn a_changed_body_is_refused_where_the_body_is_signed() {
    for (provider, secret, body, value) in vectors() {
        let signed = !matches!(provider, Provider::Evolution | Provider::Wwebjs);
        let changed = [body, b"&x"].concat();
        assert_eq!(check(provider, secret, &changed, value).is_err(), signed, "{provider:?}");
    }
}

#[test]
fn while_a_secret_is_replaced_both_are_accepted() {
    for (provider, secret, body, value) in vectors() {
        let request = Signed { body, values: &[value.as_bytes()], url: TWILIO_URL };
        for secrets in [[secret, "other"], ["other", secret], ["", secret]] {
            assert_eq!(verify(provider, &secrets, &request, ISSUED), Ok(()), "{provider:?}");
        }
        assert_eq!(verify(provider, &["other", "another"], &request, ISSUED), Err(BadSignature::Wrong), "{provider:?}");
        assert_eq!(verify::<&str>(provider, &[], &request, ISSUED), Err(BadSignature::Wrong), "{provider:?}");
    }
}

#[test]
fn a_missing_and_a_repeated_header_are_refused() {
    for (provider, secret, body, value) in vectors() {
        let with = |values| verify(provider, &[secret], &Signed { body, values, url: TWILIO_URL }, ISSUED);
        assert_eq!(with(&[]), Err(BadSignature::Missing), "{provider:?}");
        assert_eq!(with(&[value.as_bytes(), value.as_bytes()]), Err(BadSignature::Repeated), "{provider:?}");
    }
    let nothing = Signed { body: b"", values: &[b"x"], url: "" };
    assert_eq!(verify(Provider::Wppconnect, &["x"], &nothing, 0), Err(BadSignature::Missing));
}

#[test]
fn signatures_of_another_form_are_refused() {
    for (provider, secret, body, value) in vectors() {
        if provider == Provider::Wwebjs {
            continue;
        }
        let mut others = vec![
            String::new(),
            value[..value.len() - 1].to_owned(),
            format!("{value}0"),
            format!(" {value}"),
            format!("{value},{value}"),
            value.to_uppercase(),
            value.replace("sha256=", "sha1="),
            value.replace("sha256=", ""),
            value.replace('=', ""),
            value.replace("Bearer ", ""),
            value.replace("Bearer ", "Basic "),
        ];
        others.retain(|other| other != value);
        for other in others {
            let bad = check(provider, secret, body, &other);
            assert!(matches!(bad, Err(BadSignature::Malformed | BadSignature::Wrong)), "{provider:?} {other}: {bad:?}");
        }
    }
    let shorter = &WAHA[..64];
    assert_eq!(check(Provider::Waha, "waha_key", WAHA_BODY, shorter), Err(BadSignature::Malformed));
}

#[test]
fn twilio_sorts_parameters_and_takes_a_pair_once() {
    let check = |url, body: &[u8], value: &str| {
        verify(Provider::Twilio, &["tok"], &Signed { body, values: &[value.as_bytes()], url }, 0)
    };
    // Made by Twilio's library for Python.
    assert_eq!(check("https://h.example/t?x=1", b"b=2&a=%C3%A9+%2B&b=1&b=2", "2v5BL7f+naHitNPlceBZ8QDYKdU="), Ok(()));
    assert_eq!(check("https://h.example/t", b"", "bnGdrr3zMF9952UuclNSn6P3ZNk="), Ok(()));
    assert_eq!(check("https://h.example/T", b"", "bnGdrr3zMF9952UuclNSn6P3ZNk="), Err(BadSignature::Wrong));
    let many = "a=1&".repeat(PARAMETERS_MAX + 1);
    assert_eq!(
        check("https://h.example/t", many.as_bytes(), "bnGdrr3zMF9952UuclNSn6P3ZNk="),
        Err(BadSignature::Malformed)
    );
}

#[test]
fn a_token_has_its_algorithm_and_its_time() {
    let check = |value: &str, now| {
        let request = Signed { body: b"{}", values: &[value.as_bytes()], url: "" };
        verify(Provider::Evolution, &["evolution secret"], &request, now)
    };
    assert_eq!(check(EVOLUTION, ISSUED + 600 + 59), Ok(()));
    assert_eq!(check(EVOLUTION, ISSUED + 600 + 60), Err(BadSignature::Expired));
    assert_eq!(check(EVOLUTION, ISSUED - 60), Ok(()));
    assert_eq!(check(EVOLUTION, ISSUED - 61), Err(BadSignature::Expired));
    for other in [WITH_HS384, WITH_NONE, WITHOUT_EXP, "Bearer ", "Bearer a.b.c", "Bearer ..", "bearer", "Bearer \u{ff}"]
    {
        assert_eq!(check(other, ISSUED), Err(BadSignature::Malformed), "{other}");
    }
    let long = format!("{EVOLUTION}{}", "A".repeat(5000));
    assert_eq!(check(&long, ISSUED), Err(BadSignature::Malformed));
}

#[test]
fn what_is_signed_for_masters_is_what_meta_sends() {
    assert_eq!(sign_cloud_api(b"test_app_secret", META_BODY), META.as_bytes());
}

proptest! {
    #[test]
    fn any_value_is_read_without_a_panic_and_refused(
        provider in prop::sample::select(Provider::ALL.map(|(provider, _)| provider).to_vec()),
        value in prop::collection::vec(any::<u8>(), 0..200),
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let request = Signed { body: &body, values: &[&value], url: "u" };
        prop_assert!(verify(provider, &["s3cret"], &request, 0).is_err());
    }

    #[test]
    fn what_is_signed_verifies_and_with_one_bit_changed_does_not(
        body in prop::collection::vec(any::<u8>(), 1..200),
        bit in any::<prop::sample::Index>(),
    ) {
        let value = sign_cloud_api(b"s3cret", &body);
        let mut request = Signed { body: &body, values: &[&value], url: "" };
        prop_assert_eq!(verify(Provider::CloudApi, &["s3cret"], &request, 0), Ok(()));
        let bit = bit.index(8 * body.len());
        let mut changed = body.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        request.body = &changed;
        prop_assert_eq!(verify(Provider::CloudApi, &["s3cret"], &request, 0), Err(BadSignature::Wrong));
    }
}
