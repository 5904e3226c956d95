//! The states of `backup.asl.json`.

use super::Scenario;
use super::machine::{Failed, Living};
use keepsake_domain::{Batch, FailureClass};
use keepsake_steps::{
    BeginCatalog, BeginRequest, CleanUp, Holder, Lane, Replication, Run, SealedBackup, Sealing, StepError,
    completion_notice, dump, failure_notice, find_backup, hold_snapshot, open_run, prepare_run, read_policy,
    record_completion, record_failure, release_snapshot, release_unopened, replicate_backup, seal_backup,
    send_alert, upload_parts,
};
use std::sync::Arc;

/// As the machine bounds a lane.
const HOLDS_PER_LANE: u32 = 200;
const TOPIC: &str = "arn:aws:sns:eu-central-1:1:keepsake";

impl Scenario {
    /// One execution, to its end.
    ///
    /// # Errors
    /// The first failure, after the failure path.
    pub async fn run(self: &Arc<Self>, execution_id: &str) -> Result<SealedBackup, Failed> {
        match self.backup(execution_id).await {
            Ok(sealed) => Ok(sealed),
            Err(failed) => {
                self.fail(execution_id, &failed).await;
                Err(failed)
            }
        }
    }

    async fn backup(self: &Arc<Self>, execution_id: &str) -> Result<SealedBackup, Failed> {
        let run = self.begin(execution_id).await?;
        if let Err(failed) = self.dump_on_held_snapshot(&run).await {
            let _ = self.release(&run).await;
            return Err(failed);
        }
        let sealed = self.seal(&run).await?;
        self.replicate(&run).await?;
        if run.test_restore
            && let Err(failed) = self.test_restore(&run).await
        {
            let _ = self.drop_instance(&run, Some(&failed)).await;
            return Err(failed);
        }
        self.record_and_tell(&run, &sealed).await?;
        Ok(sealed)
    }

    /// State `Begin`.
    ///
    /// # Errors
    /// As the step.
    pub async fn begin(self: &Arc<Self>, execution_id: &str) -> Result<Run, Failed> {
        self.task("Begin", |it| {
            let request =
                BeginRequest { execution_id: execution_id.to_owned(), requested_by: "schedule".to_owned() };
            async move {
                let policy = read_policy(it.catalog.as_ref(), "nightly").await?;
                let clock = it.clock.as_ref();
                let catalog =
                    BeginCatalog { leases: it.catalog.as_ref(), executions: it.catalog.as_ref(), clock };
                let execution = open_run(&catalog, &policy, &request).await?;
                let repository = it.faulty_primary.as_ref();
                prepare_run(
                    it.catalog.as_ref(),
                    &policy,
                    &execution,
                    it.source.as_ref(),
                    repository,
                    &it.key_holder,
                    clock,
                )
                .await
            }
        })
        .await
    }

    /// State `DumpOnHeldSnapshot`: two lanes beside the dump. A branch that fails ends the state at once; what the
    /// others are doing goes on until the release reaches it.
    ///
    /// # Errors
    /// The first branch's.
    pub async fn dump_on_held_snapshot(self: &Arc<Self>, run: &Run) -> Result<(), Failed> {
        let lane = |lane| {
            let (it, run, live) = (Arc::clone(self), run.clone(), Living::new(self));
            let held = tokio::spawn(async move {
                let _live = live;
                it.hold(&run, lane).await
            });
            async move { held.await.expect("a lane does not panic") }
        };
        let dumped = async {
            let outcome = self.dump_and_upload(run).await;
            // Also after a failure, as `ReleaseFailedDump` does.
            let released = self.release(run).await;
            outcome.and(released)
        };
        tokio::try_join!(dumped, lane(Lane::First), lane(Lane::Second)).map(|_| ())
    }

    /// One lane of the relay, until it is released.
    ///
    /// # Errors
    /// As the step.
    pub async fn hold(self: &Arc<Self>, run: &Run, lane: Lane) -> Result<(), Failed> {
        for hold in 0..HOLDS_PER_LANE {
            let mut run = run.clone();
            if (lane, hold) == (Lane::First, 0) {
                run.relay_seconds = run.relay_seconds.div_ceil(2);
            }
            let released = self.task("HoldSnapshot", |it| {
                let run = run.clone();
                async move {
                    let work = it.work_of(&run);
                    let (source, catalog) = (it.source.as_ref(), it.catalog.as_ref());
                    let (holds, leases) = (catalog, catalog);
                    let holder = Holder { source, holds, leases, work: &work, clock: it.clock.as_ref() };
                    hold_snapshot(&holder, &run, lane).await
                }
            });
            if released.await? {
                return Ok(());
            }
        }
        Err(Failed::new("HoldSnapshot", FailureClass::Permanent, "the lane is exhausted"))
    }

