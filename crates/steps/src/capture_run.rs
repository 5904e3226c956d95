//! One run of capturing changes under a policy: its lease and row, its calls of [`capture_changes`], and its end.

use crate::StepError;
use crate::begin_backup::{BeginCatalog, BeginRequest, open_run_of};
use crate::capture_changes::{CaptureSeen, SegmentBounds, Until, capture_changes};
use crate::capture_record::{Tally, catch_up, record};
use crate::chain::{Capture, ProtectedSource, protect_source};
use crate::ports::{
    CaptureLog, CatalogError, Clock, CompletedBackup, Executions, FailureRecord, Lease, Leases, Policies,
    Policy, PolicyCopy,
};
use crate::record_failure::{give_back_unopened, open_and_fail};
use keepsake_archive::ChangesLayout;
use keepsake_domain::{
    CaptureMode, CapturePolicy, ExecutionRowId, FencingToken, Lineage, LocationId, Lsn, NoticeKind, Position,
    RunKind, SourceId, full_wanted,
};
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a source's captures are leased: longer than a function may run, and each call prolongs it. A run that died
/// without any of its failure paths blocks the next one no longer than that.
pub const CAPTURE_LEASE_TTL: Duration = Duration::from_secs(20 * 60);

/// One run of a policy's capture. Made by [`begin_capture`], then handed unchanged to every later step. Holds no secret.
///
/// JSON shape: these fields in snake case; the state machine keeps it in its variable `$run`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureRun {
    /// The state machine's execution.
    pub execution_id: String,
    /// Its row in the catalog.
    pub execution_row: ExecutionRowId,
    /// The policy's name.
    pub policy: String,
    /// The source's name.
    pub source: String,
    /// The source's id.
    pub source_id: SourceId,
    /// Token of the lease on the source's captures.
    pub fencing_token: FencingToken,
    /// Where segments are written.
    pub repository: String,
    /// That repository in the catalog.
    pub location_id: LocationId,
    /// Reference of the source's secret.
    pub connection_secret: String,
    /// KMS key that can open the run's private half.
    pub kms_key_id: String,
    /// Offline recovery recipients (`age1…`), at least one.
    pub recovery_recipients: Vec<String>,
    /// zstd level.
    pub compression: i32,
    /// How changes are captured.
    pub capture: CapturePolicy,
    /// Where segments are copied to, in order.
    #[serde(default)]
    pub copies: Vec<PolicyCopy>,
}

/// Whether a run begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaptureStart {
    /// It does.
    Begun(Box<CaptureRun>),
    /// The policy captures no changes, or is switched off.
    NotWanted,
    /// Another run of the same source goes on: nothing is missed, since that one captures the same changes.
    HeldBy(String),
}

/// Leases the source's captures and opens the run's row. A second call for the same execution answers the same run.
///
/// # Errors
/// [`CatalogError::Fenced`] for an execution that has ended.
pub async fn begin_capture(
    catalog: &BeginCatalog<'_>,
    policy: &Policy,
    request: &BeginRequest,
) -> Result<CaptureStart, StepError> {
    if !policy.is_active || policy.capture.mode == CaptureMode::Off {
        return Ok(CaptureStart::NotWanted);
    }
    let opened = open_run_of(catalog, policy, request, RunKind::Incremental, CAPTURE_LEASE_TTL).await;
    let execution = match opened {
        Ok(execution) => execution,
        Err(StepError::Catalog(CatalogError::Held { holder, .. })) => {
            return Ok(CaptureStart::HeldBy(holder));
        }
        Err(error) => return Err(error),
    };
    Ok(CaptureStart::Begun(Box::new(CaptureRun {
        execution_id: execution.execution_id,
        execution_row: execution.id,
        policy: policy.name.clone(),
        source: policy.source.name.clone(),
        source_id: policy.source.id,
        fencing_token: execution.fencing_token,
        repository: policy.primary.repository.clone(),
        location_id: policy.primary.location_id,
        connection_secret: policy.source.connection_secret.clone(),
        kms_key_id: policy.kms_key_id.clone(),
        recovery_recipients: policy.recovery_recipients.clone(),
        compression: policy.compression,
        capture: policy.capture,
        copies: policy.copies.clone(),
    })))
}

