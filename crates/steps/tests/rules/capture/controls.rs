//! Rule 9 for captured changes: every damage is found, by the check that should find it.

use super::{Bench, ready};
use crate::negative_controls::WithoutChecksums;
use keepsake_archive::BackupIdentity;
use keepsake_domain::{Classified, FailureClass, chain};
use keepsake_steps::ports::Repository;
use keepsake_steps::{
    Depth, StandingChanges, StepError, changes_keys, open_backup, read_changes, verify_links, verify_segment,
};
use keepsake_testkit::MemoryKeyHolder;
use keepsake_testkit::controls::{
    CHANGES_CONTROLS, ChangesControl, ChangesDamage, ChangesSpecimen, Detector, Look,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Changes of two runs; the last segment has a transaction.
async fn captured() -> Bench {
    let bench = ready().await;
    bench.once().await;
    bench.source.commit(2, 50);
    bench.once().await;
    bench
}

async fn key_of(bench: &Bench, standing: &StandingChanges) -> BackupIdentity {
    open_backup(bench.repository.as_ref(), standing, &[&MemoryKeyHolder::new("k")]).await.unwrap()
}

async fn damage(bench: &Bench, damage: ChangesDamage) {
    let standing: Vec<StandingChanges> =
        bench.standing().await.into_iter().filter(|one| one.segment().is_some()).collect();
    let mut objects = BTreeMap::new();
    for info in bench.repository.list("").await.unwrap() {
        let bytes = bench.repository.get(&info.key, 1 << 30).await.unwrap();
        objects.insert(info.key, bytes.to_vec());
    }
    let mut specimen = ChangesSpecimen {
        objects: objects.clone(),
        segments: standing.iter().filter_map(|one| one.segment().cloned()).collect(),
        layout: standing[0].layout.clone(),
        key: key_of(bench, &standing[0]).await,
        last_key: key_of(bench, &standing[standing.len() - 1]).await,
    };
    damage.apply(&mut specimen);
    for (key, was) in &objects {
        match specimen.objects.get(key) {
            Some(bytes) if bytes == was => {}
            Some(bytes) => bench.repository.corrupt(key, |place| place.clone_from(bytes)),
            None => bench.repository.lose(key),
        }
    }
    for (key, bytes) in specimen.objects.into_iter().filter(|(key, _)| !objects.contains_key(key)) {
        bench.repository.put_new(&key, bytes.into()).await.unwrap();
    }
}

/// What `keepsake verify` finds first, which looks at manifests in their order, each with its key and its bytes, and then at
/// their links.
async fn look(bench: &Bench, look: Look) -> Option<String> {
    let repository = WithoutChecksums(Arc::clone(&bench.repository));
    let (mut standing, mut findings) = (Vec::new(), Vec::new());
    for (layout, key) in changes_keys(&repository, "").await.unwrap() {
        match read_changes(&repository, &layout, key).await {
            Ok(one) => {
                findings.extend(look_at(&repository, &one, look).await);
                standing.push(one);
            }
            Err(error) => findings.push(integrity(&error)),
        }
    }
    findings.extend(verify_links(&standing).into_iter().map(|damage| damage.finding));
    findings.into_iter().next()
}

async fn look_at(repository: &WithoutChecksums, one: &StandingChanges, look: Look) -> Option<String> {
    let holder = MemoryKeyHolder::new("k");
    let identity;
    let depth = match look {
        Look::Objects => Depth::Objects,
        Look::Bytes => Depth::Bytes,
        Look::Rows | Look::Restore => match open_backup(repository, one, &[&holder]).await {
            Ok(opened) => {
                identity = opened;
                Depth::Rows(&identity)
            }
            Err(error) => return Some(integrity(&error)),
        },
    };
    verify_segment(repository, one, depth).await.unwrap().map(|damage| damage.finding)
}

/// Damage must be told as damage.
fn integrity(error: &StepError) -> String {
    assert_eq!(error.class(), FailureClass::Integrity, "{}", chain(error));
    chain(error)
}

#[tokio::test]
async fn every_damage_of_captured_changes_is_found() {
    let clean = captured().await;
    for how in ChangesControl::LOOKS {
        assert_eq!(look(&clean, how).await, None, "whole changes are no finding");
    }
    for control in CHANGES_CONTROLS {
        let bench = captured().await;
        damage(&bench, control.damage).await;
        for (how, expected) in ChangesControl::LOOKS.into_iter().zip(control.found_by) {
            let found = look(&bench, how).await;
            let fits = match (&found, expected.map(Detector::words)) {
                (Some(finding), Some(words)) => finding.contains(words),
                (found, words) => found.is_none() && words.is_none(),
            };
            assert!(fits, "{}, {how:?}: expected {expected:?}, found {found:?}", control.what);
        }
    }
}
