//! Rows of extension tables wait for the rows that they refer to; nothing else makes a restore go on behind an error.

use crate::dumped;
use keepsake_domain::{Classified, FailureClass, InstanceName};
use keepsake_steps::{Restore, StepError, prepare_target, restore_parts};
use keepsake_testkit::scenario::{Scenario, Setting};
use keepsake_testkit::{MemoryTable, MemoryTarget};
use std::ops::Range;

const PARTS: u32 = 6;

/// A backup of six parts, and an empty target that takes one part at a time.
async fn prepared() -> (Restore, MemoryTarget) {
    let scenario = Scenario::new(Setting::default());
    let table = |n: u32| MemoryTable::new(&format!("t{n}"), &["id"], vec![n.to_string()]);
    scenario.source.write(|database| database.tables = (0..PARTS).map(table).collect());
    let run = dumped(&scenario, "run-1").await;
    scenario.seal(&run).await.unwrap();
    scenario.provision(&run).await.unwrap();
    let mut restore = scenario.restore(&run).await.unwrap();
    restore.jobs = 1;
    prepare_target(&restore).await.unwrap();
    assert_eq!(restore.backup.manifest.parts.len() as u32, PARTS);
    let target = scenario.target(&InstanceName::for_backup(run.backup_id));
    (restore, target)
}

async fn load(restore: &Restore, which: Range<usize>) -> Result<u64, StepError> {
    restore_parts(restore, restore.backup.manifest.parts[which].to_vec(), &|_| {}).await
}

fn number(restore: &Restore, part: usize) -> u32 {
    restore.backup.manifest.parts[part].number
}

#[tokio::test(start_paused = true)]
async fn an_error_that_may_pass_ends_the_restore_at_once() {
    let (restore, target) = prepared().await;
    target.break_next_load();
    let error = load(&restore, 0..6).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Transient);
    assert_eq!((target.tried(), target.loads()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn rows_wait_for_the_rows_that_they_refer_to() {
    let (restore, target) = prepared().await;
    for part in 0..5 {
        target.refer(number(&restore, part), number(&restore, part + 1));
    }
    assert_eq!(load(&restore, 0..6).await.unwrap(), u64::from(PARTS));
    assert_eq!(target.loads(), PARTS);
}

#[tokio::test(start_paused = true)]
async fn a_reference_to_rows_that_no_part_holds_is_told_as_permanent_after_one_more_round() {
    let (restore, target) = prepared().await;
    target.refer(number(&restore, 3), u32::MAX);
    let error = load(&restore, 0..6).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Permanent, "{error}");
    assert_eq!((target.tried(), target.loads()), (PARTS + 1, PARTS - 1));
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_rows_refer_to_another_batch_passes_when_that_one_is_loaded() {
    let (restore, target) = prepared().await;
    target.refer(number(&restore, 0), number(&restore, 5));
    let error = load(&restore, 0..3).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Transient, "{error}");
    assert_eq!(load(&restore, 3..6).await.unwrap(), 3);
    assert_eq!(load(&restore, 0..3).await.unwrap(), 1);
    assert_eq!(target.loads(), PARTS);
}
