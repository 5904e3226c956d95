use super::*;
use crate::{Bound, RecoveryTarget};
use uuid::Uuid;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn position(lsn: u64) -> Position {
    Position { lsn: Lsn(lsn), at: at(lsn.cast_signed()) }
}

/// Numbers below `xid` are over, others have not begun.
fn quiet(xid: u64) -> TransactionSnapshot {
    TransactionSnapshot { xmin: xid, xmax: xid, xip: Vec::new() }
}

fn id(number: u128) -> BackupId {
    BackupId(Uuid::from_u128(number))
}

fn base(number: u128, lsn: u64, xid: u64, schema: &str) -> BaseFacts {
    let schema_fingerprint = Some(schema.to_owned());
    BaseFacts { backup_id: id(number), snapshot: quiet(xid), position: position(lsn), schema_fingerprint }
}

fn boundary(lsn: u64, xid: u64, schema: &str) -> BoundaryFacts {
    BoundaryFacts { position: position(lsn), snapshot: quiet(xid), schema_fingerprint: schema.to_owned() }
}

fn chain(lsn: u64, xid: u64, gap: Option<&str>) -> ChainFacts {
    ChainFacts { begins: boundary(lsn, xid, "one"), gap: gap.map(str::to_owned) }
}

fn segment(start: u64, end: u64, xid: u64, schema: &str) -> SegmentFacts {
    let (first_commit_at, last_commit_at) =
        (Some(at(start.cast_signed() + 5)), Some(at(end.cast_signed() - 5)));
    SegmentFacts {
        start: Lsn(start),
        ends: boundary(end, xid, schema),
        first_commit_at,
        last_commit_at,
        is_schema_replayable: false,
        follows: if matches!(start, 100 | 500) { Follows::Chain } else { Follows::Segment(Lsn(start - 100)) },
    }
}

/// Protected at 100, a full at 120, three segments, a lost slot, a new chain at 500 with a full at 520.
fn history() -> ChangeHistory {
    let segments = vec![
        segment(600, 700, 70, "one"),
        segment(100, 200, 20, "one"),
        segment(500, 600, 60, "one"),
        segment(300, 400, 40, "one"),
        segment(200, 300, 30, "one"),
    ];
    let chains = vec![chain(500, 50, Some("the slot was lost")), chain(100, 10, None)];
    ChangeHistory::new(vec![base(2, 520, 52, "one"), base(1, 120, 12, "one")], chains, segments)
}

fn spans(window: &Window) -> Vec<(u64, u64)> {
    window.spans.iter().map(|span| (span.oldest.lsn.0, span.newest.lsn.0)).collect()
}

fn planned(history: &ChangeHistory, target: RecoveryTarget) -> (BackupId, Vec<u64>) {
    let plan = history.plan(target).expect("it can be restored");
    (plan.base, plan.segments.iter().map(|start| start.0).collect())
}

fn time(second: i64, bound: Bound) -> RecoveryTarget {
    RecoveryTarget::Time { at: at(second), bound }
}

fn lsn(lsn: u64) -> RecoveryTarget {
    RecoveryTarget::Lsn { lsn: Lsn(lsn), bound: Bound::Inclusive }
}

#[test]
fn a_lost_slot_parts_two_spans_and_says_so() {
    let window = history().window();
    assert_eq!(spans(&window), [(120, 400), (520, 700)]);
    let reason = GapReason::Lost { what: "the slot was lost".into() };
    assert_eq!(window.gaps, [Gap { after: position(400), before: Some(position(520)), reason }]);
    assert_eq!(window.captured, Some(position(700)));
}

#[test]
fn a_segment_that_is_missing_is_a_gap_even_if_later_ones_stand() {
    let segments =
        vec![segment(100, 200, 20, "one"), segment(300, 400, 40, "one"), segment(400, 500, 50, "one")];
    let bases = vec![base(1, 120, 12, "one"), base(2, 450, 45, "one")];
    let window = ChangeHistory::new(bases.clone(), vec![chain(100, 10, None)], segments.clone()).window();
    assert_eq!(spans(&window), [(120, 200), (450, 500)]);
    assert_eq!(window.gaps[0].reason, GapReason::SegmentMissing { start_lsn: Lsn(200) });
    let only_first = bases[..1].to_vec();
    let window = ChangeHistory::new(only_first, vec![chain(100, 10, None)], segments).window();
    assert_eq!(spans(&window), [(120, 200)]);
    assert_eq!(window.gaps[0].before, None);
}

