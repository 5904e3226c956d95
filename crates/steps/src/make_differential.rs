//! Make a differential: what all changes behind a full backup come to, row by row, in bounded memory. Reads and writes the
//! repository only. May run twice.

mod output;

use crate::StepError;
use crate::chain::RunKey;
use crate::change_reader::{ChangeReader, ReplayRules};
use crate::check_segments::check_all;
use crate::differential::{StandingDifferential, differential_keys, read_differential};
use crate::list_backups::StandingBackup;
use crate::net_changes::{HashRange, Parting, Share, Survey};
use crate::ports::{ChangeBatch, ChangePosition, ChunkSender, Clock, KeyHolder, Repository, RepositoryError};
use crate::replay_changes::{OpenedSegment, SegmentRead, read_segments};
use crate::row_layout::Destinations;
use crate::seal_backup::check_objects;
use crate::streams::{Sealing, upload_sealed};
use bytes::Bytes;
use keepsake_archive::{
    Attempt, ChangesLayout, Content, DifferentialBase, DifferentialEnd, DifferentialManifest, FORMAT_VERSION,
    ReachedTransaction, Recipient, SegmentManifest, StoredObject,
};
use keepsake_domain::{FailureClass, RecoveryTarget, SequenceValue};
use output::{Output, in_pieces};
use std::sync::Arc;
use uuid::Uuid;

/// What one reading of the segments may gather. The segments are read once to look at them, and once for each part of this size
/// of what they come to; with the batch that is written and the buffers of a stream a run takes twice this memory.
pub const FOLD_BYTES: usize = 256 << 20;

/// One batch of a differential: who restores it holds three.
const BATCH_BYTES: usize = 32 << 20;

/// What making a differential works with.
pub struct Making<'a> {
    /// Where segments are read and the differential goes.
    pub repository: &'a dyn Repository,
    /// Who wraps the run's key beside the recovery recipients.
    pub key_holder: &'a dyn KeyHolder,
    /// Offline recovery recipients.
    pub recovery: &'a [Recipient],
    /// Time.
    pub clock: &'a dyn Clock,
    /// zstd level.
    pub level: i32,
    /// What one reading may gather; [`FOLD_BYTES`] unless a test wants less.
    pub fold_bytes: usize,
}

/// A differential that stands.
#[derive(Debug, Clone, PartialEq)]
pub struct MadeDifferential {
    /// The differential.
    pub standing: StandingDifferential,
    /// Whether this call made it.
    pub is_new: bool,
}

