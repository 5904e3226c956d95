//! Messages of Postgres's output plugin `pgoutput`, protocol version 1, values as text.
//!
//! Segments hold these messages exactly as the server sent them. Whatever the bytes are, a message is read or refused;
//! values are slices of the message, and nothing is copied but names.
//! Source: <https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>, read 2026-11-21.

mod fields;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use fields::Fields;
use keepsake_domain::{Lsn, TableName, Timestamp};

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A transaction begins. Transactions come whole, in the order of their commits.
    Begin(Begin),
    /// The transaction ends.
    Commit {
        /// Where its commit record begins; the same as [`Begin::final_lsn`].
        lsn: Lsn,
        /// Where its commit record ends.
        end_lsn: Lsn,
        /// When it committed, by the source's clock.
        at: Timestamp,
    },
    /// The transaction came from another server by replication.
    Origin {
        /// Its commit there.
        lsn: Lsn,
        /// The origin's name.
        name: String,
    },
    /// What the changes behind it mean that name its object id.
    Relation(Relation),
    /// A type that is not built in.
    Type {
        /// Object id on the source.
        oid: u32,
        /// Schema; empty for `pg_catalog`.
        schema: String,
        /// Name.
        name: String,
    },
    /// A row was inserted.
    Insert {
        /// Object id of the table.
        relation: u32,
        /// The row.
        new: Tuple,
    },
    /// A row was changed.
    Update {
        /// Object id of the table.
        relation: u32,
        /// What identified it before; absent when its key did not change.
        old: Option<Old>,
        /// The row as it is now.
        new: Tuple,
    },
    /// A row was deleted.
    Delete {
        /// Object id of the table.
        relation: u32,
        /// What identified it.
        old: Old,
    },
    /// Tables were emptied, at once.
    Truncate {
        /// Their object ids.
        relations: Vec<u32>,
        /// `CASCADE` and `RESTART IDENTITY`.
        options: TruncateOptions,
    },
    /// Somebody's mark in the write-ahead log.
    Logical {
        /// Whether it belongs to the transaction around it; others stand between transactions.
        transactional: bool,
        /// Where its record stands.
        lsn: Lsn,
        /// Whose it is.
        prefix: String,
        /// What it says.
        content: Bytes,
    },
}

/// The beginning of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// Where its commit record begins.
    pub final_lsn: Lsn,
    /// When it committed, by the source's clock.
    pub commit_at: Timestamp,
    /// Its id, without the epoch.
    pub xid: u32,
}

/// A table whose changes follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Object id on the source.
    pub oid: u32,
    /// Schema; empty for `pg_catalog`.
    pub schema: String,
    /// Name.
    pub name: String,
    /// What identifies its rows.
    pub identity: ReplicaIdentity,
    /// Its columns, without generated and dropped ones.
    pub columns: Vec<RelationColumn>,
}

impl Relation {
    /// Schema and name.
    #[must_use]
    pub fn table(&self) -> TableName {
        let schema = if self.schema.is_empty() { "pg_catalog" } else { &self.schema };
        TableName { schema: schema.to_owned(), name: self.name.clone() }
    }
}

/// One column of a [`Relation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    /// Name.
    pub name: String,
    /// Whether it belongs to what identifies a row.
    pub is_key: bool,
    /// Object id of its type on the source.
    pub type_oid: u32,
    /// `atttypmod`.
    pub type_modifier: i32,
}

/// What a table writes of a row before it is changed or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// Its primary key, if there is one.
    Default,
    /// Nothing: only insertions and truncations come.
    Nothing,
    /// The whole row.
    Full,
    /// A unique index.
    Index,
}

/// A row: one cell per column of the relation.
pub type Tuple = Vec<Cell>;

/// One value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cell {
    /// NULL; or, in [`Old::Key`], a column that does not identify.
    Null,
    /// A large value that the change left as it was; it is not sent.
    Unchanged,
    /// As the type's output function prints it.
    Text(Bytes),
}

/// What identified a row before its change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Old {
    /// The columns of its replica identity; the others are [`Cell::Null`].
    Key(Tuple),
    /// The whole row.
    Full(Tuple),
}

/// How tables were emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TruncateOptions {
    /// `CASCADE`: the message names every table that it reached.
    pub cascade: bool,
    /// `RESTART IDENTITY`.
    pub restart_identity: bool,
}

/// The bytes are no message. Never carries a value of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no pgoutput message of version 1: {what} at byte {at} of {length}")]
pub struct PgoutputError {
    what: &'static str,
    at: usize,
    length: usize,
}

