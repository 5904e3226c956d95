//! Any history, in batches and in shares of any size.

use super::super::*;
use super::history::{Act, Change, Guest, Source, act, guest, layout};
use super::{batch, fold};
use keepsake_archive::pgoutput::ReplicaIdentity;
use proptest::prelude::*;

/// A target that does with a batch what the port says, and refuses what it must.
fn apply(rows: &mut Vec<CopyRow>, change: &TableChange) {
    let named = |row: &CopyRow, key: &CopyRow| {
        if change.key.is_empty() { row == key } else { &row.at(&change.key) == key }
    };
    if change.is_emptied {
        rows.clear();
    }
    for deletion in &change.deletions {
        for _ in 0..deletion.count {
            let place = rows.iter().position(|row| named(row, &deletion.key)).expect("a row to delete");
            rows.swap_remove(place);
        }
        assert!(change.key.is_empty() || !rows.iter().any(|row| named(row, &deletion.key)), "doubled");
    }
    // All at once: each is found by the key that it had before.
    let places: Vec<usize> = change
        .updates
        .iter()
        .map(|update| rows.iter().position(|row| named(row, &update.key)).expect("a row to update"))
        .collect();
    for (update, place) in change.updates.iter().zip(places) {
        assert!(!update.row.is_whole());
        rows[place] = update.row.over(&rows[place]);
    }
    for insertion in &change.insertions {
        assert!(insertion.row.is_whole());
        rows.extend(std::iter::repeat_n(insertion.row.clone(), usize::try_from(insertion.count).unwrap()));
    }
    rows.sort();
    assert!(
        change.key.is_empty()
            || rows.windows(2).all(|pair| pair[0].at(&change.key) != pair[1].at(&change.key))
    );
}

fn folded_in_batches_as_one_by_one(identity: ReplicaIdentity, acts: &[Act], cuts: &[bool]) {
    let layout = layout(identity);
    let mut source = Source { identity, guests: Vec::new(), changes: Vec::new() };
    acts.iter().for_each(|act| source.run(act));
    let (mut rows, mut net) = (Vec::new(), NetChanges::default());
    for (index, change) in source.changes.iter().enumerate() {
        fold(&mut net, &layout, change, Lsn(index as u64)).unwrap();
        if cuts.get(index % cuts.len().max(1)).copied().unwrap_or_default() {
            batch(std::mem::take(&mut net)).iter().for_each(|change| apply(&mut rows, change));
            assert_eq!(net.bytes(), 0);
        }
    }
    batch(net).iter().for_each(|change| apply(&mut rows, change));
    let mut expected: Vec<CopyRow> = source.guests.iter().map(Guest::row).collect();
    expected.sort();
    assert_eq!(
        rows.iter().map(CopyRow::line).collect::<Vec<_>>(),
        expected.iter().map(CopyRow::line).collect::<Vec<_>>()
    );
}

/// What the changes come to in shares that never take more than so many bytes, each row in one of them, but where rows
/// exchange their keys and keep values.
fn folded_in_shares(layout: &RowLayout, changes: &[Change], limit: usize) -> (Vec<Vec<TableChange>>, bool) {
    let read = |mut net: NetChanges| {
        for (index, change) in changes.iter().enumerate() {
            fold(&mut net, layout, change, Lsn(index as u64)).unwrap();
        }
        net
    };
    let looked = read(NetChanges::of(Share::Survey(Survey::default())));
    let Share::Survey(survey) = looked.share() else { unreachable!() };
    let survey = std::sync::Arc::new(survey.clone());
    // Of tables that are not parted, in the order of the log and in several batches.
    let mut shares = Vec::new();
    let mut joined = NetChanges::of(Share::Joined(Parting::of(&survey)));
    for (index, change) in changes.iter().enumerate() {
        fold(&mut joined, layout, change, Lsn(index as u64)).unwrap();
        if index % 3 == 2 {
            shares.push(batch(joined.take()));
        }
    }
    shares.push(batch(joined));
    let mut from = Some(0);
    while let Some(begin) = from {
        let share = Share::Keys(Parting::of(&survey), HashRange::from(begin), limit);
        let net = read(NetChanges::of(share));
        let Share::Keys(_, range, _) = net.share() else { unreachable!() };
        assert!(net.bytes() <= limit || range.from == range.to, "{} bytes", net.bytes());
        from = range.to.checked_add(1);
        shares.push(batch(net));
    }
    (shares, survey.has_joined())
}

