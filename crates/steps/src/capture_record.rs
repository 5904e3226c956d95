//! What the catalog is told of captured changes, and how it catches up with what stands in the repository.

use crate::StepError;
use crate::capture_run::CaptureRun;
use crate::list_changes::{ChangesManifest, StandingChanges, read_changes};
use crate::newest_changes::page_behind;
use crate::ports::{CaptureLog, CapturedRecord, ChainRecord, Repository};
use crate::seal_backup::CHECKS_IN_FLIGHT;
use futures::stream::{self, StreamExt};
use keepsake_archive::{ChangesKey, ChangesLayout, SegmentManifest};
use keepsake_domain::{Classified, FailureClass, Lsn, Position, SchemaBoundary};

/// What segments add up to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    segments: u64,
    transactions: u64,
    changes: u64,
    raw_bytes: u64,
    pub stored_bytes: u64,
    schema_changed: Option<SchemaBoundary>,
    schema_replayed: Vec<SchemaBoundary>,
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
            let boundary = SchemaBoundary {
                at: segment.ended_at,
                xmax: segment.snapshot.xmax,
                schema_fingerprint: segment.schema_fingerprint.clone(),
            };
            if segment.schema_replayable {
                self.schema_replayed.push(boundary);
            } else {
                self.schema_changed = Some(boundary);
                self.schema_replayed.clear();
            }
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
        schema_replayed: tally.schema_replayed.clone(),
    };
    log.note_captured(&captured).await?;
    Ok(log.note_position(run.source_id, run.location_id, &layout.lineage, end).await?)
}

/// Tells the catalog of the chains and segments that stand in the repository behind what is `known`, of which nobody told
/// it: a run died between its manifest and this, or somebody captured without a catalog. Told page by page, so that
/// a call that dies is gone on with by the next. What is damaged is left out: captures go on, and whoever reads finds it.
///
/// Of a lineage of which nothing is known, all chains and the segments of the newest.
pub(crate) async fn catch_up(
    log: &dyn CaptureLog,
    repository: &dyn Repository,
    run: &CaptureRun,
    layout: &ChangesLayout,
    known: Option<Lsn>,
) -> Result<(), StepError> {
    let Some(from) = (match known {
        Some(known) => Some(known),
        None => note_chains(log, repository, run, layout).await?,
    }) else {
        return Ok(());
    };
    let mut after = layout.position(from);
    // One page is 1,000 manifests; a lineage ends.
    loop {
        let page = page_behind(repository, layout, &after).await?;
        let mut tally = Tally::default();
        let read = |key| async move { (key, read_changes(repository, layout, key).await) };
        let mut read = stream::iter(page.keys).map(read).buffered(CHECKS_IN_FLIGHT);
        while let Some((key, standing)) = read.next().await {
            let Some(standing) = unless_damaged(layout, key, standing)? else { continue };
            match &standing.manifest {
                ChangesManifest::Segment(segment) => tally.add(segment),
                ChangesManifest::Chain(chain) => {
                    record(log, run, layout, &std::mem::take(&mut tally)).await?;
                    log.note_chain(run.execution_row, &ChainRecord::of(chain, standing.manifest_key()))
                        .await?;
                }
            }
        }
        record(log, run, layout, &tally).await?;
        if page.is_last {
            return Ok(());
        }
        after = page.after;
    }
}

/// Notes every chain of a lineage. Answers where the newest begins.
async fn note_chains(
    log: &dyn CaptureLog,
    repository: &dyn Repository,
    run: &CaptureRun,
    layout: &ChangesLayout,
) -> Result<Option<Lsn>, StepError> {
    let (mut newest, mut after) = (None, layout.manifests());
    loop {
        let page = page_behind(repository, layout, &after).await?;
        for key in page.keys {
            let ChangesKey::Chain(start) = key else { continue };
            let standing = read_changes(repository, layout, key).await;
            let Some(standing) = unless_damaged(layout, key, standing)? else { continue };
            if let ChangesManifest::Chain(chain) = &standing.manifest {
                log.note_chain(run.execution_row, &ChainRecord::of(chain, standing.manifest_key())).await?;
                newest = Some(start);
            }
        }
        if page.is_last {
            return Ok(newest);
        }
        after = page.after;
    }
}

fn unless_damaged(
    layout: &ChangesLayout,
    key: ChangesKey,
    read: Result<StandingChanges, StepError>,
) -> Result<Option<StandingChanges>, StepError> {
    match read {
        Ok(standing) => Ok(Some(standing)),
        Err(damaged) if damaged.class() == FailureClass::Integrity => {
            let (manifest, cause) = (layout.manifest(key), keepsake_domain::chain(&damaged));
            tracing::error!(manifest, cause, "a damaged manifest of changes is not told to the catalog");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
