#![allow(clippy::unwrap_used)]

use super::*;
use keepsake_archive::pgoutput::{Cell, Old, RelationColumn, ReplicaIdentity, TruncateOptions};
use keepsake_archive::{CopyText, Part, StoredObject};
use keepsake_domain::Classified;
use keepsake_testkit::pgoutput::encode;

fn table(name: &str) -> TableName {
    TableName { schema: "public".to_owned(), name: name.to_owned() }
}

fn part(name: &str, root: Option<&str>) -> Part {
    Part {
        number: 1,
        table: table(name),
        columns: vec!["id".to_owned()],
        range: None,
        filter: String::new(),
        root: root.map(table),
        content: CopyText::default(),
        object: StoredObject { key: String::new(), stored_bytes: 0, sha256: String::new(), crc32: 0 },
    }
}

fn relation(oid: u32, name: &str) -> Message {
    let column = RelationColumn { name: "id".to_owned(), is_key: true, type_oid: 23, type_modifier: -1 };
    Message::Relation(Relation {
        oid,
        schema: "public".to_owned(),
        name: name.to_owned(),
        identity: ReplicaIdentity::Default,
        columns: vec![column],
    })
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn row(id: u64) -> Vec<Cell> {
    vec![Cell::Text(Bytes::from(id.to_string()))]
}

/// Each inserts the row that has its number; commits at LSN 100, 200 … in the order of their numbers here.
fn transactions(of: &[(u32, i64)]) -> Vec<Message> {
    let mut messages = vec![relation(1, "t")];
    for (index, (xid, second)) in of.iter().enumerate() {
        let lsn = Lsn(100 * (index as u64 + 1));
        messages.push(Message::Begin(Begin { final_lsn: lsn, commit_at: at(*second), xid: *xid }));
        messages.push(Message::Insert { relation: 1, new: row(index as u64 + 1) });
        messages.push(Message::Commit { lsn, end_lsn: Lsn(lsn.0 + 8), at: at(*second) });
    }
    messages
}

fn rules(target: RecoveryTarget) -> ReplayRules {
    ReplayRules {
        destinations: Destinations::of(&[part("t", None)]),
        base: "3:3:".parse().unwrap(),
        target,
        standing: ChangePosition::default(),
        batch_bytes: BATCH_BYTES,
    }
}

fn near(xid: u64) -> TransactionSnapshot {
    TransactionSnapshot { xmin: xid, xmax: xid, xip: Vec::new() }
}

/// The rows that were inserted, and every batch.
fn read(
    rules: ReplayRules,
    near_xid: u64,
    messages: &[Message],
) -> Result<(Vec<String>, Vec<ChangeBatch>), StepError> {
    let mut reader = ChangeReader::new(rules);
    reader.begin_segment(&near(near_xid));
    let mut batches = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        batches.extend(reader.message(Lsn(index as u64), &encode(message))?);
    }
    batches.extend(reader.finish()?);
    let tables = batches.iter().flat_map(|batch| &batch.tables);
    let rows = tables.flat_map(|table| &table.insertions);
    let rows = rows.map(|insertion| String::from_utf8(insertion.row.line().to_vec()).unwrap()).collect();
    Ok((rows, batches))
}

fn inserted(target: RecoveryTarget, messages: &[Message]) -> Vec<String> {
    read(rules(target), 100, messages).unwrap().0
}

