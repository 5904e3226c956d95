//! The states of `test-restore.asl.json`.

use super::Scenario;
use super::machine::Failed;
use crate::Faulty;
use keepsake_domain::{Batch, FailureClass, InstanceName, Verdict};
use keepsake_steps::ports::{Clock, RunningTest, Secrets, Target, TestOutcome, Tests};
use keepsake_steps::{
    InstanceProgress, Restore, Run, StepError, available_instance, drop_instance, find_backup, finish_target,
    open_backup, parts_of, prepare_target, provision_instance, restore_parts,
};
use std::sync::Arc;
use std::time::Duration;

/// As the machine bounds its looks.
const LOOKS: u32 = 240;
const BETWEEN_LOOKS: Duration = Duration::from_secs(30);

impl Scenario {
    /// The whole test restore: the instance is dropped on every path.
    ///
    /// # Errors
    /// The first failure; also a verdict that is not `passed`.
    pub async fn test_restore(self: &Arc<Self>, run: &Run) -> Result<(), Failed> {
        let proven = self.prove(run).await;
        let dropped = self.drop_until_gone(run, proven.as_ref().err()).await;
        proven.and(dropped)
    }

    async fn prove(self: &Arc<Self>, run: &Run) -> Result<(), Failed> {
        let test = self.provision(run).await?;
        self.phase("RestorePrepare", run, |restore| async move { prepare_target(&restore).await }).await?;
        for batch in self.batches(run).await? {
            self.restore_batch(run, batch).await?;
        }
        self.phase("RestoreFinish", run, |restore| async move { finish_target(&restore).await }).await?;
        match self.verify(run, &test).await? {
            Verdict::Passed => Ok(()),
            Verdict::Failed => Err(Failed::new("VerifyFinish", FailureClass::Integrity, "it differs")),
            Verdict::Inconclusive => Err(Failed::new("VerifyFinish", FailureClass::Permanent, "no verdict")),
        }
    }

    async fn restore_batch(self: &Arc<Self>, run: &Run, batch: Batch) -> Result<(), Failed> {
        self.phase("RestoreRows", run, move |restore| {
            let batch = batch.clone();
            async move {
                let parts = parts_of(&restore.backup, Some(&batch.parts))?;
                restore_parts(&restore, parts, &|_| {}).await.map(|_| ())
            }
        })
        .await
    }

    async fn phase<F>(
        self: &Arc<Self>,
        state: &'static str,
        run: &Run,
        act: impl Fn(Restore) -> F + Send + Sync + 'static,
    ) -> Result<(), Failed>
    where
        F: Future<Output = Result<(), StepError>> + Send,
    {
        let act = Arc::new(act);
        self.task(state, |it| {
            let (run, act) = (run.clone(), Arc::clone(&act));
            async move {
                let (name, began) = (state.to_lowercase(), it.clock.now());
                it.renew(&run).await?;
                act(it.restore(&run).await?).await?;
                it.work_of(&run).note_phase(&name, 0, began, it.clock.now()).await
            }
        })
        .await
    }

    /// A restore of the run's backup into its instance.
    ///
    /// # Errors
    /// When the backup does not stand, cannot be opened, or there is no instance.
    pub async fn restore(&self, run: &Run) -> Result<Restore, StepError> {
        let repository = Arc::clone(&self.faulty_primary);
        let backup = find_backup(repository.as_ref(), Some(run.backup_id)).await?;
        let identity = open_backup(repository.as_ref(), &backup, &[&self.ports.key_holder]).await?;
        let (backup, target) = (Arc::new(backup), Arc::new(self.instance_target(run).await?));
        Ok(Restore { repository, backup, identity, target, jobs: run.jobs })
    }

    /// The database in the run's instance, as the steps see it.
    pub(super) async fn instance_target(&self, run: &Run) -> Result<Faulty<dyn Target>, StepError> {
        let (_, _, secret) = available_instance(&self.ports.instances, run.backup_id).await?;
        self.ports.secrets.connection(&secret).await?;
        Ok(self.ports.target(self.target(&InstanceName::for_backup(run.backup_id))))
    }

    /// State `ProvisionInstance`, until the instance is available.
    ///
    /// # Errors
    /// As the step.
    pub async fn provision(self: &Arc<Self>, run: &Run) -> Result<RunningTest, Failed> {
        for _ in 0..LOOKS {
            let looked = self.task("ProvisionInstance", |it| {
                let run = run.clone();
                async move {
                    let name = InstanceName::for_backup(run.backup_id);
                    it.renew(&run).await?;
                    let test = it.ports.tests.begin_test(run.backup_id, &name, it.clock.now()).await?;
                    let backup = find_backup(it.faulty_primary.as_ref(), Some(run.backup_id)).await?;
                    let raw_bytes = backup.manifest.raw_bytes();
                    Ok((provision_instance(&it.ports.instances, &run, raw_bytes).await?, test))
                }
            });
            let (progress, test) = looked.await?;
            if progress == InstanceProgress::Available {
                return Ok(test);
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        Err(Failed::new("ProvisionInstance", FailureClass::Permanent, "never available"))
    }

    async fn drop_until_gone(self: &Arc<Self>, run: &Run, failed: Option<&Failed>) -> Result<(), Failed> {
        for _ in 0..LOOKS {
            if self.drop_instance(run, failed).await? == InstanceProgress::Gone {
                return Ok(());
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        Err(Failed::new("DropInstance", FailureClass::Permanent, "never gone"))
    }

    /// State `DropInstance`; it also ends a test that came to no comparison.
    ///
    /// # Errors
    /// As the step.
    pub async fn drop_instance(
        self: &Arc<Self>,
        run: &Run,
        failed: Option<&Failed>,
    ) -> Result<InstanceProgress, Failed> {
        let failure = failed.map(|failed| self.record(failed));
        self.task("DropInstance", |it| {
            let (backup_id, failure) = (run.backup_id, failure.clone());
            async move {
                let status = drop_instance(&it.ports.instances, backup_id).await?;
                let name = InstanceName::for_backup(backup_id);
                if let Some(failure) = failure
                    && it.ports.tests.verdict(backup_id).await?.is_none()
                {
                    let test = it.ports.tests.begin_test(backup_id, &name, it.clock.now()).await?;
                    let outcome = TestOutcome {
                        verdict: Verdict::Inconclusive,
                        certificate: None,
                        errors: vec![failure.message],
                        completed_at: it.clock.now(),
                    };
                    it.ports.tests.finish_test(test.test_id, &outcome).await?;
                }
                Ok(status)
            }
        })
        .await
    }
}
