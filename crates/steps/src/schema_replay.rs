//! Changes of the schema between a full backup and a point in time: run again where that changes no row.
//!
//! Tables and columns are made before any row is loaded, so that rows of all times lie in the tables of the point: a column
//! that was added later holds in rows of before what the source made it hold. Indexes, constraints and comments follow behind
//! everything else.

use crate::StepError;
use crate::ports::{Chunk, ChunkReceiver, SchemaTarget};
use crate::replay_changes::Replay;
use crate::restore_backup::Restore;
use crate::row_layout::before;
use crate::streams::download_opened;
use keepsake_archive::pgoutput::Cell;
use keepsake_archive::{CopyRow, CopyText, Part, RowsHasher};
use keepsake_domain::{
    FailureClass, RestoredDatabase, RestoredTable, RowsDigest, SchemaEffect, SchemaStatement, SequenceValue,
    TableName, without_undone,
};
use std::collections::{BTreeMap, BTreeSet};
use tokio::task::JoinSet;

/// Which statements of a replay are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaPhase {
    /// Those that make tables and columns, or let NULL into one: behind pre-data, before any row.
    BeforeRows,
    /// All others: when indexes and constraints of the backup stand.
    BehindAll,
}

impl SchemaPhase {
    fn has(self, statement: &SchemaStatement) -> bool {
        statement.effect.is_before_rows() == (self == Self::BeforeRows)
    }
}

/// Refuses statements that cannot be run as whom they were run, before anything is changed.
///
/// # Errors
/// [`FailureClass::Permanent`] naming the roles.
pub async fn refuse_roles(
    target: &dyn SchemaTarget,
    statements: &[SchemaStatement],
) -> Result<(), StepError> {
    let ran = without_undone(statements).into_iter();
    let roles: BTreeSet<String> = ran.map(|(_, statement)| statement.role.clone()).collect();
    let roles: Vec<String> = roles.into_iter().collect();
    let beyond = target.out_of_reach(&roles).await?;
    if beyond.is_empty() {
        return Ok(());
    }
    Err(StepError::found(
        FailureClass::Permanent,
        format!("the schema was changed by roles as which nothing can be run here: {}", beyond.join(", ")),
        "nothing was changed on the target",
        "create these roles, or restore as a member of them, or to a point before: keepsake restore --plan shows what changed",
    ))
}

/// Runs the statements of one phase, in their order, of all up to the point; not what a later one takes back. A second call runs
/// what does not stand yet, also to a later point.
///
/// # Errors
/// [`FailureClass::Conflict`] when an earlier call ran more than these; as [`SchemaTarget::define`].
pub async fn define_schema(
    target: &dyn SchemaTarget,
    statements: &[SchemaStatement],
    phase: SchemaPhase,
) -> Result<(), StepError> {
    if target.defined().await? > statements.len() as u64 {
        return Err(StepError::found(
            FailureClass::Conflict,
            "an earlier restore brought the target's schema to a later point",
            "the backup is untouched; the target is not a complete restore",
            "restore into a new empty database",
        ));
    }
    let numbered = without_undone(statements).into_iter();
    for (number, statement) in numbered.filter(|(_, statement)| phase.has(statement)) {
        target.define(number, statement).await?;
    }
    Ok(())
}

/// What the backup holds in the schema of the point: new tables are empty, and rows hold in columns that were added what the source
/// said. Their sums are taken from the archive, and not from the target.
pub(crate) async fn base_under(restore: &Restore, replay: &Replay) -> Result<RestoredDatabase, StepError> {
    let mut base = restore.backup.manifest.expected();
    let mut added: BTreeMap<&TableName, Vec<Cell>> = BTreeMap::new();
    for statement in &replay.statements {
        base.objects.extend(statement.relations().cloned());
        match &statement.effect {
            SchemaEffect::NewTable { table, .. } => {
                let (table, rows_digest) = (table.clone(), RowsDigest::default());
                base.tables.push(RestoredTable { table, rows: 0, rows_digest });
            }
            SchemaEffect::NewColumns { table, columns } => {
                added.entry(table).or_default().extend(columns.iter().map(before));
            }
            _ => {}
        }
    }
    base.objects.sort_unstable();
    base.objects.dedup();
    let mut digests = widened(restore, &added).await?;
    for table in &mut base.tables {
        if let Some(rows_digest) = digests.remove(&table.table) {
            table.rows_digest = rows_digest;
        }
    }
    Ok(base)
}

/// The digests of these tables' rows with these values behind each; none of a table without parts. As many parts at a time
/// as are loaded at a time, each in a task of its own, so that every processor sums; who drops this drops the tasks too.
async fn widened(
    restore: &Restore,
    added: &BTreeMap<&TableName, Vec<Cell>>,
) -> Result<BTreeMap<TableName, RowsDigest>, StepError> {
    let parts = restore.backup.manifest.parts.iter();
    let mut parts = parts.filter_map(|part| Some((part.clone(), added.get(&part.table)?.clone())));
    let mut digests: BTreeMap<TableName, RowsDigest> = BTreeMap::new();
    let mut reading = JoinSet::new();
    loop {
        while reading.len() < restore.jobs.max(1) as usize
            && let Some((part, added)) = parts.next()
        {
            let restore = restore.clone();
            reading.spawn(async move {
                let read = widened_part(&restore, &part, &added).await?;
                Ok::<_, StepError>((part.table, read.rows_digest))
            });
        }
        let Some(read) = reading.join_next().await else { return Ok(digests) };
        let died = |_| StepError::WorkerDied { what: "reading rows of tables with new columns".to_owned() };
        let (table, digest) = read.map_err(died)??;
        *digests.entry(table).or_default() += digest;
    }
}

async fn widened_part(restore: &Restore, part: &Part, added: &[Cell]) -> Result<CopyText, StepError> {
    let mut more = CopyRow::of(added).line().to_vec();
    if !part.columns.is_empty() {
        more.insert(0, b'\t');
    }
    let widen = |plain| widen(plain, more, part.table.to_string());
    download_opened(restore.repository.as_ref(), &part.object, Some(part.content), &restore.identity, widen)
        .await
}

async fn widen(mut plain: ChunkReceiver, more: Vec<u8>, what: String) -> Result<CopyText, StepError> {
    let mut hasher = RowsHasher::new();
    loop {
        match plain.recv().await {
            Some(Chunk::Data(bytes)) => {
                for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                    match line.strip_suffix(b"\n") {
                        Some(row) => [row, &more, b"\n"].iter().for_each(|part| hasher.update(part)),
                        None => hasher.update(line),
                    }
                }
            }
            Some(Chunk::End) => break,
            None => return Err(StepError::WorkerDied { what: format!("reading rows of table {what}") }),
        }
    }
    hasher.finish().map_err(|torn| {
        StepError::found(
            FailureClass::Integrity,
            format!("rows of table {what}: {torn}"),
            "the backup is untouched; the target is not a complete restore",
            "restore from a copy",
        )
    })
}

/// Sequences stand as at the end of a segment, which may lie behind statements that make more of them.
pub(crate) fn sequences_at_target(
    base: &[SequenceValue],
    replay: &Replay,
    mut values: Vec<SequenceValue>,
) -> Vec<SequenceValue> {
    let manifests = || replay.segments.iter().filter_map(|segment| segment.standing.segment());
    if manifests().any(|segment| segment.schema_replayable) {
        values.retain(|value| {
            base.iter().any(|one| one.sequence == value.sequence)
                || replay.statements.iter().any(|statement| statement.makes(&value.sequence))
        });
    }
    values
}
