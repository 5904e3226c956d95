//! What a capture's run does for each of its copies: copying, reading back, and noting what could not be done.

use super::alert::StateFailure;
use crate::telemetry::{Metric, emit};
use crate::{App, FunctionError};
use keepsake_aws::KmsKeyHolder;
use keepsake_domain::{GapReason, Lsn, Timestamp};
use keepsake_steps::ports::{CaptureLog, PolicyCopy};
use keepsake_steps::{CaptureCatalog, CaptureRun, Holders, copy_for_run, probe_for_run};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// How long one call copies, while the run captures nothing: the log that a source writes within it is far from what its
/// slot may keep. What is left is copied behind the run's next capture.
const COPY_SPAN: Duration = Duration::from_secs(60);

/// `{"run": {…}, "copy": {"location_id": …, "repository": "s3://…", "region": …}}`.
#[derive(Debug, Deserialize)]
pub struct CopyChangesInput {
    /// The run.
    pub run: CaptureRun,
    /// One of the run's copies.
    pub copy: PolicyCopy,
}

/// `{"manifests": 3, "bytes": 34567, "end_lsn": "16/B374D848", "more": false}`.
#[derive(Debug, Serialize)]
pub struct CopyChangesOutput {
    /// Manifests of chains and segments that were written there.
    pub manifests: u64,
    /// Bytes of their segments.
    pub bytes: u64,
    /// How far changes stand there; `None` when none do.
    pub end_lsn: Option<Lsn>,
    /// Whether another call has more to copy.
    pub more: bool,
}

/// Copies what is new to one of the run's copies. Opens no key.
///
/// # Errors
/// [`FunctionError`].
pub async fn copy_changes(
    app: Arc<App>,
    input: CopyChangesInput,
) -> Result<CopyChangesOutput, FunctionError> {
    let CopyChangesInput { run, copy } = input;
    let catalog = app.catalog().await?;
    let catalog =
        CaptureCatalog { log: catalog.as_ref(), leases: catalog.as_ref(), clock: app.clock.as_ref() };
    let (from, to) = (app.repository(&run.repository).await?, app.repository(&copy.repository).await?);
    let copied = copy_for_run(&catalog, &run, &copy, (from.as_ref(), to.as_ref()), COPY_SPAN).await?;
    let metrics =
        [Metric::count("CopiedManifests", copied.manifests), Metric::bytes("CopiedBytes", copied.bytes)];
    emit(&run.policy, &run.source, app.clock.now().as_millisecond(), &metrics);
    Ok(CopyChangesOutput {
        manifests: copied.manifests,
        bytes: copied.bytes,
        end_lsn: copied.end.map(|end| end.lsn),
        more: copied.more,
    })
}

/// `{"repository": "s3://…", "newest_lsn": "16/B374D848", "newest_at": "…", "rpo_seconds": 7, "stopped_by": null}`.
#[derive(Debug, Serialize)]
pub struct ProbeRpoOutput {
    /// The copy that was read.
    pub repository: String,
    /// Where the newest state ends that a restore from there reaches, as it was read back.
    pub newest_lsn: Lsn,
    /// The source's clock there.
    pub newest_at: Timestamp,
    /// Its age when it was read.
    pub rpo_seconds: u64,
    /// Why newer changes that stand there cannot be restored from there: the RPO says what that costs.
    pub stopped_by: Option<GapReason>,
}

/// Reads the newest heartbeat back that a restore from one of the run's copies reaches, with the key of that copy's region alone: what would be
/// lost if everything else were.
///
/// # Errors
/// [`FunctionError`].
pub async fn probe_rpo(app: Arc<App>, input: CopyChangesInput) -> Result<ProbeRpoOutput, FunctionError> {
    let CopyChangesInput { run, copy } = input;
    let catalog = app.catalog().await?;
    let catalog =
        CaptureCatalog { log: catalog.as_ref(), leases: catalog.as_ref(), clock: app.clock.as_ref() };
    let repository = app.repository(&copy.repository).await?;
    let holder = KmsKeyHolder::of_region_alone(&app.clients, &copy.region);
    let probed = probe_for_run(&catalog, &run, &copy, repository.as_ref(), &Holders(&[&holder])).await?;
    if let Some(reason) = &probed.stopped_by {
        let (repository, why) = (&probed.repository, reason.to_string());
        tracing::warn!(repository, why, "newer changes stand in the copy and cannot be restored from it");
    }
    Ok(ProbeRpoOutput {
        repository: probed.repository,
        newest_lsn: probed.newest_lsn,
        newest_at: probed.newest_at,
        rpo_seconds: probed.rpo_seconds,
        stopped_by: probed.stopped_by,
    })
}

/// Notes that a copy could not be made or read back, and counts it, which an alarm hears. The run goes on.
pub(super) async fn note_failure(
    app: &App,
    run: &CaptureRun,
    copy: &PolicyCopy,
    failure: &StateFailure,
) -> Result<(), FunctionError> {
    let now = app.clock.now();
    let failure = failure.record(now);
    tracing::error!(
        repository = copy.repository,
        state = failure.state,
        error = failure.message,
        "the copy is not what it should be"
    );
    emit(&run.policy, &run.source, now.as_millisecond(), &[Metric::count("ChangesCopyFailed", 1)]);
    let catalog = app.catalog().await?;
    Ok(catalog.note_copy_failure(run.source_id, copy.location_id, &failure).await?)
}
