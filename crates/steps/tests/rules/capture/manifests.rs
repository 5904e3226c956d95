//! What a capture says in its manifests, and what it does not show.

use super::ready;
use keepsake_domain::GapReason;
use keepsake_steps::ports::Repository;
use keepsake_steps::{ChangesManifest, StandingChanges, not_captured_at};
use uuid::Uuid;

#[tokio::test]
async fn a_changed_schema_is_marked_in_the_segment_behind_it_and_ends_a_span() {
    let bench = ready().await;
    bench.once().await;
    bench.source.change_schema();
    bench.write();
    bench.once().await;
    let standing = bench.standing().await;
    let changed: Vec<bool> =
        standing.iter().filter_map(StandingChanges::segment).map(|one| one.schema_changed).collect();
    assert_eq!(changed.iter().filter(|changed| **changed).count(), 1, "{changed:?}");
}

#[tokio::test]
async fn tables_that_are_not_captured_are_told_as_they_were_at_each_point() {
    let bench = ready().await;
    bench.once().await;
    let before = bench.standing().await.last().unwrap().boundary().position.lsn;
    bench.source.create_bare_table("made_later");
    bench.write();
    bench.once().await;
    bench.once().await;
    let standing = bench.standing().await;
    let told =
        |lsn| not_captured_at(&standing, lsn).iter().map(|one| one.table.to_string()).collect::<Vec<_>>();
    assert_eq!(told(before), Vec::<String>::new());
    assert_eq!(told(bench.source.lsn()), ["public.made_later"]);
    // Each run says it once, and not in each of its segments.
    let said = |one: &&StandingChanges| one.segment().is_some_and(|segment| segment.not_captured.is_some());
    assert_eq!(standing.iter().filter(said).count(), 3);
    assert!(standing.len() > 4);
    // Of an older program only the chain says it.
    let mut old = standing.clone();
    for one in &mut old {
        if let ChangesManifest::Segment(segment) = &mut one.manifest {
            segment.not_captured = None;
        }
    }
    assert_eq!(not_captured_at(&old, bench.source.lsn()), []);
}

#[tokio::test]
async fn a_missing_segment_leaves_a_named_gap() {
    let bench = ready().await;
    bench.once().await;
    let standing = bench.standing().await;
    let history = |standing: &[StandingChanges]| {
        let chain = standing[0].boundary();
        let base = keepsake_domain::BaseFacts {
            backup_id: keepsake_domain::BackupId(Uuid::from_u128(1)),
            snapshot: chain.snapshot,
            position: chain.position,
            schema_fingerprint: None,
        };
        keepsake_domain::ChangeHistory::new(
            vec![base],
            vec![keepsake_domain::ChainFacts { begins: standing[0].boundary(), gap: None }],
            standing[1..]
                .iter()
                .map(|one| keepsake_domain::SegmentFacts {
                    start: one.segment().unwrap().start_lsn,
                    ends: one.boundary(),
                    first_commit_at: one.segment().unwrap().first_commit_at,
                    last_commit_at: one.segment().unwrap().last_commit_at,
                    is_schema_replayable: one.segment().unwrap().schema_replayable,
                    follows: keepsake_domain::Follows::Segment(one.previous().unwrap().start_lsn),
                })
                .collect(),
        )
    };
    assert_eq!(history(&standing).window().gaps, vec![]);
    bench.repository.lose(&standing[1].manifest_key());
    let left = bench.standing().await;
    let window = history(&left).window();
    let start_lsn = standing[1].segment().unwrap().start_lsn;
    assert_eq!(window.gaps[0].reason, GapReason::SegmentMissing { start_lsn });
}

#[tokio::test]
async fn neither_rows_nor_keys_show_in_what_is_stored() {
    let bench = ready().await;
    bench.once().await;
    for object in bench.repository.list("").await.unwrap() {
        let bytes = bench.repository.get(&object.key, 1 << 30).await.unwrap();
        let shows = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(
            !shows(b"0000000000000000000000000000000000000000000000000000000000000000000000"),
            "{}",
            object.key
        );
        assert!(!shows(b"AGE-SECRET-KEY"), "{}", object.key);
    }
}
