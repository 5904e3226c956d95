//! Replicate: the same archive in another repository, verified there. The manifest goes last there too.
//!
//! A copy is made in three phases, so that no function needs more time than a batch of parts takes: what is not rows,
//! then the parts, then the check of everything and the manifest.

use crate::copy_object::copy_object;
use crate::list_backups::{StandingBackup, sha256_hex};
use crate::ports::{Clock, Copies, CopyRecord, CopyState, PolicyCopy, Repository, RepositoryError};
use crate::seal_backup::{CHECKS_IN_FLIGHT, MANIFEST_LIMIT_BYTES};
use crate::streams::check_stored;
use crate::{Run, StepError, Work};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use keepsake_archive::{Part, StoredObject};
use keepsake_domain::{Classified, FailureClass};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

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
    /// Work objects of the run, where batches leave word of each other.
    pub work: &'a Work,
    /// Status of copies.
    pub copies: &'a dyn Copies,
    /// Time.
    pub clock: &'a dyn Clock,
}

impl Replication<'_> {
    /// Opens a copy: counts the attempt and copies what is not rows. A second call skips what stands there and is equal.
    ///
    /// # Errors
    /// [`StepError`], here and in the other phases; nothing of the copy looks complete then: it has no manifest. Unless
    /// the phase is tried again, the copy is recorded as failed.
    pub async fn prepare(
        &self,
        run: &Run,
        copy: &PolicyCopy,
        backup: &StandingBackup,
    ) -> Result<(), StepError> {
        self.record(run, copy, CopyState::Copying, None, None).await?;
        let copied = copy_rest(self.from, self.to, backup).await;
        self.or_failed(run, copy, copied).await
    }

    /// Copies the parts of one batch and leaves word that they stand. A second call skips what stands and is equal.
    ///
    /// # Errors
    /// As [`Replication::prepare`].
    pub async fn batch(
        &self,
        run: &Run,
        copy: &PolicyCopy,
        batch: u32,
        parts: Vec<Part>,
    ) -> Result<(), StepError> {
        let numbers: BTreeSet<u32> = parts.iter().map(|part| part.number).collect();
        let copied = async {
            copy_parts(self.from, self.to, parts).await?;
            self.work.put_word(&words_of(copy), batch, &numbers).await
        };
        self.or_failed(run, copy, copied.await).await
    }

    /// Ends a copy: every part has its batch's word, every object stands there as it was sent, the manifest is written
    /// last. A second call finds the manifest and answers the same.
    ///
    /// # Errors
    /// As [`Replication::prepare`]; [`FailureClass::Permanent`] when a part has no word.
    pub async fn finish(
        &self,
        run: &Run,
        copy: &PolicyCopy,
        backup: &StandingBackup,
    ) -> Result<VerifiedCopy, StepError> {
        let sealed = async {
            self.every_part_was_copied(copy, backup).await?;
            seal_copy(self.from, self.to, backup).await
        };
        let verified = self.or_failed(run, copy, sealed.await).await?;
        self.record(run, copy, CopyState::Verified, Some(backup.manifest_sha256.clone()), None).await?;
        Ok(verified)
    }

    async fn every_part_was_copied(
        &self,
        copy: &PolicyCopy,
        backup: &StandingBackup,
    ) -> Result<(), StepError> {
        let words = self.work.words::<BTreeSet<u32>>(&words_of(copy)).await?;
        let copied: BTreeSet<u32> = words.into_values().flatten().collect();
        match backup.manifest.parts.iter().find(|part| !copied.contains(&part.number)) {
            Some(part) => Err(StepError::found(
                FailureClass::Permanent,
                format!("no batch copied part {} of table {} to {}", part.number, part.table, self.to.url()),
                format!(
                    "the copy is not complete and does not count; the backup in {} stands",
                    self.from.url()
                ),
                "look at the batches of ReplicateRows in the execution's history; then start the policy again",
            )),
            None => Ok(()),
        }
    }

    /// Records a failed phase, unless the machine tries it again: should that not help either, the end of the run ends
    /// its copies too. Its own failure is what the run must report, also when the catalog does not answer now.
    async fn or_failed<T>(
        &self,
        run: &Run,
        copy: &PolicyCopy,
        outcome: Result<T, StepError>,
    ) -> Result<T, StepError> {
        if let Err(error) = &outcome
            && error.class() != FailureClass::Transient
        {
            let text = keepsake_domain::chain(error);
            if let Err(second) = self.record(run, copy, CopyState::Failed, None, Some(text)).await {
                tracing::error!(error = %second, class = %second.class(), "cannot record the failed copy");
            }
        }
        outcome
    }

    async fn record(
        &self,
        run: &Run,
        copy: &PolicyCopy,
        state: CopyState,
        checksum: Option<String>,
        error: Option<String>,
    ) -> Result<(), StepError> {
        let record = CopyRecord {
            backup_id: run.backup_id,
            location_id: copy.location_id,
            region: copy.region.clone(),
            state,
            progress: if state == CopyState::Verified { 1.0 } else { 0.0 },
            checksum,
            error,
            at: self.clock.now(),
        };
        Ok(self.copies.record_copy(&record).await?)
    }
}

