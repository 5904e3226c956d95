use super::MemoryCatalog;
use crate::TestClock;
use keepsake_domain::{
    BackupId, ExecutionRowId, Explanation, FailureClass, FencingToken, InstanceName, LocationId, Notice,
    NoticeKind, PolicyId, Severity, SourceId, Timestamp, Verdict,
};
use keepsake_steps::ports::{
    AlertLog, CatalogError, CompletedBackup, Executions, FailureRecord, Holds, Leases, NewExecution,
    Policies, Policy, PolicyCopy, PolicySource, Provider, TestOutcome, Tests,
};
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

const TTL: Duration = Duration::from_secs(60);

fn policy() -> Policy {
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
        kms_key_id: "key".to_owned(),
        recovery_recipients: Vec::new(),
        relay_seconds: 600,
        part_size_bytes: 1 << 28,
        max_parallel_jobs: 4,
        limits: keepsake_domain::SourceLimits::default(),
        compression: 3,
        test_restore: true,
        notify_success: false,
        capture: keepsake_domain::CapturePolicy::default(),
    }
}

fn catalog() -> (Arc<TestClock>, MemoryCatalog) {
    let clock = Arc::new(TestClock::at("2026-11-21T01:00:00Z".parse().expect("valid")));
    let catalog = MemoryCatalog::new(clock.clone());
    catalog.add_policy(policy());
    (clock, catalog)
}

async fn open(catalog: &MemoryCatalog, execution_id: &str) -> ExecutionRowId {
    let new = NewExecution {
        execution_id: execution_id.to_owned(),
        policy_id: policy().id,
        source_id: policy().source.id,
        kind: keepsake_domain::RunKind::Full,
        backup_id: BackupId(Uuid::now_v7()),
        fencing_token: FencingToken(1),
        requested_by: "test".to_owned(),
        backup_location: "memory://primary".to_owned(),
        started_at: catalog.clock.now(),
    };
    catalog.open(&new).await.expect("open").id
}

fn in_seconds(clock: &dyn keepsake_steps::ports::Clock, seconds: u64) -> Timestamp {
    clock.now().checked_add(Duration::from_secs(seconds)).expect("valid")
}

#[tokio::test]
async fn an_unknown_policy_is_an_error_and_never_a_default() {
    let (_, catalog) = catalog();
    assert!(matches!(catalog.policy("weekly").await, Err(CatalogError::NotFound { .. })));
    assert_eq!(catalog.policy("nightly").await.expect("policy"), policy());
}

#[tokio::test]
async fn a_lease_has_one_holder_and_its_token_grows_with_each_new_one() {
    let (clock, catalog) = catalog();
    let first = catalog.acquire("nightly", "a", TTL).await.expect("free");
    assert!(
        matches!(catalog.acquire("nightly", "b", TTL).await, Err(CatalogError::Held { holder, .. }) if holder == "a")
    );
    assert_eq!(catalog.acquire("nightly", "a", TTL).await.expect("ours").token, first.token);
    clock.advance(TTL);
    let second = catalog.acquire("nightly", "b", TTL).await.expect("expired");
    assert!(second.token > first.token);
    assert!(matches!(catalog.renew(&first, TTL).await, Err(CatalogError::Fenced { .. })));
    catalog.release("nightly", "a", first.token).await.expect("a late release is success");
    assert_eq!(catalog.leases(), std::slice::from_ref(&second), "and takes nothing from the new holder");
    catalog.release("nightly", "b", second.token).await.expect("release");
    assert!(catalog.acquire("nightly", "b", TTL).await.expect("free").token > second.token);
}

#[tokio::test]
async fn a_repeated_open_finds_the_first_run_and_a_failed_one_cannot_complete() {
    let (clock, catalog) = catalog();
    let id = open(&catalog, "run").await;
    assert_eq!(open(&catalog, "run").await, id);
    let failure = FailureRecord {
        class: FailureClass::Permanent,
        message: "refused".to_owned(),
        state: None,
        failed_at: clock_now(&clock),
    };
    catalog.fail(id, &failure).await.expect("fail");
    catalog
        .fail(id, &FailureRecord { message: "second".to_owned(), ..failure.clone() })
        .await
        .expect("no change");
    let done = CompletedBackup { completed_at: clock_now(&clock) };
    assert!(matches!(catalog.complete(id, &done).await, Err(CatalogError::Transition { .. })));
    assert_eq!(catalog.runs()[0].failure, Some(failure));
}