#[test]
fn a_replay_ends_where_postgres_would_end() {
    use RecoveryTarget::{Latest, Lsn as At, Time, Xid};
    let (inclusive, exclusive) = (Bound::Inclusive, Bound::Exclusive);
    // The second commits before the first by the clock, as may be; the last two at the same time.
    let messages = transactions(&[(10, 5), (12, 4), (11, 7), (13, 9), (14, 9)]);
    let cases = [
        (Latest, 5),
        (Time { at: at(4), bound: inclusive }, 0),
        (Time { at: at(5), bound: inclusive }, 2),
        (Time { at: at(5), bound: exclusive }, 0),
        (Time { at: at(6), bound: inclusive }, 2),
        (Time { at: at(9), bound: inclusive }, 5),
        (Time { at: at(9), bound: exclusive }, 3),
        (At { lsn: Lsn(99), bound: inclusive }, 0),
        (At { lsn: Lsn(300), bound: inclusive }, 3),
        (At { lsn: Lsn(300), bound: exclusive }, 2),
        (At { lsn: Lsn(301), bound: exclusive }, 3),
        (Xid { xid: 12, bound: inclusive }, 2),
        (Xid { xid: 12, bound: exclusive }, 1),
        (Xid { xid: 11, bound: inclusive }, 3),
    ];
    for (target, expected) in cases {
        let expected: Vec<String> = (1..=expected).map(|id: u64| id.to_string()).collect();
        assert_eq!(inserted(target, &messages), expected, "{target}");
    }
}

#[test]
fn a_transaction_that_never_comes_is_no_target() {
    let target = RecoveryTarget::Xid { xid: 77, bound: Bound::Inclusive };
    let refused = read(rules(target), 100, &transactions(&[(10, 1)])).unwrap_err();
    assert_eq!(refused.class(), FailureClass::Permanent);
    assert!(refused.to_string().contains("transaction 77"), "{refused}");
}

#[test]
fn what_the_full_backup_sees_is_skipped_also_where_numbers_wrap_around() {
    let turn = 1_u64 << 32;
    let mut rules = rules(RecoveryTarget::Latest);
    // Sees the last of the old numbers and 4 of the new ones; 5 was running.
    rules.base = TransactionSnapshot { xmin: turn + 5, xmax: turn + 7, xip: vec![turn + 5] };
    let messages = transactions(&[(u32::MAX, 1), (4, 2), (5, 3), (6, 4), (7, 5)]);
    let (rows, _) = read(rules, turn + 20, &messages).unwrap();
    assert_eq!(rows, ["3", "5"]);
}

#[test]
fn a_full_backup_that_sees_what_lies_behind_the_target_is_refused() {
    let mut rules = rules(RecoveryTarget::Lsn { lsn: Lsn(100), bound: Bound::Inclusive });
    rules.base = near(12);
    let refused = read(rules, 100, &transactions(&[(10, 1), (11, 2)])).unwrap_err();
    assert_eq!(refused.class(), FailureClass::Integrity);
}

#[test]
fn a_replay_goes_on_behind_what_stands_wherever_a_batch_ended() {
    let messages = transactions(&[(10, 1), (11, 2), (12, 3)]);
    let small = |standing| ReplayRules { batch_bytes: 1, standing, ..rules(RecoveryTarget::Latest) };
    let (rows, batches) = read(small(ChangePosition::default()), 100, &messages).unwrap();
    assert_eq!((rows.len(), batches.len()), (3, 3));
    for (index, batch) in batches.iter().enumerate() {
        let (rest, next) = read(small(batch.to), 100, &messages).unwrap();
        assert_eq!(rest, rows[index + 1..]);
        assert_eq!(next.first().map(|next| next.from), (index < 2).then_some(batch.to));
    }
}

#[test]
fn the_first_batch_is_an_eighth_and_each_one_behind_it_twice_as_large_up_to_the_whole() {
    let of: Vec<(u32, i64)> = (10..2_000).map(|xid| (xid, 1)).collect();
    let rules = ReplayRules { batch_bytes: 64_000, ..rules(RecoveryTarget::Latest) };
    let (rows, batches) = read(rules, 10, &transactions(&of)).unwrap();
    assert_eq!(rows.len(), of.len());
    let rows: Vec<usize> = batches.iter().map(|batch| batch.tables[0].insertions.len()).collect();
    // Later rows take a byte or two more.
    let times: Vec<usize> = rows[..6].windows(2).map(|pair| pair[1].div_ceil(pair[0])).collect();
    assert_eq!(times, [2, 2, 2, 1, 1], "{rows:?}");
}

