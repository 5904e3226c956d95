#![allow(clippy::unwrap_used, clippy::panic)]

mod any_history;
mod history;

use super::*;
use history::{Change, Guest, guest, layout};
use keepsake_archive::pgoutput::ReplicaIdentity;
use keepsake_domain::Classified;

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
