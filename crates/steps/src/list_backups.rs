//! What a repository holds: every backup whose manifest stands.

use crate::StepError;
use crate::ports::Repository;
use crate::seal_backup::MANIFEST_LIMIT_BYTES;
use keepsake_archive::{ArchiveLayout, Manifest, ManifestSeal};
use keepsake_domain::{BackupId, BackupIdPrefix, FailureClass};
use sha2::{Digest, Sha256};

/// A backup as its manifest describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct StandingBackup {
    /// Where its objects lie.
    pub layout: ArchiveLayout,
    /// The manifest.
    pub manifest: Manifest,
    /// SHA-256 of the manifest's bytes, 64 hexadecimal digits.
    pub manifest_sha256: String,
    /// The manifest's seal; whoever opens the backup checks it.
    pub seal: ManifestSeal,
}

/// SHA-256 as 64 hexadecimal digits.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Layouts of all backups under a prefix, oldest first.
///
/// # Errors
/// When the listing could not be completed.
pub async fn manifest_keys(
    repository: &dyn Repository,
    prefix: &str,
) -> Result<Vec<ArchiveLayout>, StepError> {
    let objects = repository.list(prefix).await?;
    let mut found: Vec<ArchiveLayout> =
        objects.iter().filter_map(|object| ArchiveLayout::of_manifest_key(&object.key)).collect();
    found.sort_by_key(|layout| layout.backup_id);
    Ok(found)
}

/// Reads one backup's manifest.
///
/// # Errors
/// [`StepError::Manifest`] when it is damaged or of an unknown version.
pub async fn read_backup(
    repository: &dyn Repository,
    layout: ArchiveLayout,
) -> Result<StandingBackup, StepError> {
    let key = layout.manifest();
    let bytes = repository.get(&key, MANIFEST_LIMIT_BYTES).await?;
    let (manifest, seal) = Manifest::parse_sealed(&key, &bytes)?;
    Ok(StandingBackup { layout, manifest, manifest_sha256: sha256_hex(&bytes), seal })
}

/// Finds a backup by its id, or the newest one.
///
/// # Errors
/// When there is none, or `None` was asked for and the repository holds several sources.
pub async fn find_backup(
    repository: &dyn Repository,
    backup_id: Option<BackupId>,
) -> Result<StandingBackup, StepError> {
    let wanted = backup_id.map(BackupIdPrefix::from);
    read_backup(repository, find_layout(repository, wanted.as_ref()).await?).await
}

/// Finds where a backup lies by its id or the first characters of it, or the newest one; its manifest is not read.
///
/// # Errors
/// When there is none; when several ids begin so, with their names; or when `None` was asked for and the repository
/// holds several sources.
pub async fn find_layout(
    repository: &dyn Repository,
    wanted: Option<&BackupIdPrefix>,
) -> Result<ArchiveLayout, StepError> {
    let mut found = manifest_keys(repository, "").await?;
    match wanted {
        Some(prefix) => {
            found.retain(|layout| prefix.begins(layout.backup_id));
            only_one_backup(prefix, &found)?;
        }
        None => only_one_source(repository, &found)?,
    }
    found.pop().ok_or_else(|| {
        let what = wanted.map_or_else(|| "no backup".to_owned(), |id| format!("no backup {id}"));
        StepError::found(
            FailureClass::Permanent,
            format!("{what} stands in {}", repository.url()),
            "nothing was changed",
            "keepsake list --repo <URL> to see what stands; look into the copies too",
        )
    })
}

/// More names than these help nobody to choose.
const NAMED_CANDIDATES: usize = 10;

fn only_one_backup(prefix: &BackupIdPrefix, found: &[ArchiveLayout]) -> Result<(), StepError> {
    if found.len() < 2 {
        return Ok(());
    }
    let mut names: Vec<String> =
        found.iter().map(|layout| format!("{} of {}", layout.backup_id, layout.source)).collect();
    let more = names.len().saturating_sub(NAMED_CANDIDATES);
    names.truncate(NAMED_CANDIDATES);
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    Err(StepError::found(
        FailureClass::Permanent,
        format!("the ids of {} backups begin with {prefix}: {}", found.len(), names.join(", ")),
        "nothing was changed",
        "give more characters of the id",
    ))
}

fn only_one_source(repository: &dyn Repository, found: &[ArchiveLayout]) -> Result<(), StepError> {
    let mut sources: Vec<&str> = found.iter().map(|layout| layout.source.as_str()).collect();
    sources.dedup();
    sources.sort_unstable();
    sources.dedup();
    if sources.len() < 2 {
        return Ok(());
    }
    Err(StepError::found(
        FailureClass::Permanent,
        format!("{} holds backups of several sources: {}", repository.url(), sources.join(", ")),
        "nothing was changed",
        "name the backup by --backup <ID>; keepsake list --repo <URL> shows them",
    ))
}
