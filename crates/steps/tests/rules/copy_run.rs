//! What a capture's run does for its copies: bounded calls, and a catalog that knows what each copy is worth.

use super::capture_run::Bench;
use super::full_backups::full_backup;
use keepsake_archive::ChangesLayout;
use keepsake_domain::{CaptureMode, Classified, FailureClass, LocationId};
use keepsake_steps::ports::{CaptureLog, PolicyCopy, Repository};
use keepsake_steps::{
    CaptureRun, CopyStep, Holders, SegmentBounds, StepError, Until, capture_changes, changes_of,
    copy_for_run, probe_for_run,
};
use keepsake_testkit::{MemoryKeyHolder, MemoryRepository};
use std::time::Duration;
use uuid::Uuid;

fn copy() -> PolicyCopy {
    PolicyCopy {
        location_id: LocationId(Uuid::from_u128(4)),
        repository: "memory://copy".to_owned(),
        region: "eu-west-1".to_owned(),
    }
}

async fn copied(bench: &Bench, run: &CaptureRun, to: &MemoryRepository) -> Result<CopyStep, StepError> {
    copy_for_run(&bench.with(), run, &copy(), (&bench.repository, to), Duration::ZERO).await
}

#[tokio::test(start_paused = true)]
async fn a_run_copies_in_bounded_calls_and_the_catalog_knows_how_far_and_what_was_read_back() {
    let (bench, to) = (Bench::new(CaptureMode::Scheduled), MemoryRepository::new("copy"));
    let run = bench.begun("one").await;
    bench.protect(&run).await;
    for _ in 0..40 {
        bench.source.commit(40, 100);
    }
    let bounds = SegmentBounds { bytes: 2_000, ..SegmentBounds::default() };
    let captured = capture_changes(&bench.capture(), bounds, Until::CaughtUp, &|_| {}).await.unwrap();
    let end = bench.step(&run).await.end;
    assert!(captured.segments >= 40, "{captured:?}");

    let first = copied(&bench, &run, &to).await.unwrap();
    let known = async || bench.catalog.position(run.source_id, copy().location_id).await.unwrap();
    assert!(first.more && first.manifests < captured.segments, "{first:?}");
    assert_eq!(known().await.map(|(_, position)| position), first.end, "what stands there is known at once");
    let mut calls = 1;
    while copied(&bench, &run, &to).await.unwrap().more {
        calls += 1;
        assert!(calls < 10, "a copy comes to its end");
    }
    assert_eq!(known().await.map(|(_, position)| position), Some(end));
    let count = async |of: &MemoryRepository| of.list("").await.unwrap().len();
    assert_eq!(count(&to).await, count(&bench.repository).await);

    bench.clock.advance(Duration::from_secs(7));
    let holder: &MemoryKeyHolder = &bench.key_holder;
    let probe = async || probe_for_run(&bench.with(), &run, &copy(), &to, &Holders(&[holder])).await;
    let nothing = probe().await.unwrap_err();
    assert_eq!(nothing.class(), FailureClass::Permanent, "no full backup stands there: {nothing:?}");
    assert_eq!(bench.catalog.probed(run.source_id, copy().location_id).await.unwrap(), None);
    let (lineage, _) = known().await.unwrap();
    let layout = ChangesLayout::new("wedsync", lineage).unwrap();
    full_backup(&to, &changes_of(&bench.repository, &layout).await.unwrap()[0], 1).await;
    let probed = probe().await.unwrap();
    assert!(probed.rpo_seconds >= 7, "{probed:?}");
    let noted = bench.catalog.probed(run.source_id, copy().location_id).await.unwrap().unwrap();
    assert_eq!((noted.newest_at, noted.probed_at), (probed.newest_at, probed.probed_at));
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_lease_went_to_another_copies_nothing_more_and_reads_nothing_back() {
    let (bench, to) = (Bench::new(CaptureMode::Scheduled), MemoryRepository::new("copy"));
    let late = bench.begun("late").await;
    bench.protect(&late).await;
    bench.step(&late).await;
    bench.clock.advance(keepsake_steps::CAPTURE_LEASE_TTL + Duration::from_secs(1));
    bench.run("next").await;
    let refused = copied(&bench, &late, &to).await.unwrap_err();
    assert_eq!(refused.class(), FailureClass::Conflict, "{refused:?}");
    let holder: &MemoryKeyHolder = &bench.key_holder;
    let refused = probe_for_run(&bench.with(), &late, &copy(), &to, &Holders(&[holder])).await.unwrap_err();
    assert_eq!(refused.class(), FailureClass::Conflict, "{refused:?}");
    assert_eq!(to.list("").await.unwrap(), []);
}
