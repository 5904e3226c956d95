//! Which changes a gathering takes, where all of them would not fit into memory: rows are parted by a hash of their keys,
//! and the segments are read once for each part.
//!
//! A row's whole history lies in one part, so each part can be folded by itself. Two things reach across parts: a table that
//! is emptied, and a row that moves to another key and keeps values that the stream does not carry. A first reading
//! finds them: of a table nothing counts before it was emptied for the last time, and tables with such moves are not
//! parted.

use crate::row_layout::RowLayout;
use keepsake_archive::CopyRow;
use keepsake_domain::TableName;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// What a first reading found of each table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Survey(BTreeMap<TableName, Surveyed>);

#[derive(Debug, Clone, Default)]
struct Surveyed {
    key: Option<Vec<usize>>,
    is_joined: bool,
    truncates: u64,
}

impl Survey {
    /// Whether some table cannot be parted.
    pub fn has_joined(&self) -> bool {
        self.0.values().any(|table| table.is_joined)
    }

    fn is_joined(&self, table: &TableName) -> bool {
        self.0.get(table).is_some_and(|table| table.is_joined)
    }

    fn truncates(&self, table: &TableName) -> u64 {
        self.0.get(table).map_or(0, |table| table.truncates)
    }

    fn note(&mut self, layout: &RowLayout) -> &mut Surveyed {
        let table = self.0.entry(TableName::clone(layout.table())).or_default();
        let key = table.key.get_or_insert_with(|| layout.key().to_vec());
        // Rows are named in two ways: by which, the order tells.
        table.is_joined |= key.as_slice() != layout.key();
        table
    }
}

/// A range of hashes, both ends in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HashRange {
    pub from: u64,
    pub to: u64,
}

impl HashRange {
    pub fn from(from: u64) -> Self {
        Self { from, to: u64::MAX }
    }

    pub fn has(self, row: &CopyRow) -> bool {
        (self.from..=self.to).contains(&hash(row))
    }

    /// The lower half; the same where it has one hash only.
    pub fn half(self) -> Self {
        Self { to: self.from + (self.to - self.from) / 2, ..self }
    }

    /// Which of so many equal pieces of the range a row falls into.
    pub fn piece(self, row: &CopyRow, pieces: usize) -> usize {
        let (at, span) = (hash(row).saturating_sub(self.from), u128::from(self.to - self.from) + 1);
        let piece = u128::from(at) * pieces as u128 / span;
        usize::try_from(piece).unwrap_or(pieces).min(pieces - 1)
    }
}

/// The same in each reading of one process, which is all that counts.
fn hash(row: &CopyRow) -> u64 {
    let mut hasher = DefaultHasher::new();
    row.line().hash(&mut hasher);
    hasher.finish()
}

/// Which changes are gathered.
#[derive(Debug, Clone, Default)]
pub(crate) enum Share {
    /// All.
    #[default]
    All,
    /// None: what has to be known first.
    Survey(Survey),
    /// Those of tables that are not parted.
    Joined(Parting),
    /// Those of the other tables, of rows whose keys fall into the range. It shrinks when more than so many bytes were
    /// gathered, so that the rest is left to a later reading.
    Keys(Parting, HashRange, usize),
}

/// What was found, and how far the reading is.
#[derive(Debug, Clone)]
pub(crate) struct Parting {
    survey: Arc<Survey>,
    /// How often tables were emptied until now.
    emptied: BTreeMap<TableName, u64>,
}

/// Which rows of an update are gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Both,
    Before,
    After,
    Neither,
}

impl Parting {
    pub fn of(survey: &Arc<Survey>) -> Self {
        Self { survey: Arc::clone(survey), emptied: BTreeMap::new() }
    }

    fn is_behind_last_truncate(&self, table: &TableName) -> bool {
        self.emptied.get(table).copied().unwrap_or_default() >= self.survey.truncates(table)
    }
}

impl Share {
    /// Whether a row is gathered, named by its key or by all of it.
    pub(super) fn takes(&mut self, layout: &RowLayout, row: &CopyRow) -> bool {
        self.takes_update(layout, row, row) == Takes::Both
    }

    /// `before` and `after` are rows of which the key is known.
    pub(super) fn takes_update(&mut self, layout: &RowLayout, before: &CopyRow, after: &CopyRow) -> Takes {
        let (parting, range) = match self {
            Self::All => return Takes::Both,
            Self::Survey(survey) => {
                let moves = named(layout, before) != named(layout, after) && !after.is_whole();
                survey.note(layout).is_joined |= moves;
                return Takes::Neither;
            }
            Self::Joined(parting) => (&*parting, None),
            Self::Keys(parting, range, _) => (&*parting, Some(*range)),
        };
        let table = layout.table();
        if parting.survey.is_joined(table) != range.is_none() || !parting.is_behind_last_truncate(table) {
            return Takes::Neither;
        }
        let has = |row| range.is_none_or(|range| range.has(&named(layout, row)));
        match (has(before), has(after)) {
            (true, true) => Takes::Both,
            (true, false) => Takes::Before,
            (false, true) => Takes::After,
            (false, false) => Takes::Neither,
        }
    }

    /// Whether a table is emptied in what is gathered: by the last time only.
    pub(super) fn takes_truncate(&mut self, layout: &RowLayout) -> bool {
        let (parting, is_parted) = match self {
            Self::All => return true,
            Self::Survey(survey) => {
                survey.note(layout).truncates += 1;
                return false;
            }
            Self::Joined(parting) => (parting, false),
            Self::Keys(parting, ..) => (parting, true),
        };
        *parting.emptied.entry(TableName::clone(layout.table())).or_default() += 1;
        parting.survey.is_joined(layout.table()) != is_parted
            && parting.is_behind_last_truncate(layout.table())
    }
}

/// What names a row.
fn named(layout: &RowLayout, row: &CopyRow) -> CopyRow {
    if layout.key().is_empty() { row.clone() } else { row.at(layout.key()) }
}

/// The row that an update leaves, with what names it: a large value of the key that did not change stands in the old key.
pub(super) fn after(layout: &RowLayout, before: Option<&CopyRow>, new: &CopyRow) -> CopyRow {
    match before {
        None => new.clone(),
        Some(before) if layout.key().is_empty() => new.over(before),
        Some(before) => new.over_at(layout.key(), before),
    }
}
