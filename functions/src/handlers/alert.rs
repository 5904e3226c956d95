//! Telling people, and recording what failed.

use super::failed_batch::told_by_batches;
use super::lacking;
use crate::telemetry::{Metric, emit};
use crate::{App, FunctionError};
use keepsake_domain::{FailureClass, NoticeKind, Timestamp};
use keepsake_steps::ports::{Execution, Executions, FailureRecord, Policies, Repository};
use keepsake_steps::{
    CleanUp, Run, SealedBackup, completion_notice, drop_late_instance, failure_notice,
    record_failure as clean_up_failure, release_unopened, send_alert,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// For an instance that was created late and is still in creation; with what went before within the function's 15 minutes.
const LATE_PATIENCE: Duration = Duration::from_secs(180);

/// A failure as a state machine hands it over: `{"error": "Keepsake.Transient", "cause": "…", "state": "Dump"}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StateFailure {
    /// The error's name.
    #[serde(default)]
    pub error: String,
    /// Its cause: text, or the JSON text in which Lambda wraps it.
    #[serde(default)]
    pub cause: Option<String>,
    /// The state.
    #[serde(default)]
    pub state: Option<String>,
}

impl StateFailure {
    /// The failure for catalog and notice. The innermost message is taken out of the wrappings of Lambda and of
    /// nested executions.
    #[must_use]
    pub fn record(&self, failed_at: Timestamp) -> FailureRecord {
        let (error, message) = unwrap_cause(&self.error, self.cause.as_deref().unwrap_or_default());
        FailureRecord {
            class: FailureClass::from_error_name(&error),
            message: if message.is_empty() { error } else { message },
            state: self.state.clone(),
            failed_at,
        }
    }
}

impl From<FailureRecord> for StateFailure {
    fn from(record: FailureRecord) -> Self {
        Self { error: record.class.error_name().to_owned(), cause: Some(record.message), state: record.state }
    }
}

/// Takes off at most eight wrappings: a Lambda error's JSON, or a nested execution's description.
fn unwrap_cause(error: &str, cause: &str) -> (String, String) {
    let (mut error, mut message) = (error.to_owned(), cause.to_owned());
    for _ in 0..8 {
        let Ok(Value::Object(inner)) = serde_json::from_str::<Value>(&message) else { break };
        let text = |names: [&str; 3]| {
            names.iter().find_map(|name| inner.get(*name)).and_then(Value::as_str).map(str::to_owned)
        };
        let Some(next) = text(["errorMessage", "Cause", "cause"]) else { break };
        error = text(["errorType", "Error", "error"]).unwrap_or(error);
        message = next;
    }
    (error, message.chars().take(4_000).collect())
}

/// `{"execution_id": "arn:…", "policy": "…", "kind": "backup_completed", "run": {…}, "sealed": {…}}`, or with
/// `"kind": "backup_failed"` and `"failure": {…}`.
#[derive(Debug, Deserialize)]
pub struct AlertInput {
    /// The state machine's execution.
    pub execution_id: String,
    /// The policy's name.
    pub policy: String,
    /// What to tell.
    pub kind: NoticeKind,
    /// The run, if it began.
    #[serde(default)]
    pub run: Option<Run>,
    /// The backup, if it stands.
    #[serde(default)]
    pub sealed: Option<SealedBackup>,
    /// What failed.
    #[serde(default)]
    pub failure: Option<StateFailure>,
}

/// `{"sent": true}`.
#[derive(Debug, Serialize)]
pub struct AlertOutput {
    /// Whether it was sent now; `false` when it was sent before, or success is not told.
    pub sent: bool,
}

/// Sends one notice, once.
///
/// # Errors
/// [`FunctionError`].
pub async fn alert(app: Arc<App>, input: AlertInput) -> Result<AlertOutput, FunctionError> {
    let sent = match (input.kind, input.run, input.sealed) {
        (NoticeKind::BackupCompleted, Some(run), Some(sealed)) => {
            run.notify_success && publish(&app, &completion_notice(&run, &sealed)).await?
        }
        (NoticeKind::BackupCompleted, _, _) => return Err(lacking("run and sealed")),
        (NoticeKind::BackupFailed, _, _) => {
            let failure = input.failure.ok_or_else(|| lacking("failure"))?.record(app.clock.now());
            let execution = find(&app, &input.execution_id).await;
            let notice = failure_notice(&input.policy, &input.execution_id, execution.as_ref(), &failure);
            publish(&app, &notice).await?
        }
    };
    Ok(AlertOutput { sent })
}

/// The run's row, where the catalog answers: a failure is told also when the catalog is what failed.
async fn find(app: &App, execution_id: &str) -> Option<Execution> {
    let catalog = app.catalog().await.ok()?;
    catalog.find(execution_id).await.ok().flatten()
}

async fn publish(app: &App, notice: &keepsake_domain::Notice) -> Result<bool, FunctionError> {
    let notices = app.notices()?;
    match app.catalog().await {
        Ok(catalog) => Ok(send_alert(catalog.as_ref(), &notices, app.settings.topic_arn()?, notice).await?),
        Err(error) => {
            tracing::error!(
                error = error.text(),
                "the catalog does not answer; the notice is sent without it"
            );
            keepsake_steps::ports::Notices::publish(&notices, notice)
                .await
                .map_err(|error| FunctionError::Step(error.into()))?;
            Ok(true)
        }
    }
}

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
    fn execution_id(&self) -> String {
        self.input_text("/run/execution_id").unwrap_or_else(|| self.execution_arn.clone())
    }

    fn policy(&self) -> String {
        self.input_text("/run/policy").or_else(|| self.input_text("/policy")).unwrap_or_default()
    }

    /// Whether it ended from outside, so that a function may go on behind it.
    fn was_stopped(&self) -> bool {
        self.status != "FAILED"
    }

    fn input_text(&self, pointer: &str) -> Option<String> {
        let input: Value = serde_json::from_str(self.input.as_deref()?).ok()?;
        input.pointer(pointer)?.as_str().map(str::to_owned)
    }

    fn failure(&self) -> StateFailure {
        let cause = self.cause.clone().unwrap_or_else(|| format!("the execution ended as {}", self.status));
        let error =
            self.error.clone().filter(|error| !error.is_empty()).unwrap_or_else(|| self.status.clone());
        StateFailure { error, cause: Some(cause), state: None }
    }
}

