#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::row_layout::Destinations;
use bytes::Bytes;
use keepsake_archive::pgoutput::{Cell, Relation, RelationColumn, ReplicaIdentity};
use keepsake_archive::{CopyText, Part, StoredObject};
use keepsake_domain::Classified;
use proptest::prelude::*;

/// Columns as they stand in the table; the stream sends them in another order.
const COLUMNS: [&str; 3] = ["name", "id", "photo"];

fn layout(identity: ReplicaIdentity) -> RowLayout {
    let table = TableName { schema: "public".to_owned(), name: "guests".to_owned() };
    let object = StoredObject { key: String::new(), stored_bytes: 0, sha256: String::new(), crc32: 0 };
    let part = Part {
        number: 1,
        table,
        columns: COLUMNS.map(str::to_owned).to_vec(),
        range: None,
        filter: String::new(),
        root: None,
        content: CopyText::default(),
        object,
    };
    let column = |name: &str| RelationColumn {
        name: name.to_owned(),
        is_key: name == "id" || identity == ReplicaIdentity::Full,
        type_oid: 25,
        type_modifier: -1,
    };
    let relation = Relation {
        oid: 1,
        schema: "public".to_owned(),
        name: "guests".to_owned(),
        identity,
        columns: ["id", "photo", "name"].map(column).to_vec(),
    };
    Destinations::of(&[part]).layout(&relation).unwrap()
}

fn text(text: &str) -> Cell {
    Cell::Text(Bytes::copy_from_slice(text.as_bytes()))
}

/// A guest, in the stream's order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Guest {
    id: u8,
    photo: Option<u8>,
    name: u8,
}

impl Guest {
    fn tuple(&self) -> Tuple {
        let photo = self.photo.map_or(Cell::Null, |photo| text(&format!("photo {photo}")));
        vec![text(&self.id.to_string()), photo, text(&format!("name\t{}", self.name))]
    }

    /// As an update sends it that left the photo as it was.
    fn tuple_without_photo(&self) -> Tuple {
        let mut tuple = self.tuple();
        tuple[1] = Cell::Unchanged;
        tuple
    }

    fn old_key(&self) -> Old {
        Old::Key(vec![text(&self.id.to_string()), Cell::Null, Cell::Null])
    }

    fn row(&self) -> CopyRow {
        let tuple = self.tuple();
        CopyRow::of([&tuple[2], &tuple[0], &tuple[1]])
    }
}

/// What a history does next, whatever stands: numbers choose among the rows that are there.
#[derive(Debug, Clone)]
enum Act {
    Insert(Guest),
    Update {
        which: usize,
        id: Option<u8>,
        photo: Option<Option<u8>>,
        name: u8,
    },
    Delete {
        which: usize,
    },
    Truncate,
    /// Two rows take each other's key by way of a third, as a transaction does it.
    Swap {
        which: usize,
        with: usize,
    },
}

fn act() -> impl Strategy<Value = Act> {
    // Few keys and values, so that histories meet themselves again.
    let id = 0u8..6;
    let photo = prop::option::of(0u8..3);
    let guest = (id.clone(), photo.clone(), 0u8..3).prop_map(|(id, photo, name)| Guest { id, photo, name });
    prop_oneof![
        6 => guest.prop_map(Act::Insert),
        8 => (any::<usize>(), prop::option::of(id), prop::option::of(photo), 0u8..3)
            .prop_map(|(which, id, photo, name)| Act::Update { which, id, photo, name }),
        4 => any::<usize>().prop_map(|which| Act::Delete { which }),
        1 => Just(Act::Truncate),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(which, with)| Act::Swap { which, with }),
    ]
}

/// One change, as the stream carries it.
#[derive(Debug, Clone)]
enum Change {
    Insert(Tuple),
    Update(Option<Old>, Tuple),
    Delete(Old),
    Truncate,
}

/// A source: it does what can be done, and tells each change as Postgres does.
struct Source {
    identity: ReplicaIdentity,
    guests: Vec<Guest>,
    changes: Vec<Change>,
}

impl Source {
    fn has(&self, id: u8) -> bool {
        self.identity != ReplicaIdentity::Full && self.guests.iter().any(|guest| guest.id == id)
    }

    fn old(&self, guest: &Guest) -> Old {
        if self.identity == ReplicaIdentity::Full { Old::Full(guest.tuple()) } else { guest.old_key() }
    }

    fn change(&mut self, which: usize, to: Guest) {
        let before = std::mem::replace(&mut self.guests[which], to.clone());
        let names_old = self.identity == ReplicaIdentity::Full || before.id != to.id;
        // A value that is there and stays is not sent; NULL always is.
        let keeps = to.photo.is_some() && to.photo == before.photo;
        let new = if keeps { to.tuple_without_photo() } else { to.tuple() };
        self.changes.push(Change::Update(names_old.then(|| self.old(&before)), new));
    }

