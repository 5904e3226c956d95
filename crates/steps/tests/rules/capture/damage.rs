//! Segments and manifests that are damaged, missing, or in the place of others.

use super::{Bench, ready};
use keepsake_archive::SegmentManifest;
use keepsake_domain::FailureClass;
use keepsake_steps::ports::Repository;
use keepsake_steps::{
    Damage, Depth, StandingChanges, lineage_changes, open_backup, verify_links, verify_segment,
};
use keepsake_testkit::{MemoryKeyHolder, MemoryRepository};

/// What a look at all segments finds, with the key.
async fn damages(bench: &Bench) -> Vec<Damage> {
    let (standing, holder) = (bench.standing().await, MemoryKeyHolder::new("k"));
    let mut damages = verify_links(&standing);
    for one in &standing {
        let identity = open_backup(bench.repository.as_ref(), one, &[&holder]).await.unwrap();
        damages.extend(verify_segment(bench.repository.as_ref(), one, Depth::Rows(&identity)).await.unwrap());
    }
    damages
}

#[tokio::test]
async fn a_segment_that_is_corrupt_missing_or_in_anothers_place_is_found_and_named() {
    type Harm = fn(&MemoryRepository, &SegmentManifest, &SegmentManifest);
    let harms: [(&str, Harm); 4] = [
        ("a flipped bit", |store, one, _| store.corrupt(&one.object.key, |bytes| bytes[300] ^= 1)),
        ("a cut off end", |store, one, _| store.corrupt(&one.object.key, |bytes| bytes.truncate(400))),
        ("a missing object", |store, one, _| store.lose(&one.object.key)),
        ("another segment's bytes", |store, one, other| {
            let mut others = Vec::new();
            store.corrupt(&other.object.key, |bytes| others.clone_from(bytes));
            store.corrupt(&one.object.key, |bytes| *bytes = others);
        }),
    ];
    for (what, harm) in harms {
        let bench = ready().await;
        bench.once().await;
        assert_eq!(damages(&bench).await, vec![], "{what}");
        let standing = bench.standing().await;
        let (one, other) = (standing[1].segment().unwrap(), standing[2].segment().unwrap());
        harm(&bench.repository, one, other);
        let found = damages(&bench).await;
        assert_eq!(found.iter().map(|damage| &damage.key).collect::<Vec<_>>(), [&one.object.key], "{what}");
    }
}

#[tokio::test]
async fn a_manifest_that_is_missing_or_was_replaced_is_found_by_the_one_behind_it() {
    let bench = ready().await;
    bench.once().await;
    let standing = bench.standing().await;
    let key = standing[1].manifest_key();
    bench.repository.lose(&key);
    let found = verify_links(&bench.standing().await);
    assert_eq!(found.iter().map(|damage| &damage.key).collect::<Vec<_>>(), [&key]);
    // Whoever has the run's key and may write could put another one there; the next one still names the first.
    let mut forged = standing.clone();
    forged[1].manifest_sha256 = "00".repeat(32);
    let found = verify_links(&forged);
    assert_eq!(found.iter().map(|damage| &damage.key).collect::<Vec<_>>(), [&key]);
}

#[tokio::test]
async fn a_manifest_of_another_lineage_or_place_is_refused_by_name() {
    let bench = ready().await;
    bench.once().await;
    let standing = bench.standing().await;
    let [one, other] = [&standing[1], &standing[2]].map(StandingChanges::manifest_key);
    let bytes = bench.repository.get(&other, 1 << 20).await.unwrap();
    bench.repository.corrupt(&one, |stored| *stored = bytes.to_vec());
    let found = lineage_changes(bench.repository.as_ref(), &standing[1].layout).await.unwrap();
    let [unreadable] = found.unreadable.as_slice() else { panic!("one: {:?}", found.unreadable) };
    assert_eq!((&unreadable.key, unreadable.class), (&one, FailureClass::Integrity));
    assert!(unreadable.error.contains("belongs at"), "{unreadable:?}");
    assert_eq!(found.standing.len(), standing.len() - 1);
}
