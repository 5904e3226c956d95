//! Everything that a replay reads is read to its end, and compared, before anything is changed anywhere.

use crate::StepError;
use crate::change_reader::ChangeReader;
use crate::differential::check_differential;
use crate::ports::{ChangePosition, Repository};
use crate::replay_changes::{OpenedSegment, Replay, SegmentRead, read_segment, rules};
use crate::restore_backup::Restore;
use keepsake_archive::{Manifest, MessageHead, SegmentManifest, SegmentRecord};
use keepsake_domain::{
    Classified, DDL_MESSAGE_PREFIX, DdlMessage, FailureClass, Lsn, NotPlain, ParseStatement, SchemaStatement,
    chain,
};

/// Reads every segment up to the target to its end, and compares the manifests with each other, with their seals and with
/// the backup, before anything is changed anywhere. Answers the statements that changed the schema up to the target, in their
/// order. A second call reads all again.
///
/// # Errors
/// [`FailureClass::Integrity`] naming the first segment that is damaged, missing, or of another history.
/// [`FailureClass::Permanent`] when the target is a transaction that is not among the changes.
pub async fn check_segments(
    restore: &Restore,
    replay: &Replay,
    parse: ParseStatement,
    read: &SegmentRead,
) -> Result<Vec<SchemaStatement>, StepError> {
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
    let mut statements = Vec::new();
    let mut told = |reader: &mut ChangeReader, segment: &OpenedSegment, payload: &[u8]| {
        let Some(statement) = statement_of(reader, segment, payload, parse)? else { return Ok(()) };
        reader.define(&statement.effect)?;
        statements.push(statement);
        Ok(())
    };
    check_all(repository, &restore.backup.manifest, &replay.segments, &mut reader, &mut told, read).await?;
    reader.finish()?;
    Ok(statements)
}

/// What a message of the source tells that it defined, if it is replayed.
fn statement_of(
    reader: &ChangeReader,
    segment: &OpenedSegment,
    payload: &[u8],
    parse: ParseStatement,
) -> Result<Option<SchemaStatement>, StepError> {
    if !reader.is_replaying() || !of_segment(segment)?.schema_replayable || payload.first() != Some(&b'M') {
        return Ok(None);
    }
    let MessageHead::Logical { is_transactional: true, prefix, content, .. } = MessageHead::of(payload)?
    else {
        return Ok(None);
    };
    let message = Some(content).filter(|_| prefix == DDL_MESSAGE_PREFIX);
    let message: Option<DdlMessage> = message.and_then(|content| serde_json::from_slice(&content).ok());
    let Some(message) = message.filter(|message| !message.is_idle()) else { return Ok(None) };
    message.statement(parse).map(Some).map_err(|why| not_plain(segment, &message.command, why))
}

/// Takes each message of a segment behind the reader.
pub(crate) type Told<'a> =
    dyn FnMut(&mut ChangeReader, &OpenedSegment, &[u8]) -> Result<(), StepError> + Send + 'a;

/// Reads segments to their end, as long as the reader wants more, and compares them with their manifests, seals and each
/// other.
pub(crate) async fn check_all(
    repository: &dyn Repository,
    base: &Manifest,
    segments: &[OpenedSegment],
    reader: &mut ChangeReader,
    told: &mut Told<'_>,
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
                told(reader, segment, &payload)?;
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

/// Another version of this program took it for one that can be run again.
fn not_plain(segment: &OpenedSegment, command: &str, why: NotPlain) -> StepError {
    StepError::found(
        FailureClass::Permanent,
        format!(
            "segment \"{}\" has a statement {command} that this program cannot run again: {why}",
            segment.standing.manifest_key()
        ),
        "nothing was changed on the target",
        "restore with the version of keepsake that captured it, or to a point before it",
    )
}

fn of_another_history(segment: &OpenedSegment, why: &str) -> StepError {
    StepError::found(
        FailureClass::Integrity,
        format!("segment \"{}\" does not belong to this history: {why}", segment.standing.manifest_key()),
        "full backups and the segments before it are not affected",
        "restore to a point before it, or from a copy: keepsake window --repo <URL>",
    )
}
