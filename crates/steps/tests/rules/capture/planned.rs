//! What cannot be read keeps no restore from what it does not need, and is told.

use super::{Bench, ready};
use crate::full_backups::full_backup;
use keepsake_domain::{
    BackupIdPrefix, Bound, Classified, FailureClass, GapReason, Lsn, NotCapturedReason, RecoveryTarget,
};
use keepsake_steps::{RecoveryRoute, StepError, plan_recovery};

async fn latest(bench: &Bench) -> Result<RecoveryRoute, StepError> {
    plan_recovery(bench.repository.as_ref(), None, RecoveryTarget::Latest).await
}

fn damage(bench: &Bench, manifest: &str) {
    bench.repository.corrupt(manifest, |bytes| bytes[100] ^= 1);
}

#[tokio::test]
async fn a_full_backup_whose_manifest_cannot_be_read_is_passed_over_for_an_older_one_and_told() {
    let bench = ready().await;
    let old = full_backup(bench.repository.as_ref(), &bench.standing().await[0], 1).await;
    bench.once().await;
    let standing = bench.standing().await;
    let new = full_backup(bench.repository.as_ref(), &standing[1], 2).await;
    let whole = latest(&bench).await.unwrap();
    assert_eq!((whole.plan.base, whole.segments.len()), (new.layout.backup_id, standing.len() - 2));
    damage(&bench, &new.layout.manifest());
    let route = latest(&bench).await.unwrap();
    assert_eq!((route.plan.base, route.segments.len()), (old.layout.backup_id, standing.len() - 1));
    assert_eq!((route.plan.ends, &route.plan.stopped_by), (whole.plan.ends, &None));
    let told: Vec<&String> = route.unreadable.iter().map(|one| &one.key).collect();
    assert_eq!(told, [&new.layout.manifest()]);
    assert_eq!(route.passed_over, [new.layout.backup_id]);
    // Its id does not tell that it was made before the end of what was captured: nobody takes an older state unasked.
    let refused = route.refuse_older().unwrap_err();
    assert_eq!(refused.class(), FailureClass::Integrity);
    let (text, next) = (refused.to_string(), refused.explanation().next);
    assert!(
        text.contains("manifest.json") && next.contains(&old.layout.backup_id.to_string()),
        "{text} {next}"
    );
    // Every other point is what was asked for, whichever full backup leads there.
    let at = |lsn| RecoveryTarget::Lsn { lsn, bound: Bound::Inclusive };
    let end = plan_recovery(bench.repository.as_ref(), None, at(whole.plan.ends.lsn)).await.unwrap();
    assert_eq!((end.passed_over.len(), end.refuse_older().is_ok()), (1, true));
    let before = plan_recovery(bench.repository.as_ref(), None, at(new.manifest.lsn)).await.unwrap();
    assert!(before.refuse_older().is_ok());
    let beyond = plan_recovery(bench.repository.as_ref(), None, at(Lsn(u64::MAX))).await.unwrap_err();
    assert!(beyond.to_string().contains("a full backup that might reach it cannot be read"), "{beyond}");
    // Whoever names it wants it and no other.
    let wanted = BackupIdPrefix::from(new.layout.backup_id);
    let named = plan_recovery(bench.repository.as_ref(), Some(&wanted), RecoveryTarget::Latest);
    assert_eq!(named.await.unwrap_err().class(), FailureClass::Integrity);
    let accepted = BackupIdPrefix::from(old.layout.backup_id);
    let accepted =
        plan_recovery(bench.repository.as_ref(), Some(&accepted), RecoveryTarget::Latest).await.unwrap();
    assert!(accepted.refuse_older().is_ok() && accepted.passed_over.is_empty());
    damage(&bench, &old.layout.manifest());
    let nothing = latest(&bench).await.unwrap_err();
    assert_eq!(nothing.class(), FailureClass::Integrity, "{nothing}");
}

/// They hold what the full backup held, so an older one brings older rows back, whatever the point.
#[tokio::test]
async fn where_a_table_is_not_captured_no_older_full_backup_is_taken_unasked_for_any_point() {
    let route = of_the_older_backup(NotCapturedReason::NoReplicaIdentity).await;
    let refused = route.refuse_older().unwrap_err().to_string();
    assert!(refused.contains("tables whose changes are not captured come back as of"), "{refused}");
}

/// No full backup holds rows of it.
#[tokio::test]
async fn beside_a_foreign_table_an_older_full_backup_is_taken_for_a_point() {
    let route = of_the_older_backup(NotCapturedReason::Foreign).await;
    route.refuse_older().unwrap();
}

/// The way to a point at a full backup that cannot be read, beside a table that is not captured.
async fn of_the_older_backup(reason: NotCapturedReason) -> RecoveryRoute {
    let bench = ready().await;
    bench.source.create_not_captured("bare", reason);
    bench.once().await;
    bench.once().await;
    let standing = bench.standing().await;
    let [.., before, last] = standing.as_slice() else { panic!("segments") };
    let old = full_backup(bench.repository.as_ref(), before, 1).await;
    let new = full_backup(bench.repository.as_ref(), last, 2).await;
    let end = RecoveryTarget::Lsn { lsn: new.manifest.lsn, bound: Bound::Inclusive };
    let planned = || plan_recovery(bench.repository.as_ref(), None, end);
    assert!(planned().await.unwrap().refuse_older().is_ok());
    damage(&bench, &new.layout.manifest());
    let route = planned().await.unwrap();
    assert_eq!((route.plan.base, route.not_captured.len()), (old.layout.backup_id, 1));
    route
}

#[tokio::test]
async fn behind_a_hole_the_plan_says_that_it_does_not_know_what_was_not_captured_and_how_much_is_left_out() {
    let bench = ready().await;
    bench.source.create_bare_table("bare");
    bench.once().await;
    let standing = bench.standing().await;
    let [chain, first, second, _, ..] = standing.as_slice() else { panic!("segments") };
    full_backup(bench.repository.as_ref(), chain, 1).await;
    let whole = latest(&bench).await.unwrap();
    assert!(whole.is_behind_known && whole.is_not_captured_known);
    damage(&bench, &first.manifest_key());
    let before = latest(&bench).await.unwrap();
    assert!(matches!(before.plan.stopped_by, Some(GapReason::Unreadable { .. })), "{:?}", before.plan);
    assert!(before.segments.is_empty() && !before.is_behind_known);
    assert!(before.transactions_behind > 0 && before.transactions_behind < 5);
    // The first of a run says which tables are not captured, and that is the one that is damaged.
    full_backup(bench.repository.as_ref(), second, 2).await;
    let behind = latest(&bench).await.unwrap();
    assert!(!behind.segments.is_empty() && !behind.is_not_captured_known && behind.is_behind_known);
    assert_eq!(behind.unreadable.len(), 1);
    // The next run says it again.
    bench.once().await;
    assert!(latest(&bench).await.unwrap().is_not_captured_known);
}
