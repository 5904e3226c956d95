//! Copies of captured changes, and the RPO that is read back from one.

use super::{Bench, ready};
use crate::full_backups::full_backup;
use crate::one_fault::Kind;
use keepsake_archive::ChangesLayout;
use keepsake_domain::{Classified, FailureClass, GapReason, Lsn};
use keepsake_steps::ports::{Clock, KeyHolder, Repository};
use keepsake_steps::{
    CopiedChanges, Holders, ProbedRpo, StandingBackup, StandingChanges, StepError, copy_changes, probe_rpo,
};
use keepsake_testkit::{Faults, FaultyRepository, MemoryKeyHolder, MemoryRepository};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// A copy in another region.
fn elsewhere() -> Arc<MemoryRepository> {
    Arc::new(MemoryRepository::new(&Uuid::now_v7().to_string()))
}

async fn captured() -> Bench {
    let bench = ready().await;
    bench.once().await;
    bench
}

async fn objects(repository: &dyn Repository) -> BTreeMap<String, Vec<u8>> {
    let mut objects = BTreeMap::new();
    for info in repository.list("").await.unwrap() {
        let bytes = repository.get(&info.key, 1 << 30).await.unwrap();
        objects.insert(info.key, bytes.to_vec());
    }
    objects
}

async fn copy(bench: &Bench, to: &dyn Repository) -> Result<CopiedChanges, StepError> {
    copy_changes(bench.repository.as_ref(), to, &layout(bench).await, u64::MAX).await
}

async fn layout(bench: &Bench) -> ChangesLayout {
    bench.standing().await[0].layout.clone()
}

#[tokio::test]
async fn a_copy_is_equal_and_the_next_one_copies_what_is_new_and_nothing_else() {
    let (bench, to) = (captured().await, elsewhere());
    let first = copy(&bench, to.as_ref()).await.unwrap();
    assert_eq!(objects(to.as_ref()).await, objects(bench.repository.as_ref()).await);
    let standing = bench.standing().await.len() as u64;
    assert!(standing > 3 && first.manifests == standing && first.is_complete, "{first:?}");
    bench.write();
    bench.once().await;
    let faults = Arc::new(Faults::new());
    let from = FaultyRepository::new(bench.repository.clone(), faults.clone());
    let again = copy_changes(&from, to.as_ref(), &layout(&bench).await, u64::MAX).await.unwrap();
    let new = bench.standing().await.len() as u64 - standing;
    assert!(new > 1 && again.manifests == new, "{again:?}");
    assert_eq!(objects(to.as_ref()).await, objects(bench.repository.as_ref()).await);
    // Of what was there already only the newest manifest is read, and nothing is listed but names behind it and the keys of
    // one run.
    let calls = faults.calls();
    assert_eq!((calls["list_after"], calls["list"]), (1, 1), "{calls:?}");
    assert_eq!(calls["get"] as u64, 1 + new + 2, "{calls:?}");
    let end = bench.standing().await.last().map(|one| one.boundary().position);
    assert_eq!((again.end, copy(&bench, to.as_ref()).await.unwrap().manifests), (end, 0));
}

#[tokio::test]
async fn a_copy_that_is_bounded_goes_on_where_it_ended() {
    let (bench, to) = (captured().await, elsewhere());
    let layout = layout(&bench).await;
    let mut calls = 0;
    loop {
        let copied = copy_changes(bench.repository.as_ref(), to.as_ref(), &layout, 1).await.unwrap();
        calls += 1;
        if copied.is_complete {
            break;
        }
    }
    assert!(calls > 1);
    assert_eq!(objects(to.as_ref()).await, objects(bench.repository.as_ref()).await);
}

/// Every manifest that stands there is that of the original, and so are its object and its keys.
async fn check_copy(bench: &Bench, to: &MemoryRepository, at: &str) {
    let (there, here) = (objects(to).await, objects(bench.repository.as_ref()).await);
    for standing in bench.standing().await {
        let key = standing.manifest_key();
        let Some(manifest) = there.get(&key) else { continue };
        assert_eq!(manifest, &here[&key], "{at}");
        let run = standing.layout.run(standing.run_id());
        let keys = here.keys().filter(|key| key.starts_with(&format!("{run}keys/")));
        for key in keys.chain(standing.segment().map(|segment| &segment.object.key)) {
            assert_eq!(there.get(key), Some(&here[key]), "{at}: {key}");
        }
    }
}

