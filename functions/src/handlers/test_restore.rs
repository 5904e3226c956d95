//! The test-restore machine's functions: a throwaway instance, a restore into it, the comparison, and the end of it.

use super::failed_batch::{leave_word, told_by_batches};
use super::{Phase, RunInput};
use crate::{App, FunctionError};
use keepsake_domain::{Batch, FailureClass, InstanceName, PartPlan, Timestamp, Verdict};
use keepsake_steps::ports::{TestOutcome, Tests};
use keepsake_steps::{
    InstanceProgress, Restore, Run, StepError, finish_target, parts_of, prepare_target, provision_instance,
    restore_parts,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

/// The test restore that is under way. `provision` answers it, and the state machine hands it to every phase of the
/// comparison, so that all of them speak of one test, and none that comes late opens another.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct TestReference {
    /// Its row in the catalog.
    pub test_id: Uuid,
    /// When it began.
    pub started_at: Timestamp,
}

/// `{"status": "preparing", "test": {"test_id": …, "started_at": …}}`.
#[derive(Debug, Serialize)]
pub struct ProvisionOutput {
    /// How far the instance is.
    pub status: InstanceProgress,
    /// For the comparison.
    pub test: TestReference,
}

/// `{"status": "deleting"}`.
#[derive(Debug, Serialize)]
pub struct InstanceOutput {
    /// How far the instance is.
    pub status: InstanceProgress,
}

/// Asks for the instance, or looks at it.
///
/// # Errors
/// [`FunctionError`].
pub async fn provision(app: Arc<App>, input: RunInput) -> Result<ProvisionOutput, FunctionError> {
    let run = &input.run;
    app.renew_lease(run).await?;
    let catalog = app.catalog().await?;
    let name = InstanceName::for_backup(run.backup_id);
    let test = catalog.begin_test(run.backup_id, &name, app.clock.now()).await?;
    let (_, backup) = app.backup(run).await?;
    let status = provision_instance(&app.instances(), run, backup.manifest.raw_bytes()).await?;
    if status == InstanceProgress::Available {
        app.work(run).await?.note_phase("provision", 0, test.started_at, app.clock.now()).await?;
    }
    let test = TestReference { test_id: test.test_id, started_at: test.started_at };
    Ok(ProvisionOutput { status, test })
}

/// `{"run": {…}, "phase": "rows", "batch": {…}}`.
#[derive(Debug, Deserialize)]
pub struct RestoreInput {
    /// The run.
    pub run: Run,
    /// What to do.
    pub phase: Phase,
    /// For `rows`: one item of the batches object.
    #[serde(default)]
    pub batch: Option<Batch>,
}

/// `{"phase": "rows", "rows": 42}`.
#[derive(Debug, Serialize)]
pub struct RestoreOutput {
    /// What was done.
    pub phase: Phase,
    /// Rows loaded now; those of an earlier call are not counted again.
    pub rows: u64,
}

/// Restores one phase.
///
/// # Errors
/// [`FunctionError`].
pub async fn restore(app: Arc<App>, input: RestoreInput) -> Result<RestoreOutput, FunctionError> {
    app.renew_lease(&input.run).await?;
    let work = app.work(&input.run).await?;
    let began = app.clock.now();
    let piece = input.batch.as_ref().map_or(0, |batch| batch.number);
    let restore = match app.restore(&input.run).await {
        // The key may have been denied since the phase before.
        Err(error) if input.phase == Phase::Rows => {
            return Err(leave_word(&app, &work, "RestoreRows", piece, error).await);
        }
        restore => restore?,
    };
    let (name, rows) = match input.phase {
        Phase::Prepare => {
            prepare_target(&restore).await?;
            ("pre_data", 0)
        }
        Phase::Rows => {
            let plans = input.batch.map(|batch| batch.parts);
            match load_batch(&restore, plans.as_deref()).await {
                Ok(rows) => ("rows", rows),
                Err(error) => return Err(leave_word(&app, &work, "RestoreRows", piece, error.into()).await),
            }
        }
        Phase::Finish => {
            finish_target(&restore).await?;
            ("post_data", 0)
        }
    };
    work.note_phase(name, piece, began, app.clock.now()).await?;
    Ok(RestoreOutput { phase: input.phase, rows })
}

async fn load_batch(restore: &Restore, plans: Option<&[PartPlan]>) -> Result<u64, StepError> {
    let parts = parts_of(&restore.backup, plans)?;
    restore_parts(restore, parts, &|_| {}).await
}

/// `{"run": {…}}`, and after a failure also `"failure": {"error": "Keepsake.Integrity", "cause": "…"}`.
#[derive(Debug, Deserialize)]
pub struct DropInput {
    /// The run.
    pub run: Run,
    /// What ended the test before its comparison.
    #[serde(default)]
    pub failure: Option<super::alert::StateFailure>,
}

/// Drops the instance, and ends the test's row if no comparison ended it: failed when the archive was at fault,
/// inconclusive otherwise.
///
/// # Errors
/// [`FunctionError`].
pub async fn drop_instance(app: Arc<App>, input: DropInput) -> Result<InstanceOutput, FunctionError> {
    let status = keepsake_steps::drop_instance(&app.instances(), input.run.backup_id).await?;
    if let Some(failure) = input.failure.filter(|failure| !failure.error.is_empty()) {
        let failure = told_by_batches(&app, input.run.backup_id, &failure).await;
        let catalog = app.catalog().await?;
        let name = InstanceName::for_backup(input.run.backup_id);
        if catalog.verdict(input.run.backup_id).await?.is_none() {
            let test = catalog.begin_test(input.run.backup_id, &name, app.clock.now()).await?;
            let integrity = failure.class == FailureClass::Integrity;
            let outcome = TestOutcome {
                verdict: if integrity { Verdict::Failed } else { Verdict::Inconclusive },
                certificate: None,
                errors: vec![failure.message],
                completed_at: app.clock.now(),
            };
            catalog.finish_test(test.test_id, &outcome).await?;
        }
    }
    Ok(InstanceOutput { status })
}
