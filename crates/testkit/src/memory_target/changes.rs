//! Changes on the twin: each batch as a whole or not at all, as the real target applies it.

use super::{MemoryTarget, PLACE, refused};
use crate::memory_source::{MemoryDatabase, MemoryTable};
use async_trait::async_trait;
use keepsake_archive::{CopyRow, CopyText, RowsHasher};
use keepsake_domain::{Lsn, TableName};
use keepsake_steps::ports::{
    AppliedChanges, ChangeApplier, ChangeBatch, ChangePosition, ChangeTarget, ChangedTable, NumberInUse,
    SchemaSection, TableChange, TargetError,
};

#[async_trait]
impl ChangeTarget for MemoryTarget {
    async fn change_applier(&self) -> Result<Box<dyn ChangeApplier>, TargetError> {
        let state = self.lock();
        if !state.changes.has_ended && state.sections.contains(&SchemaSection::PostData) {
            return Err(elsewhere(&state.changes, ChangePosition::default()));
        }
        Ok(Box::new(Applier { target: self.clone() }))
    }

    async fn end_changes(&self, _as_of_backup: &[TableName]) -> Result<(), TargetError> {
        // The twin makes no indexes, and its keys bind nothing.
        self.lock().changes.has_ended = true;
        Ok(())
    }

    async fn numbers_in_use(&self) -> Result<Vec<NumberInUse>, TargetError> {
        // Its sequences belong to no column.
        Ok(Vec::new())
    }
}

struct Applier {
    target: MemoryTarget,
}

#[async_trait]
impl ChangeApplier for Applier {
    async fn applied(&mut self) -> Result<AppliedChanges, TargetError> {
        Ok(self.target.lock().changes.clone())
    }

    async fn apply(&mut self, batch: &ChangeBatch) -> Result<(), TargetError> {
        let mut state = self.target.lock();
        if state.changes.position >= batch.to {
            return Ok(());
        }
        if state.changes.has_ended || state.changes.position != batch.from {
            return Err(elsewhere(&state.changes, batch.from));
        }
        let (mut database, mut changes) = (state.database.clone(), state.changes.clone());
        for change in &batch.tables {
            change_table(&mut database, &mut changes, change)?;
        }
        changes.position = batch.to;
        (state.database, state.changes) = (database, changes);
        Ok(())
    }
}

fn elsewhere(standing: &AppliedChanges, wanted: ChangePosition) -> TargetError {
    let (stands, wanted) = (format!("{:?}", standing.position), format!("{wanted:?}"));
    TargetError::ChangesElsewhere { place: PLACE.to_owned(), stands, wanted }
}

fn change_table(
    database: &mut MemoryDatabase,
    changes: &mut AppliedChanges,
    change: &TableChange,
) -> Result<(), TargetError> {
    let table = database.tables.iter_mut().find(|table| table.table == change.table);
    let table = table.filter(|table| table.columns == change.columns);
    let table = table.ok_or_else(|| refused("apply changes", false))?;
    let sums = sums_of(changes, &change.table);
    if change.is_emptied {
        table.rows.clear();
        sums.is_emptied = true;
        (sums.deleted, sums.inserted) = (CopyText::default(), CopyText::default());
    }
    let mut gone = Vec::new();
    for deletion in &change.deletions {
        gone.extend(found(table, change, &deletion.key, deletion.count, deletion.lsn)?);
    }
    gone.sort_unstable();
    gone.iter().rev().for_each(|place| add(&mut sums.deleted, &table.rows.remove(*place)));
    // All of them are looked for before one is changed: keys may wander from row to row.
    let mut updated = Vec::new();
    for update in &change.updates {
        for place in found(table, change, &update.key, 1, update.lsn)? {
            updated.push((place, text(&update.row.over(&row(&table.rows[place])))));
        }
    }
    for (place, after) in updated {
        add(&mut sums.inserted, &after);
        add(&mut sums.deleted, &std::mem::replace(&mut table.rows[place], after));
    }
    for insertion in &change.insertions {
        for _ in 0..insertion.count {
            add(&mut sums.inserted, &text(&insertion.row));
            table.rows.push(text(&insertion.row));
        }
    }
    Ok(())
}

/// Places of the rows that a change names: exactly so many by a key, at least so many without one.
fn found(
    table: &MemoryTable,
    change: &TableChange,
    key: &CopyRow,
    wanted: u64,
    lsn: Lsn,
) -> Result<Vec<usize>, TargetError> {
    let is_whole = change.key.is_empty();
    let is_named = |line: &&String| {
        let row = row(line);
        *key == if is_whole { row } else { row.at(&change.key) }
    };
    let mut places: Vec<usize> =
        table.rows.iter().enumerate().filter(|(_, line)| is_named(line)).map(|(place, _)| place).collect();
    if is_whole {
        places.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
    }
    if places.len() as u64 == wanted {
        return Ok(places);
    }
    let (place, table, key) =
        (PLACE.to_owned(), change.table.to_string(), format!("{:?}", change.key_columns()));
    Err(TargetError::RowsDiffer { place, table, key, lsn, found: places.len() as u64, wanted })
}

fn row(line: &str) -> CopyRow {
    CopyRow::of_line(line.as_bytes())
}

fn text(row: &CopyRow) -> String {
    String::from_utf8_lossy(row.line()).into_owned()
}

fn add(sum: &mut CopyText, line: &str) {
    let mut hasher = RowsHasher::new();
    hasher.update(line.as_bytes());
    hasher.update(b"\n");
    let one = hasher.finish().expect("a line with its newline");
    sum.rows += one.rows;
    sum.raw_bytes += one.raw_bytes;
    sum.rows_digest += one.rows_digest;
}

fn sums_of<'a>(changes: &'a mut AppliedChanges, table: &TableName) -> &'a mut ChangedTable {
    let place = changes.tables.binary_search_by(|one| one.table.cmp(table)).unwrap_or_else(|place| {
        let none = CopyText::default();
        let fresh = ChangedTable { table: table.clone(), is_emptied: false, deleted: none, inserted: none };
        changes.tables.insert(place, fresh);
        place
    });
    &mut changes.tables[place]
}
