//! The states of `backup.asl.json`.

use super::machine::{Failed, Living};
use super::{Ports, Scenario};
use keepsake_domain::{Batch, FailureClass, Notice};
use keepsake_steps::ports::{Clock, Executions, FailureRecord, Repository, Secrets};
use keepsake_steps::{
    BeginCatalog, BeginRequest, CleanUp, Dumper, FailedRun, Holder, KeyDrawing, Lane, OpenRepository,
    Preparation, Run, SealedBackup, Sealing, StepError, Work, completion_notice, drop_instance_patiently,
    dump, end_unopened, failure_notice, hold_snapshot, open_run, prepare_run, read_policy, record_completion,
    record_failure, release_snapshot, release_unopened, renew_lease, seal_backup, send_alert, upload_parts,
};
use std::sync::Arc;
use std::time::Duration;

/// As the machine bounds a lane.
const HOLDS_PER_LANE: u32 = 200;
/// As the function waits for an instance that cannot be deleted yet.
const RECORD_FAILURE_WAITS: Duration = Duration::from_secs(600);
const TOPIC: &str = "arn:aws:sns:eu-central-1:1:keepsake";

impl Scenario {
    /// One execution, to its end.
    ///
    /// # Errors
    /// The first failure, after the failure path.
    pub async fn run(self: &Arc<Self>, execution_id: &str) -> Result<SealedBackup, Failed> {
        match self.attempt(execution_id).await {
            Ok(sealed) => Ok(sealed),
            Err(failed) => {
                self.fail(execution_id, &failed).await;
                Err(failed)
            }
        }
    }

