//! Which tables' changes are captured, and which are not and why.

use crate::{Lsn, TableName};
use serde::{Deserialize, Serialize};

/// The schema on a source that holds what watches for changes of definitions; its event triggers begin with the same name.
/// No backup restores it.
pub const CAPTURE_SCHEMA: &str = "keepsake_capture";

/// What messages are called in which a source's transactions tell what they defined.
pub const DDL_MESSAGE_PREFIX: &str = "keepsake.ddl";

/// Of messages that lie before every row that was written behind them, and tell what columns hold that were added.
pub const DDL_MESSAGE_FORMAT: u32 = 2;

/// A statement that defined something, as the source's own transaction told it. For people: one may have been told by
/// nobody, and whether the schema changed is decided by its fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaChange {
    /// Where the transaction's commit record begins.
    pub lsn: Lsn,
    /// What kind of statement, as Postgres calls it: `ALTER TABLE`.
    pub command: String,
    /// Kind and name of what it touched, the first few: `table public.guests`.
    pub objects: Vec<String>,
    /// Why a restore cannot run it again; `None` for one that is plain, and of older programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_plain: Option<String>,
}

impl std::fmt::Display for SchemaChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}) at {}", self.command, self.objects.join(", "), self.lsn)?;
        self.not_plain.as_ref().map_or(Ok(()), |why| write!(f, ", not plain: {why}"))
    }
}

/// A table whose changes are not captured: full backups alone protect its rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NotCaptured {
    /// The table.
    pub table: TableName,
    /// Why not.
    pub reason: NotCapturedReason,
}

/// Why a table's changes are not captured. JSON shape: snake case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotCapturedReason {
    /// No primary key and no other replica identity: publishing it would make its owner's UPDATE and DELETE fail.
    NoReplicaIdentity,
    /// Unlogged tables leave nothing in the write-ahead log.
    Unlogged,
    /// Its rows lie on another server.
    Foreign,
    /// It belongs to an extension, which makes it anew.
    OwnedByExtension,
    /// Only a table's owner can publish it.
    NotOwner,
    /// It can be, and somebody held a lock on it when it was tried last.
    NotPublishedYet,
}

impl NotCaptured {
    /// Whether a restore leaves it out that begins with a full backup which has no rows of it. The rows of foreign tables, and
    /// of those that an extension makes anew, are in none.
    #[must_use]
    pub fn is_missing_without_rows(&self) -> bool {
        !matches!(self.reason, NotCapturedReason::Foreign | NotCapturedReason::OwnedByExtension)
    }
}

impl std::fmt::Display for NotCapturedReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoReplicaIdentity => "it has no replica identity",
            Self::Unlogged => "it is unlogged",
            Self::Foreign => "it is a foreign table",
            Self::OwnedByExtension => "it belongs to an extension",
            Self::NotOwner => "this role does not own it",
            Self::NotPublishedYet => "it was locked when it was to join",
        })
    }
}

impl NotCapturedReason {
    /// What a person can do about it.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::NoReplicaIdentity => {
                "add a primary key that is not deferrable, or choose REPLICA IDENTITY FULL for it, as \
                 keepsake protect --replica-identity-full does for all such tables: that writes more WAL"
            }
            Self::Unlogged => "ALTER TABLE … SET LOGGED, if its rows matter between two full backups",
            Self::Foreign => "protect the server that holds the rows",
            Self::OwnedByExtension => "nothing: full backups hold its rows",
            Self::NotPublishedYet => {
                "nothing, if it passes: capture tries again at each segment's end; pg_locks shows who holds it"
            }
            Self::NotOwner => "as its owner, GRANT that role TO the role that captures",
        }
    }
}
