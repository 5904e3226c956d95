//! Where a chain of segments ends and another one begins, and who may begin it.

use super::{Bench, ready};
use keepsake_domain::{Classified, FailureClass, Lsn};
use keepsake_steps::ports::{ChangeSource, Repository};
use keepsake_steps::{ChangesManifest, LineageChanges, begin_anew, change_history, protect_source};
use keepsake_testkit::{MemoryChangeSource, MemoryRepository};
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn every_way_to_lose_the_slot_is_recorded_as_a_gap_and_capture_goes_on_behind_it() {
    type Loss = fn(&MemoryChangeSource);
    let losses: [(&str, Loss); 4] = [
        ("is gone", |source| source.drop_slot()),
        ("max_slot_wal_keep_size", |source| source.lose_slot("max_slot_wal_keep_size")),
        ("made anew", |source| source.advance_slot()),
        ("new lineage", |source| source.promote()),
    ];
    for (what, lose) in losses {
        let bench = ready().await;
        bench.once().await;
        bench.source.commit(7, 10);
        lose(&bench.source);
        bench.write();
        let captured = bench.once().await;
        assert!(captured.gap.as_ref().is_some_and(|gap| gap.contains(what)), "{what}: {:?}", captured.gap);
        let standing = bench.standing().await;
        let gaps = standing.iter().filter(|one| matches!(&one.manifest, ChangesManifest::Chain(_)));
        assert_eq!(gaps.count(), 2, "{what}");
        bench.write();
        assert_eq!(bench.once().await.gap, None, "{what}: the same gap twice");
        let standing = bench.standing().await;
        let history = change_history(&[], &LineageChanges { standing, ..LineageChanges::default() });
        assert_eq!(history.window().spans, vec![], "no full backup joins");
    }
}

#[tokio::test]
async fn a_source_that_was_given_free_is_not_protected_again_by_itself() {
    let bench = ready().await;
    bench.once().await;
    bench.source.unprotect().await.unwrap();
    let error = bench.process(&Arc::default()).once().await.unwrap_err();
    assert!(error.explanation().next.contains("keepsake protect"), "{error}");
    assert_eq!(bench.source.confirmed(), None);
    let again = bench.protect().await;
    let ChangesManifest::Chain(chain) = &again.chain.manifest else { panic!("a chain begins") };
    assert!(matches!(&chain.reason, keepsake_archive::ChainReason::Gap { .. }), "{:?}", chain.reason);
}

/// Two repositories would take the changes away from each other.
#[tokio::test]
async fn a_second_repository_does_not_take_over_unless_it_is_told_to() {
    let bench = ready().await;
    bench.once().await;
    let other = Bench { repository: Arc::new(MemoryRepository::new("other")), ..Bench::new() };
    let other = Bench { source: bench.source.clone(), ..other };
    let process = other.process(&Arc::default());
    let first = bench.repository.url();
    for refused in [protect_source(&process.capture()).await.err(), {
        // Also when the slot is gone: the publication names whose it is.
        bench.source.drop_slot();
        protect_source(&process.capture()).await.err()
    }] {
        let refused = refused.expect("a Conflict");
        assert_eq!(refused.class(), FailureClass::Conflict);
        assert!(refused.to_string().contains(&first), "{refused}");
        assert!(refused.explanation().next.contains("--begin-anew"), "{refused}");
    }
    assert_eq!(other.standing().await, vec![]);

    let taken = begin_anew(&process.capture(), "the first one is given up").await.unwrap();
    let ChangesManifest::Chain(chain) = &taken.chain.manifest else { panic!("a chain begins") };
    assert!(format!("{:?}", chain.reason).contains("the first one is given up"), "{:?}", chain.reason);
    // The first one does not take it back by itself.
    let refused = bench.process(&Arc::default()).once().await.unwrap_err();
    assert_eq!(refused.class(), FailureClass::Conflict, "{refused}");
    other.source.commit(3, 10);
    assert_eq!(process.once().await.unwrap().changes, 3);
}

