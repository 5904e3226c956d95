//! The test-restore machine's functions: a throwaway instance, a restore into it, the comparison, and the end of it.

use super::RunInput;
use super::failed_batch::{leave_word, told_by_batches};
use crate::telemetry::{Metric, emit};
use crate::{App, FunctionError};
use keepsake_domain::{Batch, FailureClass, InstanceName, PartPlan, Verdict};
use keepsake_steps::ports::{Target, TestOutcome, Tests};
use keepsake_steps::{
    InstanceProgress, Restore, RestoreFacts, Run, StepError, certify, finish_target, parts_of,
    prepare_target, provision_instance, read_back, restore_parts, store_certificate,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// `{"status": "preparing"}`.
#[derive(Debug, Serialize)]
pub struct InstanceOutput {
    /// How far the instance is.
    pub status: InstanceProgress,
}

/// Asks for the instance, or looks at it.
///
/// # Errors
/// [`FunctionError`].
pub async fn provision(app: Arc<App>, input: RunInput) -> Result<InstanceOutput, FunctionError> {
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
    Ok(InstanceOutput { status })
}

/// Which part of the restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestorePhase {
    /// Roles and pre-data.
    Prepare,
    /// The rows of one batch.
    Rows,
    /// Large objects, post-data and sequences.
    Finish,
}

/// `{"run": {…}, "phase": "rows", "batch": {…}}`.
#[derive(Debug, Deserialize)]
pub struct RestoreInput {
    /// The run.
    pub run: Run,
    /// What to do.
    pub phase: RestorePhase,
    /// For `rows`: one item of the batches object.
    #[serde(default)]
    pub batch: Option<Batch>,
}

/// `{"phase": "rows", "rows": 42}`.
#[derive(Debug, Serialize)]
pub struct RestoreOutput {
    /// What was done.
    pub phase: RestorePhase,
    /// Rows loaded now; those of an earlier call are not counted again.
    pub rows: u64,
}

/// Restores one phase.
///
/// # Errors
/// [`FunctionError`].
pub async fn restore(app: Arc<App>, input: RestoreInput) -> Result<RestoreOutput, FunctionError> {
    app.renew_lease(&input.run).await?;
    let restore = app.restore(&input.run).await?;
    let work = app.work(&input.run).await?;
    let began = app.clock.now();
    let piece = input.batch.as_ref().map_or(0, |batch| batch.number);
    let (name, rows) = match input.phase {
        RestorePhase::Prepare => {
            prepare_target(&restore).await?;
            ("pre_data", 0)
        }
        RestorePhase::Rows => {
            let plans = input.batch.map(|batch| batch.parts);
            match load_batch(&restore, plans.as_deref()).await {
                Ok(rows) => ("rows", rows),
                Err(error) => return Err(leave_word(&app, &work, "RestoreRows", piece, error.into()).await),
            }
        }
        RestorePhase::Finish => {
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

/// `{"verdict": "passed", "differences": 0}`.
#[derive(Debug, Serialize)]
pub struct VerifyOutput {
    /// Only passed is success.
    pub verdict: Verdict,
    /// How many differences were found.
    pub differences: u64,
}

/// Compares the restored database with the manifest and stores the certificate, in the repository first.
///
/// # Errors
/// [`FunctionError`]; a verdict of failed is an answer, not an error.
pub async fn verify(app: Arc<App>, input: RunInput) -> Result<VerifyOutput, FunctionError> {
    let run = &input.run;
    let catalog = app.catalog().await?;
    let name = InstanceName::for_backup(run.backup_id);
    let test = catalog.begin_test(run.backup_id, &name, app.clock.now()).await?;
    let (repository, backup) = app.backup(run).await?;
    let target = app.target(run).await?;
    let began = app.clock.now();
    let restored = read_back(target.as_ref(), run.jobs).await?;
    let work = app.work(run).await?;
    work.note_phase("compare", 0, began, app.clock.now()).await?;
    let facts = RestoreFacts {
        repository: run.repository.clone(),
        target_version: target.facts(&run.backup_id.to_string()).await?.server.server_version,
        phase_milliseconds: work.phase_milliseconds().await?,
    };
    let certificate = certify(&backup, &restored, facts, app.clock.as_ref());
    store_certificate(repository.as_ref(), &backup, test.test_id, &certificate).await?;
    let outcome = TestOutcome {
        verdict: certificate.verdict,
        errors: certificate.differences.clone(),
        completed_at: app.clock.now(),
        certificate: Some(certificate.clone()),
    };
    catalog.finish_test(test.test_id, &outcome).await?;
    let spent = app.clock.now().duration_since(test.started_at).as_millis();
    emit(
        &run.policy,
        &run.source,
        app.clock.now().as_millisecond(),
        &[
            Metric::count("TestRestorePassed", u64::from(certificate.verdict == Verdict::Passed)),
            Metric::milliseconds("RecoveryTime", u64::try_from(spent).unwrap_or_default()),
        ],
    );
    Ok(VerifyOutput { verdict: certificate.verdict, differences: certificate.differences_total })
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
