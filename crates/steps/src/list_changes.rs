//! What a repository holds of captured changes: every chain and segment whose manifest stands.

use crate::StepError;
use crate::list_backups::{StandingBackup, sha256_hex};
use crate::ports::Repository;
use crate::seal_backup::{CHECKS_IN_FLIGHT, MANIFEST_LIMIT_BYTES};
use futures::stream::{self, StreamExt, TryStreamExt};
use keepsake_archive::{
    ArchiveLayout, ChainManifest, ChainReason, ChangesKey, ChangesLayout, ManifestSeal, PreviousChanges,
    SegmentManifest,
};
use keepsake_domain::{
    BackupId, BaseFacts, BoundaryFacts, ChainFacts, ChangeHistory, Classified, FailureClass, Follows, Lsn,
    NotCaptured, Position, SegmentFacts, UnreadableFacts, chain,
};
use serde::Serialize;

/// One manifest of captured changes, as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct StandingChanges {
    /// Where it lies.
    pub layout: ChangesLayout,
    /// The manifest.
    pub manifest: ChangesManifest,
    /// SHA-256 of its bytes, 64 hexadecimal digits.
    pub manifest_sha256: String,
    /// Its seal; whoever opens a segment checks it.
    pub seal: ManifestSeal,
}

/// Either kind of manifest.
#[derive(Debug, Clone, PartialEq)]
pub enum ChangesManifest {
    /// A chain begins.
    Chain(Box<ChainManifest>),
    /// A segment.
    Segment(Box<SegmentManifest>),
}

impl StandingChanges {
    /// Which manifest it is.
    #[must_use]
    pub fn key(&self) -> ChangesKey {
        match &self.manifest {
            ChangesManifest::Chain(chain) => ChangesKey::Chain(chain.lsn),
            ChangesManifest::Segment(segment) => ChangesKey::Segment(segment.start_lsn),
        }
    }

    /// Key of the manifest.
    #[must_use]
    pub fn manifest_key(&self) -> String {
        self.layout.manifest(self.key())
    }

    /// The segment, if it is one.
    #[must_use]
    pub fn segment(&self) -> Option<&SegmentManifest> {
        match &self.manifest {
            ChangesManifest::Segment(segment) => Some(segment),
            ChangesManifest::Chain(_) => None,
        }
    }

    /// The run that wrote it.
    #[must_use]
    pub fn run_id(&self) -> BackupId {
        match &self.manifest {
            ChangesManifest::Chain(chain) => chain.run_id,
            ChangesManifest::Segment(segment) => segment.run_id,
        }
    }

    /// The run's public key.
    #[must_use]
    pub fn recipient(&self) -> &str {
        match &self.manifest {
            ChangesManifest::Chain(chain) => &chain.recipient,
            ChangesManifest::Segment(segment) => &segment.recipient,
        }
    }

    /// The slot that its changes came from.
    #[must_use]
    pub fn slot(&self) -> &str {
        match &self.manifest {
            ChangesManifest::Chain(chain) => &chain.slot,
            ChangesManifest::Segment(segment) => &segment.slot,
        }
    }

    /// Tables whose changes are not captured where it ends; `None` where nothing changed since the manifest before.
    #[must_use]
    pub fn not_captured(&self) -> Option<&[NotCaptured]> {
        match &self.manifest {
            ChangesManifest::Chain(chain) => Some(&chain.not_captured),
            ChangesManifest::Segment(segment) => segment.not_captured.as_deref(),
        }
    }

    /// The manifest that it names as the one before.
    #[must_use]
    pub fn previous(&self) -> Option<&PreviousChanges> {
        match &self.manifest {
            ChangesManifest::Chain(chain) => chain.previous.as_ref(),
            ChangesManifest::Segment(segment) => Some(&segment.previous),
        }
    }

    /// What the next manifest says of this one.
    #[must_use]
    pub fn as_previous(&self) -> PreviousChanges {
        let (key, sha256) = (self.key(), self.manifest_sha256.clone());
        PreviousChanges { start_lsn: key.lsn(), is_chain_start: matches!(key, ChangesKey::Chain(_)), sha256 }
    }