impl Message {
    /// Reads one message, which must be all of the bytes.
    ///
    /// # Errors
    /// [`PgoutputError`] when the bytes are cut off, longer than the message, or of a kind that this version lacks.
    pub fn parse(bytes: &Bytes) -> Result<Self, PgoutputError> {
        let mut fields = Fields::of(bytes);
        let message = match fields.u8()? {
            b'B' => Self::Begin(Begin {
                final_lsn: fields.lsn()?,
                commit_at: fields.instant()?,
                xid: fields.u32()?,
            }),
            b'C' => commit(&mut fields)?,
            b'O' => Self::Origin { lsn: fields.lsn()?, name: fields.name()? },
            b'R' => Self::Relation(relation(&mut fields)?),
            b'Y' => Self::Type { oid: fields.u32()?, schema: fields.name()?, name: fields.name()? },
            b'I' => Self::Insert { relation: fields.u32()?, new: new_tuple(&mut fields)? },
            b'U' => update(&mut fields)?,
            b'D' => delete(&mut fields)?,
            b'T' => truncate(&mut fields)?,
            b'M' => logical(&mut fields)?,
            _ => return Err(fields.refused("an unknown kind of message")),
        };
        fields.end()?;
        Ok(message)
    }
}

fn commit(fields: &mut Fields) -> Result<Message, PgoutputError> {
    if fields.u8()? != 0 {
        return Err(fields.refused("flags of a commit that this version lacks"));
    }
    Ok(Message::Commit { lsn: fields.lsn()?, end_lsn: fields.lsn()?, at: fields.instant()? })
}

fn relation(fields: &mut Fields) -> Result<Relation, PgoutputError> {
    let (oid, schema, name) = (fields.u32()?, fields.name()?, fields.name()?);
    let identity = match fields.u8()? {
        b'd' => ReplicaIdentity::Default,
        b'n' => ReplicaIdentity::Nothing,
        b'f' => ReplicaIdentity::Full,
        b'i' => ReplicaIdentity::Index,
        _ => return Err(fields.refused("an unknown replica identity")),
    };
    let count = fields.count()?;
    let column = |_| {
        let flags = fields.u8()?;
        Ok(RelationColumn {
            is_key: flags & 1 == 1,
            name: fields.name()?,
            type_oid: fields.u32()?,
            type_modifier: fields.i32()?,
        })
    };
    let columns = (0..count).map(column).collect::<Result<_, _>>()?;
    Ok(Relation { oid, schema, name, identity, columns })
}

fn new_tuple(fields: &mut Fields) -> Result<Tuple, PgoutputError> {
    match fields.u8()? {
        b'N' => tuple(fields),
        _ => Err(fields.refused("no new row where one must be")),
    }
}

fn update(fields: &mut Fields) -> Result<Message, PgoutputError> {
    let relation = fields.u32()?;
    let (old, new) = match fields.u8()? {
        b'N' => (None, tuple(fields)?),
        b'K' => (Some(Old::Key(tuple(fields)?)), new_tuple(fields)?),
        b'O' => (Some(Old::Full(tuple(fields)?)), new_tuple(fields)?),
        _ => return Err(fields.refused("no row where one must be")),
    };
    Ok(Message::Update { relation, old, new })
}

fn delete(fields: &mut Fields) -> Result<Message, PgoutputError> {
    let relation = fields.u32()?;
    let old = match fields.u8()? {
        b'K' => Old::Key(tuple(fields)?),
        b'O' => Old::Full(tuple(fields)?),
        _ => return Err(fields.refused("no old row where one must be")),
    };
    Ok(Message::Delete { relation, old })
}

fn truncate(fields: &mut Fields) -> Result<Message, PgoutputError> {
    let count = fields.u32()?;
    let flags = fields.u8()?;
    let options = TruncateOptions { cascade: flags & 1 != 0, restart_identity: flags & 2 != 0 };
    let relations = (0..count).map(|_| fields.u32()).collect::<Result<_, _>>()?;
    Ok(Message::Truncate { relations, options })
}

fn logical(fields: &mut Fields) -> Result<Message, PgoutputError> {
    let transactional = fields.u8()? & 1 == 1;
    let (lsn, prefix) = (fields.lsn()?, fields.name()?);
    Ok(Message::Logical { transactional, lsn, prefix, content: fields.counted()? })
}

fn tuple(fields: &mut Fields) -> Result<Tuple, PgoutputError> {
    let count = fields.count()?;
    let cell = |_| match fields.u8()? {
        b'n' => Ok(Cell::Null),
        b'u' => Ok(Cell::Unchanged),
        b't' => Ok(Cell::Text(fields.counted()?)),
        b'b' => Err(fields.refused("a value in binary, which was not asked for")),
        _ => Err(fields.refused("an unknown kind of value")),
    };
    (0..count).map(cell).collect()
}
