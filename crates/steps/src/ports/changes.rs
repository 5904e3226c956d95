use super::SourceError;
use async_trait::async_trait;
use bytes::Bytes;
use keepsake_domain::{Lineage, Lsn, NotCaptured, SequenceValue, TableName, Timestamp, TransactionSnapshot};

/// What capture finds on the source before it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureState {
    /// Which history it is.
    pub lineage: Lineage,
    /// Database name.
    pub database: String,
    /// `server_version_num`, for example 150018.
    pub server_version: u32,
    /// Our slot; `None` when it was never made, or is gone.
    pub slot: Option<SlotState>,
    /// Whether our publication stands: somebody wants changes to be captured. Also without a slot, which may be lost.
    pub is_wanted: bool,
    /// The repository that they go to, as our publication names it; `None` when it does not.
    pub holder: Option<String>,
    /// Tables of our publication, sorted.
    pub published: Vec<TableName>,
    /// `pg_current_wal_lsn()`.
    pub wal_lsn: Lsn,
}

/// Our replication slot, as `pg_replication_slots` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotState {
    /// Its name.
    pub name: String,
    /// Everything before was confirmed: the server streams it to nobody again.
    pub confirmed_lsn: Lsn,
    /// The oldest WAL that the slot keeps; `None` once the server dropped it.
    pub restart_lsn: Option<Lsn>,
    /// The process that streams from it now.
    pub active_pid: Option<i32>,
    /// Whether the server invalidated it or its WAL is gone: nothing more can be streamed from it. Says how.
    pub lost: Option<String>,
    /// WAL that the server keeps because of it, in bytes.
    pub retained_bytes: u64,
    /// How much more WAL may be written before the server invalidates it, in bytes; `None` without a bound.
    pub safe_bytes: Option<u64>,
}

/// What protecting a source is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProtectWishes {
    /// Tables without a usable replica identity get `REPLICA IDENTITY FULL`; else they are not captured.
    pub identity_full: bool,
    /// Only if our publication stands: a source that was given free meanwhile stays free.
    pub only_if_wanted: bool,
    /// A slot that stands is dropped and made anew: what it would stream is lost.
    pub slot_anew: bool,
    /// The repository that changes go to, which the publication names from then on.
    pub holder: Option<String>,
}

/// A source whose changes can be captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// Name of the slot.
    pub slot: String,
    /// Name of the publication.
    pub publication: String,
    /// Whether this call made the slot.
    pub is_new: bool,
    /// Changes behind this position are streamed: where a new slot begins, or what was confirmed last.
    pub lsn: Lsn,
    /// The source after the slot stood.
    pub boundary: Boundary,
    /// Tables whose changes are captured, sorted.
    pub published: Vec<TableName>,
    /// Tables whose changes are not, sorted.
    pub not_captured: Vec<NotCaptured>,
    /// `None`: a table that is new is captured from the transaction on that makes it, and the stream tells what was
    /// defined. Else why no event trigger does that; then new tables join at the next boundary.
    pub not_watched: Option<String>,
}

/// What removing our traces removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unprotected {
    /// Kind and name of each object that was removed or set back.
    pub removed: Vec<String>,
}

/// A mark in the write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The mark's record ends here.
    pub lsn: Lsn,
    /// The source's clock just before.
    pub at: Timestamp,
}

/// What the stream of changes does not carry, as the source shows it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary {
    /// `pg_current_snapshot()`, taken after a transaction of ours had drawn a number and was over. Only then is every
    /// transaction that had begun below its `xmax`: by itself a snapshot ends at the highest number that is *over*, and
    /// one whose commit record is written may run on for long (synchronous replication).
    pub snapshot: TransactionSnapshot,
    /// The source's clock.
    pub at: Timestamp,
    /// Where all sequences stand.
    pub sequences: Vec<SequenceValue>,
    /// SHA-256 over the definitions of everything that users made, 64 hexadecimal digits.
    pub schema_fingerprint: String,
    /// Tables whose changes are not captured from here on, sorted.
    pub not_captured: Vec<NotCaptured>,
}

/// The database whose changes are captured.
#[async_trait]
pub trait ChangeSource: Send + Sync {
    /// Slot, publication, lineage and WAL position as they are now. Changes nothing.
    ///
    /// # Errors
    /// [`SourceError`].
    async fn capture_state(&self) -> Result<CaptureState, SourceError>;

    /// Publishes every table with a usable replica identity, watches the schema where it may, then makes the slot. A second
    /// call finds them, adds tables that are new, and is success.
    ///
    /// # Errors
    /// [`SourceError`], naming everything that stands in the way; then nothing was made.
    async fn protect(&self, wishes: &ProtectWishes) -> Result<Protection, SourceError>;

    /// Removes slot, publication and what watches the schema. A second call finds nothing and is success.
    ///
    /// # Errors
    /// [`SourceError`].
    async fn unprotect(&self) -> Result<Unprotected, SourceError>;

    /// Streams the changes of whole transactions, in the order of their commits, from `from` on. Whatever was confirmed
    /// before is not sent again. Tables join and leave before it begins, as at a boundary.
    ///
    /// # Errors
    /// [`SourceError`]; that somebody else streams from the slot passes.
    async fn stream(&self, from: Lsn) -> Result<Box<dyn ChangeStream>, SourceError>;

    /// Leaves a mark in the write-ahead log, which the stream carries like a change: the way to know that everything
    /// before was streamed, and the heartbeat of an idle database.
    ///
    /// # Errors
    /// [`SourceError`].
    async fn mark(&self) -> Result<Mark, SourceError>;

    /// Snapshot, clock, sequences and schema as they are now. Just before, tables that are new join, those that lost their
    /// replica identity leave, and what somebody else left out is published again; each changes the schema's fingerprint.
    /// What cannot be done now, because a table is locked, is left to the next call and told in `not_captured`.
    ///
    /// # Errors
    /// [`SourceError`].
    async fn boundary(&self) -> Result<Boundary, SourceError>;
}

/// What the server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeMessage {
    /// One message of `pgoutput`.
    Wal {
        /// Where its record begins; zero for messages that stand in no record.
        start: Lsn,
        /// The server's write-ahead log reached this far.
        end: Lsn,
        /// The message.
        payload: Bytes,
    },
    /// Nothing to send up to here.
    Keepalive {
        /// The server's write-ahead log reached this far.
        end: Lsn,
    },
}

/// An open stream of changes. Dropping it ends the connection.
#[async_trait]
pub trait ChangeStream: Send {
    /// The next message.
    ///
    /// # Errors
    /// [`SourceError::Unreachable`] when the connection broke, or the server was silent for longer than its keepalives
    /// allow.
    async fn next(&mut self) -> Result<ChangeMessage, SourceError>;

    /// Tells the server that everything up to `lsn` stands in a repository. Only this lets it drop its WAL.
    ///
    /// # Errors
    /// [`SourceError`].
    async fn confirm(&mut self, lsn: Lsn) -> Result<(), SourceError>;

    /// Ends the stream after the server took the last confirmation.
    ///
    /// # Errors
    /// [`SourceError`].
    async fn end(self: Box<Self>) -> Result<(), SourceError>;
}
