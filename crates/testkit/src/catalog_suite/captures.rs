//! Captured changes.

use super::samples::{manifest, new_run};
use super::{Catalog, CatalogBench, refused, single};
use keepsake_domain::{
    FULLS_LOOKED_AT, FailureClass, FullFact, FullRunFact, GovernorVerdict, InstanceName, Lineage, Lsn,
    Position, RunKind, SchemaBoundary, SlotLook, Timestamp, Verdict,
};
use keepsake_steps::ports::{
    CapturedRecord, ChainRecord, CompletedBackup, Execution, FailureRecord, NewExecution, Policy,
    ProbeRecord, SlotRecord,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// So many minutes after a moment of last week.
fn at(minute: u64) -> Timestamp {
    let base: Timestamp = "2026-11-14T12:00:00Z".parse().expect("a time");
    base + Duration::from_secs(minute * 60)
}

fn position(lsn: u64, minute: u64) -> Position {
    Position { lsn: Lsn(lsn), at: at(minute) }
}

fn lineage() -> Lineage {
    Lineage { system_identifier: 7_298_304_102_934_850, timeline: 1, database_oid: 16_384 }
}

fn chain(lsn: u64, minute: u64, gap: Option<&str>) -> ChainRecord {
    ChainRecord {
        lineage: lineage(),
        begins: position(lsn, minute),
        snapshot_xmax: 100,
        schema_fingerprint: "a".repeat(64),
        gap: gap.map(str::to_owned),
        manifest_key: format!("wedsync/1-1-1/changes/{lsn:016X}.chain.json"),
        published: 3,
        not_captured: 1,
    }
}

fn failure() -> FailureRecord {
    FailureRecord {
        class: FailureClass::Permanent,
        message: "the bucket does not exist".to_owned(),
        state: Some("CopyChanges".to_owned()),
        failed_at: Timestamp::now(),
    }
}

async fn capture(catalog: &dyn Catalog, policy: &Policy, name: &str) -> Execution {
    let new = NewExecution { kind: RunKind::Incremental, ..new_run(policy, &format!("cli:{name}")) };
    catalog.open(&new).await.expect("open a capture")
}

fn captured(run: &Execution, lsn: u64, minute: u64) -> CapturedRecord {
    CapturedRecord {
        execution: run.id,
        lineage: lineage(),
        end: position(lsn, minute),
        segments: 1,
        transactions: 2,
        changes: 3,
        raw_bytes: 400,
        stored_bytes: 50,
        schema_changed: None,
        schema_replayed: Vec::new(),
    }
}

/// No silence: a capture that captured nothing is no success, and one that found no change is.
pub async fn a_capture_completes_only_with_what_it_captured(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let run = capture(&*catalog, &policy, "suite-capture").await;
    let done = CompletedBackup { completed_at: Timestamp::now() };
    refused!(catalog.note_captured(&captured(&run, 200, 1)).await, NotFound);
    refused!(catalog.complete(run.id, &done).await, Transition);
    catalog.note_chain(run.id, &chain(100, 0, None)).await.expect("note the chain");
    let nothing = CapturedRecord { transactions: 0, changes: 0, ..captured(&run, 200, 1) };
    catalog.note_captured(&nothing).await.expect("no change is a result");
    for _ in 0..2 {
        catalog.complete(run.id, &done).await.expect("complete");
    }
    let found = catalog.find(&run.execution_id).await.expect("find").expect("the run");
    assert_eq!((found.status.as_str(), found.lineage), ("completed", Some(lineage())));
}

/// A run that heard of it may fail before it told people; one that completed has told them.
pub async fn a_gap_is_news_until_a_run_that_captured_behind_it_has_completed(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let first = capture(&*catalog, &policy, "suite-first").await;
    let second = capture(&*catalog, &policy, "suite-second").await;
    catalog.note_chain(first.id, &chain(100, 0, None)).await.expect("note");
    catalog.note_chain(second.id, &chain(300, 5, Some("the replication slot is gone"))).await.expect("note");
    for run in [&first, &second] {
        catalog
            .note_chain(run.id, &chain(300, 5, Some("the replication slot is gone")))
            .await
            .expect("again");
    }
    let gap = |facts: keepsake_steps::ports::CaptureFacts| (facts.gap, facts.full.since.at);
    let facts = catalog.capture_facts(second.id, &lineage()).await.expect("facts");
    assert_eq!(gap(facts), (Some("the replication slot is gone".to_owned()), at(5)));
    catalog.note_captured(&captured(&second, 400, 6)).await.expect("note");
    catalog.fail(second.id, &failure()).await.expect("it fails before it told people");
    let third = capture(&*catalog, &policy, "suite-third").await;
    let facts = catalog.capture_facts(third.id, &lineage()).await.expect("facts");
    assert_eq!(gap(facts), (Some("the replication slot is gone".to_owned()), at(5)));
    catalog.note_captured(&captured(&third, 500, 8)).await.expect("note");
    catalog.complete(third.id, &CompletedBackup { completed_at: Timestamp::now() }).await.expect("complete");
    let facts = catalog.capture_facts(third.id, &lineage()).await.expect("facts");
    assert!(gap(facts).0.is_some(), "to the run that told of it, whichever of its calls asks");
    let fourth = capture(&*catalog, &policy, "suite-fourth").await;
    let facts = catalog.capture_facts(fourth.id, &lineage()).await.expect("facts");
    assert_eq!(gap(facts), (None, at(5)));
    let other = Lineage { timeline: 2, ..lineage() };
    refused!(catalog.capture_facts(first.id, &other).await, NotFound);
}

/// The newest change of the schema counts, whoever captured it, and to its own run it is news.
pub async fn a_changed_schema_is_remembered_behind_its_run(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let run = capture(&*catalog, &policy, "suite-schema").await;
    catalog.note_chain(run.id, &chain(100, 0, None)).await.expect("note");
    let boundary = SchemaBoundary { at: at(2), xmax: 150, schema_fingerprint: "b".repeat(64) };
    let changed = CapturedRecord { schema_changed: Some(boundary.clone()), ..captured(&run, 200, 2) };
    catalog.note_captured(&changed).await.expect("note");
    catalog.note_captured(&captured(&run, 300, 3)).await.expect("note more of the same run");
    let facts = catalog.capture_facts(run.id, &lineage()).await.expect("facts");
    assert!(facts.schema_changed);
    catalog.fail(run.id, &failure()).await.expect("it fails before it told people");
    let next = capture(&*catalog, &policy, "suite-schema-next").await;
    catalog.note_captured(&captured(&next, 400, 4)).await.expect("note");
    let facts = catalog.capture_facts(next.id, &lineage()).await.expect("facts");
    assert_eq!((facts.schema_changed, facts.full.since), (true, boundary.clone()), "nobody was told");
    catalog.complete(next.id, &CompletedBackup { completed_at: Timestamp::now() }).await.expect("complete");
    let last = capture(&*catalog, &policy, "suite-schema-last").await;
    catalog.note_captured(&captured(&last, 500, 6)).await.expect("note");
    let facts = catalog.capture_facts(last.id, &lineage()).await.expect("facts");
    assert_eq!((facts.schema_changed, facts.full.since), (false, boundary));
}

/// What a restore runs again ends nothing: it is a boundary that fulls join at, until the schema changes otherwise.
pub async fn a_schema_change_that_is_run_again_is_a_boundary_to_join_at_and_no_news(
    bench: &dyn CatalogBench,
) {
    let (catalog, policy) = single(bench).await;
    let boundary = |xmax: u64, schema: &str| SchemaBoundary {
        at: at(xmax / 100),
        xmax,
        schema_fingerprint: schema.repeat(64),
    };
    let replayed = |run: &Execution, boundaries: &[SchemaBoundary], minute| CapturedRecord {
        schema_replayed: boundaries.to_vec(),
        ..captured(run, minute * 100, minute)
    };
    let run = capture(&*catalog, &policy, "suite-replayed").await;
    catalog.note_chain(run.id, &chain(100, 0, None)).await.expect("note");
    let (b, c, d) = (boundary(200, "b"), boundary(250, "c"), boundary(300, "d"));
    catalog.note_captured(&replayed(&run, &[b.clone(), c.clone()], 2)).await.expect("note");
    catalog.note_captured(&replayed(&run, &[], 3)).await.expect("note more of the same run");
    let next = capture(&*catalog, &policy, "suite-replayed-next").await;
    catalog.note_captured(&replayed(&next, std::slice::from_ref(&d), 4)).await.expect("note");
    let facts = async |run: &Execution| {
        let facts = catalog.capture_facts(run.id, &lineage()).await.expect("facts");
        let known = facts.full.replayed.into_iter().map(|known| (known.xmax, known)).collect();
        (facts.schema_changed, facts.full.since.xmax, known)
    };
    let by_xmax = |all: &[&SchemaBoundary]| -> BTreeMap<u64, SchemaBoundary> {
        all.iter().map(|one| (one.xmax, (*one).clone())).collect()
    };
    assert_eq!(facts(&next).await, (false, 100, by_xmax(&[&b, &c, &d])));
    // Another one, and behind it one that is run again: of the same call, and of a later one of its run.
    let (e, f, g) = (boundary(500, "e"), boundary(550, "f"), boundary(600, "g"));
    let changed = CapturedRecord { schema_changed: Some(e), ..replayed(&next, std::slice::from_ref(&f), 5) };
    catalog.note_captured(&changed).await.expect("note");
    catalog.note_captured(&replayed(&next, std::slice::from_ref(&g), 6)).await.expect("note");
    assert_eq!(facts(&next).await, (true, 500, by_xmax(&[&f, &g])));
}

/// The newest ones: older ones ended before whatever ended these.
pub async fn no_more_fulls_are_looked_at_than_a_month_has(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let run = capture(&*catalog, &policy, "suite-many").await;
    catalog.note_chain(run.id, &chain(100, 0, None)).await.expect("note");
    for number in 0..FULLS_LOOKED_AT as u64 + 2 {
        let full = super::samples::opened(&*catalog, &policy).await;
        let mut made = manifest(&policy, full.backup_id);
        // The oldest last: what counts is when its snapshot was taken.
        made.snapshot_at = at(1_000 - number);
        made.snapshot.xmin = number;
        let key = super::samples::key(&made);
        catalog.sealed(full.id, &made, &key, super::samples::SHA256).await.expect("record");
    }
    let facts = catalog.capture_facts(run.id, &lineage()).await.expect("facts").full;
    let known: BTreeSet<u64> = facts.fulls.iter().map(|full| full.xmin).collect();
    assert_eq!(known, (0..FULLS_LOOKED_AT as u64).collect());
}

/// What decides whether a full begins: the newest that stands, and the newest run, captures not counted.
pub async fn fulls_are_known_to_a_capture_with_what_joins_them(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let run = capture(&*catalog, &policy, "suite-fulls").await;
    catalog.note_chain(run.id, &chain(100, 0, None)).await.expect("note");
    let facts = catalog.capture_facts(run.id, &lineage()).await.expect("facts");
    assert_eq!((facts.full.since.xmax, facts.full.fulls.len(), facts.full.newest_run), (100, 0, None));
    let full = super::samples::sealed(&*catalog, &policy).await;
    let facts = catalog.capture_facts(run.id, &lineage()).await.expect("facts").full;
    let made = manifest(&policy, full.backup_id);
    assert!(matches!(facts.newest_run, Some(FullRunFact { is_running: true, .. })), "{facts:?}");
    let stands = FullFact { xmin: made.snapshot.xmin, schema_fingerprint: made.schema_fingerprint };
    assert_eq!(facts.fulls, [stands]);
    assert_eq!(facts.begun_for_changes, [], "no capture asked for it");
    for number in 0..6_u64 {
        let name = format!("cli:suite-asked-{number}");
        let asked = NewExecution {
            requested_by: "capture".to_owned(),
            started_at: at(number),
            ..new_run(&policy, &name)
        };
        catalog.open(&asked).await.expect("open");
    }
    let facts = catalog.capture_facts(run.id, &lineage()).await.expect("facts").full;
    let begun: BTreeSet<Timestamp> = facts.begun_for_changes.into_iter().collect();
    assert_eq!(begun, (2..6).map(at).collect(), "the newest ones that captures asked for");
}

/// What a restore found damaged is worth nothing to the changes behind it.
pub async fn a_full_that_was_found_damaged_joins_no_changes(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let run = capture(&*catalog, &policy, "suite-damaged").await;
    catalog.note_chain(run.id, &chain(100, 0, None)).await.expect("note");
    let full = super::samples::sealed(&*catalog, &policy).await;
    let fulls = async || catalog.capture_facts(run.id, &lineage()).await.expect("facts").full.fulls.len();
    assert_eq!(fulls().await, 1);
    let instance = InstanceName::for_backup(full.backup_id);
    let test = catalog.begin_test(full.backup_id, &instance, Timestamp::now()).await.expect("begin");
    let failed = super::records::outcome(full.backup_id, Verdict::Failed);
    catalog.finish_test(test.test_id, &failed).await.expect("finish");
    assert_eq!(fulls().await, 0);
}

/// The age of a position is the RPO: it never goes back, except to another lineage.
pub async fn a_position_moves_on_and_never_back(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let (source, copy) = (policy.source.id, policy.copies[0].location_id);
    let read = async |location| catalog.position(source, location).await.expect("read");
    assert_eq!(read(copy).await, None);
    for (lsn, minute) in [(200, 2), (300, 3), (100, 1)] {
        catalog.note_position(source, copy, &lineage(), position(lsn, minute)).await.expect("note");
    }
    assert_eq!(read(copy).await, Some((lineage(), position(300, 3))));
    assert_eq!(read(policy.primary.location_id).await, None, "each repository has its own");
    let other = Lineage { timeline: 2, ..lineage() };
    catalog.note_position(source, copy, &other, position(50, 9)).await.expect("note");
    assert_eq!(read(copy).await, Some((other, position(50, 9))));
}

/// A copy that could never be made has no position, and one that was read back is worth that until it is read again.
pub async fn what_was_read_back_of_a_copy_is_kept_whatever_failed_there(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let (source, copy) = (policy.source.id, policy.copies[0].location_id);
    let probe = |lsn, minute| ProbeRecord {
        newest_lsn: Lsn(lsn),
        newest_at: at(minute),
        probed_at: at(minute) + Duration::from_millis(6_500),
    };
    let probed = async || catalog.probed(source, copy).await.expect("read");
    for _ in 0..2 {
        catalog.note_copy_failure(source, copy, &failure()).await.expect("note a failure");
    }
    assert_eq!((catalog.position(source, copy).await.expect("read"), probed().await), (None, None));
    for (lsn, minute) in [(200, 3), (300, 4), (100, 2)] {
        catalog.note_probe(source, copy, &probe(lsn, minute)).await.expect("note a probe");
    }
    assert_eq!(probed().await, Some(probe(300, 4)), "an older one says nothing new");
    catalog.note_position(source, copy, &lineage(), position(400, 5)).await.expect("note");
    catalog.note_copy_failure(source, copy, &failure()).await.expect("note a failure");
    assert_eq!(probed().await, Some(probe(300, 4)));
    assert_eq!(catalog.position(source, copy).await.expect("read"), Some((lineage(), position(400, 5))));
    let primary = policy.primary.location_id;
    assert_eq!(catalog.probed(source, primary).await.expect("read"), None, "each repository has its own");
}

/// The governor looks every minute, with and without a slot.
pub async fn the_governors_newest_look_is_kept(bench: &dyn CatalogBench) {
    let (catalog, policy) = single(bench).await;
    let look = SlotLook {
        wal_lsn: Lsn(1000),
        retained_bytes: 500,
        free_bytes: None,
        catalog_age_transactions: 7,
        oldest_transaction_seconds: 0,
        lost: None,
    };
    let record = |look, minute| SlotRecord {
        slot: "keepsake_wedsync".to_owned(),
        look,
        wal_budget_bytes: 1 << 30,
        decision: GovernorVerdict::Keep,
        dropped: false,
        looked_at: at(minute),
    };
    for slot in [record(Some(look), 1), record(None, 2)] {
        catalog.note_slot(policy.source.id, &slot).await.expect("note");
    }
}
