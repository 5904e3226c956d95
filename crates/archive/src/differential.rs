//! The bytes of a differential before compression and encryption: what all changes since a full backup come to, row by row.
//!
//! ```text
//! keepsake differential 1\n
//! kind (1 byte)  WAL position (8, big endian)  length (4, big endian)  that many bytes
//! ```
//!
//! Rows are lines of `COPY … (FORMAT text)` without their newline. Kind `t` begins a table: JSON of
//! [`DifferentialTable`]. Behind it come its rows: `d` is one that is deleted, how often, a tab, and its key (or all of it,
//! where the table has none); `u` one that changes and keeps values, its key, a tab, and the row with `\U` for what it keeps;
//! `i` one that is inserted, how often, a tab, and the row. In a table all `d` come before `u`, and these before `i`. `b` ends
//! a batch: what is applied together, and each key is in one batch only, but for tables whose rows exchange keys and keep
//! values. `s` and `z` are the end, as in a segment.

use crate::records::{RecordReader, begin, put};
use crate::{CopyRow, SegmentError};
use bytes::{Bytes, BytesMut};
use keepsake_domain::{Lsn, SequenceValue, TableName};
use serde::{Deserialize, Serialize};

/// The version that this code writes, and the only one that it reads.
pub const DIFFERENTIAL_VERSION: u32 = 1;

const WHAT: &str = "differential";

/// What a differential holds. JSON shape: these fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DifferentialEnd {
    /// Batches.
    pub batches: u64,
    /// Rows that are deleted, those whose place another takes among them.
    pub deletions: u64,
    /// Rows that change and keep some of their values.
    pub updates: u64,
    /// Rows that are inserted.
    pub insertions: u64,
}

/// A table whose rows follow. JSON shape: these fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferentialTable {
    /// The table.
    pub table: TableName,
    /// Its columns, in the order of the rows.
    pub columns: Vec<String>,
    /// Places of the columns that identify a row, counted from 0; none where only all columns together do.
    pub key: Vec<usize>,
    /// Whether the table is emptied before its rows follow.
    pub is_emptied: bool,
}

/// One record of a differential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DifferentialRecord {
    /// Rows of this table follow.
    Table(DifferentialTable),
    /// A row is deleted.
    Deletion {
        /// The first change that named it.
        lsn: Lsn,
        /// How often.
        count: u64,
        /// Its key, or all of it.
        key: CopyRow,
    },
    /// A row changes and keeps some values.
    Update {
        /// The first change that named it.
        lsn: Lsn,
        /// Its key before.
        key: CopyRow,
        /// The row, not whole.
        row: CopyRow,
    },
    /// A row is inserted.
    Insertion {
        /// How often.
        count: u64,
        /// The row.
        row: CopyRow,
    },
    /// What was answered since the batch before is applied together.
    EndOfBatch,
    /// Where the sequences stood at the differential's end.
    Sequences(Vec<SequenceValue>),
    /// Nothing follows.
    End(DifferentialEnd),
}

/// Writes a differential into a buffer that its caller hands on and empties.
#[derive(Debug)]
pub struct DifferentialWriter {
    counted: DifferentialEnd,
}

impl DifferentialWriter {
    /// Begins a differential.
    #[must_use]
    pub fn begin(into: &mut BytesMut) -> Self {
        begin(WHAT, DIFFERENTIAL_VERSION, into);
        Self { counted: DifferentialEnd::default() }
    }

    /// Rows of this table follow.
    ///
    /// # Errors
    /// Never in practice: it is plain data.
    pub fn table(&mut self, table: &DifferentialTable, into: &mut BytesMut) -> Result<(), serde_json::Error> {
        put(b't', Lsn(0), &serde_json::to_vec(table)?, into);
        Ok(())
    }

    /// A row is deleted.
    pub fn deletion(&mut self, lsn: Lsn, count: u64, key: &CopyRow, into: &mut BytesMut) {
        self.counted.deletions += count;
        put(b'd', lsn, &counted(count, key), into);
    }

    /// A row changes.
    pub fn update(&mut self, lsn: Lsn, key: &CopyRow, row: &CopyRow, into: &mut BytesMut) {
        self.counted.updates += 1;
        put(b'u', lsn, &[key.line(), b"\t", row.line()].concat(), into);
    }

    /// A row is inserted.
    pub fn insertion(&mut self, count: u64, row: &CopyRow, into: &mut BytesMut) {
        self.counted.insertions += count;
        put(b'i', Lsn(0), &counted(count, row), into);
    }

    /// Ends a batch.
    pub fn end_of_batch(&mut self, into: &mut BytesMut) {
        self.counted.batches += 1;
        put(b'b', Lsn(0), b"", into);
    }