/// `{"recorded": true, "failure": {"error": "Keepsake.Integrity", "cause": "…", "state": "RestoreRows"}}`.
#[derive(Debug, Serialize)]
pub struct RecordFailureOutput {
    /// Whether the run had a row.
    pub recorded: bool,
    /// The failure as it was recorded; more than the state machine knew where a batch failed.
    pub failure: StateFailure,
}

/// Ends a failed run and cleans up behind it. Called by EventBridge it also alerts, because no state is left to do so.
///
/// # Errors
/// [`FunctionError`].
pub async fn record_failure(
    app: Arc<App>,
    input: FailureInput,
) -> Result<RecordFailureOutput, FunctionError> {
    match input {
        FailureInput::Machine { execution_id, policy, failure } => {
            let failure = explain(&app, &execution_id, &failure).await;
            let execution = end_run(&app, &execution_id, &policy, &failure).await?;
            Ok(RecordFailureOutput { recorded: execution.is_some(), failure: failure.into() })
        }
        FailureInput::Event { detail } => {
            let (execution_id, policy) = (detail.execution_id(), detail.policy());
            let failure = explain(&app, &execution_id, &detail.failure()).await;
            let ended = end_run(&app, &execution_id, &policy, &failure).await;
            let execution = find(&app, &execution_id).await;
            publish(&app, &failure_notice(&policy, &execution_id, execution.as_ref(), &failure)).await?;
            if let Some(execution) = execution.filter(|_| detail.was_stopped()) {
                let clock = app.clock.as_ref();
                drop_late_instance(&app.instances(), execution.backup_id, clock, LATE_PATIENCE).await?;
            }
            Ok(RecordFailureOutput { recorded: ended?.is_some(), failure: failure.into() })
        }
    }
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
) -> Result<Option<Execution>, FunctionError> {
    let catalog = app.catalog().await?;
    let Some(opened) = catalog.find(execution_id).await? else {
        release_unopened(catalog.as_ref(), policy, execution_id).await?;
        emit(policy, "", app.clock.now().as_millisecond(), &[Metric::count("BackupFailed", 1)]);
        return Ok(None);
    };
    let repository = app.repository(&opened.backup_location).await?;
    let instances = app.instances();
    let copies = copies_of(app, catalog.as_ref(), &opened.policy).await;
    let repositories: Vec<&dyn Repository> =
        std::iter::once(&repository).chain(&copies).map(std::convert::AsRef::as_ref).collect();
    let clean_up = CleanUp {
        executions: catalog.as_ref(),
        holds: catalog.as_ref(),
        leases: catalog.as_ref(),
        instances: &instances,
        repositories: &repositories,
        clock: app.clock.as_ref(),
    };
    let execution = clean_up_failure(&clean_up, execution_id, failure).await?;
    let source = execution.as_ref().map_or("", |execution| execution.source.as_str());
    emit(policy, source, app.clock.now().as_millisecond(), &[Metric::count("BackupFailed", 1)]);
    Ok(execution)
}

/// The repositories of a policy's copies. One that cannot be opened is left to its bucket's own rule on unfinished
/// uploads: cleaning up behind the run must not fail over it.
async fn copies_of(app: &App, policies: &dyn Policies, policy: &str) -> Vec<Arc<dyn Repository>> {
    let declared = policies.policy(policy).await.map(|policy| policy.copies).unwrap_or_default();
    let mut copies = Vec::new();
    for copy in declared {
        match app.repository(&copy.repository).await {
            Ok(repository) => copies.push(repository),
            Err(error) => {
                tracing::warn!(copy = copy.repository, error = error.text(), "the copy is not cleaned up")
            }
        }
    }
    copies
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_message_is_taken_out_of_its_wrappings() {
        let lambda = r#"{"errorType":"Keepsake.Integrity","errorMessage":"object is damaged"}"#;
        let nested = serde_json::json!({"Error": "States.TaskFailed", "Cause": lambda}).to_string();
        let failure = StateFailure { error: "States.TaskFailed".into(), cause: Some(nested), state: None };
        let record = failure.record(Timestamp::UNIX_EPOCH);
        assert_eq!((record.class, record.message.as_str()), (FailureClass::Integrity, "object is damaged"));
    }

    #[test]
    fn a_test_restores_event_is_about_the_backups_execution() {
        let event = serde_json::json!({"detail": {
            "executionArn": "arn:test-restore", "status": "ABORTED",
            "input": "{\"run\":{\"execution_id\":\"arn:backup\",\"policy\":\"nightly\"}}",
        }});
        let FailureInput::Event { detail } = serde_json::from_value(event).unwrap() else { unreachable!() };
        assert_eq!((detail.execution_id().as_str(), detail.policy().as_str()), ("arn:backup", "nightly"));
        assert!(detail.failure().record(Timestamp::UNIX_EPOCH).message.contains("ABORTED"));
    }
}
