use super::{ChunkSender, RowReader, SourceError};
use async_trait::async_trait;
use keepsake_archive::ServerFacts;
use keepsake_domain::{Coverage, Lineage, Lsn, TableShape, Timestamp, TransactionSnapshot};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What preflight learned. Nothing was changed on the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFacts {
    /// Database name.
    pub database: String,
    /// Which history it is.
    pub lineage: Lineage,
    /// Server, encoding, collation, extensions.
    pub server: ServerFacts,
    /// As `pg_dump --version` prints it; at least as new as the server.
    pub pg_dump: String,
}

/// What the database holds, as seen in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseShape {
    /// Tables with rows of their own.
    pub tables: Vec<TableShape>,
    /// Number of large objects.
    pub large_objects: u64,
    /// Kind and identity of every schema object, sorted.
    pub objects: Vec<String>,
    /// SHA-256 over the definitions of everything that users made, 64 hexadecimal digits.
    pub schema_fingerprint: String,
    /// Roles, memberships and settings without passwords; JSON, for people and for later releases.
    pub globals: serde_json::Value,
    /// What a full backup leaves out.
    pub coverage: Coverage,
}

/// What a run costs its source now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Strain {
    /// Transactions that began since the snapshot.
    pub transactions: u64,
    /// Who waits behind our readers.
    pub waiting: Vec<Waiting>,
}

/// Somebody's lock request that waits behind a reader of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Process id of our reader on the server.
    pub reader_pid: i32,
    /// The lock that is asked for, as in `AccessExclusiveLock on public.guests`.
    pub wants: String,
    /// For how long.
    pub waited: Duration,
}

/// How a reader is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveWay {
    /// Its statement is cancelled; the reader hears why.
    Cancel,
    /// Its session is ended, which also ends one that the server cannot reach with an error.
    Terminate,
}

/// A transaction that keeps a snapshot alive. Dropping it ends the transaction.
#[async_trait]
pub trait HeldSnapshot: Send + Sync {
    /// The exported name, for `SET TRANSACTION SNAPSHOT`; differs for each holder of one snapshot.
    fn name(&self) -> &str;
    /// What it sees; equal for all holders of one snapshot.
    fn snapshot(&self) -> &TransactionSnapshot;
    /// WAL position when this holder began.
    fn lsn(&self) -> Lsn;
    /// Server time when this holder began.
    fn taken_at(&self) -> Timestamp;
    /// Process id of the holding session on the server, for people.
    fn backend_pid(&self) -> i32;
    /// Asks the server whether the transaction still lives, and what the run costs it: in `waiting` stands whoever
    /// has waited for at least `patience` behind a lock of one of the run's readers.
    ///
    /// # Errors
    /// [`SourceError::SnapshotLost`] when it does not live, [`SourceError::StandbyConflict`] when a standby ended it.
    async fn check(&self, patience: Duration) -> Result<Strain, SourceError>;
    /// Ends what a reader is doing, so that its locks are free. A reader that has ended since is success.
    ///
    /// # Errors
    /// When the server did not do it.
    async fn give_way(&self, waiting: &Waiting, how: GiveWay) -> Result<(), SourceError>;
    /// Ends all of the run's readers, `pg_dump` among them, wherever they run. None left is success.
    ///
    /// # Errors
    /// When the server did not do it.
    async fn end_readers(&self) -> Result<(), SourceError>;
    /// Ends the transaction.
    ///
    /// # Errors
    /// When the server did not confirm.
    async fn end(self: Box<Self>) -> Result<(), SourceError>;
}

/// The database under protection. Everything here only reads, under ACCESS SHARE locks.
#[async_trait]
pub trait Source: Send + Sync {
    /// Checks everything that would make a backup fail or be silently partial: connection, version against
    /// `pg_dump`, rights on every table and sequence, row-level security that would hide rows, access to WAL position,
    /// and that `connections` more can be opened without taking the last ones from others.
    ///
    /// # Errors
    /// [`SourceError`], naming every object that stands in the way.
    async fn preflight(&self, connections: u32) -> Result<SourceFacts, SourceError>;

    /// Takes a new snapshot and exports it.
    ///
    /// # Errors
    /// [`SourceError`].
    async fn take_snapshot(&self) -> Result<Box<dyn HeldSnapshot>, SourceError>;

    /// Imports an exported snapshot and exports it again, so that it outlives its first holder.
    ///
    /// # Errors
    /// [`SourceError::SnapshotLost`] when the first holder is gone.
    async fn take_over_snapshot(&self, name: &str) -> Result<Box<dyn HeldSnapshot>, SourceError>;

    /// Tables, objects, globals and coverage as of the snapshot.
    ///
    /// # Errors
    /// [`SourceError`].
    async fn shape(&self, snapshot_name: &str) -> Result<DatabaseShape, SourceError>;

    /// Streams the schema (sections pre-data and post-data) as a `pg_dump` custom archive without compression, then End, sent only
    /// after `pg_dump` ended well.
    ///
    /// # Errors
    /// [`SourceError::ClientFailed`] with what `pg_dump` said, without credentials.
    async fn dump_schema(&self, snapshot_name: &str, to: &ChunkSender) -> Result<(), SourceError>;

    /// Streams all large objects with owners, rights and comments as a `pg_dump` custom archive, then End.
    ///
    /// # Errors
    /// As for `dump_schema`.
    async fn dump_large_objects(&self, snapshot_name: &str, to: &ChunkSender) -> Result<(), SourceError>;

    /// Opens one more connection that reads in the snapshot.
    ///
    /// # Errors
    /// [`SourceError::SnapshotLost`] when no holder is left.
    async fn reader(&self, snapshot_name: &str) -> Result<Box<dyn RowReader>, SourceError>;
}
