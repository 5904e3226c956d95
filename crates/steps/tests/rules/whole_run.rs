//! The whole run: backup, copy, test restore. And every step of it twice.

use crate::dumped;
use keepsake_archive::PreviousManifest;
use keepsake_steps::ports::{Provider, Repository};
use keepsake_testkit::scenario::{MARKER, Scenario, Setting};

#[tokio::test(start_paused = true)]
async fn a_run_makes_a_backup_and_a_copy_that_restore_row_for_row_and_leaves_nothing_behind() {
    let scenario = Scenario::new(Setting::default());
    let sealed = scenario.run("run-1").await.unwrap();
    assert_eq!(scenario.check().await, Vec::<String>::new());
    assert_eq!((sealed.tables, sealed.rows), (3, 35));
    assert_eq!(scenario.catalog.runs()[0].execution.status, "completed");
    assert_eq!(scenario.source.snapshots_taken(), 1);
    assert_eq!(scenario.notices.published().len(), 1);
    // The table of several parts was really cut, or half of the claims here would claim nothing.
    let (manifest, ..) = scenario.catalog.runs()[0].sealed.clone().unwrap();
    assert!(manifest.parts.len() > 4, "{} parts", manifest.parts.len());
}

#[tokio::test(start_paused = true)]
async fn every_step_twice_gives_the_same_end_as_once() {
    let ends = [false, true].map(|repeats_steps| async move {
        let scenario = Scenario::new(Setting { repeats_steps, ..Setting::default() });
        let sealed = scenario.run("run-1").await.unwrap();
        assert_eq!(scenario.check().await, Vec::<String>::new());
        let objects = scenario.primary.list("").await.unwrap();
        let manifests = objects.iter().filter(|object| object.key.ends_with("manifest.json")).count();
        let copies: Vec<_> = scenario.catalog.copies().into_iter().map(|(copy, _)| copy.state).collect();
        let told = scenario.notices.published().len();
        (
            sealed.rows,
            sealed.tables,
            sealed.raw_bytes,
            manifests,
            copies,
            told,
            scenario.source.snapshots_taken(),
        )
    });
    let [once, twice] = ends;
    assert_eq!(once.await, twice.await);
}

#[tokio::test(start_paused = true)]
async fn three_runs_after_each_other_make_three_backups_each_naming_the_one_before() {
    let scenario = Scenario::new(Setting::default());
    for run in ["run-1", "run-2", "run-3"] {
        scenario.source.write(|database| database.table("vendors").rows.push(format!("{run}\t{MARKER}")));
        scenario.run(run).await.unwrap();
    }
    assert_eq!(scenario.check().await, Vec::<String>::new());
    let sealed: Vec<_> = scenario.catalog.runs().into_iter().map(|run| run.sealed.unwrap()).collect();
    assert_eq!(sealed[0].0.previous_manifest, None);
    for pair in sealed.windows(2) {
        let (backup_id, sha256) = (pair[0].0.backup_id, pair[0].2.clone());
        assert_eq!(pair[1].0.previous_manifest, Some(PreviousManifest { backup_id, sha256 }));
        assert!(pair[1].0.fencing_token > pair[0].0.fencing_token);
    }
}

#[tokio::test(start_paused = true)]
async fn seal_finds_the_manifest_before_over_failed_runs_and_lists_no_objects() {
    let scenario = Scenario::new(Setting::default());
    scenario.run("run-1").await.unwrap();
    for failing in ["run-2", "run-3"] {
        let run = dumped(&scenario, failing).await;
        let failed = scenario.finish_copy(&run, &run.copies[0]).await.unwrap_err();
        scenario.fail(failing, &failed).await;
    }
    let run = dumped(&scenario, "run-4").await;
    let before = scenario.faults[0].operations().len();
    scenario.seal(&run).await.unwrap();

    let listed: Vec<_> = scenario.faults[0]
        .operations()
        .into_iter()
        .skip(before)
        .filter(|act| act.starts_with("list "))
        .collect();
    assert_eq!(listed, Vec::<String>::new());
    let runs = scenario.catalog.runs();
    let (first, last) = (runs[0].sealed.clone().unwrap(), runs[3].sealed.clone().unwrap());
    let (backup_id, sha256) = (first.0.backup_id, first.2);
    assert_eq!(last.0.previous_manifest, Some(PreviousManifest { backup_id, sha256 }));
}

#[tokio::test(start_paused = true)]
async fn a_run_carries_what_its_source_was_declared_to_be_and_one_of_an_older_program_says_plain() {
    let scenario = Scenario::new(Setting::default());
    let run = scenario.begin("run-1").await.unwrap();
    assert_eq!(run.provider, Provider::Supabase);
    let mut older = serde_json::to_value(&run).unwrap();
    older.as_object_mut().unwrap().remove("provider");
    let older: keepsake_steps::Run = serde_json::from_value(older).unwrap();
    assert_eq!(older.provider, Provider::Plain);
}
