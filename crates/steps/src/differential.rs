//! Differentials that stand: finding, opening, checking and reading them.

use crate::StepError;
use crate::list_backups::StandingBackup;
use crate::list_changes::StandingChanges;
use crate::open_backup::{Lock, Locked};
use crate::plan_recovery::RecoveryRoute;
use crate::ports::{
    ChangeBatch, ChangePosition, Chunk, ChunkReceiver, Deletion, Insertion, Repository, TableChange, Update,
};
use crate::row_layout::Destinations;
use crate::seal_backup::{MANIFEST_LIMIT_BYTES, check_objects};
use crate::streams::download_opened;
use crate::verify_archive::{Damage, Depth};
use keepsake_archive::{
    BackupIdentity, ChangesLayout, DifferentialDecoder, DifferentialEnd, DifferentialManifest,
    DifferentialRecord, DifferentialTable, ManifestSeal,
};
use keepsake_domain::{
    BackupId, Bound, Classified, FailureClass, Lsn, RecoveryTarget, SequenceValue, TableName, chain,
};

/// A differential's manifest, as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct StandingDifferential {
    /// Where it lies.
    pub layout: ChangesLayout,
    /// The manifest.
    pub manifest: DifferentialManifest,
    /// Its seal; whoever opens the differential checks it.
    pub seal: ManifestSeal,
}

/// A differential with the key that opens it.
#[derive(Debug, Clone)]
pub struct OpenedDifferential {
    /// Its manifest.
    pub standing: StandingDifferential,
    /// The private half of the run that wrote it.
    pub identity: BackupIdentity,
}

impl StandingDifferential {
    /// Key of the manifest.
    #[must_use]
    pub fn manifest_key(&self) -> String {
        self.layout.differential(self.manifest.end_lsn, self.manifest.base.backup_id)
    }

    /// Where a target stands behind all of it.
    pub(crate) fn end(&self) -> ChangePosition {
        self.position(self.manifest.holds.batches)
    }

    /// Where a target stands behind so many of its batches: before each transaction that the differential does not hold, and
    /// at no position that a segment leads to.
    pub(crate) fn position(&self, batches: u64) -> ChangePosition {
        let transaction = Lsn(self.manifest.end_lsn.0.saturating_sub(1));
        ChangePosition { transaction, messages: IN_DIFFERENTIAL + batches }
    }
}

impl Locked for StandingDifferential {
    fn lock(&self) -> Lock<'_> {
        let run_id = self.manifest.run_id;
        Lock {
            what: format!("differential run {run_id}"),
            id: run_id,
            keys: format!("{}keys/", self.layout.differential_run(run_id)),
            recipient: &self.manifest.recipient,
            manifest: self.manifest_key(),
            seal: &self.seal,
        }
    }
}

/// Marks positions within a differential: no transaction has as many messages.
const IN_DIFFERENTIAL: u64 = 1 << 62;

/// Whether a target stands within a differential, or at its end.
pub(crate) fn is_in_differential(position: ChangePosition) -> bool {
    position.messages >= IN_DIFFERENTIAL
}

/// Where differentials stand under a prefix: layout, end and full backup of each, oldest end first within a lineage.
///
/// # Errors
/// When the listing could not be completed.
pub async fn differential_keys(
    repository: &dyn Repository,
    prefix: &str,
) -> Result<Vec<(ChangesLayout, Lsn, BackupId)>, StepError> {
    let objects = repository.list(prefix).await?;
    Ok(objects.iter().filter_map(|object| ChangesLayout::of_differential_key(&object.key)).collect())
}

/// Reads one manifest.
///
/// # Errors
/// [`StepError::Manifest`] when it is damaged or of an unknown version.
pub async fn read_differential(
    repository: &dyn Repository,
    layout: &ChangesLayout,
    end: Lsn,
    base: BackupId,
) -> Result<StandingDifferential, StepError> {
    let place = layout.differential(end, base);
    let bytes = repository.get(&place, MANIFEST_LIMIT_BYTES).await?;
    let (manifest, seal) = DifferentialManifest::parse(&place, &bytes)?;
    Ok(StandingDifferential { layout: layout.clone(), manifest, seal })
}

