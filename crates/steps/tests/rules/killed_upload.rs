//! Rule 7: an upload may die anywhere, and the next try goes on behind what stands.

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

/// Schema, globals and large objects.
const UPLOADS_OF_A_DUMP: usize = 3;

#[tokio::test(start_paused = true)]
async fn an_upload_that_is_killed_anywhere_goes_on_behind_its_receipts() {
    for parts_before_the_kill in 0..5 {
        // All streams of both connections hang in the next parts, so that the kill always finds them there.
        let gate = Gate::default();
        let hung = [0, 1, 2, 3].map(|next| UPLOADS_OF_A_DUMP + parts_before_the_kill + next);
        let hang = |faults: Faults, call| faults.at_call("upload", call, Fault::HoldAnswer(gate.clone()));
        let primary = hung.into_iter().fold(Faults::new(), hang);
        let scenario = Scenario::new(Setting { primary, ..Setting::default() });
        let run = scenario.begin("run-1").await.unwrap();
        let lanes = [Lane::First, Lane::Second].map(|lane| {
            let (scenario, run) = (Arc::clone(&scenario), run.clone());
            tokio::spawn(async move { scenario.hold(&run, lane).await })
        });
        scenario.dump(&run).await.unwrap();
        assert_eq!(scenario.faults[0].calls()["upload"], UPLOADS_OF_A_DUMP);
        let plans = scenario.work_of(&run).plan().await.unwrap().unwrap().parts;
        let dumper = scenario.dumper(&run);
        kill_after(parts_before_the_kill, &dumper, &run, &plans).await;
        gate.open();
        let before = receipts(&scenario).await;
        assert_eq!(before.len(), parts_before_the_kill);
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