/// What a run's steps work with beside the [`Capture`].
pub struct CaptureCatalog<'a> {
    /// What is known of captured changes.
    pub log: &'a dyn CaptureLog,
    /// Leases.
    pub leases: &'a dyn Leases,
    /// Time.
    pub clock: &'a dyn Clock,
}

/// Puts the source under protection, takes new tables in, and tells the catalog what stands in the repository and is
/// not known there: a chain that begins, and segments of a run that died. A second call finds both.
///
/// # Errors
/// Those of [`protect_source`] and of the catalog.
pub async fn protect_for_run(
    catalog: &CaptureCatalog<'_>,
    capture: &Capture<'_>,
    run: &CaptureRun,
) -> Result<ProtectedSource, StepError> {
    renew(catalog, run).await?;
    let protected = protect_source(capture).await?;
    let layout = &protected.chain.layout;
    let known = known(catalog, run).await?.position_in(layout);
    if known != Some(protected.chain.boundary().position.lsn) {
        catch_up(catalog.log, capture.repository, run, layout, known).await?;
    }
    Ok(protected)
}

/// What one call captured, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureStep {
    /// Segments written.
    pub segments: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Changes in them.
    pub changes: u64,
    /// Their bytes as stored.
    pub stored_bytes: u64,
    /// Where the chain ends now.
    pub end: Position,
    /// What was lost before the chain, if this run is the first to hear of it.
    pub gap: Option<String>,
    /// What people are to be told.
    pub notice: Option<NoticeKind>,
    /// Whether a full backup must begin now.
    pub start_full: bool,
    /// Whether this run goes on with another call: a continuous one, or one whose time was over before it had caught up.
    /// Not when people are to be told something, so that one run never has two things of a kind to tell.
    pub more: bool,
}

/// Captures for `relay`, or until the source's log is drained to where it was, and notes it in the catalog. A second call
/// captures what came since.
///
/// # Errors
/// [`CatalogError::Fenced`] when another run took over; those of [`capture_changes`] and of the catalog.
pub async fn capture_for_run(
    catalog: &CaptureCatalog<'_>,
    capture: &Capture<'_>,
    run: &CaptureRun,
    relay: Duration,
) -> Result<CaptureStep, StepError> {
    renew(catalog, run).await?;
    let known = known(catalog, run).await?;
    let is_continuous = run.capture.mode == CaptureMode::Continuous;
    let until = if is_continuous { Until::After(relay) } else { Until::CaughtUpOr(relay) };
    let span = Duration::from_secs(u64::from(run.capture.segment_seconds));
    let bounds = SegmentBounds { span, ..SegmentBounds::default() };
    let tally = Mutex::new(Tally::default());
    let seen = |seen: CaptureSeen<'_>| {
        if let CaptureSeen::Segment(segment) = seen {
            tally.lock().unwrap_or_else(PoisonError::into_inner).add(segment);
        }
    };
    let captured = capture_changes(capture, bounds, until, &seen).await?;
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    let known = known.position_in(&captured.layout);
    if captured.gap.is_none() && known == Some(captured.start) {
        record(catalog.log, run, &captured.layout, &tally).await?;
    } else {
        // A chain began within this call, or a call of this run died behind its segments: what it found is told by this one.
        catch_up(catalog.log, capture.repository, run, &captured.layout, known).await?;
    }
    let facts = catalog.log.capture_facts(run.execution_row, &captured.layout.lineage).await?;
    let notice = match (&facts.gap, facts.schema_changed) {
        (Some(_), _) => Some(NoticeKind::ChangesLost),
        (None, true) => Some(NoticeKind::SchemaChanged),
        (None, false) => None,
    };
    // One notice tells both: who reads of a gap alone would take a changed schema for told.
    let too = if facts.schema_changed { "; and the schema changed" } else { "" };
    Ok(CaptureStep {
        segments: captured.segments,
        transactions: captured.transactions,
        changes: captured.changes,
        stored_bytes: tally.stored_bytes,
        end: captured.end,
        gap: facts.gap.map(|gap| format!("{gap}{too}")),
        notice,
        start_full: full_wanted(&facts.full, catalog.clock.now()),
        more: notice.is_none() && (is_continuous || captured.is_behind),
    })
}