/// Takes the differential that spares the most segments on the way to the target: the latest of the same full backup that
/// holds nothing behind the target. The route stays as it is where there is none.
///
/// # Errors
/// When its manifest cannot be read, or it does not belong to these segments: who wants to can restore by the segments alone.
pub async fn take_differential(
    repository: &dyn Repository,
    mut route: RecoveryRoute,
) -> Result<RecoveryRoute, StepError> {
    // Its rows have the columns of before.
    if route.segments.iter().filter_map(StandingChanges::segment).any(|segment| segment.schema_replayable) {
        return Ok(route);
    }
    let base = &route.backup;
    let layout = ChangesLayout { source: base.layout.source.clone(), lineage: base.layout.lineage.clone() };
    let standing = differential_keys(repository, &layout.differentials()).await?;
    let ends: Vec<Lsn> = standing
        .into_iter()
        .filter(|(_, _, of)| *of == base.layout.backup_id)
        .map(|(_, end, _)| end)
        .collect();
    let spared = (1..=route.segments.len()).rev().find(|spared| {
        let segments = &route.segments[..*spared];
        let end = segments.last().and_then(StandingChanges::segment).map(|segment| segment.end_lsn);
        end.is_some_and(|end| ends.contains(&end)) && all_before(segments, &route.plan.target)
    });
    let Some(spared) = spared else { return Ok(route) };
    let behind = route.segments.split_off(spared);
    let Some(last) = route.segments.pop() else { return Ok(route) };
    let end = last.boundary().position.lsn;
    let differential = read_differential(repository, &layout, end, base.layout.backup_id).await;
    let differential =
        differential.map_err(|error| unusable(&layout.differential(end, base.layout.backup_id), error))?;
    if differential.manifest.previous != last.as_previous() {
        let why = "it names another manifest as the segment that it ends with";
        return Err(not_of_this_history(&differential, why));
    }
    route.spared_segments = spared as u64;
    route.segments = behind;
    route.differential = Some(differential);
    Ok(route)
}

/// Whether a replay to the target passes everything in these segments.
fn all_before(segments: &[StandingChanges], target: &RecoveryTarget) -> bool {
    let mut segments = segments.iter().filter_map(StandingChanges::segment);
    match target {
        RecoveryTarget::Latest => true,
        RecoveryTarget::Lsn { lsn, .. } => segments.all(|segment| segment.end_lsn <= *lsn),
        RecoveryTarget::Time { at, bound: Bound::Inclusive } => {
            segments.all(|segment| segment.last_commit_at <= Some(*at))
        }
        RecoveryTarget::Time { at, bound: Bound::Exclusive } => {
            segments.all(|segment| segment.last_commit_at < Some(*at))
        }
        // What had not ended when its end was seen has its commit behind it.
        RecoveryTarget::Xid { xid, .. } => segments.all(|segment| !segment.snapshot.sees(*xid)),
    }
}

/// Reads a differential to its end, and compares it with its manifest, its seal and the backup. Changes nothing.
///
/// # Errors
/// [`FailureClass::Integrity`] naming it when it is damaged or of another history.
pub(crate) async fn check_differential(
    repository: &dyn Repository,
    backup: &StandingBackup,
    differential: &OpenedDifferential,
) -> Result<(), StepError> {
    let (standing, manifest) = (&differential.standing, &differential.standing.manifest);
    let key = standing.manifest_key();
    standing
        .seal
        .check(&key, &differential.identity.seal_key())
        .map_err(|error| unusable(&key, error.into()))?;
    let base = &backup.manifest;
    if (&manifest.source, &manifest.lineage) != (&base.source, &base.lineage)
        || manifest.base.backup_id != base.backup_id
        || manifest.base.manifest_sha256 != backup.manifest_sha256
    {
        return Err(not_of_this_history(standing, "it was made for another full backup"));
    }
    let destinations = Destinations::of(&base.parts);
    let read = read_batches(repository, differential, async |read| match read {
        Read::Batch(batch) => batch.tables.iter().try_for_each(|change| {
            let fits = destinations.columns(&change.table).is_some_and(|columns| columns == change.columns);
            if fits { Ok(()) } else { Err(unknown_table(&key, &change.table)) }
        }),
        Read::Sequences(_) => Ok(()),
    });
    match read.await {
        Ok(held) if held == manifest.holds => Ok(()),
        Ok(held) => {
            let what = format!("it holds {held:?}, and its manifest says {:?}", manifest.holds);
            Err(not_of_this_history(standing, &what))
        }
        Err(error) => Err(unusable(&key, error)),
    }
}