/// Folds the changes of segments behind a full backup, from where it joins them to the end of the last one. A second call
/// finds the differential and is success.
///
/// # Errors
/// [`FailureClass::Permanent`] when there is no segment, or single partitions were emptied of which the rows cannot be told;
/// [`FailureClass::Integrity`] naming a segment that is damaged.
pub async fn make_differential(
    making: &Making<'_>,
    backup: &StandingBackup,
    segments: &[OpenedSegment],
    read: &SegmentRead,
) -> Result<MadeDifferential, StepError> {
    let ends = segments.last().and_then(|last| Some((last, last.standing.segment()?)));
    let (last, ends) = ends.ok_or_else(|| nothing_captured(backup))?;
    let manifests = segments.iter().filter_map(|segment| segment.standing.segment());
    if let Some(changed) = manifests.clone().find(|segment| segment.schema_changed) {
        return Err(across_schemas(changed));
    }
    let (layout, base) = (&last.standing.layout, backup.layout.backup_id);
    if let Some(standing) = standing(making.repository, layout, ends, backup).await? {
        return Ok(MadeDifferential { standing, is_new: false });
    }
    let place = |run_id| layout.differential_keys(run_id, 1);
    let (repository, clock) = (making.repository, making.clock);
    let key = RunKey::draw_at(repository, making.key_holder, making.recovery, clock, place).await?;
    let folding = Folding { making, backup, segments, read };
    let (object, folded) = folding.upload(layout, ends, &key).await?;
    let manifest = folding.manifest((last, ends), &key, folded, object);
    let name = layout.differential(ends.end_lsn, base);
    let json = manifest.to_json(&key.seal_key);
    let json = json.map_err(|cause| StepError::Work { key: name.clone(), cause })?;
    // What would not be read again must not be written.
    DifferentialManifest::parse(&name, &json)?;
    check_objects(repository, [&manifest.object, &key.object].into_iter()).await?;
    match repository.put_new(&name, Bytes::from(json)).await {
        // Another run made the same meanwhile, or this one did and its answer was lost.
        Ok(_) | Err(RepositoryError::AlreadyExists { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let standing = read_differential(repository, layout, ends.end_lsn, base).await?;
    let is_new = standing.manifest.run_id == key.run_id;
    Ok(MadeDifferential { standing, is_new })
}

async fn standing(
    repository: &dyn Repository,
    layout: &ChangesLayout,
    ends: &SegmentManifest,
    backup: &StandingBackup,
) -> Result<Option<StandingDifferential>, StepError> {
    let base = backup.layout.backup_id;
    let keys = differential_keys(repository, &layout.differential(ends.end_lsn, base)).await?;
    match keys.first() {
        Some(_) => read_differential(repository, layout, ends.end_lsn, base).await.map(Some),
        None => Ok(None),
    }
}

/// What was folded.
struct Folded {
    holds: DifferentialEnd,
    raw_bytes: u64,
    transactions: u64,
    last: Option<ReachedTransaction>,
}

struct Folding<'a> {
    making: &'a Making<'a>,
    backup: &'a StandingBackup,
    segments: &'a [OpenedSegment],
    read: &'a SegmentRead,
}

impl Folding<'_> {
    async fn upload(
        &self,
        layout: &ChangesLayout,
        ends: &SegmentManifest,
        key: &RunKey,
    ) -> Result<(StoredObject, Folded), StepError> {
        let object = layout.differential_object(key.run_id, ends.end_lsn, Attempt(Uuid::now_v7()));
        let level = self.making.level;
        let sealing = Sealing { recipient: &key.recipient, level, content: Content::Opaque };
        let mut folded = None;
        let into = &mut folded;
        let produce = |to| async move {
            *into = Some(self.fold(to).await?);
            Ok(())
        };
        let (object, content) = upload_sealed(self.making.repository, &object, sealing, produce).await?;
        let folded = folded.ok_or_else(|| StepError::WorkerDied { what: "folding changes".to_owned() })?;
        Ok((object, Folded { raw_bytes: content.raw_bytes, ..folded }))
    }

    async fn fold(&self, to: ChunkSender) -> Result<Folded, StepError> {
        let (survey, transactions, last) = self.survey().await?;
        let mut output = Output::begin(to);
        let mut sequences = None;
        if survey.has_joined() {
            let mut reader = self.reader(Share::Joined(Parting::of(&survey)), BATCH_BYTES);
            sequences = self.pass(&mut reader, async |batch| output.batch(batch.tables).await).await?;
        }
        let mut from = Some(0);
        // Ends: each reading gathers at least one hash more, and as many as fit into memory.
        while let Some(begin) = from {
            let share = Share::Keys(Parting::of(&survey), HashRange::from(begin), self.making.fold_bytes);
            let mut reader = self.reader(share, usize::MAX);
            let mut gathered = Vec::new();
            sequences = self
                .pass(&mut reader, async |batch: ChangeBatch| {
                    gathered = batch.tables;
                    Ok(())
                })
                .await?;
            let Share::Keys(_, range, _) = reader.share() else { break };
            for tables in in_pieces(gathered, *range, BATCH_BYTES) {
                output.batch(tables).await?;
            }
            from = range.to.checked_add(1);
        }
        let end = self.segments.last().map(|last| last.standing.boundary().position.lsn);
        let holds = output.end(end.unwrap_or_default(), &sequences.unwrap_or_default()).await?;
        Ok(Folded { holds, raw_bytes: 0, transactions, last })
    }

    /// The first reading: that all is whole and fits together, and what the others have to know.
    async fn survey(&self) -> Result<(Arc<Survey>, u64, Option<ReachedTransaction>), StepError> {
        let mut reader = self.reader(Share::Survey(Survey::default()), usize::MAX);
        let (repository, base) = (self.making.repository, &self.backup.manifest);
        check_all(repository, base, self.segments, &mut reader, &mut |_, _, _| Ok(()), self.read).await?;
        reader.finish()?;
        let (transactions, last) = reader.replayed();
        let last = last.map(|last| ReachedTransaction {
            lsn: last.lsn,
            committed_at: last.committed_at,
            xid: last.xid,
        });
        let Share::Survey(survey) = reader.share() else {
            return Err(StepError::WorkerDied { what: "looking at changes".to_owned() });
        };
        Ok((Arc::new(survey.clone()), transactions, last))
    }

    fn reader(&self, share: Share, batch_bytes: usize) -> ChangeReader {
        let manifest = &self.backup.manifest;
        let rules = ReplayRules {
            destinations: Destinations::of(&manifest.parts),
            base: manifest.snapshot.clone(),
            target: RecoveryTarget::Latest,
            standing: ChangePosition::default(),
            batch_bytes,
        };
        ChangeReader::sharing(rules, share)
    }

    async fn pass(
        &self,
        reader: &mut ChangeReader,
        take: impl AsyncFnMut(ChangeBatch) -> Result<(), StepError>,
    ) -> Result<Option<Vec<SequenceValue>>, StepError> {
        read_segments(self.making.repository, self.segments, reader, &|_| {}, take).await
    }

    fn manifest(
        &self,
        (last, ends): (&OpenedSegment, &SegmentManifest),
        key: &RunKey,
        folded: Folded,
        object: StoredObject,
    ) -> DifferentialManifest {
        let manifests = || self.segments.iter().filter_map(|segment| segment.standing.segment());
        DifferentialManifest {
            format_version: FORMAT_VERSION,
            run_id: key.run_id,
            source: ends.source.clone(),
            lineage: ends.lineage.clone(),
            base: DifferentialBase {
                backup_id: self.backup.layout.backup_id,
                manifest_sha256: self.backup.manifest_sha256.clone(),
            },
            start_lsn: manifests().next().map_or(ends.start_lsn, |first| first.start_lsn),
            end_lsn: ends.end_lsn,
            ended_at: ends.ended_at,
            last_commit_at: manifests().filter_map(|segment| segment.last_commit_at).max(),
            snapshot: ends.snapshot.clone(),
            schema_fingerprint: ends.schema_fingerprint.clone(),
            segments: self.segments.len() as u64,
            transactions: folded.transactions,
            last_transaction: folded.last,
            holds: folded.holds,
            raw_bytes: folded.raw_bytes,
            object,
            made_at: self.making.clock.now(),
            recipient: key.recipient.to_string(),
            key_holders: key.holders.clone(),
            keepsake: env!("CARGO_PKG_VERSION").to_owned(),
            previous: last.standing.as_previous(),
        }
    }
}

/// Rows of before and behind have other columns.
fn across_schemas(changed: &SegmentManifest) -> StepError {
    StepError::found(
        FailureClass::Permanent,
        format!("the schema changed before {}, and a differential has one schema", changed.end_lsn),
        "nothing was written; full backups and segments are not affected, and a restore goes by the segments",
        "run keepsake backup: the next differential is of the changes behind it",
    )
}

fn nothing_captured(backup: &StandingBackup) -> StepError {
    StepError::found(
        FailureClass::Permanent,
        format!("nothing was captured behind full backup {}", backup.layout.backup_id),
        "nothing: the backup stands, and there are no changes to fold",
        "keepsake capture, then keepsake differential again; keepsake window --repo <URL> shows what is captured",
    )
}
