//! Replicate: the same archive in another repository, verified there. The manifest goes last there too.

use crate::list_backups::{StandingBackup, sha256_hex};
use crate::ports::{Clock, Copies, CopyRecord, CopyState, PolicyCopy, Repository, RepositoryError, chunks};
use crate::seal_backup::MANIFEST_LIMIT_BYTES;
use crate::streams::check_stored;
use crate::{Run, StepError};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use keepsake_archive::{StoredHasher, StoredObject};
use keepsake_domain::{Classified, FailureClass};
use serde::{Deserialize, Serialize};

/// Objects on their way at once; a copy on the store's side costs us one idle request, a streamed one 32 MiB.
const COPIES_IN_FLIGHT: usize = 4;

/// A copy that was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedCopy {
    /// Where.
    pub repository: String,
    /// Objects there, keys and manifest included.
    pub objects: u64,
    /// Bytes there.
    pub bytes: u64,
}

/// What replicating needs.
pub struct Replication<'a> {
    /// Where the backup stands.
    pub from: &'a dyn Repository,
    /// Where it goes.
    pub to: &'a dyn Repository,
    /// Status of copies.
    pub copies: &'a dyn Copies,
    /// Time.
    pub clock: &'a dyn Clock,
}

/// Copies a backup and records how it went. A second call skips what stands there and is equal.
///
/// # Errors
/// [`StepError`]; the copy then is recorded as failed, and nothing of it looks complete: it has no manifest.
pub async fn replicate_backup(
    replication: &Replication<'_>,
    run: &Run,
    copy: &PolicyCopy,
    backup: &StandingBackup,
) -> Result<VerifiedCopy, StepError> {
    record(replication, run, copy, CopyState::Copying, None, None).await?;
    match copy_backup(replication.from, replication.to, backup).await {
        Ok(verified) => {
            let checksum = Some(backup.manifest_sha256.clone());
            record(replication, run, copy, CopyState::Verified, checksum, None).await?;
            Ok(verified)
        }
        Err(error) => {
            let text = keepsake_domain::chain(&error);
            // The copy's own failure is what the run must report, also when the catalog does not answer now.
            let noted = record(replication, run, copy, CopyState::Failed, None, Some(text)).await;
            if let Err(second) = noted {
                tracing::error!(error = %second, class = %second.class(), "cannot record the failed copy");
            }
            Err(error)
        }
    }
}

async fn record(
    replication: &Replication<'_>,
    run: &Run,
    copy: &PolicyCopy,
    state: CopyState,
    checksum: Option<String>,
    error: Option<String>,
) -> Result<(), StepError> {
    let progress = if state == CopyState::Verified { 1.0 } else { 0.0 };
    let record = CopyRecord {
        backup_id: run.backup_id,
        location_id: copy.location_id,
        region: copy.region.clone(),
        state,
        progress,
        checksum,
        error,
        at: replication.clock.now(),
    };
    Ok(replication.copies.record_copy(&record).await?)
}

/// Copies every object of a backup, checks each there, and writes the manifest last.
///
/// # Errors
/// [`FailureClass::Integrity`] when an object is not equal there.
pub async fn copy_backup(
    from: &dyn Repository,
    to: &dyn Repository,
    backup: &StandingBackup,
) -> Result<VerifiedCopy, StepError> {
    let keys = key_objects(from, backup).await?;
    let objects: Vec<StoredObject> = backup.manifest.objects().chain(&keys).cloned().collect();
    // Owned objects keep this future `Send` for any caller.
    stream::iter(objects.clone())
        .map(|object| async move { copy_object(from, to, &object).await })
        .buffer_unordered(COPIES_IN_FLIGHT)
        .try_collect::<()>()
        .await?;
    let manifest_bytes = copy_manifest(from, to, backup).await?;
    Ok(VerifiedCopy {
        repository: to.url(),
        objects: objects.len() as u64 + 1,
        bytes: objects.iter().map(|object| object.stored_bytes).sum::<u64>() + manifest_bytes,
    })
}

