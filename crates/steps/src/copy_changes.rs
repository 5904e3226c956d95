//! Copies of captured changes in another repository: what stands here and not there, in its order, each manifest last.
//!
//! Because manifests are written in their order, the newest one there says what is there already, and a copy that died
//! anywhere is gone on with by the next call.

use crate::StepError;
use crate::copy_object::copy_object;
use crate::list_changes::{StandingChanges, parse_changes};
use crate::newest_changes::{newest_changes, page_behind};
use crate::ports::{Repository, RepositoryError};
use crate::seal_backup::{CHECKS_IN_FLIGHT, MANIFEST_LIMIT_BYTES};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use keepsake_archive::{ChangesLayout, StoredObject};
use keepsake_domain::{BackupId, Classified, FailureClass, Position};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Manifests whose objects are on their way at once: a copy on the store's side costs one idle request, a streamed one
/// 32 MiB.
const COPIES_IN_FLIGHT: usize = 4;

/// Key files of the runs of one call that are known to stand there; a run is of minutes to days.
type Runs = HashSet<BackupId>;

/// What a call copied. JSON shape: these fields, in snake case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiedChanges {
    /// Where.
    pub repository: String,
    /// Manifests of chains and segments that this call wrote there.
    pub manifests: u64,
    /// Bytes of their segments.
    pub bytes: u64,
    /// How far changes stand there now; `None` when nothing does.
    pub end: Option<Position>,
    /// Whether nothing is left to copy.
    pub is_complete: bool,
    /// Segments that were left out, because they are damaged where they are copied from, and why.
    pub left_out: Vec<String>,
}

/// Copies the changes of one lineage that stand in `from` and not in `to`, at most about `limit` manifests. Key files go as
/// they are: each holder opens the copy as it opens the original. A second call goes on behind the first one.
///
/// A segment that is damaged here is left out and told: what follows is worth a copy all the same, for full backups that
/// join behind it.
///
/// # Errors
/// [`FailureClass::Conflict`] when the repository there holds changes of this lineage that are not those here; others as the
/// ports say. Manifests that were written stand.
pub async fn copy_changes(
    from: &dyn Repository,
    to: &dyn Repository,
    layout: &ChangesLayout,
    limit: u64,
) -> Result<CopiedChanges, StepError> {
    let standing = newest_changes(to, layout, None).await?;
    let mut after = match &standing {
        Some(standing) => is_ours(from, to, standing).await?,
        None => layout.manifests(),
    };
    let mut copied = CopiedChanges {
        repository: to.url(),
        manifests: 0,
        bytes: 0,
        end: standing.map(|standing| standing.boundary().position),
        is_complete: false,
        left_out: Vec::new(),
    };
    let mut runs = Runs::new();
    while copied.manifests < limit && !copied.is_complete {
        let page = page_behind(from, layout, &after).await?;
        if !page.keys.is_empty() {
            copy_readme(from, to, layout).await?;
        }
        for keys in page.keys.chunks(CHECKS_IN_FLIGHT) {
            let read = |key| async move {
                let bytes = from.get(&layout.manifest(key), MANIFEST_LIMIT_BYTES).await?;
                parse_changes(layout, key, &bytes).map(|standing| (standing, bytes))
            };
            let read: Vec<Result<_, StepError>> =
                stream::iter(keys.iter().copied()).map(read).buffered(CHECKS_IN_FLIGHT).collect().await;
            copy_some(from, to, read, &mut runs, &mut copied).await?;
            if copied.manifests >= limit {
                break;
            }
        }
        copied.is_complete = page.is_last && copied.manifests < limit;
        after = page.after;
    }
    Ok(copied)
}

