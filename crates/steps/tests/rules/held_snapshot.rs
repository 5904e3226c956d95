//! Rules 5 and 6 on the source's side: one state, held no longer than it is needed.

use crate::{ALL_IS_WELL, manifests, with_policy};
use async_trait::async_trait;
use keepsake_domain::{Classified, ExecutionRowId, FailureClass, Timestamp};
use keepsake_steps::ports::{CatalogError, Clock, Holds, LiveHold, Source};
use keepsake_steps::{GRACE, Holder, LEASE_TTL, Lane, Run, hold_snapshot, release_snapshot, upload_parts};
use keepsake_testkit::scenario::{Failed, MARKER, Scenario, Setting};
use keepsake_testkit::{Break, MemoryCatalog, SourceFault};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

fn lane(scenario: &Arc<Scenario>, run: &Run, lane: Lane) -> JoinHandle<Result<(), Failed>> {
    let (scenario, run) = (Arc::clone(scenario), run.clone());
    tokio::spawn(async move { scenario.hold(&run, lane).await })
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_dump_the_source_is_free_within_seconds() {
    let scenario = Scenario::new(Setting::default());
    let at = Break { after_bytes: 7, is_silent: false };
    scenario.source.fail_with(SourceFault::SchemaDump(at));
    let run = scenario.begin("run-1").await.unwrap();
    scenario.dump_on_held_snapshot(&run).await.unwrap_err();
    pass(3).await;
    assert_eq!((scenario.source.holders(), scenario.source.snapshots_taken()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_dump_finds_a_holder_that_begins_at_the_same_time_within_milliseconds() {
    let scenario = Scenario::new(Setting::default());
    let run = scenario.begin("run-1").await.unwrap();
    let began = scenario.clock.now();
    let holder = (Arc::clone(&scenario), run.clone());
    let holder = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(30)).await;
        holder.0.hold(&holder.1, Lane::First).await
    });
    scenario.dump(&run).await.unwrap();
    let waited = scenario.clock.now().duration_since(began).as_millis();
    assert!((30..=150).contains(&waited), "{waited} ms");
    release_snapshot(scenario.catalog.as_ref(), run.execution_row).await.unwrap();
    holder.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_released_holder_ends_within_two_beats_and_a_late_one_does_not_begin() {
    let scenario = Scenario::new(Setting::default());
    let run = scenario.begin("run-1").await.unwrap();
    let (first, second) = (lane(&scenario, &run, Lane::First), lane(&scenario, &run, Lane::Second));
    pass(10).await;
    assert_eq!(scenario.source.holders(), 2);
    release_snapshot(scenario.catalog.as_ref(), run.execution_row).await.unwrap();
    pass(2).await;
    assert_eq!(scenario.source.holders(), 0);
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    scenario.hold(&run, Lane::First).await.unwrap();
    assert_eq!((scenario.source.holders(), scenario.source.snapshots_taken()), (0, 1));
}

/// Holders in a catalog that goes away.
struct Leaving {
    catalog: Arc<MemoryCatalog>,
    is_gone: AtomicBool,
}

impl Leaving {
    fn here(&self) -> Result<&dyn Holds, CatalogError> {
        if self.is_gone.load(Ordering::SeqCst) {
            return Err(CatalogError::Unavailable { act: "answer".to_owned(), cause: "gone".into() });
        }
        Ok(self.catalog.as_ref())
    }
}

#[async_trait]
impl Holds for Leaving {
    async fn publish(
        &self,
        execution: ExecutionRowId,
        lane: &str,
        snapshot_name: &str,
        backend_pid: i32,
        ends_at: Timestamp,
    ) -> Result<u32, CatalogError> {
        self.here()?.publish(execution, lane, snapshot_name, backend_pid, ends_at).await
    }
    async fn current(&self, execution: ExecutionRowId) -> Result<Option<LiveHold>, CatalogError> {
        self.here()?.current(execution).await
    }
    async fn announced(&self, execution: ExecutionRowId) -> Result<u32, CatalogError> {
        self.here()?.announced(execution).await
    }
    async fn heartbeat(&self, execution: ExecutionRowId, relay_number: u32) -> Result<bool, CatalogError> {
        self.here()?.heartbeat(execution, relay_number).await
    }
    async fn ended(&self, execution: ExecutionRowId, relay_number: u32) -> Result<(), CatalogError> {
        self.here()?.ended(execution, relay_number).await
    }
    async fn release_all(&self, execution: ExecutionRowId) -> Result<(), CatalogError> {
        self.here()?.release_all(execution).await
    }
    async fn is_released(&self, execution: ExecutionRowId) -> Result<bool, CatalogError> {
        self.here()?.is_released(execution).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_whose_catalog_is_gone_lets_the_source_go() {
    let scenario = Scenario::new(Setting::default());
    let run = scenario.begin("run-1").await.unwrap();
    let holds = Arc::new(Leaving { catalog: Arc::clone(&scenario.catalog), is_gone: AtomicBool::new(false) });
    let (it, theirs, run_held) = (Arc::clone(&scenario), Arc::clone(&holds), run.clone());
    let held = tokio::spawn(async move {
        let work = it.work_of(&run_held);
        let holder = Holder {
            source: it.source.as_ref(),
            holds: theirs.as_ref(),
            leases: it.catalog.as_ref(),
            work: &work,
            clock: it.clock.as_ref(),
        };
        hold_snapshot(&holder, &run_held, Lane::First).await
    });
    pass(5).await;
    assert_eq!(scenario.source.holders(), 1);
    holds.is_gone.store(true, Ordering::SeqCst);
    pass(GRACE.as_secs()).await;
    assert_eq!(scenario.source.holders(), 0);
    assert_eq!(held.await.unwrap().unwrap_err().class(), FailureClass::Transient);
}

#[tokio::test(start_paused = true)]
async fn a_holder_without_successor_gives_the_source_free_after_its_time() {
    let scenario = Scenario::new(Setting::default());
    with_policy(&scenario, |policy| policy.relay_seconds = 30).await;
    let run = scenario.begin("run-1").await.unwrap();
    let only = lane(&scenario, &run, Lane::First);
    pass(15 + GRACE.as_secs() + 2).await;
    assert_eq!(scenario.source.holders(), 0);
    assert_eq!(only.await.unwrap().unwrap_err().class, FailureClass::Permanent);
}

#[tokio::test(start_paused = true)]
async fn a_dump_that_outlives_many_holders_under_writes_is_of_one_state() {
    let scenario = Scenario::new(Setting::default());
    with_policy(&scenario, |policy| policy.relay_seconds = 10).await;
    let before = scenario.source.database();
    let run = scenario.begin("run-1").await.unwrap();
    let (first, second) = (lane(&scenario, &run, Lane::First), lane(&scenario, &run, Lane::Second));
    scenario.dump(&run).await.unwrap();
    for plan in scenario.work_of(&run).plan().await.unwrap().unwrap().parts {
        // Each part is read by a new connection, some holders later, in a database that went on.
        scenario.source.write(|database| {
            database.table("guests").rows.rotate_left(3);
            database.table("guests").rows.push(format!("9\t{MARKER}\tlate\ttable 9"));
            database.table("vendors").rows.clear();
        });
        pass(13).await;
        upload_parts(&scenario.dumper(&run), &run, &[plan], &|_| {}).await.unwrap();
    }
    release_snapshot(scenario.catalog.as_ref(), run.execution_row).await.unwrap();
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    let sealed = scenario.seal(&run).await.unwrap();
    assert_eq!(sealed.rows, 35);
    let holders = scenario.catalog.announced(run.execution_row).await.unwrap();
    assert!(holders > 10, "only {holders} holders");
    assert_eq!(scenario.source.snapshots_taken(), 1);
    let backup = keepsake_steps::find_backup(scenario.primary.as_ref(), Some(run.backup_id)).await.unwrap();
    let target = scenario.restored(&scenario.primary, backup).await.unwrap();
    assert_eq!(target.database().sorted_rows(), before.sorted_rows());
    assert_ne!(scenario.source.database().sorted_rows(), before.sorted_rows());
}

#[tokio::test(start_paused = true)]
async fn a_dump_of_many_hours_keeps_its_lease_and_is_sealed() {
    let scenario = Scenario::new(Setting::default());
    let run = scenario.begin("run-1").await.unwrap();
    let (first, second) = (lane(&scenario, &run, Lane::First), lane(&scenario, &run, Lane::Second));
    scenario.dump(&run).await.unwrap();
    pass(LEASE_TTL.as_secs() + 60 * 60).await;
    let other = scenario.begin("run-2").await.unwrap_err();
    assert_eq!(other.class, FailureClass::Conflict, "{}", other.text);
    let parts = scenario.work_of(&run).plan().await.unwrap().unwrap().parts;
    upload_parts(&scenario.dumper(&run), &run, &parts, &|_| {}).await.unwrap();
    release_snapshot(scenario.catalog.as_ref(), run.execution_row).await.unwrap();
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(scenario.seal(&run).await.unwrap().rows, 35);
}

#[tokio::test(start_paused = true)]
async fn a_lost_snapshot_ends_the_run_and_never_mixes_two_states() {
    let scenario = Scenario::new(Setting::default());
    let source = Arc::clone(&scenario.source);
    let is_lost = AtomicBool::new(false);
    scenario.source.between_reads(move || {
        if !is_lost.swap(true, Ordering::SeqCst) {
            source.lose_snapshots();
            source.write(|database| database.table("guests").rows.truncate(5));
        }
        Box::pin(async {})
    });
    let failed = scenario.run("run-1").await.unwrap_err();
    // A lane or a worker sees it first, whoever asks first.
    assert_eq!(failed.class, FailureClass::Permanent, "{}: {}", failed.state, failed.text);
    assert!(failed.text.contains("no longer held"), "{}", failed.text);
    assert_eq!(scenario.check().await, ALL_IS_WELL);
    assert_eq!(manifests(scenario.primary.as_ref()).await, Vec::<String>::new());
    assert_eq!(scenario.run("run-2").await.unwrap().rows, 8);
    assert_eq!(scenario.check().await, ALL_IS_WELL);
}

#[tokio::test(start_paused = true)]
async fn once_a_snapshot_was_announced_no_lane_ever_takes_another() {
    let scenario = Scenario::new(Setting::default());
    let run = scenario.begin("run-1").await.unwrap();
    let first = lane(&scenario, &run, Lane::First);
    pass(5).await;
    scenario.source.lose_snapshots();
    assert_eq!(first.await.unwrap().unwrap_err().class, FailureClass::Permanent);
    for again in [Lane::First, Lane::Second] {
        let refused = scenario.hold(&run, again).await.unwrap_err();
        assert_eq!(refused.class, FailureClass::Permanent, "{again:?}: {}", refused.text);
    }
    assert_eq!((scenario.source.holders(), scenario.source.snapshots_taken()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn the_second_lane_alone_gives_up_and_takes_no_snapshot() {
    let scenario = Scenario::new(Setting::default());
    let run = scenario.begin("run-1").await.unwrap();
    let refused = scenario.hold(&run, Lane::Second).await.unwrap_err();
    assert_eq!(refused.class, FailureClass::Transient);
    assert_eq!(scenario.source.snapshots_taken(), 0);
    // What the twin would have taken if asked.
    drop(scenario.source.take_snapshot().await.unwrap());
    assert_eq!(scenario.source.snapshots_taken(), 1);
}