#[test]
fn a_chain_whose_beginning_is_missing_is_named_and_not_taken_for_an_open_transaction() {
    let segments = || vec![segment(100, 200, 20, "one"), segment(200, 300, 30, "one")];
    let missing = |start| GapReason::ChainMissing { start_lsn: Lsn(start) };
    let window = |base, segments| ChangeHistory::new(vec![base], vec![], segments).window();
    let within = window(base(1, 120, 12, "one"), segments());
    assert_eq!((spans(&within), &within.gaps[0].reason), (vec![(120, 120)], &missing(100)));
    // Of the segments behind it all is known; a full that was made before the chain began never joined.
    assert_eq!(spans(&window(base(1, 220, 22, "one"), segments())), [(220, 300)]);
    let before = window(base(1, 90, 9, "one"), segments());
    assert_eq!(before.gaps[0].reason, GapReason::NotJoined { backup_id: id(1) });
    // Without the first segments, too, and behind another chain.
    let late = window(base(1, 120, 12, "one"), vec![segment(300, 400, 40, "one")]);
    assert_eq!(late.gaps[0].reason, GapReason::SegmentMissing { start_lsn: Lsn(200) });
    let ChangeHistory { bases, .. } = history();
    let segments = vec![segment(100, 200, 20, "one"), segment(500, 600, 60, "one")];
    let window = ChangeHistory::new(bases, vec![chain(100, 10, None)], segments).window();
    assert_eq!(spans(&window), [(120, 200), (520, 520)]);
    assert_eq!(window.gaps.iter().map(|gap| &gap.reason).collect::<Vec<_>>(), [&missing(500), &missing(500)]);
}

fn unreadable(start: u64) -> UnreadableFacts {
    let manifest = format!("{start}.json");
    UnreadableFacts { start: Lsn(start), found: format!("manifest {manifest:?} is damaged"), manifest }
}

/// The history without the manifests that begin there, which stand and cannot be read.
fn damaged(starts: &[u64]) -> ChangeHistory {
    let ChangeHistory { bases, .. } = history();
    let readable = |start: &u64| !starts.contains(start);
    let starts_of_segments = [100, 200, 300, 500, 600].into_iter().filter(readable);
    let segments = starts_of_segments.map(|start| segment(start, start + 100, start / 10 + 10, "one"));
    let chains = vec![chain(500, 50, Some("the slot was lost")), chain(100, 10, None)];
    ChangeHistory::new(bases, chains, segments.collect())
        .with_unreadable(starts.iter().map(|start| unreadable(*start)).collect())
}

#[test]
fn a_manifest_that_cannot_be_read_is_a_hole_that_is_named_and_points_on_both_sides_stay() {
    let reason = |start| unreadable(start).reason();
    let window = damaged(&[200]).window();
    assert_eq!(spans(&window), [(120, 200), (520, 700)]);
    assert_eq!(window.gaps, [Gap { after: position(200), before: Some(position(520)), reason: reason(200) }]);
    assert_eq!(planned(&damaged(&[200]), lsn(150)), (id(1), vec![100]));
    assert_eq!(planned(&damaged(&[200]), lsn(650)), (id(2), vec![500, 600]));
    let refused = damaged(&[200]).plan(lsn(250)).expect_err("it lies in the hole");
    assert_eq!((refused.before, refused.after), (Some(position(200)), Some(position(520))));
    assert!(refused.to_string().contains("manifest \"200.json\" is damaged"), "{refused}");
    // Two that follow each other: the first one is named.
    assert_eq!(damaged(&[100, 200]).window().gaps[0].reason, reason(100));
}

#[test]
fn the_newest_manifest_that_cannot_be_read_is_told_though_nothing_is_known_of_its_end() {
    let history = damaged(&[600]);
    assert_eq!(spans(&history.window()), [(120, 400), (520, 600)]);
    let gap = Gap { after: position(600), before: None, reason: unreadable(600).reason() };
    assert_eq!(history.window().gaps.last(), Some(&gap));
    let plan = history.plan(RecoveryTarget::Latest).expect("it can be restored");
    assert_eq!((plan.segments, plan.stopped_by), (vec![Lsn(500)], Some(unreadable(600).reason())));
    assert_eq!(history.plan(lsn(550)).expect("it can be restored").stopped_by, None);
    let refused = history.plan(lsn(650)).expect_err("it is not known what is there");
    assert!(refused.to_string().contains("600.json"), "{refused}");
}

