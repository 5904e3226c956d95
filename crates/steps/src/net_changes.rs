//! The fold: many changes of a row become the one that they come to. Pure.
//!
//! Row by row only two things count: whether the target holds it, and what it is in the end. An update is a deletion and
//! an insertion, but where it leaves large values unchanged that the stream does not carry: then it stays an update of
//! the row that the target holds, until a later change brings the values.

mod keyed;
mod share;
#[cfg(test)]
mod tests;
mod whole_rows;

use crate::StepError;
use crate::ports::{ChangeBatch, ChangePosition, TableChange};
use crate::row_layout::RowLayout;
use keepsake_archive::CopyRow;
use keepsake_archive::pgoutput::{Old, Tuple};
use keepsake_domain::{FailureClass, Lsn, TableName};
use keyed::KeyedRows;
pub(crate) use share::{HashRange, Parting, Share, Survey};
use share::{Takes, after};
use std::collections::BTreeMap;
use std::sync::Arc;
use whole_rows::WholeRows;

/// What a row costs beside its bytes: its place in a table of hashes, twice, with what is known of it.
const ROW_OVERHEAD_BYTES: usize = 200;

/// The net changes of a batch that is being gathered.
#[derive(Debug, Default)]
pub(crate) struct NetChanges {
    tables: BTreeMap<Arc<TableName>, NetTable>,
    share: Share,
    /// Of all tables; asked for behind each change.
    bytes: usize,
}

#[derive(Debug)]
struct NetTable {
    columns: Vec<String>,
    key: Vec<usize>,
    is_emptied: bool,
    rows: Rows,
}

#[derive(Debug)]
enum Rows {
    /// Each is named by its key.
    Keyed(KeyedRows),
    /// Each is named by all that it is.
    Whole(WholeRows),
}

/// Why a change cannot follow those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Impossible {
    Missing,
    Doubled,
    NotWhole,
    NotNamed,
}

impl NetChanges {
    /// Gathers a share of the changes.
    pub fn of(share: Share) -> Self {
        Self { share, ..Self::default() }
    }

    /// Which changes are gathered, and how much of its range was kept.
    pub fn share(&self) -> &Share {
        &self.share
    }

    /// What was gathered; the same share goes on behind it.
    pub fn take(&mut self) -> Self {
        let next = Self::of(self.share.clone());
        std::mem::replace(self, next)
    }

    /// Bytes of memory that the batch takes, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether changes of this layout can join. Those of a table whose replica identity was altered cannot: what was
    /// gathered before has to be applied first.
    pub fn takes(&self, layout: &RowLayout) -> bool {
        self.tables.get(layout.table()).is_none_or(|table| table.key == layout.key())
    }

    /// A row is inserted.
    pub fn insert(&mut self, layout: &RowLayout, new: &Tuple, at: Lsn) -> Result<(), StepError> {
        let new = layout.row(new)?;
        if !self.share.takes(layout, &new) {
            return Ok(());
        }
        self.inserted(layout, new, at)
    }

    fn inserted(&mut self, layout: &RowLayout, new: CopyRow, at: Lsn) -> Result<(), StepError> {
        self.change(layout, at, |rows| match rows {
            Rows::Keyed(rows) => rows.insert(new, at),
            Rows::Whole(rows) => rows.insert(new, at),
        })
    }

    /// A row is changed.
    pub fn update(
        &mut self,
        layout: &RowLayout,
        old: Option<&Old>,
        new: &Tuple,
        at: Lsn,
    ) -> Result<(), StepError> {
        let new = layout.row(new)?;
        let before = old.map(|old| layout.row(cells(old))).transpose()?;
        if !matches!(self.share, Share::All) {
            let after = after(layout, before.as_ref(), &new);
            match (self.share.takes_update(layout, before.as_ref().unwrap_or(&after), &after), &before) {
                (Takes::Both, _) => {}
                (Takes::After, _) => return self.inserted(layout, after, at),
                (Takes::Before, Some(before)) => return self.deleted(layout, old, before.clone(), at),
                (Takes::Before | Takes::Neither, _) => return Ok(()),
            }
        }
        self.change(layout, at, |rows| match (rows, before, old) {
            (Rows::Keyed(rows), before, _) => rows.update(before, new, at),
            (Rows::Whole(rows), Some(before), Some(Old::Full(_))) => rows.update(before, &new, at),
            (Rows::Whole(_), ..) => Err(Impossible::NotNamed),
        })
    }

    /// A row is deleted.
    pub fn delete(&mut self, layout: &RowLayout, old: &Old, at: Lsn) -> Result<(), StepError> {
        let row = layout.row(cells(old))?;
        if !self.share.takes(layout, &row) {
            return Ok(());
        }
        self.deleted(layout, Some(old), row, at)
    }

