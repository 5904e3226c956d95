//! What the catalog is told of captured changes, and how it catches up with what stands in the repository.

use crate::StepError;
use crate::capture_run::CaptureRun;
use crate::list_changes::{ChangesManifest, changes_keys, read_changes};
use crate::ports::{CaptureLog, CapturedRecord, ChainRecord, Repository};
use keepsake_archive::{ChangesKey, ChangesLayout, SegmentManifest};
use keepsake_domain::{Lsn, Position, SchemaBoundary};

/// Segments that nobody told the catalog of and that are read for it, at most: those of a run that died are a handful. Of
/// more, somebody captured without a catalog for long; the newest are enough to go on from.
const MOST_READ: usize = 1_000;

/// What segments add up to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    segments: u64,
    transactions: u64,
    changes: u64,
    raw_bytes: u64,
    pub stored_bytes: u64,
    schema_changed: Option<SchemaBoundary>,
    /// Where the last one ends.
    end: Option<Position>,
}

impl Tally {
    pub(crate) fn add(&mut self, segment: &SegmentManifest) {
        self.segments += 1;
        self.transactions += segment.holds.transactions;
        self.changes += segment.holds.changes;
        self.raw_bytes += segment.raw_bytes;
        self.stored_bytes += segment.object.stored_bytes;
        if segment.schema_changed {
            self.schema_changed = Some(SchemaBoundary {
                at: segment.ended_at,
                xmax: segment.snapshot.xmax,
                schema_fingerprint: segment.schema_fingerprint.clone(),
            });
        }
        self.end = Some(Position { lsn: segment.end_lsn, at: segment.ended_at });
    }
}

/// Notes what was captured, and then how far the changes stand in the primary repository. Nothing when it was nothing.
pub(crate) async fn record(
    log: &dyn CaptureLog,
    run: &CaptureRun,
    layout: &ChangesLayout,
    tally: &Tally,
) -> Result<(), StepError> {
    let Some(end) = tally.end else { return Ok(()) };
    let captured = CapturedRecord {
        execution: run.execution_row,
        lineage: layout.lineage.clone(),
        end,
        segments: tally.segments,
        transactions: tally.transactions,
        changes: tally.changes,
        raw_bytes: tally.raw_bytes,
        stored_bytes: tally.stored_bytes,
        schema_changed: tally.schema_changed.clone(),
    };
    log.note_captured(&captured).await?;
    Ok(log.note_position(run.source_id, run.location_id, &layout.lineage, end).await?)
}

/// Tells the catalog of the chains and segments that stand in the repository and that nobody told it of, if the changes
/// end elsewhere than it knows: a run died between its manifest and this, or somebody captured without a catalog.
pub(crate) async fn catch_up(
    log: &dyn CaptureLog,
    repository: &dyn Repository,
    run: &CaptureRun,
    layout: &ChangesLayout,
    end: Lsn,
) -> Result<(), StepError> {
    let known = log.position(run.source_id, run.location_id).await?;
    let known = known.filter(|(lineage, _)| *lineage == layout.lineage).map(|(_, position)| position.lsn);
    if known == Some(end) {
        return Ok(());
    }
    let newest_chain = note_chains(log, repository, run, layout).await?;
    let from = known.or(newest_chain).unwrap_or(end);
    let mut missed = Vec::new();
    for (_, key) in changes_keys(repository, &layout.root()).await? {
        if matches!(key, ChangesKey::Segment(start) if start >= from) {
            missed.push(key);
        }
    }
    let mut tally = Tally::default();
    for key in missed.iter().skip(missed.len().saturating_sub(MOST_READ)) {
        if let Some(segment) = read_changes(repository, layout, *key).await?.segment() {
            tally.add(segment);
        }
    }
    record(log, run, layout, &tally).await
}

/// Notes every chain of the lineage. Answers where the newest begins.
pub(crate) async fn note_chains(
    log: &dyn CaptureLog,
    repository: &dyn Repository,
    run: &CaptureRun,
    layout: &ChangesLayout,
) -> Result<Option<Lsn>, StepError> {
    let mut newest = None;
    for (_, key) in changes_keys(repository, &layout.root()).await? {
        let ChangesKey::Chain(start) = key else { continue };
        let standing = read_changes(repository, layout, key).await?;
        if let ChangesManifest::Chain(chain) = &standing.manifest {
            let chain = ChainRecord::of(chain, standing.manifest_key());
            log.note_chain(run.execution_row, &chain).await?;
        }
        newest = newest.max(Some(start));
    }
    Ok(newest)
}
