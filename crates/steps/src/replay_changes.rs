//! Replay: the changes of segments onto a restored full backup, up to a point in time. May run twice.

use crate::StepError;
use crate::change_reader::{BATCH_BYTES, ChangeReader, LastTransaction, ReplayRules};
use crate::check_segments::of_segment;
use crate::differential::{OpenedDifferential, Read, StandingDifferential, is_in_differential, read_batches};
use crate::list_changes::StandingChanges;
use crate::ports::{
    AppliedChanges, ChangeApplier, ChangeBatch, ChangePosition, ChangeTarget, ChangedTable, Chunk,
    ChunkReceiver, Repository,
};
use crate::restore_backup::{Restore, all_parts_stand};
use crate::row_layout::Destinations;
use crate::schema_replay::{base_under, sequences_at_target};
use crate::streams::download_opened;
use keepsake_archive::{BackupIdentity, SegmentDecoder, SegmentEnd, SegmentManifest, SegmentRecord};
use keepsake_domain::{
    FailureClass, RecoveryTarget, RestoredDatabase, RestoredTable, SchemaStatement, SequenceValue, TableName,
};
use std::collections::BTreeMap;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;

/// A segment with the key that opens it.
#[derive(Debug, Clone)]
pub struct OpenedSegment {
    /// Its manifest, as it stands.
    pub standing: StandingChanges,
    /// The private half of the run that wrote it.
    pub identity: BackupIdentity,
}

/// What a replay needs.
#[derive(Debug, Clone)]
pub struct Replay {
    /// What the changes up to the first of the segments come to, if they are not to be replayed one by one.
    pub differential: Option<OpenedDifferential>,
    /// In their order, without a hole, from where the backup joins them or the differential ends.
    pub segments: Vec<OpenedSegment>,
    /// Where it ends.
    pub target: RecoveryTarget,
    /// Tables whose changes are not captured: their rows stay the backup's.
    pub not_captured: Vec<TableName>,
    /// What changes the schema up to the target, as [`crate::check_segments`] found it, also what a later one takes back.
    pub statements: Vec<SchemaStatement>,
}

/// What a replay came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// What the restored database must hold now.
    pub expected: RestoredDatabase,
    /// Segments that were read.
    pub segments: u64,
    /// Transactions behind the full backup.
    pub transactions: u64,
    /// The last of them.
    pub last: Option<LastTransaction>,
}

/// Told of each segment that is read.
pub type SegmentRead = dyn Fn(&SegmentManifest) + Send + Sync;

/// Applies the changes of segments that were checked, onto parts that all stand and before the keys are restored, and says
/// what the database must hold behind them. A second call goes on behind what stands.
///
/// # Errors
/// [`FailureClass::Integrity`] when changes do not fit the rows that are there: what stands then is no state that the
/// source ever had. [`FailureClass::Permanent`] when the target is a transaction that is not among the changes.
pub async fn replay_changes(
    restore: &Restore,
    target: &dyn ChangeTarget,
    replay: &Replay,
    read: &SegmentRead,
) -> Result<Replayed, StepError> {
    all_parts_stand(restore).await?;
    let mut applier = target.change_applier().await?;
    let standing = applier.applied().await?;
    let manifest = &restore.backup.manifest;
    let standing = standing.position;
    let differential = replay.differential.as_ref().map(|differential| &differential.standing);
    fits(standing, differential)?;
    let mut rules = rules(restore, replay, standing);
    for statement in &replay.statements {
        rules.destinations.define(&statement.effect)?;
    }
    let mut reader = ChangeReader::new(rules);
    if let Some(differential) = differential {
        reader = reader.behind(differential.end());
    }
    // One batch is gathered while one waits and one is applied.
    let (to, batches) = channel(1);
    let reading = read_all(restore.repository.as_ref(), replay, &mut reader, standing, to, read);
    // On a thread of its own: gathering a batch keeps this one busy. Who drops this drops the task too.
    let mut applying = JoinSet::new();
    applying.spawn(apply_all(applier, batches));
    let (sequences, applied) = tokio::join!(reading, applying.join_next());
    // A reader whose batches nobody takes only saw that.
    let mut applier = applied.and_then(Result::ok).ok_or_else(applier_gone)??;
    let sequences = sequences?.map(|values| sequences_at_target(&manifest.sequences, replay, values));
    target.end_changes(&replay.not_captured).await?;
    // No batch is taken any more, so this is what stays.
    let changed = applier.applied().await?;
    reader.is_at(changed.position)?;
    let (behind, last) = reader.replayed();
    let folded = differential.map(|differential| &differential.manifest);
    let transactions = behind + folded.map_or(0, |manifest| manifest.transactions);
    let last = last.or(folded.and_then(|manifest| manifest.last_transaction).map(LastTransaction::from));
    Ok(Replayed {
        expected: expected(base_under(restore, replay).await?, &changed, sequences)?,
        segments: replay.segments.len() as u64,
        transactions,
        last,
    })
}

