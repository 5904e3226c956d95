//! Verify an archive where it lies: every object there and as it was sent; deep, every byte read, decrypted and
//! counted again.

use crate::StepError;
use crate::copy_object::read_and_check;
use crate::list_backups::{StandingBackup, read_backup};
use crate::ports::{Chunk, ChunkReceiver, Repository};
use crate::seal_backup::check_objects;
use crate::streams::download_opened;
use futures::stream::{self, StreamExt};
use keepsake_archive::{ArchiveLayout, BackupIdentity, CopyText, ManifestError, StoredObject};
use keepsake_domain::{Classified, FailureClass};

/// Objects read at once; each stream costs at most 32 MiB.
const READS_IN_FLIGHT: usize = 2;

/// How thoroughly.
pub enum Depth<'a> {
    /// Size and the store's own checksum of each object.
    Objects,
    /// Every stored byte against its SHA-256; needs no key.
    Bytes,
    /// Every object opened, every row counted and digested.
    Rows(&'a BackupIdentity),
}

/// What was found wrong with one object.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Damage {
    /// Its key.
    pub key: String,
    /// What is wrong.
    pub finding: String,
}

/// Checks a whole backup and returns everything that is damaged; empty means that all is well.
///
/// # Errors
/// When the repository could not be asked: that is no finding.
pub async fn verify_archive(
    repository: &dyn Repository,
    backup: &StandingBackup,
    depth: Depth<'_>,
) -> Result<Vec<Damage>, StepError> {
    let objects = objects(backup);
    let depth = &depth;
    let mut damages = Vec::new();
    let mut findings = stream::iter(objects)
        .map(|(object, content)| async move {
            let outcome = verify_object(repository, &object, content, depth).await;
            (object.key, outcome)
        })
        .buffer_unordered(READS_IN_FLIGHT);
    while let Some((key, outcome)) = findings.next().await {
        match outcome {
            Ok(()) => {}
            Err(error) if error.class() == FailureClass::Integrity => {
                damages.push(Damage { key, finding: keepsake_domain::chain(&error) });
            }
            Err(error) => return Err(error),
        }
    }
    damages.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(damages)
}

/// Compares a manifest with what the next one of its lineage says of it. Answers whether that one confirms it: it may
/// name none, or another one, where two runs raced.
///
/// # Errors
/// [`ManifestError::Unlinked`] when it names this backup with another digest; others when it cannot be read.
pub async fn verify_link(
    repository: &dyn Repository,
    backup: &StandingBackup,
    next: ArchiveLayout,
) -> Result<bool, StepError> {
    let next = read_backup(repository, next).await?;
    let Some(previous) = next.manifest.previous_manifest else { return Ok(false) };
    if previous.backup_id != backup.layout.backup_id {
        return Ok(false);
    }
    if previous.sha256 == backup.manifest_sha256 {
        return Ok(true);
    }
    let (key, next) = (backup.layout.manifest(), format!("backup {}", next.layout.backup_id));
    Err(ManifestError::Unlinked {
        key,
        next,
        found: backup.manifest_sha256.clone(),
        expected: previous.sha256,
    }
    .into())
}

fn objects(backup: &StandingBackup) -> Vec<(StoredObject, Option<CopyText>)> {
    let manifest = &backup.manifest;
    let parts = manifest.parts.iter().map(|part| (part.object.clone(), Some(part.content)));
    let opaque = [&manifest.schema, &manifest.globals, &manifest.readme]
        .into_iter()
        .chain(manifest.blobs.iter().map(|blobs| &blobs.object));
    opaque.map(|object| (object.clone(), None)).chain(parts).collect()
}

async fn verify_object(
    repository: &dyn Repository,
    object: &StoredObject,
    content: Option<CopyText>,
    depth: &Depth<'_>,
) -> Result<(), StepError> {
    check_objects(repository, std::iter::once(object)).await?;
    match depth {
        Depth::Objects => Ok(()),
        // The README is the one object that is not encrypted.
        Depth::Rows(identity) if !object.key.ends_with("README.txt") => {
            download_opened(repository, object, content, identity, drain).await
        }
        Depth::Bytes | Depth::Rows(_) => read_and_check(repository, object).await,
    }
}

async fn drain(mut plain: ChunkReceiver) -> Result<(), StepError> {
    while let Some(Chunk::Data(_)) = plain.recv().await {}
    Ok(())
}
