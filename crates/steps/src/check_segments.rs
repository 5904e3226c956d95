//! Everything that a replay reads is read to its end, and compared, before anything is changed anywhere.

use crate::StepError;
use crate::change_reader::ChangeReader;
use crate::differential::check_differential;
use crate::ports::{ChangePosition, Repository};
use crate::replay_changes::{OpenedSegment, Replay, SegmentRead, read_segment, rules};
use crate::restore_backup::Restore;
use keepsake_archive::{Manifest, SegmentManifest, SegmentRecord};
use keepsake_domain::{Classified, FailureClass, Lsn, chain};

/// Reads every segment up to the target to its end, and compares the manifests with each other, with their seals and with
/// the backup, before anything is changed anywhere. A second call reads them again.
///
/// # Errors
/// [`FailureClass::Integrity`] naming the first segment that is damaged, missing, or of another history.
/// [`FailureClass::Permanent`] when the target is a transaction that is not among the changes.
pub async fn check_segments(restore: &Restore, replay: &Replay, read: &SegmentRead) -> Result<(), StepError> {
    let mut reader = ChangeReader::looking(rules(restore, replay, ChangePosition::default()));
    let repository = restore.repository.as_ref();
    if let Some(differential) = &replay.differential {
        check_differential(repository, &restore.backup, differential).await?;
        let previous = &differential.standing.manifest.previous;
        let follows = |next: &OpenedSegment| next.standing.previous() == Some(previous);
        if let Some(next) = replay.segments.first().filter(|next| !follows(next)) {
            return Err(of_another_history(
                next,
                "it does not follow the segment that the differential ends with",
            ));
        }
        reader = reader.behind(differential.standing.end());
    }
    check_all(repository, &restore.backup.manifest, &replay.segments, &mut reader, read).await?;
    reader.finish().map(drop)
}

/// Reads segments to their end, as long as the reader wants more, and compares them with their manifests, seals and each
/// other.
pub(crate) async fn check_all(
    repository: &dyn Repository,
    base: &Manifest,
    segments: &[OpenedSegment],
    reader: &mut ChangeReader,
    read: &SegmentRead,
) -> Result<(), StepError> {
    for (index, segment) in segments.iter().enumerate() {
        if reader.has_ended() {
            break;
        }
        let before = index.checked_sub(1).and_then(|before| segments.get(before));
        let manifest = belongs(base, segment, before)?;
        reader.begin_segment(&manifest.snapshot);
        let held = read_segment(repository, segment, manifest, async |record| {
            if let SegmentRecord::Message { lsn, payload } = record {
                reader.message(lsn, &payload)?;
            }
            Ok(())
        });
        match held.await {
            Ok(held) if held == manifest.holds => read(manifest),
            Ok(held) => {
                let finding = format!("it holds {held:?}, and its manifest says {:?}", manifest.holds);
                return Err(damaged(base, segment, &finding));
            }
            Err(error) if error.class() == FailureClass::Integrity => {
                return Err(damaged(base, segment, &chain(&error)));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(crate) fn of_segment(segment: &OpenedSegment) -> Result<&SegmentManifest, StepError> {
    segment
        .standing
        .segment()
        .ok_or_else(|| of_another_history(segment, "it begins a chain and holds nothing"))
}

/// Whether a segment follows the one before it, in the history of the backup, and was sealed with the key that opens it.
fn belongs<'a>(
    base: &Manifest,
    segment: &'a OpenedSegment,
    before: Option<&OpenedSegment>,
) -> Result<&'a SegmentManifest, StepError> {
    let (standing, manifest) = (&segment.standing, of_segment(segment)?);
    standing.seal.check(&standing.manifest_key(), &segment.identity.seal_key())?;
    if (&manifest.source, &manifest.lineage) != (&base.source, &base.lineage) {
        return Err(of_another_history(segment, "it is of another lineage than the full backup"));
    }
    match before {
        Some(before) if of_segment(before)?.end_lsn != manifest.start_lsn => {
            Err(of_another_history(segment, "it does not begin where the one before ends"))
        }
        Some(before) if before.standing.as_previous() != manifest.previous => {
            Err(of_another_history(segment, "it names another manifest as the one before"))
        }
        _ => Ok(manifest),
    }
}

fn damaged(base: &Manifest, segment: &OpenedSegment, finding: &str) -> StepError {
    StepError::found(
        FailureClass::Integrity,
        format!("segment \"{}\" cannot be restored: {finding}", segment.standing.manifest_key()),
        "full backups and the segments before it are not affected; nothing was changed on the target",
        format!(
            "{}; or restore from a copy; keepsake window --repo <URL> shows which full backup begins behind it",
            newest_before(base, segment)
        ),
    )
}

/// How to restore the newest point that does not need a segment.
fn newest_before(base: &Manifest, segment: &OpenedSegment) -> String {
    let Some(manifest) = segment.standing.segment() else { return String::new() };
    // At its beginning itself a commit of the segment may stand.
    let last = Lsn(manifest.start_lsn.0.saturating_sub(1));
    if last < base.lsn {
        return format!("--backup {} without a point restores the full backup alone", base.backup_id);
    }
    format!("the newest point before it is {} at {last}: restore with --lsn {last}", manifest.started_at)
}

fn of_another_history(segment: &OpenedSegment, why: &str) -> StepError {
    StepError::found(
        FailureClass::Integrity,
        format!("segment \"{}\" does not belong to this history: {why}", segment.standing.manifest_key()),
        "full backups and the segments before it are not affected",
        "restore to a point before it, or from a copy: keepsake window --repo <URL>",
    )
}