/// Checks the object of one differential. `None` means that all is well.
///
/// # Errors
/// When the repository could not be asked: that is no finding.
pub async fn verify_differential(
    repository: &dyn Repository,
    standing: &StandingDifferential,
    depth: Depth<'_>,
) -> Result<Option<Damage>, StepError> {
    let object = &standing.manifest.object;
    let outcome = match depth {
        Depth::Objects => check_objects(repository, std::iter::once(object)).await,
        Depth::Bytes => crate::copy_object::read_and_check(repository, object).await,
        Depth::Rows(identity) => {
            let opened = OpenedDifferential { standing: standing.clone(), identity: identity.clone() };
            let held = read_batches(repository, &opened, async |_| Ok(())).await;
            held.and_then(|held| {
                if held == standing.manifest.holds {
                    return Ok(());
                }
                Err(not_of_this_history(standing, "it holds other counts than its manifest says"))
            })
        }
    };
    match outcome {
        Ok(()) => Ok(None),
        Err(error) if error.class() == FailureClass::Integrity => {
            Ok(Some(Damage { key: object.key.clone(), finding: chain(&error) }))
        }
        Err(error) => Err(error),
    }
}

/// What comes out of a differential.
pub(crate) enum Read {
    Batch(ChangeBatch),
    Sequences(Vec<SequenceValue>),
}

/// Hands every batch to `take`, then where the sequences stood; answers what the differential held.
pub(crate) async fn read_batches(
    repository: &dyn Repository,
    differential: &OpenedDifferential,
    take: impl AsyncFnMut(Read) -> Result<(), StepError>,
) -> Result<DifferentialEnd, StepError> {
    let object = &differential.standing.manifest.object;
    let drain = |plain| drain(plain, &differential.standing, take);
    download_opened(repository, object, None, &differential.identity, drain).await
}

async fn drain(
    mut plain: ChunkReceiver,
    standing: &StandingDifferential,
    mut take: impl AsyncFnMut(Read) -> Result<(), StepError>,
) -> Result<DifferentialEnd, StepError> {
    let mut decoder = DifferentialDecoder::new(&standing.manifest.object.key);
    let (mut tables, mut batches) = (Vec::new(), 0);
    loop {
        match plain.recv().await {
            Some(Chunk::Data(bytes)) => decoder.feed(&bytes),
            Some(Chunk::End) => return Ok(decoder.finish()?),
            None => return Err(StepError::WorkerDied { what: "reading a differential".to_owned() }),
        }
        while let Some(record) = decoder.next_record()? {
            match record {
                DifferentialRecord::EndOfBatch => {
                    let from =
                        if batches == 0 { ChangePosition::default() } else { standing.position(batches) };
                    batches += 1;
                    let to = standing.position(batches);
                    take(Read::Batch(ChangeBatch { from, to, tables: std::mem::take(&mut tables) })).await?;
                }
                DifferentialRecord::Sequences(values) => take(Read::Sequences(values)).await?,
                DifferentialRecord::End(_) => {}
                row => add(row, &mut tables),
            }
        }
    }
}

