//! The end of a capture's run, good or bad, and what went wrong beside it.

use super::alert::{StateFailure, publish};
use super::copy_changes::note_failure;
use super::record_failure::StatusChange;
use crate::telemetry::{Metric, emit};
use crate::{App, FunctionError};
use keepsake_steps::ports::{FailureRecord, PolicyCopy};
use keepsake_steps::{
    CaptureCatalog, CaptureRun, EndedBy, FailedCapture, capture_failure_notice, complete_capture,
    fail_capture,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// From the state machine: `{"run": {…}}`, or `{"execution_id": "arn:…", "policy": "…", "failure": {…}}`. From EventBridge:
/// the event of an execution that ended badly. Of a run that goes on: `{"run": {…}, "copy": {…}, "failure": {…}}`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum RecordCaptureInput {
    /// A failure path of the state machine.
    Failed {
        /// The state machine's execution.
        execution_id: String,
        /// The policy's name.
        policy: String,
        /// What failed.
        failure: StateFailure,
    },
    /// An execution that ended badly, as EventBridge reports it.
    Event {
        /// What the event is about.
        detail: StatusChange,
    },
    /// A copy that could not be made or read back; the run goes on.
    CopyFailed(FailedCopy),
    /// A run that captured what it could.
    Completed(CompletedCapture),
}

/// `{"run": {…}, "copy": {…}, "failure": {…}}`.
#[derive(Debug, Deserialize)]
pub struct FailedCopy {
    /// The run.
    pub run: Box<CaptureRun>,
    /// The copy.
    pub copy: PolicyCopy,
    /// What failed.
    pub failure: StateFailure,
}

/// `{"run": {…}}` and nothing else: what says more and is not understood must not end the run well.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompletedCapture {
    /// The run.
    pub run: Box<CaptureRun>,
}

/// `{"status": "completed"}`.
#[derive(Debug, Serialize)]
pub struct RecordCaptureOutput {
    /// How the run ended.
    pub status: &'static str,
}

/// Ends a run in the catalog and gives its lease back, or notes what a copy of it suffers from. Called by EventBridge it also tells people, because no state is
/// left to do so.
///
/// # Errors
/// [`FunctionError`].
pub async fn record_capture(
    app: Arc<App>,
    input: RecordCaptureInput,
) -> Result<RecordCaptureOutput, FunctionError> {
    let now = app.clock.now();
    match input {
        RecordCaptureInput::Completed(CompletedCapture { run }) => complete(&app, &run).await?,
        RecordCaptureInput::CopyFailed(FailedCopy { run, copy, failure }) => {
            note_failure(&app, &run, &copy, &failure).await?;
            return Ok(RecordCaptureOutput { status: "running" });
        }
        RecordCaptureInput::Failed { execution_id, policy, failure } => {
            fail(&app, &policy, &execution_id, &failure.record(now), EndedBy::AState).await?;
            return Ok(RecordCaptureOutput { status: "failed" });
        }
        RecordCaptureInput::Event { detail } => {
            let (execution_id, policy) = (detail.execution_id(), detail.policy());
            let failure = detail.failure().record(now);
            let ended_by = if detail.status == "FAILED" { EndedBy::AState } else { EndedBy::Stop };
            let failed = fail(&app, &policy, &execution_id, &failure, ended_by).await;
            let source = failed.as_ref().ok().and_then(Option::as_deref);
            let notice = capture_failure_notice(&policy, &execution_id, source, &failure);
            publish(&app, &notice).await?;
            failed?;
            return Ok(RecordCaptureOutput { status: "failed" });
        }
    }
    Ok(RecordCaptureOutput { status: "completed" })
}

async fn complete(app: &App, run: &CaptureRun) -> Result<(), FunctionError> {
    let catalog = app.catalog().await?;
    let catalog = catalog.as_ref();
    let with = CaptureCatalog { log: catalog, leases: catalog, clock: app.clock.as_ref() };
    complete_capture(catalog, &with, run).await?;
    let at = app.clock.now().as_millisecond();
    emit(&run.policy, &run.source, at, &[Metric::count("CaptureCompleted", 1)]);
    Ok(())
}

async fn fail(
    app: &App,
    policy: &str,
    execution_id: &str,
    failure: &FailureRecord,
    ended_by: EndedBy,
) -> Result<Option<String>, FunctionError> {
    let catalog = app.catalog().await?;
    let catalog = catalog.as_ref();
    let with = FailedCapture { executions: catalog, leases: catalog, policies: catalog };
    let source = fail_capture(&with, policy, execution_id, failure, ended_by).await?;
    let at = app.clock.now().as_millisecond();
    emit(policy, source.as_deref().unwrap_or_default(), at, &[Metric::count("CaptureFailed", 1)]);
    Ok(source)
}
