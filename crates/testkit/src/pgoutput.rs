//! Writes the messages that a server would send.

use bytes::{BufMut, Bytes, BytesMut};
use keepsake_archive::pgoutput::{Cell, Message, Old, Relation, ReplicaIdentity, Tuple};
use keepsake_domain::{Lsn, Timestamp};

/// A message as `pgoutput` writes it in version 1.
#[must_use]
pub fn encode(message: &Message) -> Bytes {
    let mut to = BytesMut::new();
    match message {
        Message::Begin(begin) => {
            to.put_u8(b'B');
            lsn(&mut to, begin.final_lsn);
            instant(&mut to, begin.commit_at);
            to.put_u32(begin.xid);
        }
        Message::Commit { lsn: begins, end_lsn, at } => {
            to.put_slice(b"C\0");
            lsn(&mut to, *begins);
            lsn(&mut to, *end_lsn);
            instant(&mut to, *at);
        }
        Message::Origin { lsn: commit, name: origin } => {
            to.put_u8(b'O');
            lsn(&mut to, *commit);
            name(&mut to, origin);
        }
        Message::Relation(relation) => put_relation(&mut to, relation),
        Message::Type { oid, schema, name: named } => {
            to.put_u8(b'Y');
            to.put_u32(*oid);
            name(&mut to, schema);
            name(&mut to, named);
        }
        Message::Insert { relation, new } => {
            to.put_u8(b'I');
            to.put_u32(*relation);
            tuple(&mut to, b'N', new);
        }
        Message::Update { relation, old: before, new } => {
            to.put_u8(b'U');
            to.put_u32(*relation);
            if let Some(before) = before {
                old(&mut to, before);
            }
            tuple(&mut to, b'N', new);
        }
        Message::Delete { relation, old: before } => {
            to.put_u8(b'D');
            to.put_u32(*relation);
            old(&mut to, before);
        }
        Message::Truncate { relations, options } => {
            to.put_u8(b'T');
            to.put_u32(length(relations.len()));
            to.put_u8(u8::from(options.cascade) | u8::from(options.restart_identity) << 1);
            relations.iter().for_each(|relation| to.put_u32(*relation));
        }
        Message::Logical { transactional, lsn: at, prefix, content } => {
            to.put_u8(b'M');
            to.put_u8(u8::from(*transactional));
            lsn(&mut to, *at);
            name(&mut to, prefix);
            to.put_u32(length(content.len()));
            to.put_slice(content);
        }
    }
    to.freeze()
}

fn put_relation(to: &mut BytesMut, relation: &Relation) {
    to.put_u8(b'R');
    to.put_u32(relation.oid);
    name(to, &relation.schema);
    name(to, &relation.name);
    to.put_u8(match relation.identity {
        ReplicaIdentity::Default => b'd',
        ReplicaIdentity::Nothing => b'n',
        ReplicaIdentity::Full => b'f',
        ReplicaIdentity::Index => b'i',
    });
    to.put_u16(columns(relation.columns.len()));
    for column in &relation.columns {
        to.put_u8(u8::from(column.is_key));
        name(to, &column.name);
        to.put_u32(column.type_oid);
        to.put_i32(column.type_modifier);
    }
}

fn old(to: &mut BytesMut, old: &Old) {
    match old {
        Old::Key(cells) => tuple(to, b'K', cells),
        Old::Full(cells) => tuple(to, b'O', cells),
    }
}

fn tuple(to: &mut BytesMut, kind: u8, cells: &Tuple) {
    to.put_u8(kind);
    to.put_u16(columns(cells.len()));
    for cell in cells {
        match cell {
            Cell::Null => to.put_u8(b'n'),
            Cell::Unchanged => to.put_u8(b'u'),
            Cell::Text(text) => {
                to.put_u8(b't');
                to.put_u32(length(text.len()));
                to.put_slice(text);
            }
        }
    }
}

fn lsn(to: &mut BytesMut, lsn: Lsn) {
    to.put_u64(lsn.0);
}

/// Postgres counts microseconds from 2000-01-01.
fn instant(to: &mut BytesMut, at: Timestamp) {
    to.put_i64(at.as_microsecond() - 946_684_800_000_000);
}

fn name(to: &mut BytesMut, name: &str) {
    to.put_slice(name.as_bytes());
    to.put_u8(0);
}

fn length(count: usize) -> u32 {
    u32::try_from(count).expect("a test's message is smaller than 4 GiB")
}

fn columns(count: usize) -> u16 {
    u16::try_from(count).expect("a table has at most 1,600 columns")
}

#[cfg(test)]
mod tests {
    use super::*;
    use keepsake_archive::pgoutput::{Begin, RelationColumn, TruncateOptions};

    #[test]
    fn every_kind_of_message_is_read_back_as_it_was_written() {
        let text = |text: &'static str| Cell::Text(Bytes::from_static(text.as_bytes()));
        let at = Timestamp::from_microsecond(1_800_000_000_000_001).expect("a date");
        let column = |name: &str, is_key| RelationColumn {
            name: name.to_owned(),
            is_key,
            type_oid: 25,
            type_modifier: -1,
        };
        let row = || vec![text("7"), Cell::Null, Cell::Unchanged];
        let identities = [
            ReplicaIdentity::Default,
            ReplicaIdentity::Nothing,
            ReplicaIdentity::Full,
            ReplicaIdentity::Index,
        ];
        let relation = |identity| {
            Message::Relation(Relation {
                oid: 16385,
                schema: "public".to_owned(),
                name: "Gäste".to_owned(),
                identity,
                columns: vec![column("id", true), column("name", false)],
            })
        };
        let mut messages = vec![
            Message::Begin(Begin { final_lsn: Lsn(5), commit_at: at, xid: 4_000_000_000 }),
            Message::Commit { lsn: Lsn(5), end_lsn: Lsn(6), at },
            Message::Origin { lsn: Lsn(7), name: "away".to_owned() },
            Message::Type { oid: 9, schema: String::new(), name: "mood".to_owned() },
            Message::Insert { relation: 16385, new: row() },
            Message::Update { relation: 16385, old: None, new: row() },
            Message::Update { relation: 16385, old: Some(Old::Key(row())), new: row() },
            Message::Delete { relation: 16385, old: Old::Full(row()) },
            Message::Truncate {
                relations: vec![1, 2],
                options: TruncateOptions { cascade: false, restart_identity: true },
            },
            Message::Logical {
                transactional: true,
                lsn: Lsn(8),
                prefix: "keepsake".to_owned(),
                content: Bytes::from_static(b"\0\xff"),
            },
        ];
        messages.extend(identities.map(relation));
        for message in messages {
            assert_eq!(Message::parse(&encode(&message)), Ok(message));
        }
    }
}