/// Ends a run well and gives its lease back. A second call is success.
///
/// # Errors
/// [`CatalogError::Transition`] when it captured nothing or had failed.
pub async fn complete_capture(
    executions: &dyn Executions,
    catalog: &CaptureCatalog<'_>,
    run: &CaptureRun,
) -> Result<(), StepError> {
    let done = CompletedBackup { completed_at: catalog.clock.now() };
    executions.complete(run.execution_row, &done).await?;
    let name = RunKind::Incremental.lease_name(&run.policy, &run.source);
    Ok(catalog.leases.release(&name, &run.execution_id, run.fencing_token).await?)
}

/// How the execution of a failed run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// A state of its machine failed: no function of it goes on.
    AState,
    /// It was stopped from outside: a function may go on behind it.
    Stop,
}

/// What ending a failed run needs.
pub struct FailedCapture<'a> {
    /// Runs.
    pub executions: &'a dyn Executions,
    /// Leases.
    pub leases: &'a dyn Leases,
    /// Where the source's name is known from when no row was opened.
    pub policies: &'a dyn Policies,
}

/// Ends a failed run: its row, then its lease. Segments that stand stay, and the next run goes on behind them. A run that
/// had ended keeps its end; a second call is success. Answers the source's name, where it is known.
///
/// # Errors
/// The first thing that could not be done, after all others were tried.
pub async fn fail_capture(
    with: &FailedCapture<'_>,
    policy: &str,
    execution_id: &str,
    failure: &FailureRecord,
    ended_by: EndedBy,
) -> Result<Option<String>, StepError> {
    if let Some(run) = with.executions.find(execution_id).await? {
        let failed = with.executions.fail(run.id, failure).await;
        let name = RunKind::Incremental.lease_name(&run.policy, &run.source);
        let given_back = with.leases.release(&name, execution_id, run.fencing_token).await;
        failed.and(given_back)?;
        return Ok(Some(run.source));
    }
    let source = match with.policies.policy(policy).await {
        Ok(policy) => policy.source.name,
        Err(CatalogError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // A begin that comes late finds the row ended and goes.
    let ended = match ended_by {
        EndedBy::AState => Ok(()),
        EndedBy::Stop => {
            open_and_fail(with.executions, with.policies, policy, execution_id, failure, RunKind::Incremental)
                .await
        }
    };
    let name = RunKind::Incremental.lease_name(policy, &source);
    let given_back = give_back_unopened(with.leases, &name, execution_id).await;
    ended.and(given_back)?;
    Ok(Some(source))
}

/// How far the catalog knows changes in the run's repository.
struct Known(Option<(Lineage, Position)>);

impl Known {
    /// Nothing is known of another lineage than the one that was known last.
    fn position_in(&self, layout: &ChangesLayout) -> Option<Lsn> {
        let here = self.0.as_ref().filter(|(lineage, _)| *lineage == layout.lineage);
        here.map(|(_, position)| position.lsn)
    }
}

async fn known(catalog: &CaptureCatalog<'_>, run: &CaptureRun) -> Result<Known, StepError> {
    Ok(Known(catalog.log.position(run.source_id, run.location_id).await?))
}

/// Prolongs the run's lease, and never takes a new one: a run that wakes up after it was replaced must not block the next.
pub(crate) async fn renew(catalog: &CaptureCatalog<'_>, run: &CaptureRun) -> Result<(), StepError> {
    let lease = Lease {
        name: RunKind::Incremental.lease_name(&run.policy, &run.source),
        holder: run.execution_id.clone(),
        token: run.fencing_token,
        expires_at: catalog.clock.now(),
    };
    Ok(catalog.leases.renew(&lease, CAPTURE_LEASE_TTL).await?)
}
