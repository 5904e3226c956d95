//! Rules 2 and 7: what others wait for is settled first when a run fails, and what stays behind is told.

use crate::dumped;
use keepsake_domain::{Classified, FailureClass};
use keepsake_steps::ports::{Clock, FailureRecord, Repository};
use keepsake_steps::{CleanUp, OpenRepository, Run, record_failure};
use keepsake_testkit::scenario::{Scenario, Setting};
use keepsake_testkit::{Fault, Faults, Gate, MemoryCatalog};
use std::sync::Arc;

async fn sealed(setting: Setting) -> (Arc<Scenario>, Run) {
    let scenario = Scenario::new(setting);
    let run = dumped(&scenario, "run-1").await;
    scenario.seal(&run).await.unwrap();
    (scenario, run)
}

fn failure(scenario: &Scenario) -> FailureRecord {
    FailureRecord {
        class: FailureClass::Permanent,
        message: "access denied".to_owned(),
        state: Some("ReplicateRows".to_owned()),
        failed_at: scenario.clock.now(),
    }
}

/// Leaves an upload of the run behind, as a killed function does.
async fn abandon(scenario: &Scenario, run: &Run) {
    let root = run.layout().unwrap().root();
    scenario.primary.abandon(&format!("{root}data/1"));
    scenario.copy.abandon(&format!("{root}data/1"));
}

fn is_settled(scenario: &Scenario) -> bool {
    scenario.catalog.runs()[0].execution.status == "failed" && scenario.catalog.leases().is_empty()
}

#[tokio::test(start_paused = true)]
async fn row_and_lease_are_settled_before_a_slow_store_is_cleaned() {
    let gate = Gate::default();
    let primary = Faults::new().at_call("sweep_unfinished", 0, Fault::HoldAnswer(gate.clone()));
    let (scenario, run) = sealed(Setting { primary, ..Setting::default() }).await;
    abandon(&scenario, &run).await;
    let cleaning = Arc::clone(&scenario);
    let cleaned = tokio::spawn(async move { cleaning.end_run("run-1", &failure(&cleaning)).await });
    while !scenario.primary.unfinished().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(is_settled(&scenario) && !cleaned.is_finished(), "the store has not answered yet");
    gate.open();
    assert_eq!(cleaned.await.unwrap().unwrap().unwrap().left, [""; 0]);
    assert_eq!(scenario.copy.unfinished(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_cannot_be_read_now_is_read_again_for_the_copies_uploads() {
    let reads = sealed(Setting::default()).await.0.ports.faults.calls()["Policies.policy"];
    let ports = Faults::new().at_call("Policies.policy", reads, Fault::Refuse);
    let (scenario, run) = sealed(Setting { ports, ..Setting::default() }).await;
    abandon(&scenario, &run).await;
    let unread = scenario.end_run("run-1", &failure(&scenario)).await.unwrap_err();
    assert_eq!(unread.class(), FailureClass::Transient, "the state machine tries again: {unread}");
    assert!(is_settled(&scenario) && scenario.primary.unfinished().is_empty(), "all else is done");
    scenario.end_run("run-1", &failure(&scenario)).await.unwrap();
    assert_eq!(scenario.copy.unfinished(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn uploads_that_stay_behind_are_told_in_the_outcome() {
    let (scenario, run) = sealed(Setting::default()).await;
    abandon(&scenario, &run).await;
    let ports = &scenario.ports;
    let nothing_declared = MemoryCatalog::new(Arc::clone(&scenario.clock) as _);
    let open: &OpenRepository<'_> = &|_| {
        let place = Arc::clone(&scenario.primary) as Arc<dyn Repository>;
        Box::pin(async move { Ok(place) })
    };
    let clean_up = CleanUp {
        executions: &ports.executions,
        holds: ports.holds.as_ref(),
        leases: &ports.leases,
        policies: &nothing_declared,
        open,
    };
    let ended = record_failure(&clean_up, "run-1", &failure(&scenario)).await.unwrap().unwrap();
    let [left] = &ended.left[..] else { panic!("{:?}", ended.left) };
    assert!(left.contains("the copies of the run are not known"), "{left}");
    assert!(is_settled(&scenario));
    assert_eq!((scenario.primary.unfinished().len(), scenario.copy.unfinished().len()), (0, 1));
}