    fn deleted(
        &mut self,
        layout: &RowLayout,
        old: Option<&Old>,
        row: CopyRow,
        at: Lsn,
    ) -> Result<(), StepError> {
        self.change(layout, at, |rows| match (rows, old) {
            (Rows::Keyed(rows), _) => rows.delete(&row, at),
            (Rows::Whole(rows), Some(Old::Full(_))) => rows.delete(row, at),
            (Rows::Whole(_), _) => Err(Impossible::NotNamed),
        })
    }

    fn change(
        &mut self,
        layout: &RowLayout,
        at: Lsn,
        change: impl FnOnce(&mut Rows) -> Result<(), Impossible>,
    ) -> Result<(), StepError> {
        let rows = &mut self.table(layout).rows;
        let before = rows.bytes();
        let changed = change(rows);
        let after = rows.bytes();
        self.bytes = self.bytes - before + after;
        changed.map_err(|why| cannot_follow(layout, why, at))?;
        self.keep_within_limit();
        Ok(())
    }

    /// A share that takes too much of memory lets the upper half of its range go, which a later reading gathers.
    fn keep_within_limit(&mut self) {
        let Share::Keys(_, range, limit) = self.share else { return };
        let mut range = range;
        // Ends: a range of 2^64 is halved 64 times at most.
        while self.bytes > limit && range.from < range.to {
            range = range.half();
            for table in self.tables.values_mut() {
                match &mut table.rows {
                    Rows::Keyed(rows) => rows.keep(range),
                    Rows::Whole(rows) => rows.keep(range),
                }
            }
            self.bytes = self.tables.values().map(|table| table.rows.bytes()).sum();
        }
        if let Share::Keys(_, kept, _) = &mut self.share {
            *kept = range;
        }
    }

    /// A table is emptied.
    pub fn truncate(&mut self, layout: &RowLayout) {
        if !self.share.takes_truncate(layout) {
            return;
        }
        let table = self.table(layout);
        table.is_emptied = true;
        table.key = layout.key().to_vec();
        let gone = std::mem::replace(&mut table.rows, Rows::of(layout.key(), true)).bytes();
        self.bytes -= gone;
    }

    /// The batch that it comes to.
    pub fn into_batch(self, from: ChangePosition, to: ChangePosition) -> ChangeBatch {
        ChangeBatch {
            from,
            to,
            tables: self
                .tables
                .into_iter()
                .map(|(table, net)| net.into_change(TableName::clone(&table)))
                .collect(),
        }
    }

    fn table(&mut self, layout: &RowLayout) -> &mut NetTable {
        self.tables.entry(Arc::clone(layout.table())).or_insert_with(|| NetTable {
            columns: layout.columns().to_vec(),
            key: layout.key().to_vec(),
            is_emptied: false,
            rows: Rows::of(layout.key(), false),
        })
    }
}

impl Rows {
    fn of(key: &[usize], is_emptied: bool) -> Self {
        if key.is_empty() {
            Self::Whole(WholeRows::new(is_emptied))
        } else {
            Self::Keyed(KeyedRows::new(key.to_vec(), is_emptied))
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Keyed(rows) => rows.bytes(),
            Self::Whole(rows) => rows.bytes(),
        }
    }
}

impl NetTable {
    fn into_change(self, table: TableName) -> TableChange {
        let (deletions, updates, insertions) = match self.rows {
            Rows::Keyed(rows) => rows.into_parts(),
            Rows::Whole(rows) => {
                let (deletions, insertions) = rows.into_parts();
                (deletions, Vec::new(), insertions)
            }
        };
        TableChange {
            table,
            columns: self.columns,
            key: self.key,
            is_emptied: self.is_emptied,
            deletions,
            updates,
            insertions,
        }
    }
}

fn cells(old: &Old) -> &Tuple {
    match old {
        Old::Key(cells) | Old::Full(cells) => cells,
    }
}

fn weight(row: &CopyRow) -> usize {
    row.len() + ROW_OVERHEAD_BYTES
}

/// Names table, key columns and position, and no value: those are rows.
fn cannot_follow(layout: &RowLayout, why: Impossible, at: Lsn) -> StepError {
    let why = match why {
        Impossible::Missing => "names a row that changes before it deleted",
        Impossible::Doubled => "inserts a row whose key is there",
        Impossible::NotWhole => "leaves a value unchanged that identifies the row",
        Impossible::NotNamed => "does not say which row it changes",
    };
    StepError::found(
        FailureClass::Integrity,
        format!("the change at {at} of table {} ({}) {why}", layout.table(), layout.key_names()),
        "the backup is untouched; the target is not a complete restore",
        "restore to a point before this position, and keep the segments: they are not what the source wrote",
    )
}