#[test]
fn a_database_that_stands_behind_the_target_is_refused() {
    let mut rules = rules(RecoveryTarget::Lsn { lsn: Lsn(100), bound: Bound::Inclusive });
    rules.standing = ChangePosition { transaction: Lsn(200), messages: 1 };
    let refused = read(rules, 100, &transactions(&[(10, 1), (11, 2)])).unwrap_err();
    assert_eq!(refused.class(), FailureClass::Conflict);
}

#[test]
fn messages_that_no_source_wrote_in_this_order_are_refused() {
    let good = transactions(&[(10, 1), (11, 2)]);
    let reordered: Vec<Message> = [&good[..1], &good[4..], &good[1..4]].concat();
    let unknown = [&good[1..]].concat();
    let cut_off = good[..5].to_vec();
    let outside = [&good[..1], &good[2..3]].concat();
    for messages in [reordered, unknown, cut_off, outside] {
        let refused = read(rules(RecoveryTarget::Latest), 100, &messages).unwrap_err();
        assert_eq!(refused.class(), FailureClass::Integrity, "{messages:?}");
    }
}

#[test]
fn a_table_that_the_full_backup_lacks_is_told() {
    let mut messages = transactions(&[(10, 1)]);
    messages[0] = relation(1, "newer");
    let refused = read(rules(RecoveryTarget::Latest), 100, &messages).unwrap_err();
    assert!(refused.to_string().contains("public.newer"), "{refused}");
}

#[test]
fn partitions_whose_rows_lie_in_others_are_emptied_together_or_not_at_all() {
    let parts = [part("p1", Some("p")), part("p2", Some("p")), part("t", None)];
    let truncated = |relations: &[u32]| {
        let begin = Message::Begin(Begin { final_lsn: Lsn(5), commit_at: at(1), xid: 10 });
        let truncate =
            Message::Truncate { relations: relations.to_vec(), options: TruncateOptions::default() };
        let commit = Message::Commit { lsn: Lsn(5), end_lsn: Lsn(6), at: at(1) };
        let messages = [relation(1, "p1"), relation(2, "p2"), relation(3, "t"), begin, truncate, commit];
        let rules = ReplayRules { destinations: Destinations::of(&parts), ..rules(RecoveryTarget::Latest) };
        read(rules, 100, &messages)
    };
    let (_, batches) = truncated(&[1, 2, 3]).unwrap();
    let emptied: Vec<String> = batches[0].tables.iter().map(|one| one.table.to_string()).collect();
    assert_eq!(emptied, ["public.p", "public.t"]);
    assert!(batches[0].tables.iter().all(|one| one.is_emptied));
    let refused = truncated(&[1, 3]).unwrap_err();
    assert_eq!(refused.class(), FailureClass::Permanent);
}

#[test]
fn a_row_that_moves_between_partitions_of_one_table_is_there_once() {
    let parts = [part("p1", Some("p")), part("p2", Some("p"))];
    let begin = Message::Begin(Begin { final_lsn: Lsn(5), commit_at: at(1), xid: 10 });
    let gone = Message::Delete { relation: 2, old: Old::Key(row(7)) };
    let come = Message::Insert { relation: 1, new: row(7) };
    let commit = Message::Commit { lsn: Lsn(5), end_lsn: Lsn(6), at: at(1) };
    let messages = [relation(1, "p1"), relation(2, "p2"), begin, gone, come, commit];
    let rules = ReplayRules { destinations: Destinations::of(&parts), ..rules(RecoveryTarget::Latest) };
    let (_, batches) = read(rules, 100, &messages).unwrap();
    let [change] = batches[0].tables.as_slice() else { unreachable!("one table") };
    assert_eq!((change.deletions.len(), change.insertions.len()), (1, 1));
}
