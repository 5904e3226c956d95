//! Runs of captures under a policy: leases, rows and what follows, whichever step runs twice or dies.

use super::full_backups::full_backup;
use keepsake_archive::{ChangesLayout, Manifest};
use keepsake_domain::{
    BackupId, CaptureMode, CapturePolicy, Classified, FailureClass, LocationId, NoticeKind, PlainStatement,
    PolicyId, Provider, RunKind, SourceId, SourceLimits, WrittenColumn, WrittenName,
};
use keepsake_steps::ports::{
    CaptureLog, Clock, Executions, FailureRecord, NewExecution, Policy, PolicyCopy, PolicySource,
    ProtectWishes, Repository,
};
use keepsake_steps::{
    BeginCatalog, BeginRequest, Capture, CaptureCatalog, CaptureRun, CaptureStart, CaptureStep, EndedBy,
    FailedCapture, SegmentBounds, StepError, Until, begin_capture, capture_changes, capture_for_run,
    changes_of, complete_capture, fail_capture, open_run, protect_for_run,
};
use keepsake_testkit::{MemoryCatalog, MemoryChangeSource, MemoryKeyHolder, MemoryRepository, TestClock};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const RELAY: Duration = Duration::from_secs(60);

/// The one statement that is plain here.
const PLAIN: &str = "ALTER TABLE guests ADD COLUMN seat text";

fn a_column(statement: &str) -> Option<PlainStatement> {
    let name = WrittenName { schema: None, name: "guests".to_owned() };
    let columns = vec![WrittenColumn { name: "seat".to_owned(), is_filled: false }];
    (statement == PLAIN).then_some(PlainStatement::NewColumns { name, columns })
}

pub(crate) fn policy(mode: CaptureMode) -> Policy {
    Policy {
        id: PolicyId(Uuid::from_u128(1)),
        name: "nightly".to_owned(),
        is_active: true,
        source: PolicySource {
            id: SourceId(Uuid::from_u128(2)),
            name: "wedsync".to_owned(),
            provider: Provider::Plain,
            connection_secret: "secret".to_owned(),
        },
        primary: PolicyCopy {
            location_id: LocationId(Uuid::from_u128(3)),
            repository: "memory://primary".to_owned(),
            region: "eu-central-1".to_owned(),
        },
        copies: Vec::new(),
        kms_key_id: "k".to_owned(),
        recovery_recipients: Vec::new(),
        relay_seconds: 600,
        part_size_bytes: 1 << 28,
        max_parallel_jobs: 2,
        limits: SourceLimits::default(),
        compression: 1,
        test_restore: true,
        notify_success: false,
        capture: CapturePolicy { mode, ..CapturePolicy::default() },
    }
}

pub(crate) struct Bench {
    pub(crate) clock: Arc<TestClock>,
    pub(crate) catalog: MemoryCatalog,
    pub(crate) source: MemoryChangeSource,
    pub(crate) repository: MemoryRepository,
    pub(crate) key_holder: MemoryKeyHolder,
    pub(crate) policy: Policy,
}

impl Bench {
    pub(crate) fn new(mode: CaptureMode) -> Self {
        let clock = Arc::new(TestClock::at("2026-11-21T12:00:00Z".parse().unwrap()));
        let catalog = MemoryCatalog::new(clock.clone());
        catalog.add_policy(policy(mode));
        Self {
            source: MemoryChangeSource::new(clock.clone()),
            catalog,
            clock,
            repository: MemoryRepository::new(&Uuid::now_v7().to_string()),
            key_holder: MemoryKeyHolder::new("k"),
            policy: policy(mode),
        }
    }