    /// The source where this manifest's changes end: what follows begins there.
    #[must_use]
    pub fn boundary(&self) -> BoundaryFacts {
        match &self.manifest {
            ChangesManifest::Chain(chain) => BoundaryFacts {
                position: Position { lsn: chain.lsn, at: chain.at },
                snapshot: chain.snapshot.clone(),
                schema_fingerprint: chain.schema_fingerprint.clone(),
            },
            ChangesManifest::Segment(segment) => BoundaryFacts {
                position: Position { lsn: segment.end_lsn, at: segment.ended_at },
                snapshot: segment.snapshot.clone(),
                schema_fingerprint: segment.schema_fingerprint.clone(),
            },
        }
    }
}

/// Places of all manifests of changes under a prefix, in the order of source, lineage and position.
///
/// # Errors
/// When the listing could not be completed.
pub async fn changes_keys(
    repository: &dyn Repository,
    prefix: &str,
) -> Result<Vec<(ChangesLayout, ChangesKey)>, StepError> {
    let objects = repository.list(prefix).await?;
    Ok(objects.iter().filter_map(|object| ChangesLayout::of_manifest_key(&object.key)).collect())
}

/// Reads one manifest.
///
/// # Errors
/// [`StepError::Manifest`] when it is damaged or of an unknown version.
pub async fn read_changes(
    repository: &dyn Repository,
    layout: &ChangesLayout,
    key: ChangesKey,
) -> Result<StandingChanges, StepError> {
    let bytes = repository.get(&layout.manifest(key), MANIFEST_LIMIT_BYTES).await?;
    parse_changes(layout, key, &bytes)
}

/// Reads the bytes of one manifest.
///
/// # Errors
/// As [`read_changes`].
pub(crate) fn parse_changes(
    layout: &ChangesLayout,
    key: ChangesKey,
    bytes: &[u8],
) -> Result<StandingChanges, StepError> {
    let place = layout.manifest(key);
    let (manifest, seal) = match key {
        ChangesKey::Chain(_) => {
            let (chain, seal) = ChainManifest::parse(&place, bytes)?;
            (ChangesManifest::Chain(Box::new(chain)), seal)
        }
        ChangesKey::Segment(_) => {
            let (segment, seal) = SegmentManifest::parse(&place, bytes)?;
            (ChangesManifest::Segment(Box::new(segment)), seal)
        }
    };
    Ok(StandingChanges { layout: layout.clone(), manifest, manifest_sha256: sha256_hex(bytes), seal })
}

/// A manifest that stands and cannot be read. JSON shape: these fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnreadableManifest {
    /// The manifest.
    pub key: String,
    /// Damage, or a format that this program does not know.
    pub class: FailureClass,
    /// What is wrong with it.
    pub error: String,
}

impl UnreadableManifest {
    /// Puts aside what is wrong with one object, so that what others say is still known.
    ///
    /// # Errors
    /// Any error that is not about that object alone.
    pub fn aside(key: String, error: StepError) -> Result<Self, StepError> {
        if !error.is_of_one_object() {
            return Err(error);
        }
        Ok(Self { key, class: error.class(), error: chain(&error) })
    }

    /// The full backup that it describes; `None` if it is no full backup's.
    #[must_use]
    pub fn backup_id(&self) -> Option<BackupId> {
        ArchiveLayout::of_manifest_key(&self.key).map(|layout| layout.backup_id)
    }

    /// Where the changes begin that it describes; `None` if it is no manifest of changes.
    pub(crate) fn start(&self) -> Option<Lsn> {
        ChangesLayout::of_manifest_key(&self.key).map(|(_, key)| key.lsn())
    }

    fn facts(&self) -> Option<UnreadableFacts> {
        let start = self.start()?;
        Some(UnreadableFacts { start, manifest: self.key.clone(), found: self.error.clone() })
    }
}

/// All that stands of a lineage's changes.
#[derive(Debug, Clone, Default)]
pub struct LineageChanges {
    /// By position.
    pub standing: Vec<StandingChanges>,
    /// Manifests that cannot be read: nothing is known of what they describe but where it begins.
    pub unreadable: Vec<UnreadableManifest>,
}

impl LineageChanges {
    /// Adds those that lie before.
    pub(crate) fn prepend(&mut self, before: Self) {
        self.standing.splice(..0, before.standing);
        self.unreadable.splice(..0, before.unreadable);
    }
}

