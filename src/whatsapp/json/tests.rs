//! The skimmer against a parser with a tree, and against what is meant to break it.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn skip(text: impl AsRef<[u8]>) -> Result<(), Undecodable> {
    let mut reader = Reader::new(text.as_ref());
    reader.skip()?;
    reader.end()
}

/// The member `a` of an object.
fn a(text: &str) -> Result<Option<String>, Undecodable> {
    let (mut slot, mut reader) = (Text::default(), Reader::new(text.as_bytes()));
    reader.object(|key, value| if key.name == b"a" { value.text(&mut slot) } else { Ok(()) })?;
    reader.end()?;
    Ok(slot.value.map(Cow::into_owned))
}

#[test]
fn a_wanted_member_is_text_or_a_number_and_borrowed_where_it_can_be() {
    assert_eq!(a(r#" { "b" : [1,{"a":2}] , "a" : "x" , "c":null } "#), Ok(Some("x".to_owned())));
    assert_eq!(a(r#"{"a":-12.50e+7}"#), Ok(Some("-12.50e+7".to_owned())));
    assert_eq!(a(&format!(r#"{{"a":{}}}"#, "9".repeat(400))), Ok(Some("9".repeat(400))));
    for nothing in [r#"{"a":null}"#, r#"{"a":{"a":1}}"#, r#"{"a":[]}"#, r#"{"a":true}"#, "{}", "[1]", "7"] {
        assert_eq!(a(nothing), Ok(None), "{nothing}");
    }
    let mut borrowed = Text::default();
    Reader::new(br#""plain""#).text(&mut borrowed).unwrap();
    assert!(matches!(borrowed.value, Some(Cow::Borrowed("plain"))));
}

#[test]
fn escapes_are_read_in_names_and_values() {
    assert_eq!(
        a(r#"{"\u0061":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}"#),
        Ok(Some("\"\\/\u{8}\u{c}\n\r\té😀".to_owned()))
    );
    assert_eq!(a(r#"{"a":"\u0000"}"#), Ok(Some("\0".to_owned())));
}

#[test]
fn what_is_no_text_is_refused_where_it_is_wanted_and_passed_over_where_it_is_not() {
    for string in [r"\ud800", r"\ud800x", r"\udc00", r"\ud800\ud800", r"\u12", r"\u12g4", r"\x", "\n", "\0"] {
        assert!(matches!(a(&format!("{{\"a\":\"{string}\"}}")), Err(Undecodable::Broken { .. })), "{string:?}");
        assert_eq!(a(&format!("{{\"b\":\"{string}\",\"a\":1}}")), Ok(Some("1".to_owned())), "{string:?}");
    }
    assert!(Reader::new(b"\"\xff\"").scalar().is_err());
}

#[test]
fn a_wanted_member_that_stands_twice_is_refused() {
    for twice in [r#"{"a":1,"a":1}"#, r#"{"a":null,"a":1}"#, r#"{"a":1,"\u0061":2}"#] {
        assert!(matches!(a(twice), Err(Undecodable::Repeated { .. })), "{twice}");
    }
    assert_eq!(a(r#"{"b":1,"b":2,"a":3}"#), Ok(Some("3".to_owned())));
}

#[test]
fn depth_costs_no_stack_and_has_a_limit() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let nested = |depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        assert_eq!(skip(nested(128)), Ok(()));
        assert!(matches!(skip(nested(129)), Err(Undecodable::TooDeep { .. })));
        assert!(matches!(skip(open.repeat(1_000_000)), Err(Undecodable::TooDeep { .. })));
    }
}

#[test]
fn what_is_broken_is_refused_where_it_is_met() {
    let broken = [
        "",
        "{",
        "[",
        "[1",
        "[1,",
        "[1,]",
        "[,]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\":1]",
        "[1}",
        "[1 2]",
        "\"",
        "\"\\\"",
        "\"\\",
        "tru",
        "truth",
        "nul",
        "+1",
        "01",
        "1.",
        ".5",
        "1e",
        "1e+",
        "-",
        "--1",
        "NaN",
        "1 1",
        "[]]",
        "{}{}",
        "\u{feff}{}",
        "'a'",
        "{\"a\":1 \"b\":2}",
        "{1:2}",
    ];
    for text in broken {
        assert!(matches!(skip(text), Err(Undecodable::Broken { .. })), "{text}");
    }
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}|[\"\\\\\n\u{1}é]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map("[a-c\"\\\\]{0,3}", inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_skipped_and_its_members_are_read(value in json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        prop_assert_eq!(skip(&text), Ok(()));
        let expected = match &value["a"] {
            Value::String(text) => Some(text.clone()),
            number @ Value::Number(_) => Some(number.to_string()),
            _ => None,
        };
        prop_assert_eq!(a(&text), Ok(expected));
    }

    #[test]
    fn what_a_parser_refuses_is_refused_but_for_the_inside_of_strings(text in "[\\[\\]{}\",: a0-1.eE+tfn-]{0,24}") {
        prop_assert_eq!(skip(&text).is_ok(), serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok());
    }
}
