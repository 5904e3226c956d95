//! Recording what failed, and cleaning up behind it.

use super::alert::{StateFailure, find, publish};
use super::failed_batch::told_by_batches;
use crate::telemetry::{Metric, emit};
use crate::{App, FunctionError};
use keepsake_domain::Timestamp;
use keepsake_steps::ports::{Execution, FailureRecord};
use keepsake_steps::{
    CleanUp, FailedRun, OpenRepository, drop_instance_patiently, drop_late_instance, end_unopened,
    failure_notice, record_failure as end_failed_run, release_unopened,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// How long this function may run: its timeout in `infra/template.yaml`.
pub const RECORD_FAILURE_TIME: Duration = Duration::from_secs(900);
/// Of that, what is kept for the last try to drop an instance: four calls of RDS, of which each may take
/// [`keepsake_aws::CALL_TIMEOUT`]. Nothing is waited for in this time.
const LAST_CALLS: Duration = keepsake_aws::CALL_TIMEOUT.saturating_mul(4).saturating_add(MARGIN);
/// For the answer, and for a clock that is a little off.
const MARGIN: Duration = Duration::from_secs(15);

/// From a state machine: `{"execution_id": "arn:…", "policy": "…", "failure": {…}}`. From EventBridge: its event
/// "Step Functions Execution Status Change".
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum FailureInput {
    /// From a state machine's failure path.
    Machine {
        /// The state machine's execution.
        execution_id: String,
        /// The policy's name.
        policy: String,
        /// What failed.
        failure: StateFailure,
    },
    /// From the rule that also sees what no state can catch.
    Event {
        /// The event's detail.
        detail: StatusChange,
    },
}

impl FailureInput {
    fn execution_id(&self) -> String {
        match self {
            Self::Machine { execution_id, .. } => execution_id.clone(),
            Self::Event { detail } => detail.execution_id(),
        }
    }

    fn policy(&self) -> String {
        match self {
            Self::Machine { policy, .. } => policy.clone(),
            Self::Event { detail } => detail.policy(),
        }
    }

    fn failure(&self) -> StateFailure {
        match self {
            Self::Machine { failure, .. } => failure.clone(),
            Self::Event { detail } => detail.failure(),
        }
    }

    /// Whether the execution ended from outside, so that a function may go on behind it.
    fn was_stopped(&self) -> bool {
        matches!(self, Self::Event { detail } if detail.status != "FAILED")
    }
}

/// Detail of "Step Functions Execution Status Change".
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusChange {
    /// The execution that ended.
    pub execution_arn: String,
    /// FAILED, TIMED_OUT or ABORTED.
    pub status: String,
    /// Its input, as JSON text.
    #[serde(default)]
    pub input: Option<String>,
    /// The error's name.
    #[serde(default)]
    pub error: Option<String>,
    /// The cause.
    #[serde(default)]
    pub cause: Option<String>,
}

impl StatusChange {
    /// The backup execution that this is about: a test restore names it in its input.
    pub(super) fn execution_id(&self) -> String {
        self.input_text("/run/execution_id").unwrap_or_else(|| self.execution_arn.clone())
    }

    pub(super) fn policy(&self) -> String {
        self.input_text("/run/policy").or_else(|| self.input_text("/policy")).unwrap_or_default()
    }

    fn input_text(&self, pointer: &str) -> Option<String> {
        let input: Value = serde_json::from_str(self.input.as_deref()?).ok()?;
        input.pointer(pointer)?.as_str().map(str::to_owned)
    }

    pub(super) fn failure(&self) -> StateFailure {
        let cause = self.cause.clone().unwrap_or_else(|| format!("the execution ended as {}", self.status));
        let error =
            self.error.clone().filter(|error| !error.is_empty()).unwrap_or_else(|| self.status.clone());
        StateFailure { error, cause: Some(cause), state: None }
    }
}

/// `{"recorded": true, "failure": {"error": "Keepsake.Integrity", "cause": "…", "state": "RestoreRows"}, "left": []}`.
#[derive(Debug, Serialize)]
pub struct RecordFailureOutput {
    /// Whether the run had a row.
    pub recorded: bool,
    /// The failure as it was recorded; more than the state machine knew where a batch failed.
    pub failure: StateFailure,
    /// What could not be cleaned up, one sentence each.
    pub left: Vec<String>,
}

/// Ends a failed run and cleans up behind it. Called by EventBridge it also alerts, because no state is left to do so.
///
/// Row and lease are settled first and people are told; only then it waits for an instance that cannot be deleted yet.
///
/// # Errors
/// [`FunctionError`].
pub async fn record_failure(
    app: Arc<App>,
    input: FailureInput,
) -> Result<RecordFailureOutput, FunctionError> {
    let until = app.clock.now() + (RECORD_FAILURE_TIME - LAST_CALLS);
    let (execution_id, policy) = (input.execution_id(), input.policy());
    let failure = explain(&app, &execution_id, &input.failure()).await;
    let ended = end_run(&app, &execution_id, &policy, &failure, input.was_stopped()).await;
    let execution = find(&app, &execution_id).await;
    let told = match &input {
        FailureInput::Machine { .. } => Ok(true),
        FailureInput::Event { .. } => {
            publish(&app, &failure_notice(&policy, &execution_id, execution.as_ref(), &failure)).await
        }
    };
    let dropped = drop_instance(&app, execution.as_ref(), input.was_stopped(), until).await;
    let ended = ended?;
    told?;
    dropped?;
    let left = ended.as_ref().map(|run| run.left.clone()).unwrap_or_default();
    Ok(RecordFailureOutput { recorded: execution.is_some(), failure: failure.into(), left })
}

/// The failure as its batch told it, if the run got as far as batches.
async fn explain(app: &App, execution_id: &str, failure: &StateFailure) -> FailureRecord {
    match find(app, execution_id).await {
        Some(execution) => told_by_batches(app, execution.backup_id, failure).await,
        None => failure.record(app.clock.now()),
    }
}

async fn end_run(
    app: &App,
    execution_id: &str,
    policy: &str,
    failure: &FailureRecord,
    was_stopped: bool,
) -> Result<Option<FailedRun>, FunctionError> {
    let catalog = app.catalog().await?;
    let open: &OpenRepository<'_> = &|url| Box::pin(async move { app.open_repository(&url).await });
    let clean_up = CleanUp {
        executions: catalog.as_ref(),
        holds: catalog.as_ref(),
        leases: catalog.as_ref(),
        policies: catalog.as_ref(),
        open,
    };
    let ended = end_failed_run(&clean_up, execution_id, failure).await?;
    match &ended {
        Some(_) => {}
        None if was_stopped => end_unopened(&clean_up, policy, execution_id, failure).await?,
        None => release_unopened(catalog.as_ref(), policy, execution_id).await?,
    }
    for what in ended.iter().flat_map(|run| &run.left) {
        tracing::error!(what, "not cleaned up");
    }
    let source = ended.as_ref().map_or("", |run| run.execution.source.as_str());
    emit(policy, source, app.clock.now().as_millisecond(), &[Metric::count("BackupFailed", 1)]);
    Ok(ended)
}

/// Drops the run's instance. Behind an execution that was stopped, a function may be about to create it still.
async fn drop_instance(
    app: &App,
    execution: Option<&Execution>,
    was_stopped: bool,
    until: Timestamp,
) -> Result<(), FunctionError> {
    let Some(backup_id) = execution.map(|execution| execution.backup_id) else { return Ok(()) };
    let (instances, clock) = (app.instances(), app.clock.as_ref());
    if was_stopped {
        drop_late_instance(&instances, backup_id, clock, until).await?;
    } else {
        drop_instance_patiently(&instances, backup_id, clock, until).await?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_test_restores_event_is_about_the_backups_execution() {
        let event = serde_json::json!({"detail": {
            "executionArn": "arn:test-restore", "status": "ABORTED",
            "input": "{\"run\":{\"execution_id\":\"arn:backup\",\"policy\":\"nightly\"}}",
        }});
        let input: FailureInput = serde_json::from_value(event).unwrap();
        assert_eq!((input.execution_id().as_str(), input.policy().as_str()), ("arn:backup", "nightly"));
        assert!(input.was_stopped());
        assert!(input.failure().record(Timestamp::UNIX_EPOCH).message.contains("ABORTED"));
    }
}
