//! One object of a copy: copied by the store where it can, streamed where it cannot, and verified where it lies.

use crate::StepError;
use crate::ports::{Chunk, ObjectInfo, Repository, RepositoryError, chunks};
use crate::streams::check_stored;
use keepsake_archive::{StoredHasher, StoredObject};

/// Copies one object and verifies it there; one that stands there is only verified.
pub(crate) async fn copy_object(
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

async fn head(to: &dyn Repository, object: &StoredObject) -> Result<ObjectInfo, StepError> {
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
        while let Some(Chunk::Data(bytes)) = stored.recv().await {
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
) -> Result<ObjectInfo, StepError> {
    let (sender, stored) = chunks();
    let (rechunked_sender, rechunked) = chunks();
    let (downloaded, passed, uploaded) = tokio::join!(
        from.download(&object.key, sender),
        crate::rechunk::rechunk(stored, rechunked_sender),
        to.upload(&object.key, rechunked)
    );
    match uploaded {
        Ok(info) => {
            downloaded?;
            passed.map(|()| info)
        }
        Err(RepositoryError::AlreadyExists { .. }) => {
            downloaded?;
            head(to, object).await
        }
        // Whoever reads is why nothing more came.
        Err(error @ RepositoryError::CutOff { .. }) => {
            downloaded?;
            Err(error.into())
        }
        // An upload that fails ends the reading too, which must not look like damage of the original.
        Err(error) => Err(error.into()),
    }
}
