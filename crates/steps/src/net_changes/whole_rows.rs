//! Rows that nothing names but all of their values: how many of each come or go.

use super::{HashRange, Impossible, weight};
use crate::ports::{Deletion, Insertion};
use keepsake_archive::CopyRow;
use keepsake_domain::Lsn;
use std::collections::HashMap;

#[derive(Debug)]
pub(super) struct WholeRows {
    is_emptied: bool,
    counts: HashMap<CopyRow, Count>,
    bytes: usize,
}

#[derive(Debug)]
struct Count {
    /// More of this row, or fewer; never zero.
    rows: i64,
    /// The change that named it first.
    lsn: Lsn,
}

impl WholeRows {
    pub fn new(is_emptied: bool) -> Self {
        Self { is_emptied, counts: HashMap::new(), bytes: 0 }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn insert(&mut self, new: CopyRow, at: Lsn) -> Result<(), Impossible> {
        self.add(new, 1, at)
    }

    pub fn update(&mut self, old: CopyRow, new: &CopyRow, at: Lsn) -> Result<(), Impossible> {
        let new = new.over(&old);
        self.add(old, -1, at)?;
        self.add(new, 1, at)
    }

    pub fn delete(&mut self, old: CopyRow, at: Lsn) -> Result<(), Impossible> {
        self.add(old, -1, at)
    }

    /// Lets go what does not fall into the range.
    pub fn keep(&mut self, range: HashRange) {
        let mut gone = 0;
        self.counts.retain(|row, _| {
            let is_kept = range.has(row);
            gone += if is_kept { 0 } else { weight(row) };
            is_kept
        });
        self.bytes -= gone;
    }

    pub fn into_parts(self) -> (Vec<Deletion>, Vec<Insertion>) {
        let mut rows: Vec<(CopyRow, Count)> = self.counts.into_iter().collect();
        rows.sort_by_key(|(_, count)| count.lsn);
        let (mut deletions, mut insertions) = (Vec::new(), Vec::new());
        for (row, Count { rows, lsn }) in rows {
            let count = rows.unsigned_abs();
            if rows < 0 {
                deletions.push(Deletion { key: row, count, lsn });
            } else {
                insertions.push(Insertion { row, count });
            }
        }
        (deletions, insertions)
    }

    fn add(&mut self, row: CopyRow, rows: i64, at: Lsn) -> Result<(), Impossible> {
        if !row.is_whole() {
            return Err(Impossible::NotWhole);
        }
        let standing = self.counts.get(&row).map_or(0, |count| count.rows);
        let sum = standing + rows;
        if self.is_emptied && sum < 0 {
            return Err(Impossible::Missing);
        }
        if sum == 0 {
            self.bytes -= weight(&row);
            self.counts.remove(&row);
            return Ok(());
        }
        if standing == 0 {
            self.bytes += weight(&row);
            self.counts.insert(row, Count { rows: sum, lsn: at });
        } else if let Some(count) = self.counts.get_mut(&row) {
            count.rows = sum;
        }
        Ok(())
    }
}