/// Puts a record into the batch that is being read; the decoder has seen to it that rows have their table.
fn add(record: DifferentialRecord, tables: &mut Vec<TableChange>) {
    if let DifferentialRecord::Table(table) = record {
        let DifferentialTable { table, columns, key, is_emptied } = table;
        let (deletions, updates, insertions) = (Vec::new(), Vec::new(), Vec::new());
        tables.push(TableChange { table, columns, key, is_emptied, deletions, updates, insertions });
        return;
    }
    let Some(table) = tables.last_mut() else { return };
    match record {
        DifferentialRecord::Deletion { lsn, count, key } => {
            table.deletions.push(Deletion { key, count, lsn })
        }
        DifferentialRecord::Update { lsn, key, row } => table.updates.push(Update { key, row, lsn }),
        DifferentialRecord::Insertion { count, row } => table.insertions.push(Insertion { row, count }),
        _ => {}
    }
}

const ALONE: &str = "restore by the segments alone (--without-differential), or from a copy";

/// Nothing that a target was changed for.
const UNTOUCHED: &str = "full backups and segments are not affected; nothing was changed on the target";

/// The differential cannot be used; what can pass by itself stays what it is.
fn unusable(key: &str, error: StepError) -> StepError {
    match error.class() {
        class @ (FailureClass::Integrity | FailureClass::Permanent) => StepError::found(
            class,
            format!("differential \"{key}\" cannot be restored: {}", chain(&error)),
            UNTOUCHED,
            ALONE,
        ),
        _ => error,
    }
}

fn not_of_this_history(standing: &StandingDifferential, why: &str) -> StepError {
    StepError::found(
        FailureClass::Integrity,
        format!("differential \"{}\" does not belong to this history: {why}", standing.manifest_key()),
        UNTOUCHED,
        ALONE,
    )
}

fn unknown_table(key: &str, table: &TableName) -> StepError {
    StepError::found(
        FailureClass::Integrity,
        format!("differential \"{key}\" changes table {table}, which the full backup does not hold so"),
        UNTOUCHED,
        ALONE,
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use keepsake_archive::{
        Attempt, DifferentialBase, FORMAT_VERSION, PreviousChanges, ReachedTransaction, SealKey, StoredObject,
    };
    use keepsake_domain::{Lineage, Timestamp};
    use uuid::Uuid;

    /// One of four batches that ends there.
    pub(crate) fn standing(end: u64) -> StandingDifferential {
        let lineage = Lineage { system_identifier: 7, timeline: 1, database_oid: 5 };
        let layout = ChangesLayout::new("wedsync", lineage.clone()).unwrap();
        let (run_id, end_lsn) = (BackupId(Uuid::from_u128(1)), Lsn(end));
        let object = layout.differential_object(run_id, end_lsn, Attempt(Uuid::from_u128(2)));
        let manifest = DifferentialManifest {
            format_version: FORMAT_VERSION,
            run_id,
            source: layout.source.clone(),
            lineage,
            base: DifferentialBase { backup_id: run_id, manifest_sha256: String::new() },
            start_lsn: Lsn(100),
            end_lsn,
            ended_at: Timestamp::UNIX_EPOCH,
            last_commit_at: None,
            snapshot: "100:100:".parse().unwrap(),
            schema_fingerprint: String::new(),
            segments: 1,
            transactions: 1,
            last_transaction: Some(ReachedTransaction {
                lsn: Lsn(200),
                committed_at: Timestamp::UNIX_EPOCH,
                xid: 99,
            }),
            holds: DifferentialEnd { batches: 4, ..DifferentialEnd::default() },
            raw_bytes: 1,
            object: StoredObject::of_bytes(object, b"x"),
            made_at: Timestamp::UNIX_EPOCH,
            recipient: String::new(),
            key_holders: Vec::new(),
            keepsake: String::new(),
            previous: PreviousChanges { start_lsn: Lsn(100), is_chain_start: false, sha256: String::new() },
        };
        let key = layout.differential(end_lsn, run_id);
        let json = manifest.to_json(&SealKey::try_from("07".repeat(32)).unwrap()).unwrap();
        let (manifest, seal) = DifferentialManifest::parse(&key, &json).unwrap();
        StandingDifferential { layout, manifest, seal }
    }
}
