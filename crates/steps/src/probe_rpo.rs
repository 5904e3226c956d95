//! The RPO, measured where it counts: the newest heartbeat of the source that a restore from a repository reaches, read back by
//! whoever opens that repository alone. Its age is what would be lost if the source and everything else were lost now.

use crate::StepError;
use crate::list_backups::manifest_keys;
use crate::list_changes::read_all_changes;
use crate::newest_changes::{FIRST_STEP, keys_between, newest_changes};
use crate::open_backup::{Locked, open_backup};
use crate::plan_recovery::{LineageStanding, RecoveryRoute};
use crate::ports::{Clock, KeyHolder, Repository};
use crate::replay_changes::{OpenedSegment, read_segment};
use async_trait::async_trait;
use keepsake_archive::pgoutput::Message;
use keepsake_archive::{ArchiveLayout, BackupIdentity, ChangesLayout, SegmentRecord, heartbeat_at};
use keepsake_domain::{BackupId, FailureClass, GapReason, Lineage, Lsn, RecoveryTarget, Timestamp, chain};
use serde::{Deserialize, Serialize};

/// Segments that are read, from the newest on, until one has a heartbeat. A capture leaves one at its end or every ten
/// seconds; between two of them a source that writes 400 MB a second fills 64 segments.
const SEGMENTS_READ: usize = 64;

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
    /// Key of the manifest of the segment that the newest heartbeat was read from; `None` where nothing that the backup joins is
    /// newer than the backup itself.
    pub segment: Option<String>,
    /// Where that heartbeat stands in the source's write-ahead log, or what the backup holds.
    pub newest_lsn: Lsn,
    /// When it was left, or the backup's snapshot was taken, by the source's clock.
    pub newest_at: Timestamp,
    /// Our clock after it was read.
    pub probed_at: Timestamp,
    /// The time between, in whole seconds, rounded up; zero if the source's clock is ahead.
    pub rpo_seconds: u64,
    /// Why newer changes that stand there cannot be restored from there; `None` is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<GapReason>,
}

/// Reads back the newest heartbeat of a source that a restore from this repository alone reaches: from its newest full backup
/// that has a manifest there, over the changes that join it. Where none is newer than the full backup, that is the newest state.
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
    let heartbeat = newest_heartbeat(repository, &route, opener).await?;
    let manifest = &route.backup.manifest;
    let (segment, newest_lsn, newest_at) = match heartbeat {
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

/// The way to the newest point. Manifests of changes are read from a little before the newest full backup on, and from further
/// back only while that does not lead to the end: there may be hundreds of thousands of them.
async fn newest_route(repository: &dyn Repository, full: &ArchiveLayout) -> Result<RecoveryRoute, StepError> {
    let mut standing = LineageStanding::without_changes(repository, full).await?;
    let layout = ChangesLayout { source: full.source.clone(), lineage: full.lineage.clone() };
    let newest = standing.newest_lsn();
    let (mut before, mut step) = (Lsn(u64::MAX), FIRST_STEP);
    // Ends: at position 0 at the latest, which sixteen steps of sixteen times the length reach.
    loop {
        let from = Lsn(newest.0.saturating_sub(step));
        let keys = keys_between(repository, &layout, from, before).await?;
        standing.changes.prepend(read_all_changes(repository, keys).await?);
        let route = standing.route(RecoveryTarget::Latest)?;
        let end = route.captured.map(|captured| captured.lsn);
        let is_end = route.plan.stopped_by.is_none() && end.is_some_and(|end| end <= route.plan.ends.lsn);
        if is_end || from == Lsn(0) {
            return Ok(route);
        }
        (before, step) = (from, step.saturating_mul(16));
    }
}

/// The newest heartbeat behind the full backup, with the segment that it stands in.
async fn newest_heartbeat(
    repository: &dyn Repository,
    route: &RecoveryRoute,
    opener: &dyn Opener,
) -> Result<Option<(String, Lsn, Timestamp)>, StepError> {
    let mut opened: Option<OpenedSegment> = None;
    for standing in route.segments.iter().rev().take(SEGMENTS_READ) {
        let identity = match &opened {
            Some(known) if known.standing.run_id() == standing.run_id() => known.identity.clone(),
            _ => opener.open(repository, standing).await?,
        };
        standing.seal.check(&standing.manifest_key(), &identity.seal_key())?;
        let segment = OpenedSegment { standing: standing.clone(), identity };
        if let Some((lsn, at)) = heartbeat_in(repository, &segment).await? {
            let is_behind = lsn > route.backup.manifest.lsn;
            return Ok(is_behind.then(|| (standing.manifest_key(), lsn, at)));
        }
        opened = Some(segment);
    }
    Ok(None)
}

async fn heartbeat_in(
    repository: &dyn Repository,
    segment: &OpenedSegment,
) -> Result<Option<(Lsn, Timestamp)>, StepError> {
    let Some(manifest) = segment.standing.segment() else { return Ok(None) };
    let mut newest = None;
    read_segment(repository, segment, manifest, async |record| {
        let SegmentRecord::Message { lsn, payload } = record else { return Ok(()) };
        // Only messages are parsed: there may be millions of changes beside them.
        if payload.first() == Some(&b'M')
            && let Ok(message) = Message::parse(&payload)
            && let Some(at) = heartbeat_at(&message)
        {
            newest = Some((lsn, at));
        }
        Ok(())
    })
    .await?;
    Ok(newest)
}

/// A lineage whose changes are newer than what can be restored: no full backup of it stands there.
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
        match newest_changes(repository, &layout, None).await {
            Ok(Some(standing)) if standing.boundary().position.at > newest_at => {
                return Ok(Some(GapReason::Lost { what }));
            }
            Ok(_) => {}
            Err(error) if error.is_of_one_object() => {
                return Ok(Some(GapReason::Lost { what: format!("{what}, or: {}", chain(&error)) }));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
