//! Verify an archive where it lies: every object there and as it was sent; deep, every byte read, decrypted and
//! counted again.

use crate::StepError;
use crate::list_backups::StandingBackup;
use crate::ports::{Chunk, ChunkReceiver, Repository};
use crate::replicate_backup::read_and_check;
use crate::seal_backup::check_objects;
use crate::streams::download_opened;
use futures::stream::{self, StreamExt};
use keepsake_archive::{BackupIdentity, CopyText, StoredObject};
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
