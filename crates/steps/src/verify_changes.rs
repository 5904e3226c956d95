//! Verify captured changes where they lie: each segment's object, and that each manifest is the one that the next names.

use crate::StepError;
use crate::copy_object::read_and_check;
use crate::list_changes::StandingChanges;
use crate::ports::{Chunk, ChunkReceiver, Repository};
use crate::seal_backup::check_objects;
use crate::streams::download_opened;
use crate::verify_archive::{Damage, Depth};
use keepsake_archive::{ManifestError, SegmentDecoder, SegmentEnd, SegmentError, SegmentManifest};
use keepsake_domain::{Classified, FailureClass, chain};
use std::collections::HashMap;

/// Checks the object of one segment; a chain's beginning has none. `None` means that all is well.
///
/// # Errors
/// When the repository could not be asked: that is no finding.
pub async fn verify_segment(
    repository: &dyn Repository,
    changes: &StandingChanges,
    depth: Depth<'_>,
) -> Result<Option<Damage>, StepError> {
    let Some(segment) = changes.segment() else { return Ok(None) };
    let outcome = match depth {
        Depth::Objects => check_objects(repository, std::iter::once(&segment.object)).await,
        Depth::Bytes => read_and_check(repository, &segment.object).await,
        Depth::Rows(identity) => {
            let counted = |plain| counted(segment, plain);
            download_opened(repository, &segment.object, None, identity, counted).await
        }
    };
    match outcome {
        Ok(()) => Ok(None),
        Err(error) if error.class() == FailureClass::Integrity => {
            Ok(Some(Damage { key: segment.object.key.clone(), finding: chain(&error) }))
        }
        Err(error) => Err(error),
    }
}

/// Reads a whole segment and compares what it holds with its manifest.
async fn counted(segment: &SegmentManifest, mut plain: ChunkReceiver) -> Result<(), StepError> {
    let mut decoder = SegmentDecoder::new(&segment.object.key);
    loop {
        match plain.recv().await {
            Some(Chunk::Data(bytes)) => decoder.feed(&bytes),
            Some(Chunk::End) => break,
            // Whoever opens the object knows why it ends here.
            None => return Ok(()),
        }
        while decoder.next_record()?.is_some() {}
    }
    let held = decoder.finish()?;
    if held == segment.holds { Ok(()) } else { Err(differs(segment, held).into()) }
}

fn differs(segment: &SegmentManifest, held: SegmentEnd) -> SegmentError {
    let detail = format!("it holds {held:?}, and its manifest says {:?}", segment.holds);
    SegmentError::Damaged { what: "segment", key: segment.object.key.clone(), records: 0, detail }
}

/// Compares every manifest of one lineage with what the one behind it says of it. Manifests that are missing or were
/// changed are found by those that name them.
#[must_use]
pub fn verify_links(changes: &[StandingChanges]) -> Vec<Damage> {
    let standing: HashMap<_, _> = changes.iter().map(|one| (one.key(), one)).collect();
    let mut damages = Vec::new();
    for next in changes {
        let Some(previous) = next.previous() else { continue };
        let key = next.layout.manifest(previous.key());
        let named = format!("{:?}", next.manifest_key());
        match standing.get(&previous.key()) {
            None => damages.push(Damage { finding: format!("it is missing, and {named} names it"), key }),
            Some(one) if one.manifest_sha256 == previous.sha256 => {
                damages.extend(beside(one, next).map(|finding| Damage { key: next.manifest_key(), finding }));
            }
            Some(one) => {
                let unlinked = ManifestError::Unlinked {
                    key: key.clone(),
                    next: named,
                    found: one.manifest_sha256.clone(),
                    expected: previous.sha256.clone(),
                };
                damages.push(Damage { key, finding: unlinked.to_string() });
            }
        }
    }
    damages
}

/// Only one segment can begin where another ends: one that names it and begins elsewhere forks the chain. A chain's beginning
/// may lie anywhere behind.
fn beside(one: &StandingChanges, next: &StandingChanges) -> Option<String> {
    let (end, start) = (one.boundary().position.lsn, next.segment()?.start_lsn);
    (start != end)
        .then(|| format!("it does not begin where the one before ends: at {start} instead of {end}"))
}
