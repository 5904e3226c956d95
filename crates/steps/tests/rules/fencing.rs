//! Rule 7: two runs of one policy never overlap, and a run that was replaced cannot seal.

use crate::{ALL_IS_WELL, dumped, manifests};
use keepsake_domain::{Classified, FailureClass, PolicyId};
use keepsake_steps::ports::{CatalogError, Policies};
use keepsake_steps::{BeginCatalog, BeginRequest, LEASE_TTL, StepError, open_run, release_unopened};
use keepsake_testkit::scenario::{Failed, Scenario, Setting};
use keepsake_testkit::{Fault, Faults, Gate};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

#[tokio::test(start_paused = true)]
async fn a_second_run_of_a_policy_is_refused_by_the_name_of_the_first_and_does_it_no_harm() {
    let scenario = Scenario::new(Setting::default());
    let first = dumped(&scenario, "run-1").await;
    let refused = scenario.run("run-2").await.unwrap_err();
    assert_eq!((refused.state, refused.class), ("Begin", FailureClass::Conflict));
    assert!(refused.text.contains("run-1"), "{}", refused.text);
    // The failure path of the second went through; the first goes on as if nothing had been.
    assert_eq!(scenario.catalog.leases()[0].holder, "run-1");
    scenario.seal(&first).await.unwrap();
    assert_eq!(manifests(scenario.primary.as_ref()).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_lease_went_to_another_cannot_seal() {
    let scenario = Scenario::new(Setting::default());
    let old = dumped(&scenario, "run-1").await;
    tokio::time::sleep(LEASE_TTL + Duration::from_secs(1)).await;
    scenario.begin("run-2").await.unwrap();
    let refused = scenario.seal_once(&old).await.unwrap_err();
    assert_eq!(refused.class(), FailureClass::Conflict, "{refused}");
    assert_eq!(manifests(scenario.primary.as_ref()).await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_wakes_up_after_its_successor_ended_cannot_seal_and_takes_no_lease() {
    let scenario = Scenario::new(Setting::default());
    let old = dumped(&scenario, "run-1").await;
    tokio::time::sleep(LEASE_TTL + Duration::from_secs(1)).await;
    scenario.run("run-2").await.unwrap();
    let refused = scenario.seal_once(&old).await.unwrap_err();
    assert!(matches!(refused, StepError::Catalog(CatalogError::Fenced { .. })), "{refused:?}");
    assert_eq!(scenario.catalog.leases(), []);
    assert_eq!(manifests(scenario.primary.as_ref()).await.len(), 1);
    assert!(scenario.run("run-3").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_could_not_be_opened_keeps_no_lease_after_its_failure_path() {
    let scenario = Scenario::new(Setting::default());
    let mut unknown = scenario.catalog.policy("nightly").await.unwrap();
    unknown.id = PolicyId(Uuid::from_u128(404));
    let catalog = scenario.catalog.as_ref();
    let begin = BeginCatalog { leases: catalog, executions: catalog, clock: scenario.clock.as_ref() };
    let request = BeginRequest { execution_id: "run-1".to_owned(), requested_by: "schedule".to_owned() };
    let refused = open_run(&begin, &unknown, &request).await.unwrap_err();
    assert!(matches!(refused, StepError::Catalog(CatalogError::NotFound { .. })), "{refused:?}");
    assert_eq!(scenario.catalog.leases()[0].holder, "run-1");
    let failed = Failed { state: "Begin", class: FailureClass::Permanent, text: refused.to_string() };
    scenario.fail("run-1", &failed).await;
    assert_eq!(scenario.catalog.leases(), []);
    scenario.run("run-2").await.unwrap();
    assert_eq!(scenario.check().await, ALL_IS_WELL);
}

#[tokio::test(start_paused = true)]
async fn the_failure_path_of_a_run_without_lease_takes_none_from_the_one_that_runs() {
    let scenario = Scenario::new(Setting::default());
    scenario.begin("run-1").await.unwrap();
    let held = scenario.catalog.leases();
    release_unopened(scenario.catalog.as_ref(), "nightly", "run-2").await.unwrap();
    assert_eq!(scenario.catalog.leases(), held);
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_is_stopped_while_it_begins_leaves_no_running_row() {
    let gate = Gate::default();
    let ports = Faults::new().at_call("Leases.acquire", 0, Fault::HoldAnswer(gate.clone()));
    let scenario = Scenario::new(Setting { ports, gate: gate.clone(), ..Setting::default() });
    let beginning = Arc::clone(&scenario);
    let begun = tokio::spawn(async move {
        let ports = &beginning.ports;
        let policy = beginning.catalog.policy("nightly").await.unwrap();
        let clock = beginning.clock.as_ref();
        let begin = BeginCatalog { leases: &ports.leases, executions: &ports.executions, clock };
        let request = BeginRequest { execution_id: "run-1".to_owned(), requested_by: "schedule".to_owned() };
        open_run(&begin, &policy, &request).await
    });
    while scenario.catalog.leases().is_empty() {
        tokio::task::yield_now().await;
    }
    let stopped = Failed { state: "Begin", class: FailureClass::Permanent, text: "ABORTED".to_owned() };
    scenario.fail("run-1", &stopped).await;
    gate.open();
    let refused = begun.await.unwrap().unwrap_err();
    assert!(matches!(refused, StepError::Catalog(CatalogError::Fenced { .. })), "{refused:?}");
    assert_eq!(scenario.catalog.runs()[0].execution.status, "failed");
    scenario.run("run-2").await.unwrap();
    assert_eq!(scenario.check().await, ALL_IS_WELL);
}

#[tokio::test(start_paused = true)]
async fn a_begin_that_comes_after_its_run_had_ended_is_refused_and_takes_no_lease() {
    let scenario = Scenario::new(Setting::default());
    scenario.begin("run-1").await.unwrap();
    let failed = Failed { state: "Dump", class: FailureClass::Permanent, text: "no".to_owned() };
    scenario.fail("run-1", &failed).await;
    let late = scenario.begin("run-1").await.unwrap_err();
    assert_eq!(late.class, FailureClass::Conflict, "{}", late.text);
    assert_eq!(scenario.catalog.leases(), []);
}

#[tokio::test(start_paused = true)]
async fn a_begin_that_comes_after_its_execution_was_stopped_blocks_nobody() {
    for another_runs in [false, true] {
        let scenario = Scenario::new(Setting::default());
        if another_runs {
            scenario.begin("run-0").await.unwrap();
        }
        for _ in 0..2 {
            scenario.stop("run-1").await.unwrap();
        }
        if another_runs {
            assert_eq!(scenario.catalog.leases()[0].holder, "run-0");
            scenario.stop("run-0").await.unwrap();
        }

        let late = scenario.begin("run-1").await.unwrap_err();

        assert_eq!(late.class, FailureClass::Conflict, "{}", late.text);
        assert_eq!(scenario.catalog.leases(), []);
        scenario.run("run-2").await.unwrap();
        assert_eq!(scenario.check().await, ALL_IS_WELL);
    }
}
