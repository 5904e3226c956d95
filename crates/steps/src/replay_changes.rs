//! Replay: the changes of segments onto a restored full backup, up to a point in time. May run twice.

use crate::StepError;
use crate::change_reader::{BATCH_BYTES, ChangeReader, LastTransaction, ReplayRules};
use crate::list_changes::StandingChanges;
use crate::ports::{
    AppliedChanges, ChangeApplier, ChangeBatch, ChangePosition, ChangeTarget, ChangedTable, Chunk,
    ChunkReceiver, Repository,
};
use crate::restore_backup::{Restore, all_parts_stand};
use crate::row_layout::Destinations;
use crate::streams::download_opened;
use keepsake_archive::{BackupIdentity, SegmentDecoder, SegmentEnd, SegmentManifest, SegmentRecord};
use keepsake_domain::{
    Classified, FailureClass, RecoveryTarget, RestoredDatabase, RestoredTable, SequenceValue, TableName,
    chain,
};
use std::collections::BTreeMap;
use tokio::sync::mpsc::{Receiver, Sender, channel};

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
    /// In their order, without a hole, from where the backup joins them.
    pub segments: Vec<OpenedSegment>,
    /// Where it ends.
    pub target: RecoveryTarget,
    /// Tables whose changes are not captured: their rows stay the backup's.
    pub not_captured: Vec<TableName>,
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

/// Reads every segment up to the target to its end, and compares the manifests with each other, with their seals and with
/// the backup, before anything is changed anywhere. A second call reads them again.
///
/// # Errors
/// [`FailureClass::Integrity`] naming the first segment that is damaged, missing, or of another history.
/// [`FailureClass::Permanent`] when the target is a transaction that is not among the changes.
pub async fn check_segments(restore: &Restore, replay: &Replay, read: &SegmentRead) -> Result<(), StepError> {
    let mut reader = ChangeReader::looking(rules(restore, replay, ChangePosition::default()));
    for (index, segment) in replay.segments.iter().enumerate() {
        if reader.has_ended() {
            break;
        }
        let before = index.checked_sub(1).and_then(|before| replay.segments.get(before));
        let manifest = belongs(restore, segment, before)?;
        reader.begin_segment(&manifest.snapshot);
        let held = read_segment(restore.repository.as_ref(), segment, manifest, async |record| {
            if let SegmentRecord::Message { lsn, payload } = record {
                reader.message(lsn, &payload)?;
            }
            Ok(())
        });
        match held.await {
            Ok(held) if held == manifest.holds => read(manifest),
            Ok(held) => {
                let finding = format!("it holds {held:?}, and its manifest says {:?}", manifest.holds);
                return Err(damaged(segment, &finding));
            }
            Err(error) if error.class() == FailureClass::Integrity => {
                return Err(damaged(segment, &chain(&error)));
            }
            Err(error) => return Err(error),
        }
    }
    reader.finish().map(drop)
}

fn rules(restore: &Restore, replay: &Replay, standing: ChangePosition) -> ReplayRules {
    let manifest = &restore.backup.manifest;
    ReplayRules {
        destinations: Destinations::of(&manifest.parts),
        base: manifest.snapshot.clone(),
        target: replay.target,
        standing,
        batch_bytes: BATCH_BYTES,
    }
}

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
    let mut reader = ChangeReader::new(rules(restore, replay, standing.position));
    // One batch is gathered while one waits and one is applied.
    let (to, batches) = channel(1);
    let reading = read_all(restore.repository.as_ref(), replay, &mut reader, to, read);
    let (sequences, applied) = tokio::join!(reading, apply_all(applier.as_mut(), batches));
    // A reader whose batches nobody takes only saw that.
    applied?;
    let sequences = sequences?;
    target.end_changes(&replay.not_captured).await?;
    let changed = applier.applied().await?;
    let (transactions, last) = reader.replayed();
    Ok(Replayed {
        expected: expected(manifest.expected(), &changed, sequences)?,
        segments: replay.segments.len() as u64,
        transactions,
        last,
    })
}

/// Sends every batch, and answers where the sequences stood at the end of the last segment.
async fn read_all(
    repository: &dyn Repository,
    replay: &Replay,
    reader: &mut ChangeReader,
    to: Sender<ChangeBatch>,
    read: &SegmentRead,
) -> Result<Option<Vec<SequenceValue>>, StepError> {
    let mut sequences = None;
    for segment in &replay.segments {
        if reader.has_ended() {
            break;
        }
        let manifest = of_segment(segment)?;
        reader.begin_segment(&manifest.snapshot);
        read_segment(repository, segment, manifest, async |record| {
            match record {
                SegmentRecord::Message { lsn, payload } => {
                    if let Some(batch) = reader.message(lsn, &payload)? {
                        send(&to, batch).await?;
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
        send(&to, batch).await?;
    }
    Ok(sequences)
}

async fn send(to: &Sender<ChangeBatch>, batch: ChangeBatch) -> Result<(), StepError> {
    to.send(batch).await.map_err(|_| StepError::WorkerDied { what: "applying changes".to_owned() })
}

async fn apply_all(
    applier: &mut dyn ChangeApplier,
    mut batches: Receiver<ChangeBatch>,
) -> Result<(), StepError> {
    // Ends when the reader has sent its last one, or failed.
    while let Some(batch) = batches.recv().await {
        applier.apply(&batch).await?;
    }
    Ok(())
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

fn of_segment(segment: &OpenedSegment) -> Result<&SegmentManifest, StepError> {
    segment
        .standing
        .segment()
        .ok_or_else(|| of_another_history(segment, "it begins a chain and holds nothing"))
}

/// Whether a segment follows the one before it, in the history of the backup, and was sealed with the key that opens it.
fn belongs<'a>(
    restore: &Restore,
    segment: &'a OpenedSegment,
    before: Option<&OpenedSegment>,
) -> Result<&'a SegmentManifest, StepError> {
    let (standing, manifest) = (&segment.standing, of_segment(segment)?);
    let base = &restore.backup.manifest;
    standing.seal.check(&standing.manifest_key(), &segment.identity.seal_key())?;
    if (&manifest.source, &manifest.lineage) != (&base.source, &base.lineage) {
        return Err(of_another_history(segment, "it is of another lineage than the full backup"));
    }
    match before {
        Some(before) if of_segment(before)?.end_lsn != manifest.start_lsn => {
            Err(of_another_history(segment, "it does not begin where the one before ends"))
        }
        Some(before) if before.standing.as_previous() != manifest.previous => {
            Err(of_another_history(segment, "it names another manifest as the one before"))
        }
        _ => Ok(manifest),
    }
}

fn damaged(segment: &OpenedSegment, finding: &str) -> StepError {
    StepError::found(
        FailureClass::Integrity,
        format!("segment \"{}\" cannot be restored: {finding}", segment.standing.manifest_key()),
        "full backups and the segments before it are not affected; nothing was changed on the target",
        "restore to a point before it, or from a copy: keepsake window --repo <URL>",
    )
}

fn of_another_history(segment: &OpenedSegment, why: &str) -> StepError {
    StepError::found(
        FailureClass::Integrity,
        format!("segment \"{}\" does not belong to this history: {why}", segment.standing.manifest_key()),
        "full backups and the segments before it are not affected",
        "restore to a point before it, or from a copy: keepsake window --repo <URL>",
    )
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
