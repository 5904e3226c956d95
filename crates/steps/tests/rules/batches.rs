//! Rules 1, 2 and 9, where the work is cut into batches: what no batch left word of was not done.

use crate::{ALL_IS_WELL, dumped, manifests};
use keepsake_domain::{Batch, Classified, FailureClass, InstanceName, Verdict};
use keepsake_steps::ports::{CopyState, Repository, RunningTest, TestOutcome, Tests};
use keepsake_steps::{
    Replication, Run, StepError, find_backup, finish_target, parts_of, prepare_target, restore_parts,
};
use keepsake_testkit::scenario::{Scenario, Setting};
use keepsake_testkit::{Fault, Faults, MemoryTable};
use std::sync::Arc;

/// So many tables that they fall into three batches of at most 100 parts.
const TABLES: usize = 210;

fn wide() -> Arc<Scenario> {
    let scenario = Scenario::new(Setting::default());
    let table =
        |n: usize| MemoryTable::new(&format!("t{n:03}"), &["id"], vec![format!("row of {n}"), n.to_string()]);
    scenario.source.write(|database| database.tables = (0..TABLES).map(table).collect());
    scenario
}

async fn sealed() -> (Arc<Scenario>, Run) {
    let scenario = wide();
    let run = dumped(&scenario, "run-1").await;
    scenario.seal(&run).await.unwrap();
    (scenario, run)
}

#[tokio::test(start_paused = true)]
async fn a_wide_database_is_copied_and_compared_in_batches_and_is_equal() {
    let scenario = wide();
    scenario.run("run-1").await.unwrap();
    assert_eq!(scenario.check().await, ALL_IS_WELL);
    let objects = scenario.work.list("").await.unwrap();
    let count = |folder| objects.iter().filter(|object| object.key.contains(folder)).count();
    assert_eq!(count("/copies/"), 3, "a word of each batch");
    assert_eq!(count("/comparisons/"), 1 + 3, "the batches, and a word of each");
}

#[tokio::test(start_paused = true)]
async fn a_copy_gets_no_manifest_until_every_batch_left_word() {
    let (scenario, run) = sealed().await;
    let copy = run.copies[0].clone();
    scenario.prepare_copy(&run, &copy).await.unwrap();
    for batch in scenario.batches(&run).await.unwrap() {
        let failed = scenario.finish_copy(&run, &copy).await.unwrap_err();
        assert_eq!((failed.state, failed.class), ("ReplicateFinish", FailureClass::Permanent), "{failed:?}");
        assert!(failed.text.contains("no batch copied part"), "{}", failed.text);
        assert_eq!(manifests(scenario.copy.as_ref()).await, Vec::<String>::new());
        scenario.copy_batch(&run, &copy, batch).await.unwrap();
    }
    scenario.finish_copy(&run, &copy).await.unwrap();
    assert_eq!(manifests(scenario.copy.as_ref()).await, manifests(scenario.primary.as_ref()).await);
}

