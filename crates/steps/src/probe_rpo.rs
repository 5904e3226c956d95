//! The RPO, measured where it counts: the newest heartbeat or commit of the source that a restore from a repository reaches, read
//! back by whoever opens that repository alone. Its age is what would be lost if the source and everything else were lost now.

use crate::StepError;
use crate::joins_changes::NearChanges;
use crate::list_backups::{manifest_keys, read_backup};
use crate::list_changes::UnreadableManifest;
use crate::newest_changes::last_changes;
use crate::open_backup::{Locked, open_backup};
use crate::plan_recovery::{LineageStanding, RecoveryRoute, fulls_of};
use crate::ports::{Clock, KeyHolder, Repository};
use crate::replay_changes::{OpenedSegment, read_segment};
use async_trait::async_trait;
use keepsake_archive::pgoutput::Message;
use keepsake_archive::{ArchiveLayout, BackupIdentity, ChangesLayout, SegmentRecord, heartbeat_at};
use keepsake_domain::{BackupId, FailureClass, GapReason, Lineage, Lsn, RecoveryTarget, Timestamp};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;

/// Full backups that are read, from the newest on, until one joins the changes: those of a week of nights. Behind each further one
/// lie as many manifests of changes again as between two of them.
const FULLS_READ: usize = 8;

/// Manifests of another lineage that are read, the last: one of them damaged, or some, is no news of that lineage.
const LAST_READ: usize = 8;

/// Opens what a key of its own protects: with the keys of the place where it lies, or with a recovery key.
#[async_trait]
pub trait Opener: Send + Sync {
    /// Opens the private half.
    ///
    /// # Errors
    /// When the key at hand does not open it.
    async fn open(
        &self,
        repository: &dyn Repository,
        locked: &dyn Locked,
    ) -> Result<BackupIdentity, StepError>;
}

/// Key holders that are at hand.
pub struct Holders<'a>(pub &'a [&'a dyn KeyHolder]);

#[async_trait]
impl Opener for Holders<'_> {
    async fn open(
        &self,
        repository: &dyn Repository,
        locked: &dyn Locked,
    ) -> Result<BackupIdentity, StepError> {
        open_backup(repository, locked, self.0).await
    }
}

/// How far a source can be restored from one repository. JSON shape: these fields, in snake case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbedRpo {
    /// The repository that was read.
    pub repository: String,
    /// The source.
    pub source: String,
    /// The lineage of its newest full backup there.
    pub lineage: Lineage,
    /// The full backup that a restore to the newest point begins with; its key was opened.
    pub backup_id: BackupId,
    /// Key of the manifest of the segment that the newest heartbeat or commit was read from; `None` where nothing that the
    /// backup joins is newer than the backup itself.
    pub segment: Option<String>,
    /// Where that stands in the source's write-ahead log, or what the backup holds.
    pub newest_lsn: Lsn,
    /// When it was left or committed, or the backup's snapshot was taken, by the source's clock.
    pub newest_at: Timestamp,
    /// Our clock after it was read.
    pub probed_at: Timestamp,
    /// The time between, in whole seconds, rounded up; zero if the source's clock is ahead.
    pub rpo_seconds: u64,
    /// Why newer changes that stand there cannot be restored from there; `None` is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<GapReason>,
}

/// Reads back the newest state of a source that a restore from this repository alone reaches: from its newest full backup
/// that has a manifest there, over the changes that join it. Their newest segment tells it: a capture leaves a heartbeat at its end
/// or every ten seconds, and a segment that ended before that, because it was full, ends with a commit. Where none is newer than the full backup, that is the newest state.
/// Objects of the backup are not looked at, nor of segments before the newest: [`crate::verify_archive`] does that. Changes
/// nothing; a second call reads again.
///
/// # Errors
/// [`FailureClass::Permanent`] when no full backup of the source stands there; [`FailureClass::Integrity`] when the newest
/// segment is damaged; the opener's when the key does not open it.
pub async fn probe_rpo(
    repository: &dyn Repository,
    source: &str,
    opener: &dyn Opener,
    clock: &dyn Clock,
) -> Result<ProbedRpo, StepError> {
    let full = newest_full(repository, source).await?;
    let route = newest_route(repository, &full).await?;
    let identity = opener.open(repository, &route.backup).await?;
    route.backup.seal.check(&route.backup.layout.manifest(), &identity.seal_key())?;
    let newest = newest_read_back(repository, &route, opener).await?;
    let manifest = &route.backup.manifest;
    let (segment, newest_lsn, newest_at) = match newest {
        Some((segment, lsn, at)) => (Some(segment), lsn, at),
        None => (None, manifest.lsn, manifest.snapshot_at),
    };
    let stopped_by = match route.plan.stopped_by {
        Some(reason) => Some(reason),
        None => newer_lineage(repository, &route.backup.layout, newest_at).await?,
    };
    let probed_at = clock.now();
    let age = probed_at.as_microsecond() - newest_at.as_microsecond();
    Ok(ProbedRpo {
        repository: repository.url(),
        source: source.to_owned(),
        lineage: route.backup.layout.lineage,
        backup_id: route.backup.layout.backup_id,
        segment,
        newest_lsn,
        newest_at,
        probed_at,
        rpo_seconds: u64::try_from(age).unwrap_or_default().div_ceil(1_000_000),
        stopped_by,
    })
}