#[test]
fn a_full_that_would_join_what_cannot_be_read_says_so() {
    // The chain's beginning, with its first segment behind it, and without.
    for segments in [vec![segment(100, 200, 20, "one")], vec![]] {
        let history = ChangeHistory::new(vec![base(1, 120, 12, "one")], vec![], segments);
        let history = history.with_unreadable(vec![unreadable(100)]);
        assert_eq!(spans(&history.window()), [(120, 120)]);
        assert_eq!(history.window().gaps[0].reason, unreadable(100).reason());
    }
    let apart = ChangeHistory::new(vec![base(1, 90, 9, "one")], vec![chain(100, 10, None)], vec![]);
    assert!(
        apart
            .with_unreadable(vec![unreadable(200)])
            .window()
            .gaps
            .iter()
            .all(|gap| { gap.reason == GapReason::NotJoined { backup_id: id(1) } })
    );
}

#[test]
fn a_changed_schema_ends_what_a_full_of_the_old_one_can_reach() {
    let chains = || vec![chain(100, 10, None)];
    let segments =
        || vec![segment(100, 200, 20, "one"), segment(200, 300, 30, "two"), segment(300, 400, 40, "two")];
    let old = ChangeHistory::new(vec![base(1, 120, 12, "one")], chains(), segments());
    assert_eq!(spans(&old.window()), [(120, 200)]);
    assert_eq!(old.window().gaps[0].reason, GapReason::SchemaChanged);
    let bases = vec![base(1, 120, 12, "one"), base(2, 350, 35, "two")];
    assert_eq!(spans(&ChangeHistory::new(bases, chains(), segments()).window()), [(120, 200), (350, 400)]);
    // Of an older program: it may have been made before or after the change.
    let unknown = BaseFacts { schema_fingerprint: None, ..base(1, 250, 25, "") };
    assert_eq!(spans(&ChangeHistory::new(vec![unknown], chains(), segments()).window()), [(250, 250)]);
    let unknown = BaseFacts { schema_fingerprint: None, ..base(1, 350, 35, "") };
    assert_eq!(spans(&ChangeHistory::new(vec![unknown], chains(), segments()).window()), [(350, 400)]);
}

#[test]
fn a_changed_schema_that_a_restore_repeats_ends_nothing() {
    let repeated = |segment| SegmentFacts { is_schema_replayable: true, ..segment };
    let history = |bases: &[BaseFacts], third| {
        let second = repeated(segment(200, 300, 30, "two"));
        let segments = vec![segment(100, 200, 20, "one"), second, third, segment(400, 500, 50, "three")];
        ChangeHistory::new(bases.to_vec(), vec![chain(100, 10, None)], segments)
    };
    let (old, new) = (base(1, 120, 12, "one"), base(2, 350, 35, "two"));
    let all = history(&[old.clone(), new.clone()], repeated(segment(300, 400, 40, "three")));
    assert_eq!(spans(&all.window()), [(120, 500)]);
    assert_eq!(all.window().gaps, []);
    assert_eq!(planned(&all, lsn(250)), (id(1), vec![100, 200]));
    assert_eq!(planned(&all, RecoveryTarget::Latest), (id(2), vec![300, 400]));
    // One that it cannot repeat, behind one that it can.
    let one = history(&[old], segment(300, 400, 40, "three"));
    assert_eq!(spans(&one.window()), [(120, 300)]);
    assert_eq!(one.window().gaps[0].reason, GapReason::SchemaChanged);
    // A full that sees the change joins no boundary of before it.
    let early = history(&[base(3, 250, 25, "two")], repeated(segment(300, 400, 40, "three")));
    assert_eq!(spans(&early.window()), [(250, 250)]);
}

