//! Rule 7: every step may run twice, or die anywhere, and a later run converges.

use crate::{ALL_IS_WELL, manifests};
use bytes::Bytes;
use keepsake_archive::Part;
use keepsake_domain::PartPlan;
use keepsake_steps::ports::Repository;
use keepsake_steps::{Dumper, Lane, Run, release_snapshot, upload_parts};
use keepsake_testkit::scenario::{Scenario, Setting};
use keepsake_testkit::{Fault, Faults, Gate};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const KINDS: [&str; 4] = ["refused", "done and reported as failed", "held until the run is over", "late"];

fn fault(kind: &str, gate: &Gate) -> Fault {
    match kind {
        "refused" => Fault::Refuse,
        "done and reported as failed" => Fault::DoAndReportFailure,
        "late" => Fault::AnswerLate(Duration::from_secs(60)),
        _ => Fault::HoldAnswer(gate.clone()),
    }
}

/// Which of the three stores has the fault.
fn setting(store: usize, faults: Faults, gate: Gate) -> Setting {
    let mut setting = Setting { gate, ..Setting::default() };
    match store {
        0 => setting.primary = faults,
        1 => setting.work = faults,
        _ => setting.copy = faults,
    }
    setting
}

async fn sweep(store: usize, name: &str) {
    let scenario = Scenario::new(Setting::default());
    scenario.run("run-1").await.unwrap();
    let operations = scenario.faults[store].operations();
    let (mut points, mut second_runs) = (0, 0);
    for (index, operation) in operations.iter().enumerate() {
        for kind in KINDS {
            let gate = Gate::default();
            let faults = Faults::new().at(index, fault(kind, &gate));
            let scenario = Scenario::new(setting(store, faults, gate));
            if scenario.run("run-1").await.is_err() {
                second_runs += 1;
                let again = scenario.run("run-2").await;
                assert!(again.is_ok(), "{name} {index} ({operation}) {kind}: {again:?}");
            }
            let wrong = scenario.check().await;
            assert_eq!(wrong, ALL_IS_WELL, "{name} {index} ({operation}) {kind}");
            assert!(!manifests(scenario.copy.as_ref()).await.is_empty());
            points += 1;
        }
    }
    println!("fault sweep: {points} points of the {name}, of which {second_runs} needed a second run");
    assert!(points >= 4 * 10, "the sweep covers next to nothing");
}

#[tokio::test(start_paused = true)]
async fn a_fault_at_any_operation_of_the_repository_converges() {
    sweep(0, "repository").await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_at_any_operation_of_the_work_bucket_converges() {
    sweep(1, "work bucket").await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_at_any_operation_of_the_copys_repository_converges() {
    sweep(2, "copy's repository").await;
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_is_killed_anywhere_goes_on_behind_its_receipts() {
    for parts_before_the_kill in 0..5 {
        let scenario = Scenario::new(Setting::default());
        let run = scenario.begin("run-1").await.unwrap();
        let lanes = [Lane::First, Lane::Second].map(|lane| {
            let (scenario, run) = (Arc::clone(&scenario), run.clone());
            tokio::spawn(async move { scenario.hold(&run, lane).await })
        });
        scenario.dump(&run).await.unwrap();
        let plans = scenario.work_of(&run).plan().await.unwrap().unwrap().parts;
        let dumper = scenario.dumper(&run);
        kill_after(parts_before_the_kill, &dumper, &run, &plans).await;
        let before = receipts(&scenario).await;
        assert!(before.len() >= parts_before_the_kill && before.len() < plans.len(), "{before:?}");
        let parts = upload_parts(&dumper, &run, &plans, &|_| {}).await.unwrap();
        assert_eq!(parts.len(), plans.len());
        for (key, receipt) in &before {
            assert_eq!(receipts(&scenario).await.get(key), Some(receipt), "a receipt was replaced");
        }
        let operations = scenario.faults[0].operations();
        for key in before.keys() {
            let number = &key[key.len() - "000001.json".len()..key.len() - ".json".len()];
            let sent = |act: &&String| act.starts_with("upload") && act.contains(&format!("/data/{number}."));
            assert_eq!(operations.iter().filter(sent).count(), 1, "part {number} was read again");
        }
        release_snapshot(scenario.catalog.as_ref(), run.execution_row).await.unwrap();
        for lane in lanes {
            lane.await.unwrap().unwrap();
        }
        scenario.seal(&run).await.unwrap();
        let backup = keepsake_steps::find_backup(scenario.primary.as_ref(), None).await.unwrap();
        let target = scenario.restored(&scenario.primary, backup).await.unwrap();
        assert_eq!(target.database().sorted_rows(), scenario.source.database().sorted_rows());
    }
}

/// Drops the upload's future as soon as so many parts stand.
async fn kill_after(parts: usize, dumper: &Dumper, run: &Run, plans: &[PartPlan]) {
    let (standing, enough) = (AtomicUsize::new(0), Arc::new(tokio::sync::Notify::new()));
    let tell = Arc::clone(&enough);
    let seen = move |_: &Part| {
        if standing.fetch_add(1, Ordering::SeqCst) + 1 == parts {
            tell.notify_one();
        }
    };
    if parts == 0 {
        enough.notify_one();
    }
    tokio::select! {
        biased;
        () = enough.notified() => {}
        _ = upload_parts(dumper, run, plans, &seen) => panic!("it ended before it was killed"),
    }
}

/// Receipts of all parts, as they stand in the work bucket.
async fn receipts(scenario: &Scenario) -> BTreeMap<String, Bytes> {
    let mut receipts = BTreeMap::new();
    for object in scenario.work.list("work/").await.unwrap() {
        if object.key.contains("/parts/") {
            receipts.insert(object.key.clone(), scenario.work.get(&object.key, u64::MAX).await.unwrap());
        }
    }
    receipts
}
