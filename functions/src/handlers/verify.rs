//! The comparison of a restored database with the manifest, in batches, and the certificate.

use super::failed_batch::leave_word;
use super::{Phase, TestReference, lacking};
use crate::telemetry::{Metric, emit};
use crate::{App, FunctionError};
use keepsake_domain::{Batch, Certificate, Verdict};
use keepsake_postgres::PostgresTarget;
use keepsake_steps::ports::{Target, TestOutcome, Tests};
use keepsake_steps::{Comparison, RestoreFacts, Run, Work, certify, store_certificate};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// `{"run": {…}, "phase": "rows", "test": {"test_id": …, "started_at": …}, "batch": {…}}`.
#[derive(Debug, Deserialize)]
pub struct VerifyInput {
    /// The run.
    pub run: Run,
    /// What to do: cut the comparison into batches, read one batch back, or compare and certify.
    pub phase: Phase,
    /// What `provision` answered.
    pub test: TestReference,
    /// For `rows`: one item of the comparison's batches object.
    #[serde(default)]
    pub batch: Option<Batch>,
}

/// What a phase came to; a JSON object without what it has not.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum VerifyOutput {
    /// `{"bucket": "…", "key": "…", "batches": 3}`.
    Prepared {
        /// The work bucket.
        bucket: String,
        /// Key of a JSON array with one item per batch.
        key: String,
        /// Number of batches.
        batches: u64,
    },
    /// `{"batch": 3}`.
    ReadBack {
        /// Number of the batch.
        batch: u32,
    },
    /// `{"verdict": "passed", "differences": 0}`.
    Compared {
        /// Only passed is success.
        verdict: Verdict,
        /// How many differences were found.
        differences: u64,
    },
}

/// Makes one phase of the comparison.
///
/// # Errors
/// [`FunctionError`]; a verdict of failed is an answer, not an error.
pub async fn verify(app: Arc<App>, input: VerifyInput) -> Result<VerifyOutput, FunctionError> {
    let run = input.run;
    app.renew_lease(&run).await?;
    let target = app.target(&run).await?;
    let work = app.work(&run).await?;
    let test = input.test;
    let comparison = Comparison { work: &work, test_id: test.test_id };
    let began = app.clock.now();
    match input.phase {
        Phase::Prepare => {
            let batches = comparison.prepare(target.as_ref()).await?.len() as u64;
            work.note_phase("compare", 0, began, app.clock.now()).await?;
            let bucket = app.settings.work_bucket()?.to_owned();
            Ok(VerifyOutput::Prepared { bucket, key: work.comparison_key(test.test_id), batches })
        }
        Phase::Rows => {
            let batch = input.batch.ok_or_else(|| lacking("batch"))?;
            let number = batch.number;
            if let Err(error) = comparison.batch(target.as_ref(), batch, run.jobs).await {
                return Err(leave_word(&app, &work, "VerifyRows", number, error.into()).await);
            }
            Ok(VerifyOutput::ReadBack { batch: number })
        }
        Phase::Finish => {
            let certificate = conclude(&app, &run, &work, &target, test).await?;
            let (verdict, differences) = (certificate.verdict, certificate.differences_total);
            Ok(VerifyOutput::Compared { verdict, differences })
        }
    }
}

/// Compares, and stores the certificate, in the repository first.
async fn conclude(
    app: &App,
    run: &Run,
    work: &Work,
    target: &PostgresTarget,
    test: TestReference,
) -> Result<Certificate, FunctionError> {
    let began = app.clock.now();
    let (repository, backup) = app.backup(run).await?;
    let restored = Comparison { work, test_id: test.test_id }.finish(target).await?;
    work.note_phase("compare", u32::MAX, began, app.clock.now()).await?;
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
    app.catalog().await?.finish_test(test.test_id, &outcome).await?;
    tell(app, run, test, certificate.verdict);
    Ok(certificate)
}

fn tell(app: &App, run: &Run, test: TestReference, verdict: Verdict) {
    let now = app.clock.now();
    let spent = u64::try_from(now.duration_since(test.started_at).as_millis()).unwrap_or_default();
    let metrics = [
        Metric::count("TestRestorePassed", u64::from(verdict == Verdict::Passed)),
        Metric::milliseconds("RecoveryTime", spent),
    ];
    emit(&run.policy, &run.source, now.as_millisecond(), &metrics);
}
