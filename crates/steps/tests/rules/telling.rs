//! What people are told, and what is recorded: no success without proof (L3, L4), no failure in silence (L2).

use crate::dumped;
use async_trait::async_trait;
use keepsake_domain::{Classified, FailureClass, InstanceName, Notice, NoticeKind, Severity, Verdict};
use keepsake_steps::ports::{Clock, FailureRecord, Notices, NoticesError, TestOutcome, Tests};
use keepsake_steps::{Run, completion_notice, failure_notice, record_completion, send_alert};
use keepsake_testkit::MemoryNotices;
use keepsake_testkit::scenario::{Failed, Scenario, Setting};
use std::sync::atomic::{AtomicU32, Ordering};

/// A topic that refuses some times, then takes.
struct Refusing {
    times: AtomicU32,
    topic: MemoryNotices,
}

#[async_trait]
impl Notices for Refusing {
    async fn publish(&self, notice: &Notice) -> Result<String, NoticesError> {
        let refuses = self.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if refuses.is_ok() {
            let (topic, cause) = ("topic".to_owned(), "throttled".into());
            return Err(NoticesError { topic, transient: true, cause });
        }
        self.topic.publish(notice).await
    }
}

fn failure(state: &str) -> FailureRecord {
    FailureRecord {
        class: FailureClass::Integrity,
        message: "an object is missing".to_owned(),
        state: Some(state.to_owned()),
        failed_at: "2026-11-21T01:00:00Z".parse().unwrap(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_notice_that_could_not_be_handed_over_is_an_error_and_is_sent_by_the_next_try_once() {
    let scenario = Scenario::new(Setting::default());
    let topic = Refusing { times: AtomicU32::new(2), topic: MemoryNotices::new() };
    let notice = failure_notice("nightly", "run-1", None, &failure("Begin"));
    let send = || send_alert(scenario.catalog.as_ref(), &topic, "topic", &notice);
    for _ in 0..2 {
        assert_eq!(send().await.unwrap_err().class(), FailureClass::Transient);
    }
    assert!(send().await.unwrap());
    assert!(!send().await.unwrap(), "once per run and kind");
    assert_eq!(topic.topic.published(), std::slice::from_ref(&notice));
    let other_run = Notice { execution_id: "run-2".to_owned(), ..notice.clone() };
    let other_kind = Notice { kind: NoticeKind::BackupCompleted, ..notice.clone() };
    for other in [other_run, other_kind] {
        assert!(send_alert(scenario.catalog.as_ref(), &topic, "topic", &other).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_says_whether_the_backup_stands() {
    let scenario = Scenario::new(Setting::default());
    let run = dumped(&scenario, "run-1").await;
    let told = || {
        let execution = scenario.catalog.runs()[0].execution.clone();
        failure_notice("nightly", "run-1", Some(&execution), &failure("Seal")).explanation.at_risk
    };
    assert!(told().contains("made no recovery point"), "{}", told());
    let sealed = scenario.seal(&run).await.unwrap();
    assert!(told().contains("the backup of this run stands"), "{}", told());
    let notice = failure_notice("nightly", "run-1", None, &failure("Begin"));
    assert!(notice.explanation.at_risk.contains("made no recovery point"));
    assert_eq!((notice.severity, notice.source.as_str()), (Severity::Critical, "policy nightly"));
    assert!(notice.happened.contains("Begin") && notice.happened.contains("an object is missing"));
    assert_eq!(completion_notice(&run, &sealed).severity, Severity::Info);
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_ended_badly_behind_its_complete_backup_is_told_once_and_keeps_its_end() {
    let scenario = Scenario::new(Setting::default());
    scenario.run("run-1").await.unwrap();
    let failed =
        Failed { state: "Alert", class: FailureClass::Permanent, text: "the topic refused".to_owned() };
    for _ in 0..2 {
        scenario.fail("run-1", &failed).await;
    }
    let told = scenario.notices.published();
    let bad: Vec<_> = told.iter().filter(|notice| notice.kind == NoticeKind::BackupFailed).collect();
    assert_eq!(bad.len(), 1);
    assert!(bad[0].happened.contains("the topic refused"), "{}", bad[0].happened);
    assert!(bad[0].explanation.at_risk.starts_with("nothing"), "{}", bad[0].explanation.at_risk);
    assert_eq!(scenario.catalog.runs()[0].execution.status, "completed");
}

async fn record(scenario: &Scenario, run: &Run) -> Result<(), FailureClass> {
    let catalog = scenario.catalog.as_ref();
    let recorded = record_completion(catalog, catalog, catalog, scenario.clock.as_ref(), run).await;
    recorded.map_err(|error| error.class())
}

async fn judge(scenario: &Scenario, run: &Run, verdict: Verdict) {
    let name = InstanceName::for_backup(run.backup_id);
    let test = scenario.catalog.begin_test(run.backup_id, &name, scenario.clock.now()).await.unwrap();
    let completed_at = scenario.clock.now();
    let outcome = TestOutcome { verdict, certificate: None, errors: Vec::new(), completed_at };
    scenario.catalog.finish_test(test.test_id, &outcome).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn no_run_completes_unless_this_very_backup_was_restored_and_equal() {
    let scenario = Scenario::new(Setting::default());
    let run = dumped(&scenario, "run-1").await;
    scenario.seal(&run).await.unwrap();
    assert_eq!(record(&scenario, &run).await, Err(FailureClass::Integrity), "no verdict at all");
    // Another backup's proof proves nothing here.
    let other = Run { backup_id: keepsake_domain::BackupId(uuid::Uuid::from_u128(9)), ..run.clone() };
    judge(&scenario, &other, Verdict::Passed).await;
    assert_eq!(record(&scenario, &run).await, Err(FailureClass::Integrity), "another backup's verdict");
    for verdict in [Verdict::Inconclusive, Verdict::Failed] {
        judge(&scenario, &run, verdict).await;
        assert_eq!(record(&scenario, &run).await, Err(FailureClass::Integrity), "{verdict:?}");
        assert_eq!(scenario.catalog.runs()[0].execution.status, "running");
        assert_eq!(scenario.catalog.leases().len(), 1);
    }
    judge(&scenario, &run, Verdict::Passed).await;
    assert_eq!(record(&scenario, &run).await, Ok(()));
    assert_eq!(record(&scenario, &run).await, Ok(()), "a second call is success");
    assert_eq!(scenario.catalog.runs()[0].execution.status, "completed");
    assert_eq!(scenario.catalog.leases(), []);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_not_sealed_does_not_complete_even_when_no_proof_is_asked_for() {
    let scenario = Scenario::new(Setting::default());
    let run = Run { test_restore: false, ..dumped(&scenario, "run-1").await };
    assert_eq!(record(&scenario, &run).await, Err(FailureClass::Permanent));
}