/// The objects of some manifests, several at a time, and then the manifests, one after the other.
async fn copy_some(
    from: &dyn Repository,
    to: &dyn Repository,
    read: Vec<Result<(StandingChanges, Bytes), StepError>>,
    runs: &mut Runs,
    copied: &mut CopiedChanges,
) -> Result<(), StepError> {
    for (standing, _) in read.iter().flatten() {
        if !runs.contains(&standing.run_id()) {
            copy_keys(from, to, standing).await?;
            runs.insert(standing.run_id());
        }
    }
    let copy = |read: Result<(StandingChanges, Bytes), StepError>| async move {
        let (standing, bytes) = read?;
        if let Some(segment) = standing.segment() {
            copy_object(from, to, &segment.object).await?;
        }
        Ok::<_, StepError>((standing, bytes))
    };
    let mut ready = stream::iter(read).map(copy).buffered(COPIES_IN_FLIGHT);
    while let Some(ready) = ready.next().await {
        match ready {
            Ok((standing, bytes)) => {
                put_manifest(from, to, &standing, bytes).await?;
                copied.manifests += 1;
                copied.bytes += standing.segment().map_or(0, |segment| segment.object.stored_bytes);
                copied.end = Some(standing.boundary().position);
            }
            Err(damaged) if damaged.class() == FailureClass::Integrity => {
                copied.left_out.push(keepsake_domain::chain(&damaged));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A run's key files; their digests are in no manifest, so they are read here.
async fn copy_keys(
    from: &dyn Repository,
    to: &dyn Repository,
    standing: &StandingChanges,
) -> Result<(), StepError> {
    let keys = from.list(&format!("{}keys/", standing.layout.run(standing.run_id()))).await?;
    stream::iter(keys)
        .map(|info| async move {
            let bytes = from.get(&info.key, 1 << 20).await?;
            copy_object(from, to, &StoredObject::of_bytes(info.key, &bytes)).await
        })
        .buffer_unordered(COPIES_IN_FLIGHT)
        .try_collect()
        .await
}

/// For people who read a copy by hand; a source that was protected has one.
async fn copy_readme(
    from: &dyn Repository,
    to: &dyn Repository,
    layout: &ChangesLayout,
) -> Result<(), StepError> {
    let key = layout.readme();
    match from.get(&key, MANIFEST_LIMIT_BYTES).await {
        Ok(bytes) => match to.put_new(&key, bytes).await {
            Ok(_) | Err(RepositoryError::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        },
        Err(RepositoryError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Two copies that race write the same bytes; whoever else wrote there holds other changes.
async fn put_manifest(
    from: &dyn Repository,
    to: &dyn Repository,
    standing: &StandingChanges,
    bytes: Bytes,
) -> Result<(), StepError> {
    let key = standing.manifest_key();
    match to.put_new(&key, bytes.clone()).await {
        Ok(_) => Ok(()),
        Err(RepositoryError::AlreadyExists { .. }) if to.get(&key, MANIFEST_LIMIT_BYTES).await? == bytes => {
            Ok(())
        }
        Err(RepositoryError::AlreadyExists { .. }) => Err(of_others(&key, from, to)),
        Err(error) => Err(error.into()),
    }
}

/// Whether the newest manifest there is the one that stands here; answers its key.
async fn is_ours(
    from: &dyn Repository,
    to: &dyn Repository,
    newest: &StandingChanges,
) -> Result<String, StepError> {
    let key = newest.manifest_key();
    match from.get(&key, MANIFEST_LIMIT_BYTES).await {
        Ok(bytes) if crate::list_backups::sha256_hex(&bytes) == newest.manifest_sha256 => Ok(key),
        Ok(_) | Err(RepositoryError::NotFound { .. }) => Err(of_others(&key, from, to)),
        Err(error) => Err(error.into()),
    }
}

fn of_others(key: &str, from: &dyn Repository, to: &dyn Repository) -> StepError {
    StepError::found(
        FailureClass::Conflict,
        format!("manifest \"{key}\" in {} is not the one in {}", to.url(), from.url()),
        "what stands in either repository was not changed; newer changes have no copy",
        "keepsake verify --repo <URL> on both; then copy into an empty prefix",
    )
}