/// The keys objects are small and their digests are in no manifest, so they are read once here.
async fn key_objects(from: &dyn Repository, backup: &StandingBackup) -> Result<Vec<StoredObject>, StepError> {
    let prefix = format!("{}keys/", backup.layout.root());
    let mut objects = Vec::new();
    for info in from.list(&prefix).await? {
        let bytes = from.get(&info.key, 1 << 20).await?;
        objects.push(StoredObject::of_bytes(info.key, &bytes));
    }
    Ok(objects)
}

async fn copy_object(
    from: &dyn Repository,
    to: &dyn Repository,
    object: &StoredObject,
) -> Result<(), StepError> {
    if let Some(info) = to.head(&object.key).await? {
        return verify_object(to, object, info.crc32, || check_stored(object, &info)).await;
    }
    let info = match to.copy_from(&from.url(), &object.key).await {
        Ok(Some(info)) => info,
        Ok(None) => stream_object(from, to, object).await?,
        // A racing copy of the same run wrote it first; what stands must be equal all the same.
        Err(RepositoryError::AlreadyExists { .. }) => head(to, object).await?,
        Err(error) => return Err(error.into()),
    };
    verify_object(to, object, info.crc32, || check_stored(object, &info)).await
}

async fn head(to: &dyn Repository, object: &StoredObject) -> Result<crate::ports::ObjectInfo, StepError> {
    let missing = || RepositoryError::NotFound { url: to.url(), key: object.key.clone() };
    Ok(to.head(&object.key).await?.ok_or_else(missing)?)
}

/// By the store's own checksum of the whole object; where it keeps none, by reading every byte back.
async fn verify_object(
    to: &dyn Repository,
    object: &StoredObject,
    crc32: Option<u32>,
    check: impl FnOnce() -> Result<(), StepError>,
) -> Result<(), StepError> {
    check()?;
    if crc32.is_some() {
        return Ok(());
    }
    read_and_check(to, object).await
}

/// Reads an object whole and compares its SHA-256 with what the manifest says.
pub(crate) async fn read_and_check(
    repository: &dyn Repository,
    object: &StoredObject,
) -> Result<(), StepError> {
    let (sender, mut stored) = chunks();
    let hash = async move {
        let mut hasher = StoredHasher::default();
        while let Some(crate::ports::Chunk::Data(bytes)) = stored.recv().await {
            hasher.update(&bytes);
        }
        hasher
    };
    let (downloaded, hasher) = tokio::join!(repository.download(&object.key, sender), hash);
    downloaded?;
    Ok(hasher.check(object)?)
}

async fn stream_object(
    from: &dyn Repository,
    to: &dyn Repository,
    object: &StoredObject,
) -> Result<crate::ports::ObjectInfo, StepError> {
    let (sender, stored) = chunks();
    let (rechunked_sender, rechunked) = chunks();
    let (downloaded, passed, uploaded) = tokio::join!(
        from.download(&object.key, sender),
        crate::rechunk::rechunk(stored, rechunked_sender),
        to.upload(&object.key, rechunked)
    );
    downloaded?;
    match uploaded {
        Ok(info) => passed.map(|()| info),
        Err(RepositoryError::AlreadyExists { .. }) => head(to, object).await,
        Err(error) => Err(error.into()),
    }
}

async fn copy_manifest(
    from: &dyn Repository,
    to: &dyn Repository,
    backup: &StandingBackup,
) -> Result<u64, StepError> {
    let key = backup.layout.manifest();
    let bytes: Bytes = from.get(&key, MANIFEST_LIMIT_BYTES).await?;
    let stands = match to.put_new(&key, bytes.clone()).await {
        Ok(_) | Err(RepositoryError::AlreadyExists { .. }) => to.get(&key, MANIFEST_LIMIT_BYTES).await?,
        Err(error) => return Err(error.into()),
    };
    if stands == bytes && sha256_hex(&stands) == backup.manifest_sha256 {
        return Ok(stands.len() as u64);
    }
    Err(StepError::found(
        FailureClass::Integrity,
        format!("manifest \"{key}\" in {} is not the one that was sealed", to.url()),
        format!("the copy in {} does not count; the backup in {} stands", to.url(), from.url()),
        "look at who else writes to the copy's bucket; then run the copy into an empty prefix",
    ))
}