    fn begin_catalog(&self) -> BeginCatalog<'_> {
        BeginCatalog { leases: &self.catalog, executions: &self.catalog, clock: self.clock.as_ref() }
    }

    pub(crate) fn with(&self) -> CaptureCatalog<'_> {
        CaptureCatalog { log: &self.catalog, leases: &self.catalog, clock: self.clock.as_ref() }
    }

    pub(crate) fn capture(&self) -> Capture<'_> {
        Capture {
            source: &self.source,
            repository: &self.repository,
            key_holder: &self.key_holder,
            recovery: &[],
            clock: self.clock.as_ref(),
            name: "wedsync",
            wishes: ProtectWishes::default(),
            level: 1,
            parse_statement: a_column,
        }
    }

    async fn begin(&self, name: &str) -> Result<CaptureStart, StepError> {
        let request =
            BeginRequest { execution_id: format!("arn:{name}"), requested_by: "schedule".to_owned() };
        begin_capture(&self.begin_catalog(), &self.policy, &request).await
    }

    pub(crate) async fn begun(&self, name: &str) -> CaptureRun {
        match self.begin(name).await.unwrap() {
            CaptureStart::Begun(run) => *run,
            other => panic!("{name} did not begin: {other:?}"),
        }
    }

    pub(crate) async fn protect(&self, run: &CaptureRun) {
        protect_for_run(&self.with(), &self.capture(), run).await.unwrap();
    }

    pub(crate) async fn step(&self, run: &CaptureRun) -> CaptureStep {
        capture_for_run(&self.with(), &self.capture(), run, RELAY).await.unwrap()
    }

    async fn complete(&self, run: &CaptureRun) {
        complete_capture(&self.catalog, &self.with(), run).await.unwrap();
    }

    /// A whole run, as the state machine makes it.
    pub(crate) async fn run(&self, name: &str) -> CaptureStep {
        let run = self.begun(name).await;
        self.protect(&run).await;
        let step = self.step(&run).await;
        self.complete(&run).await;
        step
    }

    pub(crate) async fn fail(&self, name: &str, ended_by: EndedBy) {
        let with =
            FailedCapture { executions: &self.catalog, leases: &self.catalog, policies: &self.catalog };
        let failure = FailureRecord {
            class: FailureClass::Permanent,
            message: "stopped".to_owned(),
            state: None,
            failed_at: self.clock.now(),
        };
        let source =
            fail_capture(&with, "nightly", &format!("arn:{name}"), &failure, ended_by).await.unwrap();
        assert_eq!(source.as_deref(), Some("wedsync"));
    }

    fn status(&self, name: &str) -> String {
        let runs = self.catalog.runs();
        let run = runs.iter().find(|run| run.execution.execution_id == format!("arn:{name}")).unwrap();
        run.execution.status.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_capture_whose_every_step_runs_twice_ends_as_one_whose_steps_run_once() {
    let bench = Bench::new(CaptureMode::Scheduled);
    bench.source.commit(3, 10);
    let run = bench.begun("one").await;
    assert_eq!(bench.begun("one").await, run);
    for _ in 0..2 {
        bench.protect(&run).await;
    }
    bench.source.commit(3, 10);
    let (first, second) = (bench.step(&run).await, bench.step(&run).await);
    for _ in 0..2 {
        bench.complete(&run).await;
    }

    assert_eq!(
        (first.transactions, first.changes, second.transactions),
        (1, 3, 0),
        "no change is a result too"
    );
    assert!(!first.more && !second.more && first.notice.is_none() && second.notice.is_none());
    assert_eq!(bench.status("one"), "completed");
    assert_eq!(bench.catalog.leases(), []);
    let captured = bench.catalog.captures();
    assert_eq!(captured.len(), 1, "one run, one row");
    assert_eq!((captured[0].captured.transactions, captured[0].captured.end), (1, second.end));
    let position = bench.catalog.position(run.source_id, run.location_id).await.unwrap();
    assert_eq!(position.map(|(_, position)| position), Some(second.end));
}

#[tokio::test(start_paused = true)]
async fn two_captures_of_a_source_exclude_each_other_and_a_full_excludes_neither() {
    let bench = Bench::new(CaptureMode::Scheduled);
    let request = BeginRequest { execution_id: "arn:full".to_owned(), requested_by: "schedule".to_owned() };
    open_run(&bench.begin_catalog(), &bench.policy, &request).await.unwrap();
    let run = bench.begun("first").await;
    assert_eq!(bench.begin("second").await.unwrap(), CaptureStart::HeldBy("arn:first".to_owned()));
    bench.protect(&run).await;
    bench.step(&run).await;
    bench.complete(&run).await;
    bench.run("third").await;
    assert_eq!(bench.catalog.leases().len(), 1, "the full's own");

    let off = Bench::new(CaptureMode::Off);
    assert_eq!(off.begin("off").await.unwrap(), CaptureStart::NotWanted);
    assert_eq!((off.catalog.runs().len(), off.catalog.leases().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_capture_whose_lease_went_to_another_writes_nothing_more() {
    let bench = Bench::new(CaptureMode::Scheduled);
    let late = bench.begun("late").await;
    bench.protect(&late).await;
    bench.clock.advance(keepsake_steps::CAPTURE_LEASE_TTL + Duration::from_secs(1));
    bench.run("next").await;
    let before = bench.repository.list("").await.unwrap().len();
    let refused = capture_for_run(&bench.with(), &bench.capture(), &late, RELAY).await.unwrap_err();
    assert_eq!(refused.class(), FailureClass::Conflict, "{refused:?}");
    assert_eq!(bench.repository.list("").await.unwrap().len(), before);
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_told_by_the_run_that_met_it_and_wants_a_full_until_one_was_begun_for_it() {
    let bench = Bench::new(CaptureMode::Scheduled);
    let first = bench.run("first").await;
    assert_eq!((first.notice, first.start_full), (None, true), "a chain that no full joins yet wants one");
    begin_full(&bench, "arn:full-1").await;
    assert!(!bench.run("second").await.start_full, "one runs");

    bench.clock.advance(Duration::from_secs(60));
    bench.source.drop_slot();
    let run = bench.begun("third").await;
    bench.protect(&run).await;
    // The answer was lost; the state machine invokes it again, and the slot is there now.
    bench.protect(&run).await;
    let step = bench.step(&run).await;
    bench.complete(&run).await;

    assert_eq!(step.notice, Some(NoticeKind::ChangesLost));
    assert!(step.gap.as_ref().is_some_and(|gap| gap.contains("slot is gone")), "{step:?}");
    assert!(!step.more, "it is told before anything else is captured");
    assert!(!step.start_full, "the full that was begun before runs still; the next capture looks again");
    fail_full(&bench, "arn:full-1").await;
    let step = bench.run("fourth").await;
    assert_eq!((step.notice, step.start_full), (None, true), "told once, wanted until it was begun");
    begin_full(&bench, "arn:full-2").await;
    fail_full(&bench, "arn:full-2").await;
    assert!(!bench.run("fifth").await.start_full, "one that fails is not tried again at once");
    bench.clock.advance(Duration::from_secs(60 * 60));
    assert!(bench.run("sixth").await.start_full);
}

async fn begin_full(bench: &Bench, id: &str) {
    let new = NewExecution {
        execution_id: id.to_owned(),
        policy_id: bench.policy.id,
        source_id: bench.policy.source.id,
        kind: RunKind::Full,
        backup_id: BackupId(Uuid::now_v7()),
        fencing_token: keepsake_domain::FencingToken(1),
        requested_by: "capture".to_owned(),
        backup_location: bench.policy.primary.repository.clone(),
        started_at: bench.clock.now(),
    };
    bench.catalog.open(&new).await.unwrap();
}

async fn fail_full(bench: &Bench, id: &str) {
    let full = bench.catalog.find(id).await.unwrap().unwrap();
    let failure = FailureRecord {
        class: FailureClass::Transient,
        message: "lost".to_owned(),
        state: None,
        failed_at: bench.clock.now(),
    };
    bench.catalog.fail(full.id, &failure).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_changed_schema_is_told_and_wants_a_full() {
    let bench = Bench::new(CaptureMode::Scheduled);
    bench.run("first").await;
    begin_full(&bench, "arn:full").await;
    bench.clock.advance(Duration::from_secs(60));
    fail_full(&bench, "arn:full").await;
    bench.source.change_schema();
    bench.source.commit(1, 10);
    let step = bench.run("second").await;
    assert_eq!((step.notice, step.start_full), (Some(NoticeKind::SchemaChanged), true));
    assert_eq!(bench.run("third").await.notice, None);
}

#[tokio::test(start_paused = true)]
async fn a_plain_change_of_the_schema_is_told_to_nobody_and_asks_for_no_full_and_any_other_does() {
    let bench = Bench::new(CaptureMode::Scheduled);
    let first = bench.run("first").await;
    assert!(first.start_full);
    seal_full(&bench, "arn:full", &first).await;
    assert!(!bench.run("joined").await.start_full, "the full joins");
    bench.clock.advance(Duration::from_secs(2 * 60 * 60));
    bench.source.add_column(PLAIN);
    bench.source.commit(3, 10);
    // The call that captured it dies; the next one of the run, which looks what stands, must come to the same.
    let run = bench.begun("died").await;
    bench.protect(&run).await;
    capture_changes(&bench.capture(), SegmentBounds::default(), Until::CaughtUp, &|_| {}).await.unwrap();
    let step = bench.step(&run).await;
    assert_eq!((step.notice, step.start_full), (None, false), "{step:?}");
    bench.complete(&run).await;
    let position = bench.catalog.position(run.source_id, run.location_id).await.unwrap();
    let facts = bench.catalog.capture_facts(run.execution_row, &position.unwrap().0).await.unwrap();
    assert_eq!((facts.full.replayed.len(), facts.full.fulls.len()), (1, 1), "{facts:?}");

    bench.source.add_column("ALTER TABLE guests ADD COLUMN other text DEFAULT random()");
    let step = bench.run("other").await;
    assert_eq!((step.notice, step.start_full), (Some(NoticeKind::SchemaChanged), true));
}

/// A full that joins where a capture ended.
async fn seal_full(bench: &Bench, id: &str, behind: &CaptureStep) {
    begin_full(bench, id).await;
    let run = bench.catalog.find(id).await.unwrap().unwrap();
    let captured = bench.catalog.captures().pop().unwrap();
    let layout = ChangesLayout::new("wedsync", captured.captured.lineage).unwrap();
    let standing = changes_of(&bench.repository, &layout).await.unwrap();
    let joins = standing.iter().find(|one| one.boundary().position == behind.end).unwrap();
    let backup = full_backup(&bench.repository, joins, 1).await;
    let manifest = Manifest { backup_id: run.backup_id, ..backup.manifest };
    bench.catalog.sealed(run.id, &manifest, "key", "sha256").await.unwrap();
    fail_full(bench, id).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_capture_wrote_before_it_died_is_known_to_the_catalog_once_the_next_begins() {
    let bench = Bench::new(CaptureMode::Scheduled);
    bench.run("first").await;
    let dead = bench.begun("dead").await;
    bench.protect(&dead).await;
    bench.source.commit(4, 10);
    bench.source.change_schema();
    let bounds = SegmentBounds::default();
    let alone = capture_changes(&bench.capture(), bounds, Until::CaughtUp, &|_| {}).await.unwrap();
    bench.fail("dead", EndedBy::AState).await;

    let step = bench.run("next").await;

    let known = bench.catalog.captures();
    let known = known.last().unwrap();
    assert_eq!((known.captured.transactions, known.captured.changes), (1, 4));
    assert!(
        known.captured.end.lsn > alone.end.lsn && known.captured.segments == alone.segments + step.segments
    );
    assert_eq!(step.notice, Some(NoticeKind::SchemaChanged), "what nobody was told of is told now");
    assert_eq!(bench.status("dead"), "failed");
    assert_eq!(bench.catalog.leases(), []);
}

/// The state machine calls again, within the same run.
#[tokio::test(start_paused = true)]
async fn what_a_call_wrote_before_it_died_is_told_by_the_next_call_of_its_run() {
    for is_gap in [false, true] {
        let bench = Bench::new(CaptureMode::Scheduled);
        bench.run("first").await;
        let run = bench.begun("second").await;
        bench.protect(&run).await;
        bench.source.commit(4, 10);
        if is_gap {
            bench.source.drop_slot();
        } else {
            bench.source.change_schema();
        }
        let bounds = SegmentBounds::default();
        capture_changes(&bench.capture(), bounds, Until::CaughtUp, &|_| {}).await.unwrap();
        let step = bench.step(&run).await;
        let notice = if is_gap { NoticeKind::ChangesLost } else { NoticeKind::SchemaChanged };
        assert_eq!((step.notice, step.gap.is_some()), (Some(notice), is_gap));
        bench.complete(&run).await;
        assert_eq!(bench.run("third").await.notice, None, "told once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_capture_that_was_stopped_before_it_began_blocks_nobody_and_begins_no_more() {
    let bench = Bench::new(CaptureMode::Scheduled);
    bench.fail("stopped", EndedBy::Stop).await;
    bench.fail("stopped", EndedBy::Stop).await;
    let late = bench.begin("stopped").await.unwrap_err();
    assert_eq!(late.class(), FailureClass::Conflict, "{late:?}");
    bench.run("next").await;
    assert_eq!((bench.status("stopped").as_str(), bench.catalog.leases()), ("failed", vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_capture_whose_time_is_over_says_that_it_is_behind_and_the_next_call_catches_up() {
    let bench = Bench::new(CaptureMode::Scheduled);
    let run = bench.begun("behind").await;
    bench.protect(&run).await;
    for _ in 0..3 {
        bench.source.commit(40, 100);
    }
    // No time at all: the call ends at its first segment.
    let (bounds, until) =
        (SegmentBounds { bytes: 2_000, ..SegmentBounds::default() }, Until::CaughtUpOr(Duration::ZERO));
    let first = capture_changes(&bench.capture(), bounds, until, &|_| {}).await.unwrap();
    assert!(first.is_behind && first.segments == 1, "{first:?}");
    let until = Until::CaughtUpOr(RELAY);
    let second = capture_changes(&bench.capture(), bounds, until, &|_| {}).await.unwrap();
    assert_eq!((second.is_behind, first.transactions + second.transactions), (false, 3));
}