/// Whether what an earlier call left can be gone on from: a differential changes the full backup's rows, and no others.
fn fits(standing: ChangePosition, differential: Option<&StandingDifferential>) -> Result<(), StepError> {
    let begins = differential.map(|differential| differential.position(0));
    let is_in = is_in_differential(standing);
    let fits = match begins {
        _ if standing == ChangePosition::default() => true,
        None => !is_in,
        Some(begins) if is_in => begins.transaction == standing.transaction,
        Some(begins) => begins < standing,
    };
    if fits {
        return Ok(());
    }
    let within = if is_in { "within another differential, or at its end" } else { "between two segments" };
    Err(StepError::found(
        FailureClass::Conflict,
        format!("an earlier restore into this target ended at {}, {within}", standing.transaction),
        "the backup is untouched; the target is not a complete restore",
        "restore into a new empty database, or with the same options and from the same repository as the one before",
    ))
}

pub(crate) fn rules(restore: &Restore, replay: &Replay, standing: ChangePosition) -> ReplayRules {
    let manifest = &restore.backup.manifest;
    ReplayRules {
        destinations: Destinations::of(&manifest.parts),
        base: manifest.snapshot.clone(),
        target: replay.target,
        standing,
        batch_bytes: BATCH_BYTES,
    }
}

/// Sends every batch, and answers where the sequences stood at the end of the last segment that was read.
async fn read_all(
    repository: &dyn Repository,
    replay: &Replay,
    reader: &mut ChangeReader,
    standing: ChangePosition,
    to: Sender<ChangeBatch>,
    read: &SegmentRead,
) -> Result<Option<Vec<SequenceValue>>, StepError> {
    let mut sequences = None;
    if let Some(differential) = &replay.differential {
        if differential.standing.manifest.holds.batches == 0 {
            let (from, to_end) = (ChangePosition::default(), differential.standing.end());
            send(&to, ChangeBatch { from, to: to_end, tables: Vec::new() }).await?;
        }
        read_batches(repository, differential, async |found| match found {
            Read::Batch(batch) if batch.to <= standing => Ok(()),
            Read::Batch(batch) => send(&to, batch).await,
            Read::Sequences(values) => {
                sequences = Some(values);
                Ok(())
            }
        })
        .await?;
    }
    let behind =
        read_segments(repository, &replay.segments, reader, read, async |batch| send(&to, batch).await);
    Ok(behind.await?.or(sequences))
}

/// Hands every batch of segments to `take`, the last one too; answers where the sequences stood at the end of the last
/// segment that was read.
pub(crate) async fn read_segments(
    repository: &dyn Repository,
    segments: &[OpenedSegment],
    reader: &mut ChangeReader,
    read: &SegmentRead,
    mut take: impl AsyncFnMut(ChangeBatch) -> Result<(), StepError>,
) -> Result<Option<Vec<SequenceValue>>, StepError> {
    let mut sequences = None;
    for segment in segments {
        if reader.has_ended() {
            break;
        }
        let manifest = of_segment(segment)?;
        reader.begin_segment(&manifest.snapshot);
        read_segment(repository, segment, manifest, async |record| {
            match record {
                SegmentRecord::Message { lsn, payload } => {
                    if let Some(batch) = reader.message(lsn, &payload)? {
                        take(batch).await?;
                    }
                }
                SegmentRecord::Sequences(values) => sequences = Some(values),
                SegmentRecord::End(_) => {}
            }
            Ok(())
        })
        .await?;
        read(manifest);
    }
    if let Some(batch) = reader.finish()? {
        take(batch).await?;
    }
    Ok(sequences)
}

async fn send(to: &Sender<ChangeBatch>, batch: ChangeBatch) -> Result<(), StepError> {
    to.send(batch).await.map_err(|_| applier_gone())
}