/// Of a table that was published between the boundary and the full, a transaction that is open in the full may have rows
/// that nobody captured.
#[test]
fn a_full_that_was_made_before_any_segment_of_its_schema_ended_does_not_join() {
    let chains = || vec![chain(100, 10, None)];
    let segments =
        || vec![segment(100, 200, 20, "one"), segment(200, 300, 30, "two"), segment(300, 400, 40, "two")];
    let early = ChangeHistory::new(vec![base(2, 250, 25, "two")], chains(), segments());
    assert_eq!(spans(&early.window()), [(250, 250)]);
    assert_eq!(early.window().gaps[0].reason, GapReason::NotJoined { backup_id: id(2) });
    // Behind that segment, with a transaction that was open before it ended.
    let open = TransactionSnapshot { xmin: 28, xmax: 35, xip: vec![28] };
    let open = BaseFacts { snapshot: open, ..base(2, 350, 35, "two") };
    assert_eq!(spans(&ChangeHistory::new(vec![open], chains(), segments()).window()), [(350, 350)]);
    let late = ChangeHistory::new(vec![base(2, 350, 35, "two")], chains(), segments());
    assert_eq!(planned(&late, RecoveryTarget::Latest), (id(2), vec![300]));
}

#[test]
fn a_full_with_an_older_open_transaction_joins_where_that_had_not_begun() {
    let segments = || vec![segment(100, 200, 20, "one"), segment(200, 300, 30, "one")];
    let open = |xmin| BaseFacts {
        snapshot: TransactionSnapshot { xmin, xmax: 25, xip: vec![xmin] },
        ..base(1, 250, 25, "one")
    };
    let joined = ChangeHistory::new(vec![open(15)], vec![chain(100, 10, None)], segments());
    assert_eq!(planned(&joined, RecoveryTarget::Latest), (id(1), vec![100, 200]));
    let apart = ChangeHistory::new(vec![open(9)], vec![chain(100, 10, None)], segments());
    assert_eq!(spans(&apart.window()), [(250, 250)]);
    assert_eq!(apart.window().gaps[0].reason, GapReason::NotJoined { backup_id: id(1) });
}

#[test]
fn whether_a_full_joins_is_known_from_the_first_boundary_on_that_it_sees_all_of() {
    let joins = |base, chains, segments| ChangeHistory::new(vec![base], chains, segments).joins(id(1));
    let segments = || vec![segment(100, 200, 20, "one"), segment(200, 300, 30, "two")];
    assert_eq!(joins(base(1, 320, 32, "two"), vec![], segments()), Some(true));
    assert_eq!(joins(base(1, 320, 32, "three"), vec![], segments()), Some(false));
    // A transaction was open that began before everything that was read.
    let open = TransactionSnapshot { xmin: 15, xmax: 32, xip: vec![15] };
    let open = BaseFacts { snapshot: open, ..base(1, 320, 32, "one") };
    assert_eq!(joins(open.clone(), vec![], segments()), None);
    assert_eq!(joins(open, vec![chain(100, 10, None)], segments()), Some(true));
    assert_eq!(joins(base(1, 320, 32, "two"), vec![], vec![]), None);
}

#[test]
fn a_full_behind_a_gap_is_never_continued_from_before_it() {
    let late = BaseFacts { snapshot: quiet(45), ..base(3, 510, 45, "one") };
    let segments = vec![segment(100, 200, 20, "one"), segment(500, 600, 60, "one")];
    let chains = vec![chain(100, 10, None), chain(500, 50, Some("the slot was lost"))];
    let history = ChangeHistory::new(vec![late], chains, segments);
    assert_eq!(history.joins(id(3)), Some(false));
    let window = history.window();
    assert_eq!(spans(&window), [(510, 510)]);
    assert_eq!(window.gaps[0].reason, GapReason::NotJoined { backup_id: id(3) });
}

#[test]
fn a_full_alone_is_one_point_and_a_full_before_the_next_capture_is_its_newest() {
    let alone = ChangeHistory::new(vec![base(1, 120, 12, "one")], vec![], vec![]);
    assert_eq!(spans(&alone.window()), [(120, 120)]);
    assert_eq!(planned(&alone, RecoveryTarget::Latest), (id(1), vec![]));
    let waiting = ChangeHistory::new(
        vec![base(1, 120, 12, "one"), base(2, 250, 25, "one")],
        vec![chain(100, 10, None)],
        vec![segment(100, 200, 20, "one")],
    );
    assert_eq!(spans(&waiting.window()), [(120, 200), (250, 250)]);
    assert_eq!(planned(&waiting, RecoveryTarget::Latest), (id(2), vec![]));
    assert_eq!(ChangeHistory::default().window(), Window::default());
}