/// Folder of the words that the batches of one copy leave.
fn words_of(copy: &PolicyCopy) -> String {
    format!("copies/{}", copy.location_id)
}

/// A whole copy by one process, through the same phases. A second call skips what stands there and is equal.
///
/// # Errors
/// [`FailureClass::Integrity`] when an object is not equal there.
pub async fn copy_backup(
    from: &dyn Repository,
    to: &dyn Repository,
    backup: &StandingBackup,
) -> Result<VerifiedCopy, StepError> {
    copy_rest(from, to, backup).await?;
    copy_parts(from, to, backup.manifest.parts.clone()).await?;
    seal_copy(from, to, backup).await
}

async fn copy_rest(
    from: &dyn Repository,
    to: &dyn Repository,
    backup: &StandingBackup,
) -> Result<(), StepError> {
    let keys = key_objects(from, backup).await?;
    let rest = backup.manifest.objects_without_rows().cloned().chain(keys);
    copy_objects(from, to, rest.collect()).await
}

async fn copy_parts(from: &dyn Repository, to: &dyn Repository, parts: Vec<Part>) -> Result<(), StepError> {
    copy_objects(from, to, parts.into_iter().map(|part| part.object).collect()).await
}

async fn copy_objects(
    from: &dyn Repository,
    to: &dyn Repository,
    objects: Vec<StoredObject>,
) -> Result<(), StepError> {
    // Owned objects keep this future `Send` for any caller.
    stream::iter(objects)
        .map(|object| async move { copy_object(from, to, &object).await })
        .buffer_unordered(COPIES_IN_FLIGHT)
        .try_collect::<()>()
        .await
}

/// Checks that every object stands there with its size and checksum, and writes the manifest.
async fn seal_copy(
    from: &dyn Repository,
    to: &dyn Repository,
    backup: &StandingBackup,
) -> Result<VerifiedCopy, StepError> {
    let keys = key_objects(from, backup).await?;
    let objects: Vec<StoredObject> = backup.manifest.objects().chain(&keys).cloned().collect();
    stream::iter(objects.clone())
        .map(|object| async move {
            match to.head(&object.key).await? {
                Some(info) => check_stored(&object, &info),
                None => {
                    Err(unlike(format!("object \"{}\" is missing in {}", object.key, to.url()), from, to))
                }
            }
        })
        .buffer_unordered(CHECKS_IN_FLIGHT)
        .try_collect::<()>()
        .await?;
    let manifest_bytes = copy_manifest(from, to, backup).await?;
    Ok(VerifiedCopy {
        repository: to.url(),
        objects: objects.len() as u64 + 1,
        bytes: objects.iter().map(|object| object.stored_bytes).sum::<u64>() + manifest_bytes,
    })
}

/// The keys objects are small and their digests are in no manifest, so they are read here.
async fn key_objects(from: &dyn Repository, backup: &StandingBackup) -> Result<Vec<StoredObject>, StepError> {
    let prefix = format!("{}keys/", backup.layout.root());
    let mut objects = Vec::new();
    for info in from.list(&prefix).await? {
        let bytes = from.get(&info.key, 1 << 20).await?;
        objects.push(StoredObject::of_bytes(info.key, &bytes));
    }
    Ok(objects)
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
    Err(unlike(format!("manifest \"{key}\" in {} is not the one that was sealed", to.url()), from, to))
}

fn unlike(what: String, from: &dyn Repository, to: &dyn Repository) -> StepError {
    StepError::found(
        FailureClass::Integrity,
        what,
        format!("the copy in {} does not count; the backup in {} stands", to.url(), from.url()),
        "look at who else writes to the copy's bucket; then run the copy into an empty prefix",
    )
}