/// A disk that is not mounted leaves its mount point.
#[tokio::test]
async fn a_repository_that_is_empty_where_changes_went_is_not_begun_anew_unasked() {
    let bench = ready().await;
    bench.once().await;
    let name = bench.repository.url().rsplit('/').next().unwrap().to_owned();
    let empty = Bench { repository: Arc::new(MemoryRepository::new(&name)), ..Bench::new() };
    let empty = Bench { source: bench.source.clone(), ..empty };
    assert_eq!(empty.repository.url(), bench.repository.url());
    let process = empty.process(&Arc::default());
    for slot_is_gone in [false, true] {
        if slot_is_gone {
            bench.source.drop_slot();
        }
        for refused in [process.once().await.err(), protect_source(&process.capture()).await.err()] {
            let refused = refused.expect("nothing is there");
            assert_eq!(refused.class(), FailureClass::Permanent);
            assert!(refused.to_string().contains("nothing of them is there"), "{refused}");
        }
    }
    assert_eq!(empty.repository.list("").await.unwrap(), vec![]);
    // The one that was there goes on, and tells what the slot's end cost.
    assert!(bench.process(&Arc::default()).once().await.unwrap().gap.is_some());
}

/// As a whole, whatever was damaged.
#[tokio::test]
async fn a_chain_whose_newest_manifest_is_damaged_is_begun_anew_with_its_reason() {
    let bench = ready().await;
    bench.once().await;
    let newest = bench.standing().await.last().unwrap().manifest_key();
    // Who looks at each confirmation could not read what stands either.
    bench.source.on_confirm(|_| Box::pin(async {}));
    bench.repository.corrupt(&newest, |bytes| bytes[40] ^= 1);
    let process = bench.process(&Arc::default());
    for refused in [process.once().await.err(), protect_source(&process.capture()).await.err()] {
        assert_eq!(refused.expect("an Integrity error").class(), FailureClass::Integrity);
    }
    let anew = begin_anew(&process.capture(), "the newest manifest is damaged").await.unwrap();
    assert!(anew.is_new && anew.chain.previous().is_none());
    bench.source.commit(3, 10);
    let captured = process.once().await.unwrap();
    assert_eq!((captured.changes, captured.gap), (3, None));
    // Where it can be read it is linked to.
    let again = begin_anew(&process.capture(), "once more").await.unwrap();
    assert!(again.chain.previous().is_some());
}

#[tokio::test]
async fn a_source_that_was_set_back_under_its_lineage_is_refused() {
    let bench = ready().await;
    bench.once().await;
    bench.source.set_back(Lsn(0x15_0000_0000));
    let error = bench.process(&Arc::default()).once().await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Permanent);
    assert!(error.to_string().contains("15/0"), "{error}");
}

/// A copy of a volume or a snapshot of the instance, started under the same name: what was captured since is of another log, whose
/// positions the older copy writes once more.
#[tokio::test]
async fn a_source_that_was_set_back_and_wrote_past_what_was_captured_is_a_gap() {
    for (is_idle, again) in [(false, 1), (false, 5), (true, 1), (true, 5)] {
        let bench = ready().await;
        bench.once().await;
        let copy = bench.source.copy();
        bench.clock.advance(Duration::from_secs(1));
        if !is_idle {
            bench.write();
        }
        let before = bench.once().await;
        assert_eq!(before.gap, None);
        bench.source.bring_back(copy);
        while bench.source.lsn() <= before.end.lsn {
            bench.write();
        }
        (0..again).for_each(|_| bench.write());
        let behind = bench.once().await;
        let told = behind.gap.unwrap();
        assert!(told.contains("older copy"), "{told}");
        assert!(behind.start > before.end.lsn);
        let chains = bench
            .standing()
            .await
            .into_iter()
            .filter(|one| matches!(&one.manifest, ChangesManifest::Chain(_)));
        assert_eq!(chains.count(), 2);
        bench.write();
        assert_eq!(bench.once().await.gap, None, "the same gap twice");
    }
}

/// A server that crashes forgets confirmations, and so does a run that dies before its own.
#[tokio::test]
async fn a_slot_that_forgot_what_was_confirmed_is_gone_on_from_without_a_gap_and_nothing_comes_twice() {
    for is_idle in [false, true] {
        let bench = ready().await;
        bench.once().await;
        let confirmed = bench.source.confirmed().unwrap();
        bench.clock.advance(Duration::from_secs(1));
        if !is_idle {
            bench.write();
        }
        bench.once().await;
        bench.once().await;
        bench.source.forget_confirmations(confirmed);
        bench.write();
        let behind = bench.once().await;
        assert_eq!(behind.gap, None);
        assert_eq!(behind.transactions, 5);
    }
}
