//! What capture needs to know of a message of `pgoutput`, without reading its rows.

use bytes::Buf;
use keepsake_domain::{Lsn, TableName, Timestamp};

/// Microseconds from 1970 to 2000, where Postgres begins to count.
const POSTGRES_EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;

/// The head of one message, protocol version 1.
/// Source: <https://www.postgresql.org/docs/18/protocol-logicalrep-message-formats.html>, read 2026-11-21.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageHead {
    /// A transaction begins.
    Begin {
        /// Where its commit record begins.
        final_lsn: Lsn,
        /// When it committed.
        commit_at: Timestamp,
        /// Its number, without the epoch.
        xid: u32,
    },
    /// A transaction ends.
    Commit {
        /// Where its commit record ends.
        end_lsn: Lsn,
    },
    /// The description of a relation.
    Relation {
        /// Its number.
        oid: u32,
        /// Its name.
        table: TableName,
    },
    /// The name of a type of the relation that is described next.
    Type,
    /// A row was changed.
    Change {
        /// How.
        kind: ChangeKind,
        /// The relation's number.
        relation: u32,
    },
    /// Relations were emptied.
    Truncate {
        /// Their numbers.
        relations: Vec<u32>,
    },
    /// A message that someone left in the log.
    Logical {
        /// Whether it belongs to a transaction.
        is_transactional: bool,
        /// Where its record ends.
        lsn: Lsn,
        /// Whose it is.
        prefix: String,
        /// What it says.
        content: Vec<u8>,
    },
    /// Where a replicated transaction came from.
    Origin,
}

/// How a row was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// `INSERT`.
    Insert,
    /// `UPDATE`.
    Update,
    /// `DELETE`.
    Delete,
}

/// The bytes are no message that we know. Guessing would lose changes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "a message of {bytes} bytes that begins with byte {first:?} is not of the replication protocol, version 1"
)]
pub struct StrangeMessage {
    bytes: usize,
    first: Option<u8>,
}

impl MessageHead {
    /// Reads the head.
    ///
    /// # Errors
    /// [`StrangeMessage`] when it is cut off, or of a kind that protocol version 1 does not have.
    pub fn of(message: &[u8]) -> Result<Self, StrangeMessage> {
        let strange = || StrangeMessage { bytes: message.len(), first: message.first().copied() };
        let (kind, rest) = message.split_first().ok_or_else(strange)?;
        let rest = Fields(rest);
        let head = match kind {
            b'B' => rest.begin(),
            b'C' => rest.commit(),
            b'R' => rest.relation(),
            b'Y' => Some(Self::Type),
            b'O' => Some(Self::Origin),
            b'I' => rest.change(ChangeKind::Insert),
            b'U' => rest.change(ChangeKind::Update),
            b'D' => rest.change(ChangeKind::Delete),
            b'T' => rest.truncate(),
            b'M' => rest.logical(),
            _ => None,
        };
        head.ok_or_else(strange)
    }
}