    /// Ends the differential, with where the sequences stand. Answers what it holds.
    ///
    /// # Errors
    /// Never in practice: both are plain data.
    pub fn end(
        self,
        lsn: Lsn,
        sequences: &[SequenceValue],
        into: &mut BytesMut,
    ) -> Result<DifferentialEnd, serde_json::Error> {
        put(b's', lsn, &serde_json::to_vec(sequences)?, into);
        put(b'z', lsn, &serde_json::to_vec(&self.counted)?, into);
        Ok(self.counted)
    }
}

fn counted(count: u64, row: &CopyRow) -> Vec<u8> {
    [count.to_string().as_bytes(), b"\t", row.line()].concat()
}

/// Reads a differential from pieces of any size. Holds one record and the piece behind it.
#[derive(Debug)]
pub struct DifferentialDecoder {
    records: RecordReader,
    at: At,
    table: Option<DifferentialTable>,
    counted: DifferentialEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Behind the end of a batch, or before the first.
    Batches,
    InBatch,
    BehindSequences,
    End(DifferentialEnd),
}

impl DifferentialDecoder {
    /// Reads the differential that lies at `key`, which errors name.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        let records = RecordReader::new(WHAT, DIFFERENTIAL_VERSION, key.into());
        Self { records, at: At::Batches, table: None, counted: DifferentialEnd::default() }
    }

    /// The next bytes of the differential.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.records.feed(bytes);
    }

    /// The next record; `None` when more bytes are needed. What was answered before an error must not be used.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn next_record(&mut self) -> Result<Option<DifferentialRecord>, SegmentError> {
        if let At::End(_) = self.at {
            let is_drained = self.records.is_drained();
            return if is_drained { Ok(None) } else { Err(self.records.damaged("bytes follow its end")) };
        }
        let Some((kind, lsn, payload)) = self.records.next()? else { return Ok(None) };
        let record = self.record(kind, lsn, &payload);
        let record = record.ok_or_else(|| {
            self.records.damaged(format!("a record of kind {kind} that is damaged or in the wrong place"))
        })?;
        self.records.taken();
        Ok(Some(record))
    }

    /// Whether the differential was read to its end, and what it holds.
    ///
    /// # Errors
    /// [`SegmentError::Damaged`] when it was cut off.
    pub fn finish(mut self) -> Result<DifferentialEnd, SegmentError> {
        match (self.next_record()?, self.at) {
            (None, At::End(end)) => Ok(end),
            _ => Err(self.records.damaged("it was cut off before its end")),
        }
    }

    fn record(&mut self, kind: u8, lsn: Lsn, payload: &Bytes) -> Option<DifferentialRecord> {
        match (self.at, kind) {
            (At::Batches | At::InBatch, b't') => {
                let table: DifferentialTable = serde_json::from_slice(payload).ok()?;
                table.key.iter().all(|place| *place < table.columns.len()).then_some(())?;
                self.at = At::InBatch;
                self.table = Some(table.clone());
                Some(DifferentialRecord::Table(table))
            }
            (At::InBatch, b'd' | b'u' | b'i') => self.row(kind, lsn, payload),
            (At::InBatch, b'b') => {
                self.counted.batches += 1;
                (self.at, self.table) = (At::Batches, None);
                payload.is_empty().then_some(DifferentialRecord::EndOfBatch)
            }
            (At::Batches, b's') => {
                self.at = At::BehindSequences;
                serde_json::from_slice(payload).ok().map(DifferentialRecord::Sequences)
            }
            (At::BehindSequences, b'z') => {
                let end: DifferentialEnd = serde_json::from_slice(payload).ok()?;
                self.at = At::End(end);
                (end == self.counted).then_some(DifferentialRecord::End(end))
            }
            _ => None,
        }
    }

    fn row(&mut self, kind: u8, lsn: Lsn, payload: &[u8]) -> Option<DifferentialRecord> {
        let table = self.table.as_ref()?;
        let columns = table.columns.len();
        let named = if table.key.is_empty() { columns } else { table.key.len() };
        if kind == b'u' {
            let (key, row) = CopyRow::of_line(payload).parted(table.key.len())?;
            self.counted.updates += 1;
            return (row.has_columns(columns) && key.is_whole() && !table.key.is_empty())
                .then_some(DifferentialRecord::Update { lsn, key, row });
        }
        let tab = payload.iter().position(|byte| *byte == b'\t')?;
        let count: u64 =
            std::str::from_utf8(&payload[..tab]).ok()?.parse().ok().filter(|count| *count > 0)?;
        let row = CopyRow::of_line(&payload[tab + 1..]);
        row.is_whole().then_some(())?;
        let total = if kind == b'd' { &mut self.counted.deletions } else { &mut self.counted.insertions };
        *total = total.checked_add(count)?;
        match kind {
            b'd' => row.has_columns(named).then_some(DifferentialRecord::Deletion { lsn, count, key: row }),
            _ => row.has_columns(columns).then_some(DifferentialRecord::Insertion { count, row }),
        }
    }
}

#[cfg(test)]
#[path = "differential_tests.rs"]
pub(crate) mod tests;
