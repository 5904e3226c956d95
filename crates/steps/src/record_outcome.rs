//! Record and Alert: how a run ended, in the catalog and to people. The end of a failed one is `record_failure`'s.

use crate::ports::{
    AlertLog, Clock, CompletedBackup, Execution, Executions, FailureRecord, Leases, Notices, Tests,
};
use crate::seal_backup::SealedBackup;
use crate::{Run, StepError};
use keepsake_domain::{Explanation, FailureClass, Notice, NoticeKind, Severity, Verdict};

/// Ends a run well: only if its manifest stands and, where the policy asks for it, a restore of this very backup
/// was equal. Gives the lease back.
///
/// # Errors
/// [`FailureClass::Integrity`] when the test restore did not pass; the run then is not completed.
pub async fn record_completion(
    executions: &dyn Executions,
    tests: &dyn Tests,
    leases: &dyn Leases,
    clock: &dyn Clock,
    run: &Run,
) -> Result<(), StepError> {
    if run.test_restore {
        let verdict = tests.verdict(run.backup_id).await?;
        if verdict != Some(Verdict::Passed) {
            return Err(not_proven(run, verdict));
        }
    }
    executions.complete(run.execution_row, &CompletedBackup { completed_at: clock.now() }).await?;
    let name = Run::lease_name(&run.policy);
    Ok(leases.release(&name, &run.execution_id, run.fencing_token).await?)
}

fn not_proven(run: &Run, verdict: Option<Verdict>) -> StepError {
    let state =
        verdict.map_or_else(|| "has no verdict".to_owned(), |verdict| format!("ended as {verdict:?}"));
    StepError::found(
        FailureClass::Integrity,
        format!("the test restore of backup {} {state}", run.backup_id),
        "the backup stands, but nothing proves that it restores",
        format!("keepsake verify --repo {} {} --deep", run.repository, run.backup_id),
    )
}

/// The notice of a run that completed.
#[must_use]
pub fn completion_notice(run: &Run, sealed: &SealedBackup) -> Notice {
    let proof = if run.test_restore { ", and a restore of it was equal row for row" } else { "" };
    Notice {
        kind: NoticeKind::BackupCompleted,
        severity: Severity::Info,
        source: run.source.clone(),
        execution_id: run.execution_id.clone(),
        backup_id: Some(run.backup_id.to_string()),
        happened: format!(
            "{} tables with {} rows are backed up in {} and {} more place(s){proof}",
            sealed.tables,
            sealed.rows,
            run.repository,
            run.copies.len()
        ),
        explanation: Explanation {
            at_risk: "nothing".to_owned(),
            next: format!("nothing to do; keepsake show --repo {} {}", run.repository, run.backup_id),
        },
    }
}

/// The notice of a run that failed. `execution` is `None` when it failed before its row was opened. A run whose backup was
/// complete before is told too: people look into an execution that ended badly, and must know that they need not fear.
#[must_use]
pub fn failure_notice(
    policy: &str,
    execution_id: &str,
    execution: Option<&Execution>,
    failure: &FailureRecord,
) -> Notice {
    let sealed = execution.is_some_and(|execution| execution.is_sealed);
    let completed = execution.is_some_and(|execution| execution.status == "completed");
    let at_risk = if completed {
        "nothing: the backup of this run is complete with its copies and proofs. Only what came after it failed"
    } else if sealed {
        "the backup of this run stands in its repository, but not all of its copies and proofs do"
    } else {
        "this run made no recovery point: changes since the last one are not protected. Older backups stand"
    };
    let state = failure.state.as_deref().map_or_else(String::new, |state| format!(" in state {state}"));
    Notice {
        kind: NoticeKind::BackupFailed,
        severity: Severity::of_failure(failure.class),
        source: execution.map_or_else(|| format!("policy {policy}"), |execution| execution.source.clone()),
        execution_id: execution_id.to_owned(),
        backup_id: execution.map(|execution| execution.backup_id.to_string()),
        happened: format!("the run failed{state} ({}): {}", failure.class, failure.message),
        explanation: Explanation { at_risk: at_risk.to_owned(), next: next_act(failure.class, execution_id) },
    }
}

fn next_act(class: FailureClass, execution_id: &str) -> String {
    let look = format!("aws stepfunctions get-execution-history --execution-arn {execution_id}");
    match class {
        FailureClass::Transient => format!("the next schedule tries again; if it fails twice: {look}"),
        FailureClass::Conflict => "nothing, if another run of the policy is under way".to_owned(),
        FailureClass::Permanent => format!("correct the cause, then start the policy again; details: {look}"),
        FailureClass::Integrity => format!("keepsake verify --repo <URL> --deep; details: {look}"),
    }
}

/// Sends a notice once per run and kind. Answers whether it was sent now.
///
/// # Errors
/// When it could not be handed over; a second call tries again.
pub async fn send_alert(
    log: &dyn AlertLog,
    notices: &dyn Notices,
    topic: &str,
    notice: &Notice,
) -> Result<bool, StepError> {
    if !log.announce(&notice.execution_id, notice, topic).await? {
        return Ok(false);
    }
    let message_id = notices.publish(notice).await?;
    log.delivered(&notice.execution_id, notice, &message_id).await?;
    Ok(true)
}