    async fn dump_and_upload(self: &Arc<Self>, run: &Run) -> Result<(), Failed> {
        self.dump(run).await?;
        for batch in self.batches(run).await? {
            self.task("EncryptUpload", |it| {
                let (run, batch) = (run.clone(), batch.clone());
                async move { upload_parts(&it.dumper(&run), &run, &batch.parts, &|_| {}).await }
            })
            .await?;
        }
        Ok(())
    }

    /// What a Distributed Map reads before its first child.
    pub(super) async fn batches(self: &Arc<Self>, run: &Run) -> Result<Vec<Batch>, Failed> {
        self.task("ReadBatches", |it| {
            let run = run.clone();
            async move { Ok(it.work_of(&run).batches().await?.unwrap_or_default()) }
        })
        .await
    }

    /// State `Dump`.
    ///
    /// # Errors
    /// As the step.
    pub async fn dump(self: &Arc<Self>, run: &Run) -> Result<(), Failed> {
        self.task("Dump", |it| {
            let run = run.clone();
            async move { dump(&it.dumper(&run), &run).await.map(|_| ()) }
        })
        .await
    }

    async fn release(self: &Arc<Self>, run: &Run) -> Result<(), Failed> {
        let execution = run.execution_row;
        self.task(
            "ReleaseSnapshot",
            |it| async move { release_snapshot(it.catalog.as_ref(), execution).await },
        )
        .await
    }

    /// State `Seal`.
    ///
    /// # Errors
    /// As the step.
    pub async fn seal(self: &Arc<Self>, run: &Run) -> Result<SealedBackup, Failed> {
        self.task("Seal", |it| {
            let run = run.clone();
            async move { it.seal_once(&run).await }
        })
        .await
    }

    /// The step of state `Seal`, once.
    ///
    /// # Errors
    /// As the step.
    pub async fn seal_once(&self, run: &Run) -> Result<SealedBackup, StepError> {
        let (repository, work) = (self.faulty_primary.as_ref(), self.work_of(run));
        let (leases, executions) = (self.catalog.as_ref(), self.catalog.as_ref());
        let sealing = Sealing { repository, work: &work, leases, executions, clock: self.clock.as_ref() };
        seal_backup(&sealing, run).await
    }

    /// State `ReplicateCopies`.
    ///
    /// # Errors
    /// As the step.
    pub async fn replicate(self: &Arc<Self>, run: &Run) -> Result<(), Failed> {
        for copy in &run.copies {
            self.task("Replicate", |it| {
                let (run, copy) = (run.clone(), copy.clone());
                async move {
                    let (from, to) = (it.faulty_primary.as_ref(), it.faulty_copy.as_ref());
                    let backup = find_backup(from, Some(run.backup_id)).await?;
                    let (copies, clock) = (it.catalog.as_ref(), it.clock.as_ref());
                    let replication = Replication { from, to, copies, clock };
                    replicate_backup(&replication, &run, &copy, &backup).await
                }
            })
            .await?;
        }
        Ok(())
    }

    async fn record_and_tell(self: &Arc<Self>, run: &Run, sealed: &SealedBackup) -> Result<(), Failed> {
        self.task("Record", |it| {
            let run = run.clone();
            async move {
                let catalog = it.catalog.as_ref();
                record_completion(catalog, catalog, catalog, it.clock.as_ref(), &run).await
            }
        })
        .await?;
        let notice = completion_notice(run, sealed);
        self.task("Alert", |it| {
            let notice = notice.clone();
            async move { send_alert(it.catalog.as_ref(), it.notices.as_ref(), TOPIC, &notice).await }
        })
        .await
        .map(|_| ())
    }

    /// States `RecordFailure` and `AlertFailure`. What fails here is left to the rule on failed executions.
    pub async fn fail(self: &Arc<Self>, execution_id: &str, failed: &Failed) {
        let (failure, id) = (self.record(failed), execution_id.to_owned());
        let record = self.task("RecordFailure", |it| {
            let (failure, id) = (failure.clone(), id.clone());
            async move {
                let clean_up = CleanUp {
                    executions: it.catalog.as_ref(),
                    holds: it.catalog.as_ref(),
                    leases: it.catalog.as_ref(),
                    instances: it.instances.as_ref(),
                    repository: it.faulty_primary.as_ref(),
                    clock: it.clock.as_ref(),
                };
                let recorded = record_failure(&clean_up, &id, &failure).await?;
                if recorded.is_none() {
                    release_unopened(it.catalog.as_ref(), "nightly", &id).await?;
                }
                Ok(recorded)
            }
        });
        let execution = record.await.unwrap_or_default();
        let notice = failure_notice("nightly", execution_id, execution.as_ref(), &failure);
        let alert = self.task("AlertFailure", |it| {
            let notice = notice.clone();
            async move { send_alert(it.catalog.as_ref(), it.notices.as_ref(), TOPIC, &notice).await }
        });
        let _ = alert.await;
    }
}