#[tokio::test]
async fn a_fault_at_any_call_of_a_copy_and_a_death_at_any_leaves_no_manifest_without_its_objects_and_the_next_converges()
 {
    let bench = captured().await;
    let layout = layout(&bench).await;
    let pair = |faults: &Arc<Faults>, to: &Arc<MemoryRepository>| {
        let faulty = |inner: &Arc<MemoryRepository>| FaultyRepository::new(inner.clone(), faults.clone());
        (faulty(&bench.repository), faulty(to))
    };
    let all = Arc::new(Faults::new());
    let (from, to) = pair(&all, &elsewhere());
    copy_changes(&from, &to, &layout, u64::MAX).await.unwrap();
    let mut tried = 0;
    for (kind, number) in
        all.calls().into_iter().flat_map(|(kind, count)| (0..count).map(move |n| (kind.clone(), n)))
    {
        for how in Kind::ALL {
            let at = format!("{kind} {number} {how:?}");
            let (faults, there) = (how.at(&kind, number), elsewhere());
            let (from, to) = pair(&faults, &there);
            tokio::select! {
                biased;
                outcome = copy_changes(&from, &to, &layout, u64::MAX) => assert!(outcome.is_err(), "{at}: a fault looks good"),
                () = how.dies(&faults, &kind, number) => {}
            }
            check_copy(&bench, &there, &at).await;
            let copied = copy(&bench, there.as_ref()).await.unwrap();
            assert_eq!((copied.is_complete, copied.left_out), (true, Vec::new()), "{at}");
            assert_eq!(objects(there.as_ref()).await, objects(bench.repository.as_ref()).await, "{at}");
            tried += 1;
        }
    }
    println!("copies of changes: {tried} that failed or died, each followed by one that went on");
    assert!(tried > 60);
}

#[tokio::test]
async fn a_segment_that_is_damaged_here_is_left_out_and_told_and_what_follows_is_copied() {
    let (bench, to) = (captured().await, elsewhere());
    let standing = bench.standing().await;
    let damaged = standing[1].segment().unwrap();
    bench.repository.lose(&damaged.object.key);
    let copied = copy(&bench, to.as_ref()).await.unwrap();
    assert!(copied.left_out[0].contains(&damaged.object.key), "{copied:?}");
    assert_eq!((copied.left_out.len(), copied.manifests), (1, standing.len() as u64 - 1));
    assert_eq!(to.head(&standing[1].manifest_key()).await.unwrap(), None);
    check_copy(&bench, &to, "a damaged segment").await;
}

#[tokio::test]
async fn a_repository_with_other_changes_of_the_lineage_is_refused_and_left_as_it_is() {
    let (bench, to) = (captured().await, elsewhere());
    copy(&bench, to.as_ref()).await.unwrap();
    let standing = bench.standing().await;
    let newest = standing.last().unwrap();
    // Whoever else captured the same source wrote another manifest at the same place.
    bench.repository.corrupt(&newest.manifest_key(), |bytes| bytes.push(b'\n'));
    let before = objects(to.as_ref()).await;
    let refused = copy_changes(bench.repository.as_ref(), to.as_ref(), &newest.layout, u64::MAX).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.class(), FailureClass::Conflict, "{refused}");
    assert_eq!(objects(to.as_ref()).await, before);
}

async fn probed(bench: &Bench, copy: &dyn Repository, key: &str) -> Result<ProbedRpo, StepError> {
    let holder = MemoryKeyHolder::new(key);
    let holders: [&dyn KeyHolder; 1] = [&holder];
    probe_rpo(copy, "wedsync", &Holders(&holders), bench.clock.as_ref()).await
}

/// Of changes that a restore from there reaches.
async fn probe(bench: &Bench, copy: &dyn Repository) -> u64 {
    let probed = probed(bench, copy, "k").await.unwrap();
    assert_eq!(probed.stopped_by, None);
    probed.rpo_seconds
}

#[tokio::test]
async fn the_rpo_is_the_age_of_the_newest_heartbeat_that_the_copy_alone_gives_back() {
    let (bench, to) = (captured().await, elsewhere());
    copy(&bench, to.as_ref()).await.unwrap();
    full_backup(to.as_ref(), &bench.standing().await[0], 1).await;
    bench.clock.advance(Duration::from_millis(41_200));
    assert_eq!(probe(&bench, to.as_ref()).await, 42);
    // What is captured and not copied counts for nothing.
    bench.write();
    bench.once().await;
    assert_eq!(probe(&bench, to.as_ref()).await, 47);
    copy(&bench, to.as_ref()).await.unwrap();
    // The original is gone.
    for key in objects(bench.repository.as_ref()).await.keys() {
        bench.repository.lose(key);
    }
    bench.clock.advance(Duration::from_secs(3));
    assert_eq!(probe(&bench, to.as_ref()).await, 3);
    let refused = probed(&bench, to.as_ref(), "another side's").await.unwrap_err();
    assert!(refused.to_string().contains("none of the keys"), "{refused}");
}

