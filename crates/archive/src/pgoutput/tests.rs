#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn message(pieces: &[&[u8]]) -> Bytes {
    Bytes::from(pieces.concat())
}

/// One of each kind, as a server of version 15 writes them.
fn known() -> Vec<(Bytes, Message)> {
    let lsn = |low: u64| Lsn(0x16_0000_0000 | low);
    let at: Timestamp = "2026-11-20T14:30:00.000001Z".parse().unwrap();
    let micros = (at.as_microsecond() - 946_684_800_000_000).to_be_bytes();
    let text = |text: &'static str| Cell::Text(Bytes::from_static(text.as_bytes()));
    let column = |name: &str, is_key, type_oid| RelationColumn {
        name: name.to_owned(),
        is_key,
        type_oid,
        type_modifier: -1,
    };
    let (id, anna) = (b"t\0\0\0\x017".as_slice(), b"t\0\0\0\x04Anna".as_slice());
    vec![
        (
            message(&[b"B", &lsn(1).0.to_be_bytes(), &micros, &7u32.to_be_bytes()]),
            Message::Begin(Begin { final_lsn: lsn(1), commit_at: at, xid: 7 }),
        ),
        (
            message(&[b"C\0", &lsn(1).0.to_be_bytes(), &lsn(2).0.to_be_bytes(), &micros]),
            Message::Commit { lsn: lsn(1), end_lsn: lsn(2), at },
        ),
        (
            message(&[b"O", &lsn(3).0.to_be_bytes(), b"away\0"]),
            Message::Origin { lsn: lsn(3), name: "away".to_owned() },
        ),
        (
            message(&[
                b"R\0\0\x40\x01public\0guests\0d\0\x02",
                b"\x01id\0\0\0\0\x17\xff\xff\xff\xff",
                b"\0name\0\0\0\0\x19\xff\xff\xff\xff",
            ]),
            Message::Relation(Relation {
                oid: 0x4001,
                schema: "public".to_owned(),
                name: "guests".to_owned(),
                identity: ReplicaIdentity::Default,
                columns: vec![column("id", true, 23), column("name", false, 25)],
            }),
        ),
        (
            message(&[b"Y\0\0\x40\x02public\0mood\0"]),
            Message::Type { oid: 0x4002, schema: "public".to_owned(), name: "mood".to_owned() },
        ),
        (
            message(&[b"I\0\0\x40\x01N\0\x02", id, anna]),
            Message::Insert { relation: 0x4001, new: vec![text("7"), text("Anna")] },
        ),
        (
            message(&[b"U\0\0\x40\x01N\0\x02", id, b"u"]),
            Message::Update { relation: 0x4001, old: None, new: vec![text("7"), Cell::Unchanged] },
        ),
        (
            message(&[b"U\0\0\x40\x01K\0\x02", id, b"nN\0\x02", b"t\0\0\0\x018", b"n"]),
            Message::Update {
                relation: 0x4001,
                old: Some(Old::Key(vec![text("7"), Cell::Null])),
                new: vec![text("8"), Cell::Null],
            },
        ),
        (
            message(&[b"D\0\0\x40\x01O\0\x02", id, anna]),
            Message::Delete { relation: 0x4001, old: Old::Full(vec![text("7"), text("Anna")]) },
        ),
        (
            message(&[b"T\0\0\0\x02\x03\0\0\x40\x01\0\0\x40\x05"]),
            Message::Truncate {
                relations: vec![0x4001, 0x4005],
                options: TruncateOptions { cascade: true, restart_identity: true },
            },
        ),
        (
            message(&[b"M\0", &lsn(9).0.to_be_bytes(), b"keepsake\0\0\0\0\x04beat"]),
            Message::Logical {
                transactional: false,
                lsn: lsn(9),
                prefix: "keepsake".to_owned(),
                content: Bytes::from_static(b"beat"),
            },
        ),
    ]
}

#[test]
fn each_kind_of_message_is_read_as_the_server_writes_it() {
    for (bytes, expected) in known() {
        assert_eq!(Message::parse(&bytes), Ok(expected));
    }
}

#[test]
fn a_message_that_is_cut_off_or_too_long_is_refused_wherever() {
    for (bytes, expected) in known() {
        for end in 0..bytes.len() {
            let cut = Message::parse(&bytes.slice(..end));
            assert!(cut.is_err(), "{expected:?} cut off at {end}: {cut:?}");
        }
        let longer = message(&[&bytes, b"\0"]);
        assert!(Message::parse(&longer).is_err(), "{expected:?}");
    }
}

#[test]
fn an_error_says_what_and_where_and_quotes_no_value() {
    let bytes = message(&[b"I\0\0\x40\x01N\0\x02", b"t\0\0\0\x06secret", b"x"]);
    let told = Message::parse(&bytes).unwrap_err().to_string();
    assert_eq!(told, "no pgoutput message of version 1: an unknown kind of value at byte 20 of 20");
}

#[test]
fn lengths_that_lie_set_no_memory_aside() {
    let claims = [
        message(&[b"I\0\0\x40\x01N\xff\xff", b"t\xff\xff\xff\xff"]),
        message(&[b"T\xff\xff\xff\xff\0"]),
        message(&[b"R\0\0\x40\x01a\0b\0d\xff\xff"]),
    ];
    for bytes in claims {
        assert!(Message::parse(&bytes).is_err());
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_read_or_refused(
        kind in prop::sample::select(b"BCORYIUDTMx".to_vec()),
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = Message::parse(&message(&[&[kind], &rest]));
    }

    #[test]
    fn a_message_with_changed_bytes_is_read_or_refused(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let known = known();
        let mut bytes = known[which.index(known.len())].0.to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = Message::parse(&Bytes::from(bytes));
    }
}