/// The newest full backup of all lineages.
async fn newest_full(repository: &dyn Repository, source: &str) -> Result<ArchiveLayout, StepError> {
    let mut newest: Option<ArchiveLayout> = None;
    for folder in repository.folders(&format!("{source}/")).await? {
        let fulls = manifest_keys(repository, &format!("{source}/{folder}/full/")).await?;
        newest = newest.into_iter().chain(fulls).max_by_key(|layout| layout.backup_id);
    }
    newest.ok_or_else(|| {
        StepError::found(
            FailureClass::Permanent,
            format!("no full backup of {source} stands in {}", repository.url()),
            "nothing can be restored from there, whatever changes stand there",
            "keepsake backup --copy-to <URL>, or give the name under which the source is backed up",
        )
    })
}

/// The way to the newest point. The newest full backup that joins the changes decides it, because what ends the way from there
/// ends the way from older ones too. There may be hundreds of thousands of manifests of changes before it, which are not read.
async fn newest_route(repository: &dyn Repository, full: &ArchiveLayout) -> Result<RecoveryRoute, StepError> {
    let mut fulls = fulls_of(repository, full).await?;
    fulls.sort_by_key(|layout| Reverse(layout.backup_id));
    let (mut backups, mut unreadable) = (Vec::new(), Vec::new());
    let mut near = NearChanges::of(full);
    for layout in fulls.into_iter().take(FULLS_READ) {
        let key = layout.manifest();
        match read_backup(repository, layout).await {
            Ok(backup) => {
                let joins = near.joins(repository, &backup).await?;
                backups.push(backup);
                if joins == Some(true) {
                    break;
                }
            }
            Err(error) if error.is_of_one_object() => unreadable.push((key, error)),
            Err(error) => return Err(error),
        }
    }
    if backups.is_empty() && !unreadable.is_empty() {
        return Err(unreadable.swap_remove(0).1);
    }
    // Oldest first, as whoever reads all of them has them.
    let unreadable = unreadable.into_iter().rev().map(|(key, error)| UnreadableManifest::aside(key, error));
    let unreadable = unreadable.collect::<Result<_, _>>()?;
    LineageStanding { backups, unreadable, changes: near.changes }.route(RecoveryTarget::Latest)
}

/// The newest heartbeat or commit behind the full backup, with the segment that it stands in.
async fn newest_read_back(
    repository: &dyn Repository,
    route: &RecoveryRoute,
    opener: &dyn Opener,
) -> Result<Option<(String, Lsn, Timestamp)>, StepError> {
    let Some(standing) = route.segments.last() else { return Ok(None) };
    let identity = opener.open(repository, standing).await?;
    standing.seal.check(&standing.manifest_key(), &identity.seal_key())?;
    let segment = OpenedSegment { standing: standing.clone(), identity };
    let newest = newest_in(repository, &segment).await?;
    let behind = newest.filter(|(lsn, _)| *lsn > route.backup.manifest.lsn);
    Ok(behind.map(|(lsn, at)| (standing.manifest_key(), lsn, at)))
}

async fn newest_in(
    repository: &dyn Repository,
    segment: &OpenedSegment,
) -> Result<Option<(Lsn, Timestamp)>, StepError> {
    let Some(manifest) = segment.standing.segment() else { return Ok(None) };
    let mut newest = None;
    read_segment(repository, segment, manifest, async |record| {
        let SegmentRecord::Message { lsn, payload } = record else { return Ok(()) };
        // Only these are parsed: there may be millions of changes beside them.
        if matches!(payload.first(), Some(b'M' | b'C'))
            && let Ok(message) = Message::parse(&payload)
        {
            let found = match &message {
                Message::Commit { end_lsn, at, .. } => Some((*end_lsn, *at)),
                other => heartbeat_at(other).map(|at| (lsn, at)),
            };
            newest = found.or(newest);
        }
        Ok(())
    })
    .await?;
    Ok(newest)
}

/// A lineage whose changes are newer than what can be restored: no full backup of it stands there. Of one whose newest manifests
/// are damaged, those before them tell.
async fn newer_lineage(
    repository: &dyn Repository,
    full: &ArchiveLayout,
    newest_at: Timestamp,
) -> Result<Option<GapReason>, StepError> {
    for folder in repository.folders(&format!("{}/", full.source)).await? {
        let Ok(lineage) = folder.parse::<Lineage>() else { continue };
        if lineage == full.lineage {
            continue;
        }
        let layout = ChangesLayout { source: full.source.clone(), lineage };
        let what = format!("the source is of lineage {folder}, of which no newer full backup stands");
        let last = last_changes(repository, &layout, LAST_READ).await?;
        match (last.standing.last(), last.unreadable.last()) {
            (Some(standing), _) if standing.boundary().position.at > newest_at => {
                return Ok(Some(GapReason::Lost { what }));
            }
            // Nothing says that it is an old one.
            (None, Some(unreadable)) => {
                return Ok(Some(GapReason::Lost { what: format!("{what}, or: {}", unreadable.error) }));
            }
            (Some(_), Some(unreadable)) => {
                let UnreadableManifest { key, error, .. } = unreadable;
                tracing::warn!(key, error, "a manifest of an older lineage cannot be read");
            }
            (_, None) => {}
        }
    }
    Ok(None)
}
