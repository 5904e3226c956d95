//! Copies, test restores and notices.

use super::samples::{SHA256, certificate, opened, sealed};
use super::{CatalogBench, refused, single};
use keepsake_domain::{
    BackupId, Explanation, FailureClass, InstanceName, Notice, NoticeKind, Severity, Timestamp, Verdict,
};
use keepsake_steps::ports::{CopyRecord, CopyState, Execution, FailureRecord, Policy, TestOutcome};
use std::time::Duration;
use uuid::Uuid;

/// Each state can be written twice, and a second attempt begins anew.
pub async fn a_copy_is_recorded_from_its_first_attempt_to_its_proof(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let run = sealed(&*catalog, &policy).await;
    let copy = |state, progress, checksum: Option<&str>, error: Option<&str>| CopyRecord {
        checksum: checksum.map(str::to_owned),
        error: error.map(str::to_owned),
        ..copy_of(&run, &policy, state, progress)
    };
    for record in [
        copy(CopyState::Copying, 0.0, None, None),
        copy(CopyState::Copying, 0.5, None, None),
        copy(CopyState::Failed, 0.5, None, Some("access denied")),
        copy(CopyState::Copying, 0.0, None, None),
        copy(CopyState::Verified, 1.0, Some(SHA256), None),
        copy(CopyState::Verified, 1.0, Some(SHA256), None),
    ] {
        catalog.record_copy(&record).await.expect("record the copy");
    }
}

fn copy_of(run: &Execution, policy: &Policy, state: CopyState, progress: f64) -> CopyRecord {
    CopyRecord {
        backup_id: run.backup_id,
        location_id: policy.copies[0].location_id,
        region: policy.copies[0].region.clone(),
        state,
        progress,
        checksum: None,
        error: None,
        at: Timestamp::now(),
    }
}

/// Nobody goes on with a copy of a run that failed, also when its function wrote a word after the end; what was
/// verified before stays so.
pub async fn a_run_that_fails_ends_its_open_copies_and_no_others(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let [open, late, whole, running] = [
        sealed(&*catalog, &policy).await,
        sealed(&*catalog, &policy).await,
        sealed(&*catalog, &policy).await,
        sealed(&*catalog, &policy).await,
    ];
    let copying = |run| copy_of(run, &policy, CopyState::Copying, 0.0);
    let verified = CopyRecord {
        checksum: Some(SHA256.to_owned()),
        ..copy_of(&whole, &policy, CopyState::Verified, 1.0)
    };
    for copy in [copying(&open), copying(&running), verified] {
        catalog.record_copy(&copy).await.expect("record the copy");
    }
    let failure = FailureRecord {
        class: FailureClass::Permanent,
        message: "access denied".to_owned(),
        state: None,
        failed_at: Timestamp::now(),
    };
    for run in [&open, &late, &whole] {
        catalog.fail(run.id, &failure).await.expect("fail");
    }
    catalog.record_copy(&copying(&late)).await.expect("a word after the end");
    catalog.fail(late.id, &failure).await.expect("fail again");
    let ended = ("failed".to_owned(), Some("access denied".to_owned()));
    assert_eq!(bench.copy_status(open.backup_id).await, ended);
    assert_eq!(bench.copy_status(late.backup_id).await, ended);
    assert_eq!(bench.copy_status(whole.backup_id).await, ("verified".to_owned(), None));
    assert_eq!(bench.copy_status(running.backup_id).await, ("copying".to_owned(), None));
}

pub(super) fn outcome(backup_id: BackupId, verdict: Verdict) -> TestOutcome {
    TestOutcome {
        verdict,
        certificate: Some(certificate(backup_id, verdict)),
        errors: Vec::new(),
        completed_at: Timestamp::now(),
    }
}

/// A repeated Provision finds its test; one after the end is another.
pub async fn a_running_test_is_found_again(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let backup = sealed(&*catalog, &policy).await.backup_id;
    let instance = InstanceName::for_backup(backup);
    let micros = (Timestamp::now() - Duration::from_secs(10)).as_microsecond();
    let began = Timestamp::from_microsecond(micros).expect("within the calendar");
    let first = catalog.begin_test(backup, &instance, began).await.expect("begin");
    assert_eq!(first.started_at, began);
    assert_eq!(catalog.verdict(backup).await.expect("read"), None, "a running test says nothing");
    let again = catalog.begin_test(backup, &instance, Timestamp::now()).await.expect("begin again");
    assert_eq!(again, first, "the recovery clock runs from the first begin");
    catalog.finish_test(first.test_id, &outcome(backup, Verdict::Inconclusive)).await.expect("finish");
    let next = catalog.begin_test(backup, &instance, Timestamp::now()).await.expect("begin anew");
    assert_ne!(next.test_id, first.test_id);
}

