//! What a capture's run does for each copy of its policy: copies what is new there, and reads back what the copy is worth.
//!
//! Neither is worth a capture: whatever fails here is noted and told by its caller, and the next run makes up for it.

use crate::StepError;
use crate::capture_run::{CaptureCatalog, CaptureRun, renew};
use crate::copy_changes::copy_changes;
use crate::ports::{PolicyCopy, ProbeRecord, Repository};
use crate::probe_rpo::{Opener, ProbedRpo, probe_rpo};
use keepsake_archive::ChangesLayout;
use keepsake_domain::{FailureClass, Position};
use std::time::Duration;

/// Manifests that are copied before the clock is looked at: at 64 MiB a segment, what a store copies in seconds.
const AT_ONCE: u64 = 32;

/// What one call copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyStep {
    /// Manifests of chains and segments that this call wrote there.
    pub manifests: u64,
    /// Bytes of their segments.
    pub bytes: u64,
    /// How far changes of the newest lineage stand there now; `None` when none do.
    pub end: Option<Position>,
    /// Whether its time was over before everything was there.
    pub more: bool,
}

/// Copies the source's changes to one of the run's copies, for about `span`, and notes in the catalog how far they stand
/// there. The newest lineage goes first: it is what a restore of today needs. A second call goes on behind the first one.
///
/// # Errors
/// [`CatalogError::Fenced`](crate::ports::CatalogError::Fenced) when another run took over; those of [`copy_changes`];
/// [`FailureClass::Integrity`], after everything else was copied, when segments are damaged where they are copied from.
pub async fn copy_for_run(
    catalog: &CaptureCatalog<'_>,
    run: &CaptureRun,
    copy: &PolicyCopy,
    (from, to): (&dyn Repository, &dyn Repository),
    span: Duration,
) -> Result<CopyStep, StepError> {
    renew(catalog, run).await?;
    let until = catalog.clock.now() + span;
    let mut step = CopyStep::default();
    let mut left_out = Vec::new();
    for (number, layout) in lineages(catalog, run, from).await?.iter().enumerate() {
        loop {
            let copied = copy_changes(from, to, layout, AT_ONCE).await?;
            step.manifests += copied.manifests;
            step.bytes += copied.bytes;
            left_out.extend(copied.left_out);
            if number == 0
                && let Some(end) = copied.end
            {
                catalog.log.note_position(run.source_id, copy.location_id, &layout.lineage, end).await?;
                step.end = Some(end);
            }
            step.more |= !copied.is_complete && catalog.clock.now() >= until;
            if copied.is_complete || step.more {
                break;
            }
        }
    }
    match left_out.first() {
        None => Ok(step),
        Some(first) => Err(StepError::found(
            FailureClass::Integrity,
            format!("{} segments could not be copied: {first}", left_out.len()),
            "points in time that need them cannot be restored from the copy; everything else was copied",
            "keepsake verify --repo <URL> --deep on both; the next full backup begins a span that the copy has too",
        )),
    }
}

/// Lineages of the source with changes, the one that is captured now first.
async fn lineages(
    catalog: &CaptureCatalog<'_>,
    run: &CaptureRun,
    from: &dyn Repository,
) -> Result<Vec<ChangesLayout>, StepError> {
    let captured = catalog.log.position(run.source_id, run.location_id).await?.map(|(lineage, _)| lineage);
    let mut layouts = Vec::new();
    for folder in from.folders(&format!("{}/", run.source)).await? {
        let layout = folder.parse().ok().and_then(|lineage| ChangesLayout::new(&run.source, lineage).ok());
        layouts.extend(layout);
    }
    layouts.sort_by_key(|layout| captured.as_ref() != Some(&layout.lineage));
    Ok(layouts)
}

/// Reads the newest heartbeat or commit back that a restore from one of the run's copies reaches, and notes in the catalog what that
/// makes the RPO there.
/// `opener` is to hold the keys of that side and no others. A second call reads again.
///
/// # Errors
/// [`CatalogError::Fenced`](crate::ports::CatalogError::Fenced) when another run took over; those of [`probe_rpo`] and of
/// the catalog.
pub async fn probe_for_run(
    catalog: &CaptureCatalog<'_>,
    run: &CaptureRun,
    copy: &PolicyCopy,
    repository: &dyn Repository,
    opener: &dyn Opener,
) -> Result<ProbedRpo, StepError> {
    renew(catalog, run).await?;
    let probed = probe_rpo(repository, &run.source, opener, catalog.clock).await?;
    let record = ProbeRecord {
        newest_lsn: probed.newest_lsn,
        newest_at: probed.newest_at,
        probed_at: probed.probed_at,
    };
    catalog.log.note_probe(run.source_id, copy.location_id, &record).await?;
    Ok(probed)
}