fn folded_in_shares_as_one_by_one(identity: ReplicaIdentity, acts: &[Act], limit: usize) {
    let layout = layout(identity);
    // What the full backup holds.
    let guests: Vec<Guest> = (0..4).map(|id| guest(id, id, id)).collect();
    let mut rows: Vec<CopyRow> = guests.iter().map(Guest::row).collect();
    let mut source = Source { identity, guests, changes: Vec::new() };
    acts.iter().for_each(|act| source.run(act));
    let (shares, is_joined) = folded_in_shares(&layout, &source.changes, limit);
    let mut is_emptied = false;
    let mut keys = std::collections::HashSet::new();
    for mut change in shares.into_iter().flatten() {
        // A table is emptied once, whatever the shares.
        change.is_emptied = change.is_emptied && !std::mem::replace(&mut is_emptied, true);
        for insertion in &change.insertions {
            let key =
                if change.key.is_empty() { insertion.row.clone() } else { insertion.row.at(&change.key) };
            assert!(is_joined || keys.insert(key), "a row in two shares");
        }
        apply(&mut rows, &change);
    }
    let mut expected: Vec<CopyRow> = source.guests.iter().map(Guest::row).collect();
    expected.sort();
    assert_eq!(
        rows.iter().map(CopyRow::line).collect::<Vec<_>>(),
        expected.iter().map(CopyRow::line).collect::<Vec<_>>()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn rows_with_a_key_folded_in_shares_of_any_size_are_as_if_changed_one_by_one(
        acts in prop::collection::vec(act(), 0..60),
        limit in 0_usize..3_000,
    ) {
        folded_in_shares_as_one_by_one(ReplicaIdentity::Default, &acts, limit);
    }

    #[test]
    fn rows_without_a_key_folded_in_shares_of_any_size_are_as_if_changed_one_by_one(
        acts in prop::collection::vec(act(), 0..60),
        limit in 0_usize..3_000,
    ) {
        folded_in_shares_as_one_by_one(ReplicaIdentity::Full, &acts, limit);
    }

    #[test]
    fn rows_with_a_key_folded_in_any_batches_are_as_if_changed_one_by_one(
        acts in prop::collection::vec(act(), 0..60),
        cuts in prop::collection::vec(prop::bool::weighted(0.2), 1..30),
    ) {
        folded_in_batches_as_one_by_one(ReplicaIdentity::Default, &acts, &cuts);
    }

    #[test]
    fn rows_without_a_key_folded_in_any_batches_are_as_if_changed_one_by_one(
        acts in prop::collection::vec(act(), 0..60),
        cuts in prop::collection::vec(prop::bool::weighted(0.2), 1..30),
    ) {
        folded_in_batches_as_one_by_one(ReplicaIdentity::Full, &acts, &cuts);
    }

    #[test]
    fn what_a_batch_takes_of_memory_is_known_whatever_came_and_went(acts in prop::collection::vec(act(), 0..60)) {
        let layout = layout(ReplicaIdentity::Default);
        let mut source = Source { identity: ReplicaIdentity::Default, guests: Vec::new(), changes: Vec::new() };
        acts.iter().for_each(|act| source.run(act));
        let mut net = NetChanges::default();
        for change in &source.changes {
            fold(&mut net, &layout, change, Lsn(1)).unwrap();
        }
        let bytes = net.bytes();
        let rows: usize = batch(net)
            .iter()
            .flat_map(|change| {
                let deletions = change.deletions.iter().map(|deletion| deletion.key.len());
                let updates = change.updates.iter().map(|update| update.row.len());
                deletions.chain(updates).chain(change.insertions.iter().map(|insertion| insertion.row.len()))
            })
            .sum();
        prop_assert!(rows <= bytes, "{rows} bytes of rows and {bytes} counted");
    }
}
