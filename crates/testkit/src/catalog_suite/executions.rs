//! Runs and their recovery points.

use super::samples::{SHA256, key, manifest, new_run, opened, sealed};
use super::{Catalog, CatalogBench, refused, single, suite_policy};
use keepsake_domain::{ExecutionRowId, FailureClass, Timestamp};
use keepsake_steps::ports::{CompletedBackup, Execution, FailureRecord};
use uuid::Uuid;

async fn reread(catalog: &dyn Catalog, run: &Execution) -> Execution {
    catalog.find(&run.execution_id).await.expect("find the run").expect("the run is there")
}

fn done() -> CompletedBackup {
    CompletedBackup { completed_at: Timestamp::now() }
}

fn failure(message: &str) -> FailureRecord {
    FailureRecord {
        class: FailureClass::Permanent,
        message: message.to_owned(),
        state: Some("Dump".to_owned()),
        failed_at: Timestamp::now(),
    }
}

/// The first answer was lost; the second one is the same.
pub async fn a_repeated_open_finds_the_first_run(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let new = new_run(&policy, "cli:suite-open");
    let first = catalog.open(&new).await.expect("open");
    assert_eq!((first.backup_id, first.policy.as_str()), (new.backup_id, suite_policy()));
    assert_eq!(
        (first.source.as_str(), first.status.as_str(), first.is_sealed),
        ("wedsync", "running", false)
    );
    assert_eq!(
        (&first.backup_location, first.fencing_token),
        (&policy.primary.repository, new.fencing_token)
    );
    let again = catalog.open(&new_run(&policy, "cli:suite-open")).await.expect("open again");
    assert_eq!(again, first, "the second backup id is not used");
    assert_eq!(reread(&*catalog, &first).await, first);
}

/// Two deliveries of one schedule at the same moment.
pub async fn of_six_that_open_one_execution_all_get_one_run(bench: &dyn CatalogBench) {
    let catalogs = bench.catalogs(6).await;
    let policy = catalogs[0].policy(suite_policy()).await.expect("the suite's policy");
    let racers = catalogs.into_iter().map(|catalog| {
        let new = new_run(&policy, "cli:suite-race");
        tokio::spawn(async move { catalog.open(&new).await.expect("open").backup_id })
    });
    let mut backups = Vec::new();
    for racer in racers.collect::<Vec<_>>() {
        backups.push(racer.await.expect("a racer ends"));
    }
    backups.dedup();
    assert_eq!(backups.len(), 1, "{backups:?}");
}

/// Looking is no error.
pub async fn an_unknown_execution_is_none(bench: &dyn CatalogBench) {
    let (catalog, _) = single(bench).await;
    assert_eq!(catalog.find("cli:nobody-began-this").await.expect("look"), None);
    let nobody = ExecutionRowId(Uuid::now_v7());
    refused!(catalog.complete(nobody, &done()).await, NotFound);
    refused!(catalog.fail(nobody, &failure("lost")).await, NotFound);
}

/// A repeated Seal finds its work done.
pub async fn sealed_twice_is_one_recovery_point(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let run = opened(&*catalog, &policy).await;
    let manifest = manifest(&policy, run.backup_id);
    for _ in 0..2 {
        catalog.sealed(run.id, &manifest, &key(&manifest), SHA256).await.expect("sealed");
        assert!(reread(&*catalog, &run).await.is_sealed);
    }
}

/// What stands in the repository is immutable, so a second manifest is somebody's mistake.
pub async fn another_manifest_for_the_same_backup_is_refused(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let run = sealed(&*catalog, &policy).await;
    let other = manifest(&policy, run.backup_id);
    refused!(catalog.sealed(run.id, &other, &key(&other), &SHA256.replace('0', "f")).await, Transition);
}

/// No recovery point, no success.
pub async fn a_run_without_recovery_point_does_not_complete(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let run = opened(&*catalog, &policy).await;
    refused!(catalog.complete(run.id, &done()).await, Transition);
    assert_eq!(reread(&*catalog, &run).await.status, "running");
}

/// A repeated Record finds its work done.
pub async fn completing_twice_is_success(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let run = sealed(&*catalog, &policy).await;
    for _ in 0..2 {
        catalog.complete(run.id, &done()).await.expect("complete");
        assert_eq!(reread(&*catalog, &run).await.status, "completed");
    }
}

/// A failure that people were told about is not taken back.
pub async fn a_failed_run_does_not_complete(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let run = sealed(&*catalog, &policy).await;
    catalog.fail(run.id, &failure("the copy was refused")).await.expect("fail");
    refused!(catalog.complete(run.id, &done()).await, Transition);
    assert_eq!(reread(&*catalog, &run).await.status, "failed");
}

/// A late failure event does no harm.
pub async fn a_completed_run_does_not_fail_afterwards(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let run = sealed(&*catalog, &policy).await;
    catalog.complete(run.id, &done()).await.expect("complete");
    catalog.fail(run.id, &failure("too late")).await.expect("no change, and no error");
    assert_eq!(reread(&*catalog, &run).await.status, "completed");
}

/// The state machine's own failure and the event about it both arrive.
pub async fn a_first_failure_stands(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let run = opened(&*catalog, &policy).await;
    catalog.fail(run.id, &failure("the password was refused")).await.expect("fail");
    catalog.fail(run.id, &failure("the execution failed")).await.expect("no change, and no error");
    assert_eq!(reread(&*catalog, &run).await.status, "failed");
    let again = catalog.open(&new_run(&policy, &run.execution_id)).await.expect("a repeated Begin finds it");
    assert_eq!((again.id, again.status.as_str()), (run.id, "failed"));
}

/// Counting needs the run.
pub async fn a_repeated_step_is_counted(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let run = opened(&*catalog, &policy).await;
    for _ in 0..2 {
        catalog.count_retry(run.id).await.expect("count");
    }
    refused!(catalog.count_retry(ExecutionRowId(Uuid::now_v7())).await, NotFound);
}