/// A failed test does not turn into a passed one.
pub async fn a_verdict_is_final(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let backup = sealed(&*catalog, &policy).await.backup_id;
    let test =
        catalog.begin_test(backup, &InstanceName::for_backup(backup), Timestamp::now()).await.expect("begin");
    for _ in 0..2 {
        catalog.finish_test(test.test_id, &outcome(backup, Verdict::Failed)).await.expect("finish");
        assert_eq!(catalog.verdict(backup).await.expect("read"), Some(Verdict::Failed));
    }
    refused!(catalog.finish_test(test.test_id, &outcome(backup, Verdict::Passed)).await, Transition);
    assert_eq!(catalog.verdict(backup).await.expect("read"), Some(Verdict::Failed));
    refused!(catalog.finish_test(Uuid::now_v7(), &outcome(backup, Verdict::Failed)).await, NotFound);
}

/// The archive may go bad later, and a repaired copy may pass again.
pub async fn the_newest_verdict_counts(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let backup = sealed(&*catalog, &policy).await.backup_id;
    for verdict in [Verdict::Failed, Verdict::Passed, Verdict::Inconclusive] {
        let instance = InstanceName::for_backup(backup);
        let test = catalog.begin_test(backup, &instance, Timestamp::now()).await.expect("begin");
        catalog.finish_test(test.test_id, &outcome(backup, verdict)).await.expect("finish");
        assert_eq!(catalog.verdict(backup).await.expect("read"), Some(verdict));
    }
}

fn notice(execution_id: &str, kind: NoticeKind) -> Notice {
    Notice {
        kind,
        severity: Severity::Critical,
        source: "wedsync".to_owned(),
        execution_id: execution_id.to_owned(),
        backup_id: None,
        happened: "the source refused the password".to_owned(),
        explanation: Explanation {
            at_risk: "no new recovery point".to_owned(),
            next: "keepsake show".to_owned(),
        },
    }
}

/// Rather twice than never, and once it was delivered never again.
pub async fn a_notice_is_told_once_it_was_delivered_and_not_again(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let id = opened(&*catalog, &policy).await.execution_id;
    let failed = notice(&id, NoticeKind::BackupFailed);
    for _ in 0..2 {
        assert!(catalog.announce(&id, &failed, "topic").await.expect("announce"), "not delivered yet");
    }
    for _ in 0..2 {
        catalog.delivered(&id, &failed, "message-1").await.expect("delivered");
        assert!(!catalog.announce(&id, &failed, "topic").await.expect("announce"), "delivered");
    }
    let completed = notice(&id, NoticeKind::BackupCompleted);
    assert!(catalog.announce(&id, &completed, "topic").await.expect("announce"), "another kind");
    let other = opened(&*catalog, &policy).await.execution_id;
    let failed = notice(&other, NoticeKind::BackupFailed);
    assert!(catalog.announce(&other, &failed, "topic").await.expect("announce"), "another run");
}

/// The lease was held, or the policy is unknown: there is no run, and people are told all the same.
pub async fn a_run_that_never_opened_is_told_once_too(bench: &dyn CatalogBench) {
    let (catalog, _) = single(bench).await;
    let failed = notice("cli:never-opened", NoticeKind::BackupFailed);
    refused!(catalog.delivered("cli:never-opened", &failed, "message-1").await, NotFound);
    assert!(catalog.announce("cli:never-opened", &failed, "topic").await.expect("announce"));
    catalog.delivered("cli:never-opened", &failed, "message-1").await.expect("delivered");
    assert!(!catalog.announce("cli:never-opened", &failed, "topic").await.expect("announce"));
    let other = notice("cli:never-opened-either", NoticeKind::BackupFailed);
    assert!(catalog.announce("cli:never-opened-either", &other, "topic").await.expect("announce"));
}