    fn run(&mut self, act: &Act) {
        let count = self.guests.len();
        match act {
            Act::Insert(guest) if !self.has(guest.id) => {
                self.guests.push(guest.clone());
                self.changes.push(Change::Insert(guest.tuple()));
            }
            Act::Update { which, id, photo, name } if count > 0 => {
                let before = self.guests[which % count].clone();
                let id = id.filter(|id| !self.has(*id)).unwrap_or(before.id);
                let to = Guest { id, photo: photo.unwrap_or(before.photo), name: *name };
                self.change(which % count, to);
            }
            Act::Delete { which } if count > 0 => {
                let gone = self.guests.swap_remove(which % count);
                self.changes.push(Change::Delete(self.old(&gone)));
            }
            Act::Truncate => {
                self.guests.clear();
                self.changes.push(Change::Truncate);
            }
            Act::Swap { which, with } if count > 1 && which % count != with % count => {
                let (one, two) = (which % count, with % count);
                let (id, other) = (self.guests[one].id, self.guests[two].id);
                let rename = |guest: &Guest, id| Guest { id, ..guest.clone() };
                self.change(one, rename(&self.guests[one], 99));
                self.change(two, rename(&self.guests[two], id));
                self.change(one, rename(&self.guests[one], other));
            }
            _ => {}
        }
    }
}

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

fn fold(net: &mut NetChanges, layout: &RowLayout, change: &Change, at: Lsn) -> Result<(), StepError> {
    match change {
        Change::Insert(new) => net.insert(layout, new, at),
        Change::Update(old, new) => net.update(layout, old.as_ref(), new, at),
        Change::Delete(old) => net.delete(layout, old, at),
        Change::Truncate => {
            net.truncate(layout);
            Ok(())
        }
    }
}

fn batch(net: NetChanges) -> Vec<TableChange> {
    net.into_batch(ChangePosition::default(), ChangePosition::default()).tables
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

fn guest(id: u8, photo: u8, name: u8) -> Guest {
    Guest { id, photo: Some(photo), name }
}

#[test]
fn a_row_that_comes_and_goes_within_a_batch_leaves_nothing_of_it() {
    let layout = layout(ReplicaIdentity::Default);
    let mut net = NetChanges::default();
    net.insert(&layout, &guest(1, 1, 1).tuple(), Lsn(1)).unwrap();
    net.update(&layout, None, &guest(1, 1, 2).tuple_without_photo(), Lsn(2)).unwrap();
    net.delete(&layout, &guest(1, 1, 2).old_key(), Lsn(3)).unwrap();
    assert_eq!(net.bytes(), 0);
    let [change] = batch(net).try_into().unwrap();
    assert_eq!((change.deletions.len(), change.updates.len(), change.insertions.len()), (0, 0, 0));
}

#[test]
fn a_large_value_that_stays_is_kept_in_the_target_also_when_its_row_gets_another_key() {
    let layout = layout(ReplicaIdentity::Default);
    let mut net = NetChanges::default();
    net.update(&layout, None, &guest(1, 1, 2).tuple_without_photo(), Lsn(1)).unwrap();
    net.update(&layout, Some(&guest(1, 1, 2).old_key()), &guest(7, 1, 2).tuple_without_photo(), Lsn(2))
        .unwrap();
    net.insert(&layout, &guest(1, 5, 5).tuple(), Lsn(3)).unwrap();
    let [change] = batch(net).try_into().unwrap();
    assert_eq!(change.deletions, []);
    assert_eq!(change.updates[0].key.line(), b"1");
    assert_eq!(change.updates[0].row.line(), b"name\\t2\t7\t\\U");
    assert_eq!(change.insertions[0].row, guest(1, 5, 5).row());
}

#[test]
fn a_history_that_cannot_be_is_refused_with_table_key_and_position_and_without_values() {
    let layout = layout(ReplicaIdentity::Default);
    let row = guest(1, 1, 1);
    let secret = Guest { id: 77, ..row.clone() };
    let doubled = |net: &mut NetChanges| net.insert(&layout, &secret.tuple(), Lsn(0x10));
    let missing = |net: &mut NetChanges| net.delete(&layout, &secret.old_key(), Lsn(0x10));
    for (act, twice) in [
        (&doubled as &dyn Fn(&mut NetChanges) -> Result<(), StepError>, "inserts a row whose key is there"),
        (&missing, "names a row that changes before it deleted"),
    ] {
        let mut net = NetChanges::default();
        act(&mut net).unwrap();
        let refused = act(&mut net).unwrap_err();
        assert_eq!(refused.class(), FailureClass::Integrity);
        assert_eq!(
            refused.to_string(),
            format!("the change at 0/10 of table public.guests (key id) {twice}")
        );
    }
    let mut emptied = NetChanges::default();
    emptied.truncate(&layout);
    assert!(emptied.delete(&layout, &row.old_key(), Lsn(1)).is_err());
}

#[test]
fn a_table_whose_replica_identity_was_altered_begins_another_batch() {
    let (keyed, whole) = (layout(ReplicaIdentity::Default), layout(ReplicaIdentity::Full));
    let mut net = NetChanges::default();
    assert!(net.takes(&keyed) && net.takes(&whole));
    net.insert(&keyed, &guest(1, 1, 1).tuple(), Lsn(1)).unwrap();
    assert!(net.takes(&keyed) && !net.takes(&whole));
}