/// Fields in network order; `None` where the message ends too early.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u8(&mut self) -> Option<u8> {
        self.0.try_get_u8().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.0.try_get_u32().ok()
    }

    fn lsn(&mut self) -> Option<Lsn> {
        self.0.try_get_u64().ok().map(Lsn)
    }

    fn text(&mut self) -> Option<String> {
        let end = memchr::memchr(0, self.0)?;
        let text = std::str::from_utf8(&self.0[..end]).ok()?.to_owned();
        self.0 = &self.0[end + 1..];
        Some(text)
    }

    fn begin(mut self) -> Option<MessageHead> {
        let final_lsn = self.lsn()?;
        let microseconds = self.0.try_get_i64().ok()?.checked_add(POSTGRES_EPOCH_MICROSECONDS)?;
        let commit_at = Timestamp::from_microsecond(microseconds).ok()?;
        Some(MessageHead::Begin { final_lsn, commit_at, xid: self.u32()? })
    }

    fn commit(mut self) -> Option<MessageHead> {
        let (_flags, _commit_lsn) = (self.u8()?, self.lsn()?);
        Some(MessageHead::Commit { end_lsn: self.lsn()? })
    }

    fn relation(mut self) -> Option<MessageHead> {
        let (oid, schema, name) = (self.u32()?, self.text()?, self.text()?);
        let schema = if schema.is_empty() { "pg_catalog".to_owned() } else { schema };
        Some(MessageHead::Relation { oid, table: TableName { schema, name } })
    }

    fn change(mut self, kind: ChangeKind) -> Option<MessageHead> {
        Some(MessageHead::Change { kind, relation: self.u32()? })
    }

    fn truncate(mut self) -> Option<MessageHead> {
        let (count, _options) = (self.u32()?, self.u8()?);
        let relations = (0..count).map(|_| self.u32()).collect::<Option<Vec<u32>>>()?;
        Some(MessageHead::Truncate { relations })
    }

    fn logical(mut self) -> Option<MessageHead> {
        let is_transactional = self.u8()? & 1 == 1;
        let (lsn, prefix, length) = (self.lsn()?, self.text()?, self.u32()? as usize);
        let content = self.0.get(..length)?.to_vec();
        Some(MessageHead::Logical { is_transactional, lsn, prefix, content })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(kind: u8, fields: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![kind];
        fields.iter().for_each(|field| bytes.extend_from_slice(field));
        bytes
    }

    fn samples() -> Vec<(Vec<u8>, MessageHead)> {
        let (a, b) = (0x16_B374_D848_u64.to_be_bytes(), 0x16_B374_D900_u64.to_be_bytes());
        let micros = 1_000_000_i64.to_be_bytes();
        let (oid, one) = (16_385_u32.to_be_bytes(), 1_u32.to_be_bytes());
        let begin = MessageHead::Begin {
            final_lsn: Lsn(0x16_B374_D848),
            commit_at: "2000-01-01T00:00:01Z".parse().expect("an instant"),
            xid: 16_385,
        };
        let table = TableName { schema: "public".into(), name: "gäste".into() };
        let change = |kind| MessageHead::Change { kind, relation: 16_385 };
        let mark = MessageHead::Logical {
            is_transactional: false,
            lsn: Lsn(0x16_B374_D848),
            prefix: "keepsake".into(),
            content: vec![7],
        };
        vec![
            (message(b'B', &[&a, &micros, &oid]), begin),
            (message(b'C', &[&[0], &a, &b, &micros]), MessageHead::Commit { end_lsn: Lsn(0x16_B374_D900) }),
            (
                message(b'R', &[&oid, b"public\0", "gäste\0".as_bytes(), b"d\0\0"]),
                MessageHead::Relation { oid: 16_385, table },
            ),
            (message(b'I', &[&oid, b"N\0\0"]), change(ChangeKind::Insert)),
            (message(b'U', &[&oid, b"N\0\0"]), change(ChangeKind::Update)),
            (message(b'D', &[&oid, b"K\0\0"]), change(ChangeKind::Delete)),
            (message(b'T', &[&one, &[2], &oid]), MessageHead::Truncate { relations: vec![16_385] }),
            (message(b'M', &[&[0], &a, b"keepsake\0", &one, &[7]]), mark),
        ]
    }

    #[test]
    fn every_kind_of_message_is_known_by_its_head() {
        for (bytes, head) in samples() {
            assert_eq!(MessageHead::of(&bytes), Ok(head));
        }
        assert_eq!(MessageHead::of(b"Y"), Ok(MessageHead::Type));
        assert_eq!(MessageHead::of(b"O"), Ok(MessageHead::Origin));
    }

    #[test]
    fn a_head_that_is_cut_off_and_a_kind_of_another_version_are_refused() {
        for (bytes, _) in samples() {
            assert!(MessageHead::of(&bytes[..4]).is_err(), "{bytes:?}");
        }
        for strange in [&b""[..], b"S", b"E", b"c", b"A", b"b"] {
            assert!(MessageHead::of(strange).is_err(), "{strange:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = MessageHead::of(&bytes);
        }
    }
}
