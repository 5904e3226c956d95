//! The RPO, measured where it counts: the newest heartbeat of the source that can be read back from a repository, by whoever
//! opens that repository alone. Its age is what would be lost if the source and everything else were lost now.

use crate::StepError;
use crate::list_changes::{StandingChanges, read_changes};
use crate::newest_changes::newest_changes;
use crate::open_backup::{Locked, open_backup};
use crate::ports::{Clock, KeyHolder, Repository};
use crate::replay_changes::{OpenedSegment, read_segment};
use async_trait::async_trait;
use keepsake_archive::pgoutput::Message;
use keepsake_archive::{BackupIdentity, ChangesLayout, SegmentRecord, heartbeat_at};
use keepsake_domain::{FailureClass, Lineage, Lsn, Timestamp};
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

/// How far a source's changes can be restored from one repository. JSON shape: these fields, in snake case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbedRpo {
    /// The repository that was read.
    pub repository: String,
    /// The source.
    pub source: String,
    /// Its newest lineage there.
    pub lineage: Lineage,
    /// Key of the manifest of the segment that the heartbeat was read from.
    pub segment: String,
    /// Where the heartbeat stands in the source's write-ahead log.
    pub heartbeat_lsn: Lsn,
    /// When it was left, by the source's clock.
    pub heartbeat_at: Timestamp,
    /// Our clock after it was read.
    pub probed_at: Timestamp,
    /// The time between, in whole seconds, rounded up; zero if the source's clock is ahead.
    pub rpo_seconds: u64,
}

/// Reads the newest heartbeat of a source back. Changes nothing; a second call reads again.
///
/// # Errors
/// [`FailureClass::Permanent`] when no segment of the source stands there, or none of the newest has a heartbeat;
/// [`FailureClass::Integrity`] when the newest one is damaged; the opener's when the key does not open it.
pub async fn probe_rpo(
    repository: &dyn Repository,
    source: &str,
    opener: &dyn Opener,
    clock: &dyn Clock,
) -> Result<ProbedRpo, StepError> {
    let mut standing = newest_of(repository, source).await?;
    let mut opened: Option<OpenedSegment> = None;
    for _ in 0..SEGMENTS_READ {
        if standing.segment().is_none() {
            break;
        }
        let identity = match &opened {
            Some(known) if known.standing.run_id() == standing.run_id() => known.identity.clone(),
            _ => opener.open(repository, &standing).await?,
        };
        standing.seal.check(&standing.manifest_key(), &identity.seal_key())?;
        let segment = OpenedSegment { standing, identity };
        if let Some((lsn, at)) = newest_heartbeat(repository, &segment).await? {
            return Ok(probed(repository, &segment.standing, (lsn, at), clock.now()));
        }
        standing = before(repository, &segment.standing).await?;
        opened = Some(segment);
    }
    Err(StepError::found(
        FailureClass::Permanent,
        format!("no segment of {source} with a heartbeat is among the newest in {}", repository.url()),
        "how much would be lost is not known; what stands there was not changed",
        "keepsake capture, then copy its changes there, then probe again",
    ))
}

/// The newest manifest of the newest lineage.
async fn newest_of(repository: &dyn Repository, source: &str) -> Result<StandingChanges, StepError> {
    let mut newest: Option<StandingChanges> = None;
    for folder in repository.folders(&format!("{source}/")).await? {
        let Some(layout) = folder.parse().ok().and_then(|lineage| ChangesLayout::new(source, lineage).ok())
        else {
            continue;
        };
        let found = newest_changes(repository, &layout, None).await?;
        newest = newest.into_iter().chain(found).max_by_key(|one| one.boundary().position.at);
    }
    newest.ok_or_else(|| {
        StepError::found(
            FailureClass::Permanent,
            format!("no changes of {source} stand in {}", repository.url()),
            "nothing can be restored from there behind its full backups",
            "copy the source's changes there, or give the name under which it was protected",
        )
    })
}

async fn newest_heartbeat(
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

async fn before(
    repository: &dyn Repository,
    standing: &StandingChanges,
) -> Result<StandingChanges, StepError> {
    match standing.previous() {
        Some(previous) => read_changes(repository, &standing.layout, previous.key()).await,
        None => Ok(standing.clone()),
    }
}

fn probed(
    repository: &dyn Repository,
    standing: &StandingChanges,
    (heartbeat_lsn, heartbeat_at): (Lsn, Timestamp),
    probed_at: Timestamp,
) -> ProbedRpo {
    let age = probed_at.as_microsecond() - heartbeat_at.as_microsecond();
    ProbedRpo {
        repository: repository.url(),
        source: standing.layout.source.clone(),
        lineage: standing.layout.lineage.clone(),
        segment: standing.manifest_key(),
        heartbeat_lsn,
        heartbeat_at,
        probed_at,
        rpo_seconds: u64::try_from(age).unwrap_or_default().div_ceil(1_000_000),
    }
}