#[test]
fn the_latest_full_before_the_target_is_taken_and_no_segment_too_many() {
    let history = history();
    assert_eq!(planned(&history, RecoveryTarget::Latest), (id(2), vec![500, 600]));
    assert_eq!(planned(&history, lsn(150)), (id(1), vec![100]));
    assert_eq!(planned(&history, lsn(250)), (id(1), vec![100, 200]));
    assert_eq!(planned(&history, lsn(400)), (id(1), vec![100, 200, 300]));
    assert_eq!(planned(&history, time(250, Bound::Inclusive)), (id(1), vec![100, 200]));
    // The newest commit of the second segment is at 295, and the next one at 305.
    assert_eq!(planned(&history, time(295, Bound::Inclusive)), (id(1), vec![100, 200]));
    assert_eq!(planned(&history, time(295, Bound::Exclusive)), (id(1), vec![100, 200]));
    let xid = RecoveryTarget::Xid { xid: 25, bound: Bound::Inclusive };
    assert_eq!(planned(&history, xid).0, id(1));
}

#[test]
fn a_segment_that_lies_behind_the_time_as_a_whole_is_not_read() {
    let plan = |commits: Option<(i64, i64)>, target| {
        let mut segments = vec![segment(100, 200, 20, "one"), segment(200, 300, 30, "one")];
        segments[1].first_commit_at = commits.map(|(first, _)| at(first));
        segments[1].last_commit_at = commits.map(|(_, last)| at(last));
        let bases = vec![base(1, 120, 12, "one")];
        planned(&ChangeHistory::new(bases, vec![chain(100, 10, None)], segments), target).1
    };
    assert_eq!(plan(Some((205, 295)), time(198, Bound::Inclusive)), [100]);
    assert_eq!(plan(None, time(200, Bound::Inclusive)), [100]);
    // Its sequences stand at 200, which is before the time.
    assert_eq!(plan(None, time(201, Bound::Inclusive)), [100, 200]);
    // Commits need not be in the order of their times.
    assert_eq!(plan(Some((198, 295)), time(198, Bound::Inclusive)), [100, 200]);
    assert_eq!(plan(Some((198, 295)), time(198, Bound::Exclusive)), [100]);
}

#[test]
fn the_newest_point_says_what_it_stops_at() {
    let segments = || vec![segment(100, 200, 20, "one"), segment(200, 300, 30, "two")];
    let stopped = |base, target| {
        let history = ChangeHistory::new(vec![base], vec![chain(100, 10, None)], segments());
        history.plan(target).expect("it can be restored").stopped_by
    };
    let old = || base(1, 120, 12, "one");
    assert_eq!(stopped(old(), RecoveryTarget::Latest), Some(GapReason::SchemaChanged));
    assert_eq!(stopped(old(), lsn(150)), None);
    assert_eq!(stopped(base(1, 320, 32, "two"), RecoveryTarget::Latest), None);
}

#[test]
fn a_target_in_a_gap_is_refused_with_the_nearest_points_on_both_sides() {
    let history = history();
    for target in [time(450, Bound::Inclusive), lsn(450)] {
        let refused = history.plan(target).expect_err("it lies in the gap");
        assert_eq!((refused.before, refused.after), (Some(position(400)), Some(position(520))));
        assert!(refused.to_string().contains("the slot was lost"), "{refused}");
    }
    let early = history.plan(lsn(50)).expect_err("before everything");
    assert_eq!((early.before, early.after), (None, Some(position(120))));
    let late = history.plan(time(900, Bound::Inclusive)).expect_err("behind everything");
    assert_eq!((late.before, late.after), (Some(position(700)), None));
    let xid = RecoveryTarget::Xid { xid: 45, bound: Bound::Inclusive };
    let refused = history.plan(xid).expect_err("it lies in the gap");
    assert_eq!((refused.before, refused.after), (Some(position(400)), Some(position(520))));
    assert!(ChangeHistory::default().plan(RecoveryTarget::Latest).is_err());
}

#[test]
fn a_number_without_its_epoch_is_taken_for_the_nearest() {
    let epoch = 5 << 32;
    let segments = vec![segment(100, 200, epoch + 20, "one")];
    let chains = vec![chain(100, epoch + 10, None)];
    let history = ChangeHistory::new(vec![base(1, 120, epoch + 12, "one")], chains, segments);
    let plan = history.plan(RecoveryTarget::Xid { xid: 15, bound: Bound::Inclusive }).expect("captured");
    assert_eq!(plan.target, RecoveryTarget::Xid { xid: epoch + 15, bound: Bound::Inclusive });
}
