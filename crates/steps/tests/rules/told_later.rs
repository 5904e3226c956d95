//! What runs before did not tell: people, because they failed, or the catalog, because they died or knew none.

use super::capture_run::{Bench, policy};
use keepsake_domain::{CaptureMode, NoticeKind};
use keepsake_steps::ports::Repository;
use keepsake_steps::{EndedBy, SegmentBounds, Until, capture_changes};
use keepsake_testkit::MemoryCatalog;

/// It fails behind its capture, before a notice of it went out.
#[tokio::test(start_paused = true)]
async fn what_a_run_that_failed_did_not_tell_is_told_by_the_next_and_by_no_other() {
    for notice in [NoticeKind::ChangesLost, NoticeKind::SchemaChanged] {
        let bench = Bench::new(CaptureMode::Scheduled);
        bench.run("first").await;
        match notice {
            NoticeKind::ChangesLost => bench.source.drop_slot(),
            _ => bench.source.change_schema(),
        }
        let run = bench.begun("second").await;
        bench.protect(&run).await;
        assert_eq!(bench.step(&run).await.notice, Some(notice));
        bench.fail("second", EndedBy::AState).await;
        let told = bench.run("third").await;
        assert_eq!((told.notice, told.gap.is_some()), (Some(notice), notice == NoticeKind::ChangesLost));
        assert_eq!(bench.run("fourth").await.notice, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_gap_and_a_changed_schema_behind_it_are_told_in_one_notice() {
    let bench = Bench::new(CaptureMode::Scheduled);
    bench.run("first").await;
    bench.source.drop_slot();
    let run = bench.begun("second").await;
    bench.protect(&run).await;
    bench.source.change_schema();
    let step = bench.step(&run).await;
    assert_eq!(step.notice, Some(NoticeKind::ChangesLost));
    let gap = step.gap.unwrap();
    assert!(gap.contains("slot is gone") && gap.ends_with("; and the schema changed"), "{gap}");
}

/// Somebody captured for long while the catalog was away: more than one page of names.
#[tokio::test(start_paused = true)]
async fn a_change_of_the_schema_behind_a_thousand_segments_that_nobody_told_of_is_found() {
    let bench = Bench::new(CaptureMode::Scheduled);
    bench.run("first").await;
    bench.source.change_schema();
    bench.source.commit(1, 10);
    let bounds = SegmentBounds::default();
    capture_changes(&bench.capture(), bounds, Until::CaughtUp, &|_| {}).await.unwrap();
    for _ in 0..1_010 {
        bench.source.commit(1, 100);
    }
    let bounds = SegmentBounds { bytes: 1, ..SegmentBounds::default() };
    let alone = capture_changes(&bench.capture(), bounds, Until::CaughtUp, &|_| {}).await.unwrap();
    assert!(alone.segments > 1_000, "{alone:?}");
    let step = bench.run("next").await;
    assert_eq!(step.notice, Some(NoticeKind::SchemaChanged));
    let known = bench.catalog.captures();
    assert!(known.last().unwrap().captured.segments > alone.segments, "all are counted, each once");
}

#[tokio::test(start_paused = true)]
async fn an_old_chain_that_is_damaged_stops_no_capture_of_a_catalog_that_knows_nothing() {
    let bench = Bench::new(CaptureMode::Scheduled);
    bench.run("first").await;
    bench.source.drop_slot();
    bench.run("second").await;
    let listed = bench.repository.list("").await.unwrap();
    let chains = listed.iter().map(|object| &object.key).filter(|key| key.ends_with(".chain.json"));
    let chains: Vec<String> = chains.cloned().collect();
    assert_eq!(chains.len(), 2);
    bench.repository.corrupt(&chains[0], |bytes| bytes.truncate(bytes.len() / 2));
    let anew = Bench { catalog: MemoryCatalog::new(bench.clock.clone()), ..bench };
    anew.catalog.add_policy(policy(CaptureMode::Scheduled));
    let step = anew.run("third").await;
    assert!(step.gap.is_some(), "the newest chain is known, and what was lost before it");
    assert_eq!(anew.catalog.chains().len(), 1);
}