#[tokio::test]
async fn changes_count_for_the_rpo_only_as_far_as_a_full_backup_there_joins_them() {
    let (bench, to) = (captured().await, elsewhere());
    copy(&bench, to.as_ref()).await.unwrap();
    bench.clock.advance(Duration::from_secs(10));
    // Heartbeats alone restore nothing.
    let nothing = probed(&bench, to.as_ref(), "k").await.unwrap_err();
    assert_eq!(nothing.class(), FailureClass::Permanent, "{nothing}");
    assert!(nothing.explanation().next.contains("keepsake backup --copy-to"), "{nothing}");
    let standing = bench.standing().await;
    let [chain, first, .., newest] = standing.as_slice() else { panic!("segments") };
    let full = full_backup(to.as_ref(), chain, 1).await;
    assert_eq!(probe(&bench, to.as_ref()).await, 10);
    // Over a hole nothing is reached: its newest state is where the segments end before it, or the full's own.
    to.lose(&first.manifest_key());
    let holed = probed(&bench, to.as_ref(), "k").await.unwrap();
    assert!(matches!(holed.stopped_by, Some(GapReason::SegmentMissing { .. })), "{holed:?}");
    let age = bench.clock.now().duration_since(full.manifest.snapshot_at).as_secs().unsigned_abs();
    assert_eq!((holed.segment, holed.rpo_seconds), (None, age));
    assert_eq!(holed.newest_lsn, full.manifest.lsn);
    // The next full joins behind it.
    let next = full_backup(to.as_ref(), newest, 2).await;
    bench.write();
    bench.once().await;
    copy(&bench, to.as_ref()).await.unwrap();
    bench.clock.advance(Duration::from_secs(7));
    let joined = probed(&bench, to.as_ref(), "k").await.unwrap();
    assert_eq!((joined.backup_id, joined.rpo_seconds, joined.stopped_by), (next.layout.backup_id, 7, None));
    // Changes of a new lineage, and no full backup of it.
    bench.source.promote();
    bench.once().await;
    let layout = bench.standing().await.last().unwrap().layout.clone();
    bench.write();
    bench.once().await;
    copy_changes(bench.repository.as_ref(), to.as_ref(), &layout, u64::MAX).await.unwrap();
    let elsewhere = probed(&bench, to.as_ref(), "k").await.unwrap();
    assert!(matches!(&elsewhere.stopped_by, Some(GapReason::Lost { what }) if what.contains("lineage")));
    assert_eq!(elsewhere.newest_at, joined.newest_at);
}

