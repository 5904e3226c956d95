//! Descriptions of relations: the server sends each once per session, and every segment carries those that it needs.

use crate::StepError;
use bytes::Bytes;
use keepsake_archive::{ChangeKind, MessageHead, TableChanges};
use keepsake_domain::{FailureClass, TableName};
use std::collections::{BTreeMap, HashMap};

/// What the session has described, and what happened to it in this segment. As many as tables are published.
#[derive(Default)]
pub(crate) struct Relations {
    known: HashMap<u32, Relation>,
    /// Types that were named since the last relation: they are of the next one.
    types: Vec<Bytes>,
    /// Of relations that were described anew since.
    counted: Vec<TableChanges>,
}

struct Relation {
    /// Its types, then itself.
    messages: Vec<Bytes>,
    is_told: bool,
    counts: TableChanges,
}

impl Relations {
    /// Descriptions that this segment has not carried yet and that this message needs before it.
    pub(crate) fn missing(&mut self, head: &MessageHead, payload: &Bytes) -> Result<Vec<Bytes>, StepError> {
        let relations = match head {
            MessageHead::Change { relation, .. } => std::slice::from_ref(relation),
            MessageHead::Truncate { relations } => relations,
            _ => return Ok(Vec::new()),
        };
        let mut missing = Vec::new();
        for oid in relations {
            let relation = self.known.get_mut(oid).ok_or_else(|| not_described(*oid, payload))?;
            if !relation.is_told {
                relation.is_told = true;
                missing.extend(relation.messages.iter().cloned());
            }
        }
        Ok(missing)
    }

    /// Learns and counts.
    pub(crate) fn take(&mut self, head: &MessageHead, payload: &Bytes) {
        match head {
            MessageHead::Type => self.types.push(payload.clone()),
            MessageHead::Relation { oid, table } => self.described(*oid, table, payload),
            MessageHead::Change { kind, relation } => self.count(*relation, |counts| match kind {
                ChangeKind::Insert => counts.inserts += 1,
                ChangeKind::Update => counts.updates += 1,
                ChangeKind::Delete => counts.deletes += 1,
            }),
            MessageHead::Truncate { relations } => {
                relations.iter().for_each(|oid| self.count(*oid, |counts| counts.truncates += 1));
            }
            _ => {}
        }
    }

    fn described(&mut self, oid: u32, table: &TableName, payload: &Bytes) {
        // Of its own memory, or each would keep what it was received with.
        let own = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
        let mut messages: Vec<Bytes> = self.types.drain(..).map(|bytes| own(&bytes)).collect();
        messages.push(own(payload));
        let relation = Relation { messages, is_told: true, counts: no_changes(table.clone()) };
        let before = self.known.insert(oid, relation);
        self.counted.extend(before.map(|before| before.counts));
    }

    fn count(&mut self, oid: u32, add: impl FnOnce(&mut TableChanges)) {
        if let Some(relation) = self.known.get_mut(&oid) {
            add(&mut relation.counts);
        }
    }

    /// What happened in the segment that ends here, by table; the next one has carried no description yet.
    pub(crate) fn take_counts(&mut self) -> Vec<TableChanges> {
        let mut all = std::mem::take(&mut self.counted);
        for relation in self.known.values_mut() {
            relation.is_told = false;
            let none = no_changes(relation.counts.table.clone());
            all.push(std::mem::replace(&mut relation.counts, none));
        }
        let mut tables: BTreeMap<TableName, TableChanges> = BTreeMap::new();
        for one in all {
            let sum = tables.entry(one.table.clone()).or_insert_with(|| no_changes(one.table));
            sum.inserts += one.inserts;
            sum.updates += one.updates;
            sum.deletes += one.deletes;
            sum.truncates += one.truncates;
        }
        let is_changed = |one: &TableChanges| one.inserts + one.updates + one.deletes + one.truncates > 0;
        tables.into_values().filter(is_changed).collect()
    }
}

fn no_changes(table: TableName) -> TableChanges {
    TableChanges { table, inserts: 0, updates: 0, deletes: 0, truncates: 0 }
}

/// The protocol describes each relation before its first change; a restore could not read this one.
fn not_described(oid: u32, payload: &Bytes) -> StepError {
    StepError::found(
        FailureClass::Permanent,
        format!(
            "a change of {} bytes is of relation {oid}, which the server did not describe",
            payload.len()
        ),
        "this segment was not written; the source keeps its changes",
        "run keepsake capture again; report this if it repeats",
    )
}
