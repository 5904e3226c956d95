use super::TargetError;
use async_trait::async_trait;
use keepsake_archive::{CopyRow, CopyText};
use keepsake_domain::{Lsn, SchemaStatement, SequenceName, TableName};

/// A database that was restored from a full backup and not yet given its keys, to which changes are applied.
#[async_trait]
pub trait ChangeTarget: Send + Sync {
    /// Opens the connection that applies changes.
    ///
    /// # Errors
    /// [`TargetError`].
    async fn change_applier(&self) -> Result<Box<dyn ChangeApplier>, TargetError>;

    /// Removes the indexes that applying made, and lets no further changes in. A second call finds nothing to remove.
    /// Tables of `as_of_backup` keep the backup's rows: what is restored of keys behind this minds that a foreign key
    /// between one of them and another table may not hold, and tells it as left out.
    ///
    /// # Errors
    /// [`TargetError`].
    async fn end_changes(&self, as_of_backup: &[TableName]) -> Result<(), TargetError>;

    /// For every sequence that belongs to a column of whole numbers, the last of its numbers that a row uses. Sequences
    /// that wrap around, and columns without such a number, are not named. Asked when the keys stand, each is one look
    /// into an index.
    ///
    /// # Errors
    /// [`TargetError`].
    async fn numbers_in_use(&self) -> Result<Vec<NumberInUse>, TargetError>;
}

/// A database in which statements that changed the source's schema are run again.
#[async_trait]
pub trait SchemaTarget: Send + Sync {
    /// Those of these roles as which no statement can be run here, sorted.
    ///
    /// # Errors
    /// [`TargetError`].
    async fn out_of_reach(&self, roles: &[String]) -> Result<Vec<String>, TargetError>;

    /// How many statements stand from an earlier, interrupted call.
    ///
    /// # Errors
    /// [`TargetError`].
    async fn defined(&self) -> Result<u64, TargetError>;

    /// Runs a statement in a transaction of its own, as its role and with its `search_path`, and notes its number in it. One
    /// that stands is not run again, and is success.
    ///
    /// # Errors
    /// [`TargetError`] when the server refuses it, or tables, indexes and sequences have other names behind it than on the
    /// source; then nothing of it stays.
    async fn define(&self, number: u64, statement: &SchemaStatement) -> Result<(), TargetError>;
}

/// A number of a sequence that a row uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberInUse {
    /// The sequence.
    pub sequence: SequenceName,
    /// The highest number, or the lowest of a sequence that counts down.
    pub number: i64,
    /// Whether the sequence counts down.
    pub counts_down: bool,
}

/// One connection that applies changes, batch after batch.
#[async_trait]
pub trait ChangeApplier: Send {
    /// How far the changes stand, from this or an earlier, interrupted call.
    ///
    /// # Errors
    /// [`TargetError`].
    async fn applied(&mut self) -> Result<AppliedChanges, TargetError>;

    /// Applies a batch in one transaction, which also moves the position from `batch.from` to `batch.to`. A batch that
    /// stands already is not applied again, and is success.
    ///
    /// # Errors
    /// [`TargetError::RowsDiffer`] when a row that must be there is missing, or is there more often than it must;
    /// [`TargetError::ChangesElsewhere`] when the position is another. Then nothing of the batch stays.
    async fn apply(&mut self, batch: &ChangeBatch) -> Result<(), TargetError>;
}

/// A position between two changes. Transactions are applied in the order of their commits, so the position is one of
/// them, and how many of its changes stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ChangePosition {
    /// Where the transaction's commit record begins; zero before the first.
    pub transaction: Lsn,
    /// How many of its messages were taken.
    pub messages: u64,
}

/// What applying changes did to a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedTable {
    /// The table that the rows were compared in.
    pub table: TableName,
    /// Whether it was emptied, so that nothing of what was there before counts; sums below begin behind that.
    pub is_emptied: bool,
    /// Rows that the target gave back as deleted.
    pub deleted: CopyText,
    /// Rows that were inserted.
    pub inserted: CopyText,
}

/// How far the changes stand in a target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppliedChanges {
    /// The position behind the last batch.
    pub position: ChangePosition,
    /// Whether applying was ended: no batch is taken any more.
    pub has_ended: bool,
    /// Every table that was changed so far, each once.
    pub tables: Vec<ChangedTable>,
}

/// Changes of some transactions, folded to what they come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangeBatch {
    /// Where the batch begins.
    pub from: ChangePosition,
    /// Where it ends.
    pub to: ChangePosition,
    /// Every table that it changes, each once.
    pub tables: Vec<TableChange>,
}

/// What a batch comes to in one table. Applied in this order: emptied, deletions, updates, insertions; between them
/// keys may be there twice or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableChange {
    /// The table.
    pub table: TableName,
    /// Its columns, in the order of the rows below.
    pub columns: Vec<String>,
    /// Places of the columns that identify a row; none where only all columns together do.
    pub key: Vec<usize>,
    /// Whether the table is emptied first.
    pub is_emptied: bool,
    /// Rows that are deleted, each named once.
    pub deletions: Vec<Deletion>,
    /// Rows that change and keep large values that the changes do not carry, each named once.
    pub updates: Vec<Update>,
    /// Rows that are inserted, whole.
    pub insertions: Vec<Insertion>,
}

impl TableChange {
    /// Names of the columns that identify a row.
    #[must_use]
    pub fn key_columns(&self) -> Vec<&str> {
        self.key.iter().filter_map(|place| self.columns.get(*place)).map(String::as_str).collect()
    }
}

/// A row that is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// The columns that identify it.
    pub key: CopyRow,
    /// How often; more than once only without a key.
    pub count: u64,
    /// The change that named it first.
    pub lsn: Lsn,
}

/// A row that changes and keeps some values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// What identifies it in the target.
    pub key: CopyRow,
    /// The row as it is to be; not whole.
    pub row: CopyRow,
    /// The change that named it first.
    pub lsn: Lsn,
}

/// A row that is inserted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insertion {
    /// The row.
    pub row: CopyRow,
    /// How often; more than once only without a key.
    pub count: u64,
}