async fn apply_all(
    mut applier: Box<dyn ChangeApplier>,
    mut batches: Receiver<ChangeBatch>,
) -> Result<Box<dyn ChangeApplier>, StepError> {
    // Ends when the reader has sent its last one, or failed.
    while let Some(batch) = batches.recv().await {
        applier.apply(&batch).await?;
    }
    Ok(applier)
}

fn applier_gone() -> StepError {
    StepError::WorkerDied { what: "applying changes".to_owned() }
}

/// Hands every record of a segment to `take`, and answers what it held.
pub(crate) async fn read_segment(
    repository: &dyn Repository,
    segment: &OpenedSegment,
    manifest: &SegmentManifest,
    take: impl AsyncFnMut(SegmentRecord) -> Result<(), StepError>,
) -> Result<SegmentEnd, StepError> {
    let decoder = SegmentDecoder::new(&manifest.object.key);
    let drain = |plain| drain(plain, decoder, take);
    download_opened(repository, &manifest.object, None, &segment.identity, drain).await
}

async fn drain(
    mut plain: ChunkReceiver,
    mut decoder: SegmentDecoder,
    mut take: impl AsyncFnMut(SegmentRecord) -> Result<(), StepError>,
) -> Result<SegmentEnd, StepError> {
    loop {
        match plain.recv().await {
            Some(Chunk::Data(bytes)) => {
                decoder.feed(&bytes);
                while let Some(record) = decoder.next_record()? {
                    take(record).await?;
                }
            }
            Some(Chunk::End) => return Ok(decoder.finish()?),
            None => return Err(StepError::WorkerDied { what: "reading a segment".to_owned() }),
        }
    }
}

/// What the backup held, without what was deleted and with what was inserted. Tables that no change reached hold what they
/// held.
fn expected(
    mut base: RestoredDatabase,
    changed: &AppliedChanges,
    sequences: Option<Vec<SequenceValue>>,
) -> Result<RestoredDatabase, StepError> {
    let changed: BTreeMap<&TableName, &ChangedTable> =
        changed.tables.iter().map(|table| (&table.table, table)).collect();
    for table in &mut base.tables {
        if let Some(changed) = changed.get(&table.table) {
            *table = after(table, changed)?;
        }
    }
    if let Some(sequences) = sequences {
        base.sequences = sequences;
    }
    Ok(base)
}

fn after(table: &RestoredTable, changed: &ChangedTable) -> Result<RestoredTable, StepError> {
    let before = if changed.is_emptied { (0, Default::default()) } else { (table.rows, table.rows_digest) };
    let rows = (before.0 + changed.inserted.rows).checked_sub(changed.deleted.rows).ok_or_else(|| {
        StepError::found(
            FailureClass::Integrity,
            format!("more rows of table {} were deleted than it ever had", table.table),
            "the backup is untouched; the target is not a complete restore",
            "restore into a new empty database that nobody else writes to",
        )
    })?;
    let mut rows_digest = before.1;
    rows_digest += changed.inserted.rows_digest;
    rows_digest -= changed.deleted.rows_digest;
    Ok(RestoredTable { table: table.table.clone(), rows, rows_digest })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::differential::tests::standing;
    use keepsake_domain::{Classified, Lsn};

    #[test]
    fn a_restore_goes_on_within_the_same_differential_and_within_no_other_way() {
        let one = standing(800);
        let (other, none) = (standing(900), ChangePosition::default());
        let between = |lsn| ChangePosition { transaction: Lsn(lsn), messages: 5 };
        let (begins, within) = (one.position(0), one.position(2));
        for fitting in [none, begins, within, one.end(), between(800), between(900)] {
            assert!(fits(fitting, Some(&one)).is_ok(), "{fitting:?}");
        }
        for fitting in [none, between(700)] {
            assert!(fits(fitting, None).is_ok(), "{fitting:?}");
        }
        for (standing, differential) in
            [(within, Some(&other)), (one.end(), Some(&other)), (within, None), (between(700), Some(&one))]
        {
            let refused = fits(standing, differential).unwrap_err();
            assert_eq!(refused.class(), FailureClass::Conflict, "{standing:?}");
        }
        // Behind every transaction that it holds, before every other.
        assert!(between(799) < begins && begins < within && within < one.end() && one.end() < between(800));
    }
}
