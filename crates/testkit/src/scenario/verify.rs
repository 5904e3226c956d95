//! The states of `test-restore.asl.json` that compare.

use super::Scenario;
use super::machine::Failed;
use keepsake_domain::{Batch, Verdict};
use keepsake_steps::ports::{Clock, RunningTest, Target, TestOutcome, Tests};
use keepsake_steps::{Comparison, RestoreFacts, Run, StepError, certify, find_backup, store_certificate};
use std::sync::Arc;

impl Scenario {
    /// States `VerifyPrepare` to `VerifyFinish`.
    ///
    /// # Errors
    /// As the step.
    pub async fn verify(self: &Arc<Self>, run: &Run, test: &RunningTest) -> Result<Verdict, Failed> {
        for batch in self.prepare_comparison(run, test).await? {
            self.read_batch_back(run, test, batch).await?;
        }
        self.finish_comparison(run, test).await
    }

    /// State `VerifyRows`.
    ///
    /// # Errors
    /// As the step.
    pub async fn read_batch_back(
        self: &Arc<Self>,
        run: &Run,
        test: &RunningTest,
        batch: Batch,
    ) -> Result<(), Failed> {
        self.task("VerifyRows", |it| {
            let (run, test_id, batch) = (run.clone(), test.test_id, batch.clone());
            async move {
                it.renew(&run).await?;
                let (work, target) = (it.work_of(&run), it.instance_target(&run).await?);
                Comparison { work: &work, test_id }.batch(&target, batch, run.jobs).await
            }
        })
        .await
    }

    /// State `VerifyPrepare`: what the Distributed Map then reads.
    ///
    /// # Errors
    /// As the step.
    pub async fn prepare_comparison(
        self: &Arc<Self>,
        run: &Run,
        test: &RunningTest,
    ) -> Result<Vec<Batch>, Failed> {
        self.task("VerifyPrepare", |it| {
            let (run, test_id) = (run.clone(), test.test_id);
            async move {
                it.renew(&run).await?;
                let (work, target) = (it.work_of(&run), it.instance_target(&run).await?);
                Comparison { work: &work, test_id }.prepare(&target).await
            }
        })
        .await
    }

    /// State `VerifyFinish`.
    ///
    /// # Errors
    /// As the step.
    pub async fn finish_comparison(
        self: &Arc<Self>,
        run: &Run,
        test: &RunningTest,
    ) -> Result<Verdict, Failed> {
        self.task("VerifyFinish", |it| {
            let (run, test) = (run.clone(), test.clone());
            async move { it.conclude(&run, &test).await }
        })
        .await
    }

    async fn conclude(&self, run: &Run, test: &RunningTest) -> Result<Verdict, StepError> {
        let repository = self.faulty_primary.as_ref();
        self.renew(run).await?;
        let (work, target) = (self.work_of(run), self.instance_target(run).await?);
        let backup = find_backup(repository, Some(run.backup_id)).await?;
        let restored = Comparison { work: &work, test_id: test.test_id }.finish(&target).await?;
        let facts = RestoreFacts {
            repository: run.repository.clone(),
            target_version: target.facts(&run.backup_id.to_string()).await?.server.server_version,
            phase_milliseconds: work.phase_milliseconds().await?,
        };
        let certificate = certify(&backup, &restored, facts, self.clock.as_ref());
        store_certificate(repository, &backup, test.test_id, &certificate).await?;
        let verdict = certificate.verdict;
        let outcome = TestOutcome {
            verdict,
            errors: certificate.differences.clone(),
            completed_at: self.clock.now(),
            certificate: Some(certificate),
        };
        self.ports.tests.finish_test(test.test_id, &outcome).await?;
        Ok(verdict)
    }
}
