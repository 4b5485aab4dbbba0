use proptest::prelude::*;

use super::*;

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..most).prop_map(Bytes::from)
}

fn label() -> impl Strategy<Value = Box<str>> {
    "[a-zé@:.]{0,40}".prop_map(Into::into)
}

prop_compose! {
    fn incoming()(
        (seq, id, conversation) in any::<(u64, Option<u128>, u64)>(),
        route in "[a-z-]{0,20}", upstream in "\\PC{0,20}",
        account in proptest::option::of(label()), message_id in label(), event in label(), preferred in proptest::option::of(label()),
        country in proptest::option::of([1u8.., 1u8..]), kind in proptest::sample::select(&KINDS[..]),
        head in bytes(200), body in bytes(3000), (maybe_delivered, ordered) in any::<(bool, bool)>(),
    ) -> Incoming {
        Incoming {
            seq, id, conversation, route: route.into(), upstream: upstream.into(), account, country, message_id, kind, event,
            preferred, head, body, maybe_delivered, ordered,
        }
    }
}

prop_compose! {
    fn entry()(
        (seq, conversation, upstream, account, accepted, due) in any::<(u64, u64, u32, u32, u64, u64)>(),
        (attempts, breaks, flags, size) in any::<(u16, u8, u8, u32)>(),
    ) -> Entry {
        Entry { seq, conversation, upstream, account, accepted, due, attempts, breaks, flags, size }
    }
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let ending = prop_oneof![Just(Ending::Reset), Just(Ending::TimedOut), (100u16..600).prop_map(Ending::Status)];
    (any::<u64>(), label(), ending).prop_map(|(at, master, ending)| Attempt { at, master, ending })
}

proptest! {
    #[test]
    fn a_record_is_read_as_it_was_written(message in incoming(), accepted: u64) {
        let row = message.encode(accepted).unwrap();
        prop_assert_eq!(Record::decode(message.seq, &row).unwrap(), Record { accepted, message });
    }

    #[test]
    fn a_changed_bit_anywhere_in_a_record_is_noticed(message in incoming(), at: prop::sample::Index, bit in 0..8u8) {
        let mut row = message.encode(1).unwrap();
        let at = at.index(row.len());
        row[at] ^= 1u8 << bit;
        prop_assert_eq!(Record::decode(message.seq, &row), Err(Unreadable::Damaged));
    }

    #[test]
    fn a_record_that_ends_early_is_noticed(message in incoming(), at: prop::sample::Index) {
        let row = message.encode(1).unwrap();
        prop_assert_eq!(Record::decode(message.seq, &row[..at.index(row.len())]), Err(Unreadable::Damaged));
    }

    #[test]
    fn a_record_under_the_number_of_another_is_noticed(message in incoming(), other: u64) {
        prop_assume!(other != message.seq);
        prop_assert_eq!(Record::decode(other, &message.encode(1).unwrap()), Err(Unreadable::Damaged));
    }

    #[test]
    fn bytes_of_no_record_are_no_record(row in proptest::collection::vec(any::<u8>(), 0..200), seq: u64) {
        prop_assert!(Record::decode(seq, &row).is_err());
    }

    #[test]
    fn an_entry_is_read_as_it_was_written(entry in entry()) {
        prop_assert_eq!(Entry::decode(entry.seq, &entry.encode()).unwrap(), entry);
    }

    #[test]
    fn a_changed_bit_anywhere_in_an_entry_is_noticed(entry in entry(), at in 0..Entry::ROW, bit in 0..8u8) {
        let mut row = entry.encode();
        row[at] ^= 1u8 << bit;
        prop_assert_eq!(Entry::decode(entry.seq, &row), Err(Unreadable::Damaged));
    }

    #[test]
    fn attempts_are_read_as_they_were_written(attempts in proptest::collection::vec(attempt(), 0..10)) {
        let mut row = Writer::new(1, 7, 0);
        attempts.iter().for_each(|attempt| attempt.write(&mut row));
        let row = row.finish();
        let mut reader = Reader::new(1, 7, &row).unwrap();
        let read: Result<Vec<_>, _> = attempts.iter().map(|_| Attempt::read(&mut reader)).collect();
        prop_assert_eq!(read.unwrap(), attempts);
        prop_assert_eq!(reader.end(), Ok(()));
    }
}

#[test]
fn a_record_of_a_newer_version_is_told_from_a_damaged_one() {
    let row = Writer::new(9, 3, 0).finish();
    assert_eq!(Record::decode(3, &row), Err(Unreadable::Newer(9)));
}

#[test]
fn labels_for_people_are_cut_between_characters() {
    let text = "é".repeat(300);
    assert_eq!(cut(&text).len(), LABEL_MAX);
    assert_eq!(cut(&text[..LABEL_MAX - 2]), &text[..LABEL_MAX - 2]);
    let odd = format!("x{text}");
    assert_eq!(cut(&odd).len(), LABEL_MAX - 1);
}

#[test]
fn what_is_debugged_shows_no_content() {
    let message = Incoming {
        seq: 1,
        id: None,
        conversation: 2,
        route: "r".into(),
        upstream: "u".into(),
        account: Some("49170".into()),
        country: None,
        message_id: "wamid".into(),
        kind: Kind::Message,
        event: "messages".into(),
        preferred: None,
        head: Bytes::from_static(b"secret-head"),
        body: Bytes::from_static(b"secret-body"),
        maybe_delivered: false,
        ordered: true,
    };
    let shown = format!("{:?}", Record { accepted: 1, message });
    assert!(!shown.contains("secret") && !shown.contains("49170") && shown.contains("11 bytes"), "{shown}");
}