#[tokio::test]
async fn a_segment_without_a_heartbeat_is_as_old_as_its_newest_commit_and_damage_is_never_an_age() {
    let (bench, to) = (captured().await, elsewhere());
    bench.write();
    bench.once().await;
    copy(&bench, to.as_ref()).await.unwrap();
    full_backup(to.as_ref(), &bench.standing().await[0], 1).await;
    bench.clock.advance(Duration::from_secs(10));
    assert_eq!(probe(&bench, to.as_ref()).await, 10);
    // The newest one ends with the heartbeat; those before it ended because they were full.
    let standing = bench.standing().await;
    let [.., earlier, before, newest] = standing.as_slice() else { panic!("three segments") };
    to.lose(&newest.manifest_key());
    let newest_commit = |of: &StandingChanges| {
        let commit = of.segment().and_then(|segment| segment.last_commit_at).unwrap();
        (commit, bench.clock.now().duration_since(commit).as_secs().unsigned_abs())
    };
    let (committed_at, age) = newest_commit(before);
    let probed_before = probed(&bench, to.as_ref(), "k").await.unwrap();
    assert_eq!((probed_before.newest_at, probed_before.rpo_seconds), (committed_at, age));
    assert_eq!(probed_before.newest_lsn, before.boundary().position.lsn, "it ended with that commit");
    let bytes = to.get(&before.manifest_key(), 1 << 20).await.unwrap();
    to.corrupt(&before.manifest_key(), |bytes| bytes[100] ^= 1);
    let damaged = probed(&bench, to.as_ref(), "k").await.unwrap();
    assert!(matches!(damaged.stopped_by, Some(GapReason::Unreadable { .. })), "{damaged:?}");
    assert_eq!(damaged.rpo_seconds, newest_commit(earlier).1, "what stands before it is still there");
    to.corrupt(&before.manifest_key(), |damaged| *damaged = bytes.to_vec());
    to.corrupt(&before.segment().unwrap().object.key, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let damaged = probed(&bench, to.as_ref(), "k").await.unwrap_err();
    assert_eq!(damaged.class(), FailureClass::Integrity, "{damaged}");
    let empty = probed(&bench, elsewhere().as_ref(), "k").await.unwrap_err();
    assert!(empty.to_string().contains("no full backup of wedsync"), "{empty}");
}

#[tokio::test]
async fn the_rpo_of_a_long_history_is_read_from_around_the_newest_full_and_from_further_back_where_it_must_be()
 {
    let (bench, to) = (captured().await, elsewhere());
    let early = full_backup(to.as_ref(), &bench.standing().await[0], 1).await;
    bench.source.set_back(Lsn(bench.source.lsn().0 + (1 << 30)));
    bench.write();
    bench.once().await;
    let late = full_backup(to.as_ref(), bench.standing().await.last().unwrap(), 2).await;
    bench.write();
    bench.once().await;
    copy(&bench, to.as_ref()).await.unwrap();
    bench.clock.advance(Duration::from_secs(4));
    let reads = async |begins: &StandingBackup| {
        let faults = Arc::new(Faults::new());
        let probed = probed(&bench, &FaultyRepository::new(to.clone(), faults.clone()), "k").await.unwrap();
        assert_eq!((probed.backup_id, probed.rpo_seconds), (begins.layout.backup_id, 4));
        assert_eq!(probed.stopped_by, None);
        faults.calls()["get"]
    };
    let near = reads(&late).await;
    to.lose(&late.layout.manifest());
    let all = reads(&early).await;
    assert!(near < all, "{near} and {all}");
}

#[tokio::test]
async fn behind_a_changed_schema_or_a_hole_the_rpo_is_read_from_as_few_manifests_as_before() {
    let (bench, to) = (captured().await, elsewhere());
    for number in 1..5 {
        full_backup(to.as_ref(), &bench.standing().await[0], number).await;
    }
    for _ in 0..8 {
        bench.write();
        bench.once().await;
    }
    // The newest full backup lies far behind all that.
    bench.source.set_back(Lsn(bench.source.lsn().0 + (1 << 30)));
    bench.write();
    bench.once().await;
    let standing = bench.standing().await;
    let (long, newest) = (standing.len(), standing.last().unwrap());
    let full = full_backup(to.as_ref(), newest, 5).await;
    bench.write();
    bench.once().await;
    copy(&bench, to.as_ref()).await.unwrap();
    let reads = async || {
        let faults = Arc::new(Faults::new());
        let probed = probed(&bench, &FaultyRepository::new(to.clone(), faults.clone()), "k").await.unwrap();
        assert_eq!(probed.backup_id, full.layout.backup_id);
        (faults.calls()["get"], probed.stopped_by)
    };
    let (near, stopped_by) = reads().await;
    assert!(near < long && stopped_by.is_none(), "{near} of {long}, {stopped_by:?}");

    bench.source.change_schema();
    bench.write();
    bench.once().await;
    copy(&bench, to.as_ref()).await.unwrap();
    let (read, stopped_by) = reads().await;
    assert_eq!(stopped_by, Some(GapReason::SchemaChanged));
    let new = bench.standing().await.len() - long;
    assert!(read <= near + new && read < long, "{read} of {long} and {new}");
    let behind = &bench.standing().await[long];
    to.lose(&behind.manifest_key());
    let (holed, stopped_by) = reads().await;
    assert!(matches!(stopped_by, Some(GapReason::SegmentMissing { .. })), "{stopped_by:?}");
    assert!(holed <= read, "{holed} of {read}");
}

#[tokio::test]
async fn a_damaged_manifest_of_an_older_lineage_is_no_newer_change_and_of_one_that_nothing_is_known_of_it_may_be()
 {
    let (bench, to) = (captured().await, elsewhere());
    copy(&bench, to.as_ref()).await.unwrap();
    let old = bench.standing().await;
    bench.source.promote();
    bench.clock.advance(Duration::from_secs(10));
    bench.once().await;
    let new = bench.standing().await.pop().unwrap();
    copy_changes(bench.repository.as_ref(), to.as_ref(), &new.layout, u64::MAX).await.unwrap();
    assert_ne!(new.layout.lineage, old[0].layout.lineage);
    full_backup(to.as_ref(), &new, 1).await;
    let stopped_by = async || probed(&bench, to.as_ref(), "k").await.unwrap().stopped_by;
    assert_eq!(stopped_by().await, None);
    let damage = |standing: &StandingChanges| to.corrupt(&standing.manifest_key(), |bytes| bytes[100] ^= 1);
    damage(old.last().unwrap());
    assert_eq!(stopped_by().await, None, "those before it are older than the full backup");
    old[..old.len() - 1].iter().for_each(damage);
    let lost = stopped_by().await;
    assert!(matches!(&lost, Some(GapReason::Lost { what }) if what.contains("or: ")), "{lost:?}");
}
