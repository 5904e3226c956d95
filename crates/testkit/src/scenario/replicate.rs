//! The states of `backup.asl.json` that make the copies.

use super::Scenario;
use super::machine::Failed;
use keepsake_domain::Batch;
use keepsake_steps::ports::PolicyCopy;
use keepsake_steps::{Replication, Run, StepError, find_backup, parts_of};
use std::sync::Arc;

#[derive(Clone)]
enum Phase {
    Prepare,
    Rows(Batch),
    Finish,
}

impl Scenario {
    /// States `CopyLeft` to `ReplicateFinish`.
    ///
    /// # Errors
    /// As the step.
    pub async fn replicate(self: &Arc<Self>, run: &Run) -> Result<(), Failed> {
        for copy in &run.copies {
            self.prepare_copy(run, copy).await?;
            for batch in self.batches(run).await? {
                self.copy_batch(run, copy, batch).await?;
            }
            self.finish_copy(run, copy).await?;
        }
        Ok(())
    }

    /// State `ReplicatePrepare`.
    ///
    /// # Errors
    /// As the step.
    pub async fn prepare_copy(self: &Arc<Self>, run: &Run, copy: &PolicyCopy) -> Result<(), Failed> {
        self.copy_phase("ReplicatePrepare", run, copy, Phase::Prepare).await
    }

    /// State `ReplicateRows`.
    ///
    /// # Errors
    /// As the step.
    pub async fn copy_batch(
        self: &Arc<Self>,
        run: &Run,
        copy: &PolicyCopy,
        batch: Batch,
    ) -> Result<(), Failed> {
        self.copy_phase("ReplicateRows", run, copy, Phase::Rows(batch)).await
    }

    /// State `ReplicateFinish`.
    ///
    /// # Errors
    /// As the step.
    pub async fn finish_copy(self: &Arc<Self>, run: &Run, copy: &PolicyCopy) -> Result<(), Failed> {
        self.copy_phase("ReplicateFinish", run, copy, Phase::Finish).await
    }

    async fn copy_phase(
        self: &Arc<Self>,
        state: &'static str,
        run: &Run,
        copy: &PolicyCopy,
        phase: Phase,
    ) -> Result<(), Failed> {
        self.task(state, |it| {
            let (run, copy, phase) = (run.clone(), copy.clone(), phase.clone());
            async move { it.copy_once(&run, &copy, phase).await }
        })
        .await
    }

    async fn copy_once(&self, run: &Run, copy: &PolicyCopy, phase: Phase) -> Result<(), StepError> {
        self.renew(run).await?;
        let (from, to) = (self.faulty_primary.as_ref(), self.faulty_copy.as_ref());
        let (work, copies, clock) = (self.work_of(run), &self.ports.copies, self.clock.as_ref());
        let backup = find_backup(from, Some(run.backup_id)).await?;
        let replication = Replication { from, to, work: &work, copies, clock };
        match phase {
            Phase::Prepare => replication.prepare(run, copy, &backup).await,
            Phase::Rows(batch) => {
                let parts = parts_of(&backup, Some(&batch.parts))?;
                replication.batch(run, copy, batch.number, parts).await
            }
            Phase::Finish => replication.finish(run, copy, &backup).await.map(|_| ()),
        }
    }
}