/// Reads manifests of changes. Each takes a few kilobytes. One that cannot be read keeps no other from being read.
///
/// # Errors
/// When the repository did not answer.
pub async fn read_all_changes(
    repository: &dyn Repository,
    keys: Vec<(ChangesLayout, ChangesKey)>,
) -> Result<LineageChanges, StepError> {
    let read = |(layout, key): (ChangesLayout, ChangesKey)| async move {
        match read_changes(repository, &layout, key).await {
            Ok(standing) => Ok(Ok(standing)),
            Err(error) => UnreadableManifest::aside(layout.manifest(key), error).map(Err),
        }
    };
    let mut found = stream::iter(keys).map(read).buffered(CHECKS_IN_FLIGHT);
    let mut all = LineageChanges::default();
    while let Some(found) = found.next().await {
        match found? {
            Ok(standing) => all.standing.push(standing),
            Err(unreadable) => all.unreadable.push(unreadable),
        }
    }
    Ok(all)
}

/// Reads all manifests of one lineage's changes, by position.
///
/// # Errors
/// As [`read_all_changes`].
pub async fn lineage_changes(
    repository: &dyn Repository,
    layout: &ChangesLayout,
) -> Result<LineageChanges, StepError> {
    read_all_changes(repository, changes_keys(repository, &layout.root()).await?).await
}

/// The same, for who needs all of them.
///
/// # Errors
/// When one of them cannot be read.
pub async fn changes_of(
    repository: &dyn Repository,
    layout: &ChangesLayout,
) -> Result<Vec<StandingChanges>, StepError> {
    let keys = changes_keys(repository, &layout.root()).await?;
    stream::iter(keys)
        .map(|(layout, key)| async move { read_changes(repository, &layout, key).await })
        .buffered(CHECKS_IN_FLIGHT)
        .try_collect()
        .await
}

/// Tables whose changes were not captured at a position, as the last manifest says that ends there or before and says it.
/// They hold the rows of the full backup, whatever the target.
#[must_use]
pub fn not_captured_at(changes: &[StandingChanges], lsn: Lsn) -> &[NotCaptured] {
    said_not_captured(changes, lsn).map(|(_, tables)| tables).unwrap_or_default()
}

/// The same, with where it was said.
pub(crate) fn said_not_captured(changes: &[StandingChanges], lsn: Lsn) -> Option<(Lsn, &[NotCaptured])> {
    let said = changes.iter().filter_map(|one| Some((one.boundary().position.lsn, one.not_captured()?)));
    said.filter(|(end, _)| *end <= lsn).max_by_key(|(end, _)| *end)
}

/// Puts full backups and changes of one lineage together.
#[must_use]
pub fn change_history(backups: &[StandingBackup], changes: &LineageChanges) -> ChangeHistory {
    let base = |backup: &StandingBackup| BaseFacts {
        backup_id: backup.layout.backup_id,
        snapshot: backup.manifest.snapshot.clone(),
        position: Position { lsn: backup.manifest.lsn, at: backup.manifest.snapshot_at },
        schema_fingerprint: backup.manifest.schema_fingerprint.clone(),
    };
    let (mut chains, mut segments) = (Vec::new(), Vec::new());
    for standing in &changes.standing {
        match &standing.manifest {
            ChangesManifest::Chain(chain) => chains.push(ChainFacts {
                begins: standing.boundary(),
                gap: match &chain.reason {
                    ChainReason::Protected => None,
                    ChainReason::Gap { what } => Some(what.clone()),
                },
            }),
            ChangesManifest::Segment(segment) => segments.push(SegmentFacts {
                start: segment.start_lsn,
                ends: standing.boundary(),
                first_commit_at: segment.first_commit_at,
                last_commit_at: segment.last_commit_at,
                is_schema_replayable: segment.schema_replayable,
                follows: match &segment.previous {
                    PreviousChanges { is_chain_start: true, .. } => Follows::Chain,
                    before => Follows::Segment(before.start_lsn),
                },
            }),
        }
    }
    let unreadable = changes.unreadable.iter().filter_map(UnreadableManifest::facts).collect();
    ChangeHistory::new(backups.iter().map(base).collect(), chains, segments).with_unreadable(unreadable)
}
