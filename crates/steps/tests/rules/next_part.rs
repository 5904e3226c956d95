//! While one part is made durable its connection reads the next one, and never more than one.

use keepsake_archive::Part;
use keepsake_steps::{Lane, Run, StepError, release_snapshot, upload_parts};
use keepsake_testkit::scenario::{Scenario, Setting};
use keepsake_testkit::{Fault, Faults, Gate};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Schema, globals and large objects.
const UPLOADS_OF_A_DUMP: usize = 3;

/// Uploads all parts on one connection; `None` when it takes so long that it never ends. `seen` gets their numbers.
async fn upload(primary: Faults, seen: impl Fn(u32) + Send + Sync + 'static) -> Uploaded {
    let scenario = Scenario::new(Setting { primary, ..Setting::default() });
    let run = Run { jobs: 1, ..scenario.begin("run-1").await.unwrap() };
    let lane = (Arc::clone(&scenario), run.clone());
    let lane = tokio::spawn(async move { lane.0.hold(&lane.1, Lane::First).await });
    scenario.dump(&run).await.unwrap();
    let plans = scenario.work_of(&run).plan().await.unwrap().unwrap().parts;
    let dumper = scenario.dumper(&run);
    let seen = move |part: &Part| seen(part.number);
    let uploading = upload_parts(&dumper, &run, &plans, &seen);
    let outcome = tokio::time::timeout(Duration::from_secs(20), uploading).await.ok();
    release_snapshot(scenario.catalog.as_ref(), run.execution_row).await.unwrap();
    lane.await.unwrap().unwrap();
    Uploaded { outcome, calls: scenario.faults[0].calls(), parts: plans.len() }
}

struct Uploaded {
    outcome: Option<Result<Vec<Part>, StepError>>,
    calls: BTreeMap<String, usize>,
    parts: usize,
}

#[tokio::test(start_paused = true)]
async fn a_part_that_takes_long_to_become_durable_keeps_no_connection_from_the_parts_behind_it() {
    let (gate, order) = (Gate::default(), Arc::new(Mutex::new(Vec::new())));
    let faults = Faults::new().at_call("upload", UPLOADS_OF_A_DUMP, Fault::HoldAnswer(gate.clone()));
    let told = Arc::clone(&order);
    let uploaded = upload(faults, move |number| {
        let mut told = told.lock().unwrap();
        told.push(number);
        if told.len() == 3 {
            gate.open();
        }
    })
    .await;
    let parts = uploaded.outcome.expect("it waited for the part").unwrap();
    assert_eq!(parts.len(), uploaded.parts);
    assert_eq!(order.lock().unwrap()[..3], [2, 3, 4], "the first part stands only when it is durable");
}

#[tokio::test(start_paused = true)]
async fn no_connection_has_more_than_one_part_to_make_durable_beside_the_one_that_it_reads() {
    let hold = |faults: Faults, call| faults.at_call("upload", call, Fault::HoldAnswer(Gate::default()));
    let faults = (UPLOADS_OF_A_DUMP..UPLOADS_OF_A_DUMP + 5).fold(Faults::new(), hold);
    let uploaded = upload(faults, |_| {}).await;
    assert!(uploaded.outcome.is_none(), "no part ever becomes durable");
    assert!(uploaded.parts > 2, "{} parts", uploaded.parts);
    assert_eq!(uploaded.calls["upload"], UPLOADS_OF_A_DUMP + 2);
}

#[tokio::test(start_paused = true)]
async fn a_part_that_fails_when_the_next_ones_were_read_fails_the_run() {
    for late in 0..3 {
        let at = UPLOADS_OF_A_DUMP + late;
        let uploaded = upload(Faults::new().at_call("upload", at, Fault::DoAndReportFailure), |_| {}).await;
        let failed = uploaded.outcome.expect("in time").unwrap_err();
        assert!(matches!(failed, StepError::Repository(_)), "{failed:?}");
    }
}