fn clock_now(clock: &Arc<TestClock>) -> Timestamp {
    in_seconds(&**clock, 0)
}

#[tokio::test]
async fn the_newest_living_holder_is_current_and_silence_is_death() {
    let (clock, catalog) = catalog();
    let id = open(&catalog, "run").await;
    assert_eq!(catalog.current(id).await.expect("asked"), None);
    assert_eq!(catalog.publish(id, "a", "s1", 1, in_seconds(&*clock, 600)).await.expect("first"), 1);
    assert_eq!(catalog.publish(id, "b", "s2", 2, in_seconds(&*clock, 600)).await.expect("second"), 2);
    assert_eq!(catalog.current(id).await.expect("asked").expect("held").snapshot_name, "s2");
    clock.advance(Duration::from_secs(31));
    assert_eq!(catalog.current(id).await.expect("asked"), None);
    assert!(!catalog.heartbeat(id, 1).await.expect("alive"));
    assert_eq!(catalog.current(id).await.expect("asked").expect("held").relay_number, 1);
    catalog.ended(id, 1).await.expect("ended");
    assert_eq!(
        (catalog.current(id).await.expect("asked"), catalog.announced(id).await.expect("asked")),
        (None, 2)
    );
}

#[tokio::test]
async fn a_released_run_tells_its_holders_and_holds_for_no_new_one() {
    let (clock, catalog) = catalog();
    let id = open(&catalog, "run").await;
    catalog.publish(id, "a", "s1", 1, in_seconds(&*clock, 600)).await.expect("first");
    catalog.release_all(id).await.expect("released");
    catalog.release_all(id).await.expect("again");
    assert!(catalog.heartbeat(id, 1).await.expect("alive") && catalog.is_released(id).await.expect("asked"));
    let late = catalog.publish(id, "b", "s2", 2, in_seconds(&*clock, 600)).await;
    // As the real catalog: it is numbered and finds itself released.
    assert_eq!((late.expect("a number"), catalog.announced(id).await.expect("asked")), (2, 1));
    let current = catalog.current(id).await.expect("asked").expect("the first, until it has ended");
    assert_eq!(current.snapshot_name, "s1");
}

#[tokio::test]
async fn a_test_keeps_its_first_verdict() {
    let (clock, catalog) = catalog();
    let backup_id = BackupId(Uuid::now_v7());
    let instance = InstanceName::for_backup(backup_id);
    let test = catalog.begin_test(backup_id, &instance, clock_now(&clock)).await.expect("begin");
    assert_eq!(catalog.begin_test(backup_id, &instance, in_seconds(&*clock, 5)).await.expect("again"), test);
    let completed_at = clock_now(&clock);
    let outcome = |verdict| TestOutcome { verdict, certificate: None, errors: Vec::new(), completed_at };
    catalog.finish_test(test.test_id, &outcome(Verdict::Failed)).await.expect("finish");
    catalog.finish_test(test.test_id, &outcome(Verdict::Failed)).await.expect("again");
    let changed = catalog.finish_test(test.test_id, &outcome(Verdict::Passed)).await;
    assert!(matches!(changed, Err(CatalogError::Transition { .. })), "{changed:?}");
    assert_eq!(catalog.verdict(backup_id).await.expect("asked"), Some(Verdict::Failed));
}

#[tokio::test]
async fn a_notice_is_sent_once_and_one_that_was_never_handed_over_is_sent_again() {
    let (_, catalog) = catalog();
    let notice = Notice {
        kind: NoticeKind::BackupFailed,
        severity: Severity::Critical,
        source: "wedsync".to_owned(),
        execution_id: "run".to_owned(),
        backup_id: None,
        happened: "refused".to_owned(),
        explanation: Explanation { at_risk: "nothing".to_owned(), next: "look".to_owned() },
    };
    assert!(catalog.announce("run", &notice, "topic").await.expect("first"));
    assert!(catalog.announce("run", &notice, "topic").await.expect("the first one died"));
    catalog.delivered("run", &notice, "m-1").await.expect("delivered");
    assert!(!catalog.announce("run", &notice, "topic").await.expect("second"));
    assert!(catalog.announce("other", &notice, "topic").await.expect("another run"));
}
