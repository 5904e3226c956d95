//! Telling people.

use super::lacking;
use crate::{App, FunctionError};
use keepsake_domain::{FailureClass, Notice, NoticeKind, Timestamp};
use keepsake_steps::ports::{Execution, Executions, FailureRecord};
use keepsake_steps::{
    Run, SealedBackup, capture_failure_notice, changes_lost_notice, completion_notice, failure_notice,
    schema_changed_notice, send_alert,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

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
/// `"kind": "backup_failed"` and `"failure": {…}`; of a capture, `"capture_failed"`, or `"changes_lost"` and
/// `"schema_changed"` with `"captured": {…}`.
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
    /// What a capture found, if it is about one.
    #[serde(default)]
    pub captured: Option<AlertedCapture>,
}

/// `{"source": "wedsync", "gap": "the replication slot is gone", "start_full": true}`.
#[derive(Debug, Deserialize)]
pub struct AlertedCapture {
    /// The source's name.
    pub source: String,
    /// What was lost; empty when nothing was.
    #[serde(default)]
    pub gap: String,
    /// Whether a full backup was started because of it.
    #[serde(default)]
    pub start_full: bool,
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
    let notice = match input.kind {
        NoticeKind::BackupCompleted => {
            let (run, sealed) = input.run.zip(input.sealed).ok_or_else(|| lacking("run and sealed"))?;
            if !run.notify_success {
                return Ok(AlertOutput { sent: false });
            }
            completion_notice(&run, &sealed)
        }
        NoticeKind::BackupFailed | NoticeKind::CaptureFailed => failed(&app, &input).await?,
        NoticeKind::ChangesLost | NoticeKind::SchemaChanged => found(&input)?,
        NoticeKind::SlotDropped => return Err(lacking("a kind that a state machine tells")),
    };
    Ok(AlertOutput { sent: publish(&app, &notice).await? })
}

async fn failed(app: &App, input: &AlertInput) -> Result<Notice, FunctionError> {
    let failure = input.failure.as_ref().ok_or_else(|| lacking("failure"))?.record(app.clock.now());
    let execution = find(app, &input.execution_id).await;
    Ok(if input.kind == NoticeKind::CaptureFailed {
        let source = execution.as_ref().map(|execution| execution.source.as_str());
        capture_failure_notice(&input.policy, &input.execution_id, source, &failure)
    } else {
        failure_notice(&input.policy, &input.execution_id, execution.as_ref(), &failure)
    })
}

/// What a capture found and people must hear.
fn found(input: &AlertInput) -> Result<Notice, FunctionError> {
    let captured = input.captured.as_ref().ok_or_else(|| lacking("captured"))?;
    let (source, id, full_begins) = (&captured.source, &input.execution_id, captured.start_full);
    Ok(if input.kind == NoticeKind::ChangesLost {
        changes_lost_notice(source, id, &captured.gap, full_begins)
    } else {
        schema_changed_notice(source, id, full_begins)
    })
}

/// The run's row, where the catalog answers: a failure is told also when the catalog is what failed.
pub(super) async fn find(app: &App, execution_id: &str) -> Option<Execution> {
    let catalog = app.catalog().await.ok()?;
    catalog.find(execution_id).await.ok().flatten()
}

pub(super) async fn publish(app: &App, notice: &Notice) -> Result<bool, FunctionError> {
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
}
