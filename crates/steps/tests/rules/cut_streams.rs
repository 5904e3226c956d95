//! Rule 2: nothing reports success after a stream, child process, upload or copy failed or ended early.

use crate::{ALL_IS_WELL, manifests, with_policy};
use keepsake_domain::FailureClass;
use keepsake_steps::ports::{CopyState, Repository, RepositoryError};
use keepsake_steps::{Lane, StepError, upload_parts};
use keepsake_testkit::scenario::{Scenario, Setting, sample};
use keepsake_testkit::{Break, Fault, Faults, MemoryTable, SourceFault};
use std::sync::Arc;

/// Inside of a row, at its end, and after nothing at all: the last two look like a shorter table.
fn cuts() -> [usize; 3] {
    [30, sample().table("guests").rows[0].len() + 1, 0]
}

#[tokio::test(start_paused = true)]
async fn a_row_stream_that_is_cut_every_time_fails_the_run_wherever_it_is_cut() {
    for after_bytes in cuts() {
        for is_silent in [false, true] {
            let scenario = Scenario::new(Setting::default());
            let at = Break { after_bytes, is_silent };
            (0..40).for_each(|_| {
                scenario.source.fail_with(SourceFault::Rows { table: "guests".to_owned(), at })
            });
            let failed = scenario.run("run-1").await.unwrap_err();
            assert_eq!((failed.state, failed.class), ("EncryptUpload", FailureClass::Transient), "{at:?}");
            assert_eq!(scenario.check().await, ALL_IS_WELL);
            assert_eq!(manifests(scenario.primary.as_ref()).await, Vec::<String>::new());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_stream_that_is_cut_once_is_read_again_whole() {
    for after_bytes in cuts() {
        let scenario = Scenario::new(Setting::default());
        let at = Break { after_bytes, is_silent: true };
        scenario.source.fail_with(SourceFault::Rows { table: "guests".to_owned(), at });
        assert_eq!(scenario.run("run-1").await.unwrap().rows, 35, "{at:?}");
        assert_eq!(scenario.check().await, ALL_IS_WELL);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pg_dump_that_failed_or_ended_early_never_becomes_a_schema() {
    for (is_silent, class) in [(false, FailureClass::Permanent), (true, FailureClass::Transient)] {
        let scenario = Scenario::new(Setting::default());
        let fault = SourceFault::SchemaDump(Break { after_bytes: 7, is_silent });
        (0..4).for_each(|_| scenario.source.fail_with(fault.clone()));
        let failed = scenario.run("run-1").await.unwrap_err();
        assert_eq!((failed.state, failed.class), ("Dump", class), "{}", failed.text);
        assert_eq!(scenario.check().await, ALL_IS_WELL);
        // The objects of the dump that did not fail may stand; a schema may not.
        let operations = scenario.faults[0].operations();
        let schemas: Vec<_> =
            operations.iter().filter(|act| act.starts_with("upload") && act.contains("/schema.")).collect();
        assert!(!schemas.is_empty());
        for act in schemas {
            let key = act.trim_start_matches("upload ");
            assert_eq!(
                keepsake_steps::ports::Repository::head(scenario.primary.as_ref(), key).await.unwrap(),
                None
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_fails_is_recorded_as_failed_and_does_not_look_complete() {
    let scenario = Scenario::new(Setting { copy: Faults::new().refuse_from(3), ..Setting::default() });
    let failed = scenario.run("run-1").await.unwrap_err();
    assert_eq!(failed.state, "ReplicatePrepare");
    assert_eq!(scenario.check().await, ALL_IS_WELL);
    assert_eq!(manifests(scenario.copy.as_ref()).await, Vec::<String>::new());
    assert_eq!(manifests(scenario.primary.as_ref()).await.len(), 1);
    let (copy, attempts) = scenario.catalog.copies().remove(0);
    assert_eq!((copy.state, attempts), (CopyState::Failed, 4));
    assert_eq!(scenario.catalog.runs()[0].execution.status, "failed");
}

#[tokio::test(start_paused = true)]
async fn unfinished_uploads_of_a_failed_run_are_ended_in_its_copies_too_and_no_other_runs() {
    let scenario = Scenario::new(Setting::default());
    let run = scenario.begin("run-1").await.unwrap();
    let ours = format!("{}data/000001", run.layout().unwrap().root());
    for repository in [&scenario.primary, &scenario.copy] {
        repository.abandon(&ours);
        repository.abandon("wedsync/of-another-run");
    }
    let failed = scenario.finish_copy(&run, &run.copies[0]).await.unwrap_err();
    scenario.fail("run-1", &failed).await;
    for repository in [&scenario.primary, &scenario.copy] {
        assert_eq!(repository.sweep_unfinished("").await.unwrap(), 1, "the other run's is left");
    }
}

/// Text that compresses badly, so that more than one chunk of 8 MiB is stored.
fn incompressible(megabytes: usize) -> Vec<String> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[(state >> 58) as usize],
        )
    };
    (0..megabytes * 16).map(|_| (0..65_535).map(|_| letter()).collect()).collect()
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_is_refused_in_the_middle_is_told_as_what_it_is() {
    let scenario = Scenario::new(Setting::default());
    with_policy(&scenario, |policy| policy.part_size_bytes = 1 << 30).await;
    scenario
        .source
        .write(|database| database.tables = vec![MemoryTable::new("t", &["x"], incompressible(24))]);
    let run = scenario.begin("run-1").await.unwrap();
    let lane = (Arc::clone(&scenario), run.clone());
    let lane = tokio::spawn(async move { lane.0.hold(&lane.1, Lane::First).await });
    scenario.dump(&run).await.unwrap();
    let parts = scenario.work_of(&run).plan().await.unwrap().unwrap().parts;
    let mut dumper = scenario.dumper(&run);
    let refused = Arc::new(Faults::new().at(0, Fault::Refuse));
    dumper.repository = Arc::new(keepsake_testkit::FaultyRepository::new(dumper.repository, refused));
    let failed = upload_parts(&dumper, &run, &parts, &|_| {}).await.unwrap_err();
    assert!(matches!(failed, StepError::Repository(RepositoryError::Unavailable { .. })), "{failed:?}");
    keepsake_steps::release_snapshot(scenario.catalog.as_ref(), run.execution_row).await.unwrap();
    lane.await.unwrap().unwrap();
}