/// A batch as one function makes it: nobody tries again.
async fn copy_once(scenario: &Scenario, run: &Run, batch: &Batch) -> Result<(), StepError> {
    let (from, to) = (scenario.faulty_primary.as_ref(), scenario.faulty_copy.as_ref());
    let (work, copies, clock) = (scenario.work_of(run), scenario.catalog.as_ref(), scenario.clock.as_ref());
    let backup = find_backup(from, Some(run.backup_id)).await?;
    let parts = parts_of(&backup, Some(&batch.parts))?;
    let replication = Replication { from, to, work: &work, copies, clock };
    replication.batch(run, &run.copies[0], batch.number, parts).await
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_tried_again_does_not_show_as_failed_and_one_that_is_not_does() {
    let state = |scenario: &Scenario| scenario.catalog.copies()[0].0.state;
    let prepared = async |copy: Faults| {
        let scenario = Scenario::new(Setting { copy, ..Setting::default() });
        let run = dumped(&scenario, "run-1").await;
        scenario.seal(&run).await.unwrap();
        scenario.prepare_copy(&run, &run.copies[0]).await.unwrap();
        let batch = scenario.batches(&run).await.unwrap().remove(0);
        (scenario, run, batch)
    };
    let copied = prepared(Faults::new()).await.0.faults[2].calls()["copy_from"];
    let (scenario, run, batch) = prepared(Faults::new().at_call("copy_from", copied, Fault::Refuse)).await;
    let refused = copy_once(&scenario, &run, &batch).await.unwrap_err();
    assert_eq!((refused.class(), state(&scenario)), (FailureClass::Transient, CopyState::Copying));
    copy_once(&scenario, &run, &batch).await.unwrap();
    scenario.finish_copy(&run, &run.copies[0]).await.unwrap();
    assert_eq!(state(&scenario), CopyState::Verified);

    let (scenario, run, batch) = prepared(Faults::new()).await;
    let (manifest, ..) = scenario.catalog.runs()[0].sealed.clone().unwrap();
    scenario.primary.lose(&manifest.parts[0].object.key);
    let lost = copy_once(&scenario, &run, &batch).await.unwrap_err();
    assert_eq!((lost.class(), state(&scenario)), (FailureClass::Integrity, CopyState::Failed));
}

#[tokio::test(start_paused = true)]
async fn a_copied_object_that_vanished_or_shrank_after_its_batchs_word_stops_the_manifest() {
    for damage in ["lost", "shrunk"] {
        let (scenario, run) = sealed().await;
        let copy = run.copies[0].clone();
        scenario.prepare_copy(&run, &copy).await.unwrap();
        for batch in scenario.batches(&run).await.unwrap() {
            scenario.copy_batch(&run, &copy, batch).await.unwrap();
        }
        let (manifest, ..) = scenario.catalog.runs()[0].sealed.clone().unwrap();
        let key = &manifest.parts[TABLES / 2].object.key;
        match damage {
            "lost" => scenario.copy.lose(key),
            _ => scenario.copy.corrupt(key, |bytes| bytes.truncate(bytes.len() - 1)),
        }
        let failed = scenario.finish_copy(&run, &copy).await.unwrap_err();
        assert_eq!(failed.class, FailureClass::Integrity, "{damage}: {}", failed.text);
        assert!(failed.text.contains(key), "{damage}: {}", failed.text);
        assert_eq!(manifests(scenario.copy.as_ref()).await, Vec::<String>::new(), "{damage}");
    }
}

async fn restored() -> (Arc<Scenario>, Run, RunningTest) {
    let (scenario, run) = sealed().await;
    let test = scenario.provision(&run).await.unwrap();
    let restore = scenario.restore(&run).await.unwrap();
    prepare_target(&restore).await.unwrap();
    restore_parts(&restore, restore.backup.manifest.parts.clone(), &|_| {}).await.unwrap();
    finish_target(&restore).await.unwrap();
    (scenario, run, test)
}

#[tokio::test(start_paused = true)]
async fn a_comparison_comes_to_no_verdict_until_every_batch_left_word() {
    let (scenario, run, test) = restored().await;
    let batches = scenario.prepare_comparison(&run, &test).await.unwrap();
    assert_eq!(batches.len(), 3);
    for batch in batches {
        let failed = scenario.finish_comparison(&run, &test).await.unwrap_err();
        assert_eq!((failed.state, failed.class), ("VerifyFinish", FailureClass::Permanent), "{failed:?}");
        assert!(failed.text.contains("was not read back"), "{}", failed.text);
        assert_eq!(scenario.catalog.verdict(run.backup_id).await.unwrap(), None);
        scenario.read_batch_back(&run, &test, batch).await.unwrap();
    }
    for _ in 0..2 {
        assert_eq!(scenario.finish_comparison(&run, &test).await.unwrap(), Verdict::Passed);
    }
    assert_eq!(scenario.catalog.tests().len(), 1, "a repeat is about the same test");
}

#[tokio::test(start_paused = true)]
async fn what_was_read_back_for_one_test_proves_nothing_about_the_next() {
    let (scenario, run, test) = restored().await;
    let batches = scenario.prepare_comparison(&run, &test).await.unwrap();
    for batch in batches {
        scenario.read_batch_back(&run, &test, batch).await.unwrap();
    }
    let verdict = Verdict::Inconclusive;
    let outcome = TestOutcome {
        verdict,
        certificate: None,
        errors: vec!["stopped".to_owned()],
        completed_at: "2026-11-21T03:00:00Z".parse().unwrap(),
    };
    scenario.catalog.finish_test(test.test_id, &outcome).await.unwrap();
    let instance = InstanceName::for_backup(run.backup_id);
    scenario.target(&instance).tamper(|database| drop(database.tables[7].rows.pop()));

    let next = scenario.provision(&run).await.unwrap();
    assert_ne!(next.test_id, test.test_id);
    assert_eq!(scenario.verify(&run, &next).await.unwrap(), Verdict::Failed);
}