    /// One execution as far as it goes well: nothing records a failure.
    ///
    /// # Errors
    /// The first failure.
    pub async fn attempt(self: &Arc<Self>, execution_id: &str) -> Result<SealedBackup, Failed> {
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
                let ports = &it.ports;
                let policy = read_policy(&ports.policies, "nightly").await?;
                let clock = it.clock.as_ref();
                let catalog = BeginCatalog { leases: &ports.leases, executions: &ports.executions, clock };
                let execution = open_run(&catalog, &policy, &request).await?;
                ports.secrets.connection(&policy.source.connection_secret).await?;
                let preparation = Preparation {
                    executions: &ports.executions,
                    source: ports.source.as_ref(),
                    drawing: KeyDrawing {
                        repository: it.faulty_primary.as_ref(),
                        work: &Work::new(Arc::clone(&it.faulty_work), execution.backup_id),
                        key_holder: &ports.key_holder,
                        clock,
                    },
                };
                prepare_run(&preparation, &policy, &execution).await
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
                    let dumper = it.connected(&run).await?;
                    let (source, holds) = (dumper.source.as_ref(), dumper.holds.as_ref());
                    let (leases, work) = (&it.ports.leases, &dumper.work);
                    let holder = Holder { source, holds, leases, work, clock: it.clock.as_ref() };
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
                async move { upload_parts(&it.connected(&run).await?, &run, &batch.parts, &|_| {}).await }
            })
            .await?;
        }
        Ok(())
    }

    /// What a Distributed Map reads before its first child.
    ///
    /// # Errors
    /// When the work bucket does not answer.
    pub async fn batches(self: &Arc<Self>, run: &Run) -> Result<Vec<Batch>, Failed> {
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
            async move { dump(&it.connected(&run).await?, &run).await.map(|_| ()) }
        })
        .await
    }

    /// State `ReleaseSnapshot`.
    ///
    /// # Errors
    /// As the step.
    pub async fn release(self: &Arc<Self>, run: &Run) -> Result<(), Failed> {
        let execution = run.execution_row;
        self.task("ReleaseSnapshot", |it| async move {
            release_snapshot(it.ports.holds.as_ref(), execution).await
        })
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
        let (leases, executions) = (&self.ports.leases, &self.ports.executions);
        let sealing = Sealing { repository, work: &work, leases, executions, clock: self.clock.as_ref() };
        seal_backup(&sealing, run).await
    }

    async fn record_and_tell(self: &Arc<Self>, run: &Run, sealed: &SealedBackup) -> Result<(), Failed> {
        self.task("Record", |it| {
            let run = run.clone();
            async move {
                let Ports { executions, tests, leases, .. } = &it.ports;
                record_completion(executions, tests, leases, it.clock.as_ref(), &run).await
            }
        })
        .await?;
        self.tell("Alert", completion_notice(run, sealed)).await
    }

    async fn tell(self: &Arc<Self>, state: &'static str, notice: Notice) -> Result<(), Failed> {
        self.task(state, |it| {
            let notice = notice.clone();
            async move { send_alert(&it.ports.alert_log, &it.ports.notices, TOPIC, &notice).await }
        })
        .await
        .map(|_| ())
    }

    /// What a function that reads the source begins with.
    async fn connected(&self, run: &Run) -> Result<Dumper, StepError> {
        self.ports.secrets.connection(&run.connection_secret).await?;
        Ok(self.dumper(run))
    }

    /// Keeps the policy's lease while a run's later steps go on.
    pub(super) async fn renew(&self, run: &Run) -> Result<(), StepError> {
        renew_lease(&self.ports.leases, self.clock.as_ref(), run).await
    }

    /// States `RecordFailure` and `AlertFailure`, and then the rule on failed executions, which does the same once more
    /// for what no state could catch.
    pub async fn fail(self: &Arc<Self>, execution_id: &str, failed: &Failed) {
        self.end_badly(execution_id, failed).await;
        self.end_badly(execution_id, failed).await;
    }

    async fn end_badly(self: &Arc<Self>, execution_id: &str, failed: &Failed) {
        let (failure, id) = (self.record(failed), execution_id.to_owned());
        let record = self.task("RecordFailure", |it| {
            let (failure, id) = (failure.clone(), id.clone());
            async move {
                let (clock, until) = (it.clock.as_ref(), it.clock.now() + RECORD_FAILURE_WAITS);
                match it.end_run(&id, &failure).await? {
                    None => release_unopened(&it.ports.leases, "nightly", &id).await.map(|()| None),
                    Some(FailedRun { execution, .. }) => {
                        let (instances, backup_id) = (&it.ports.instances, execution.backup_id);
                        drop_instance_patiently(instances, backup_id, clock, until).await?;
                        Ok(Some(execution))
                    }
                }
            }
        });
        let execution = record.await.unwrap_or_default();
        let notice = failure_notice("nightly", execution_id, execution.as_ref(), &failure);
        let _ = self.tell("AlertFailure", notice).await;
    }

    /// The step of state `RecordFailure`, once.
    ///
    /// # Errors
    /// As the step.
    pub async fn end_run(&self, id: &str, failure: &FailureRecord) -> Result<Option<FailedRun>, StepError> {
        let open: &OpenRepository<'_> = &|url| Box::pin(async move { Ok(self.place(&url)) });
        record_failure(&self.clean_up(open), id, failure).await
    }

    /// The rule on an execution that was stopped from outside.
    ///
    /// # Errors
    /// As the step.
    pub async fn stop(self: &Arc<Self>, id: &str) -> Result<(), StepError> {
        let failed = Failed::new("Begin", FailureClass::Permanent, "the execution ended as ABORTED");
        let failure = self.record(&failed);
        let open: &OpenRepository<'_> = &|url| Box::pin(async move { Ok(self.place(&url)) });
        if self.end_run(id, &failure).await?.is_none() {
            end_unopened(&self.clean_up(open), "nightly", id, &failure).await?;
        }
        let execution = self.ports.executions.find(id).await?;
        let notice = failure_notice("nightly", id, execution.as_ref(), &failure);
        send_alert(&self.ports.alert_log, &self.ports.notices, TOPIC, &notice).await.map(|_| ())
    }

    fn place(&self, url: &str) -> Arc<dyn Repository> {
        Arc::clone(if url == self.copy.url() { &self.faulty_copy } else { &self.faulty_primary })
    }

    fn clean_up<'a>(&'a self, open: &'a OpenRepository<'a>) -> CleanUp<'a> {
        let Ports { executions, leases, policies, holds, .. } = &self.ports;
        CleanUp { executions, holds: holds.as_ref(), leases, policies, open }
    }
}
