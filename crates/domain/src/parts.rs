//! How a database is cut into parts, and parts into batches for workers.

use crate::{TableName, TableShape};
use serde::{Deserialize, Serialize};

/// Blocks of a table's main fork, for one part of a large table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRange {
    /// First block, included.
    pub from: u32,
    /// First block that is not included; `None` on the last range, which is open so that rows in blocks added
    /// since the plan are read too.
    pub to: Option<u32>,
}

/// One part: the rows of one table, or of one block range of a large table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartPlan {
    /// Number within the backup, from 1.
    pub number: u32,
    /// The table.
    pub table: TableName,
    /// Columns in `COPY` order.
    pub columns: Vec<String>,
    /// `None` for the whole table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<BlockRange>,
    /// Row filter of an extension's configuration table; empty means all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filter: String,
    /// Of a partition whose rows another server may put into another partition of the same table: that table. Its
    /// rows are loaded and compared there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<TableName>,
    /// Share of the table's bytes on the source's disk; an estimate, for even batches and for progress.
    pub size_bytes: u64,
}

impl PartPlan {
    /// The table that its rows are loaded into, and compared in.
    #[must_use]
    pub fn destination(&self) -> &TableName {
        self.root.as_ref().unwrap_or(&self.table)
    }
}

/// The parts that one worker invocation uploads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Number within the backup, from 1.
    pub number: u32,
    /// Its parts.
    pub parts: Vec<PartPlan>,
}

/// A batch is closed before its parts are longer than this as JSON: an item of a Distributed Map must stay under 256 KiB
/// with the run beside it, which a hundred tables with hundreds of columns do not. One part alone always fits: 1,600
/// names of 63 bytes are 106 KB.
const BATCH_JSON_BYTES: usize = 150 << 10;

/// How finely to cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutLimits {
    /// A table with more bytes than this is cut into block ranges of about this size.
    pub part_bytes: u64,
    /// A batch is closed when it holds this many bytes.
    pub batch_bytes: u64,
    /// A batch holds at most this many parts, and fewer of wide tables: its JSON stays under 150 KiB.
    pub batch_parts: usize,
}

impl Default for CutLimits {
    /// Parts of 256 MiB take a worker about 2 to 10 seconds; batches of 4 GiB stay under 2 minutes at 50 MB/s,
    /// far from the 15 minutes of a function.
    fn default() -> Self {
        Self { part_bytes: 256 << 20, batch_bytes: 4 << 30, batch_parts: 100 }
    }
}

/// Cuts tables into parts, numbered in the order given. Every row of every table falls into exactly one part.
#[must_use]
pub fn cut(tables: &[TableShape], limits: CutLimits) -> Vec<PartPlan> {
    let mut parts = Vec::new();
    for table in tables {
        let ranges = block_ranges(table, limits.part_bytes.max(1));
        let share = table.size_bytes / ranges.len() as u64;
        for range in ranges {
            parts.push(PartPlan {
                number: u32::try_from(parts.len() + 1).unwrap_or(u32::MAX),
                table: table.table.clone(),
                columns: table.columns.clone(),
                range,
                filter: table.filter.clone(),
                root: table.root.clone(),
                size_bytes: share,
            });
        }
    }
    parts
}

fn block_ranges(table: &TableShape, part_bytes: u64) -> Vec<Option<BlockRange>> {
    let pieces = table.size_bytes.div_ceil(part_bytes).min(u64::from(table.blocks));
    if pieces < 2 {
        return vec![None];
    }
    let edge = |piece: u64| u32::try_from(u64::from(table.blocks) * piece / pieces).unwrap_or(u32::MAX);
    (0..pieces)
        .map(|piece| {
            Some(BlockRange { from: edge(piece), to: (piece + 1 < pieces).then(|| edge(piece + 1)) })
        })
        .collect()
}

/// Groups parts into batches, largest parts first so that the last batches are short.
#[must_use]
pub fn batches(mut parts: Vec<PartPlan>, limits: CutLimits) -> Vec<Batch> {
    parts.sort_by(|a, b| b.size_bytes.cmp(&a.size_bytes).then(a.number.cmp(&b.number)));
    let mut batches: Vec<Batch> = Vec::new();
    let mut open: Vec<PartPlan> = Vec::new();
    let (mut open_bytes, mut open_json) = (0, 0);
    for part in parts {
        let json = json_bytes(&part);
        let full = open.len() >= limits.batch_parts
            || open_bytes + part.size_bytes > limits.batch_bytes
            || open_json + json > BATCH_JSON_BYTES;
        if full && !open.is_empty() {
            batches.push(Batch { number: 0, parts: std::mem::take(&mut open) });
            (open_bytes, open_json) = (0, 0);
        }
        open_bytes += part.size_bytes;
        open_json += json;
        open.push(part);
    }
    if !open.is_empty() {
        batches.push(Batch { number: 0, parts: open });
    }
    for (index, batch) in batches.iter_mut().enumerate() {
        batch.number = u32::try_from(index + 1).unwrap_or(u32::MAX);
    }
    batches
}

/// With the comma behind it. What cannot be written is as long as it can be.
fn json_bytes(part: &PartPlan) -> usize {
    serde_json::to_string(part).map_or(usize::MAX / 2, |json| json.len() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(name: &str, blocks: u32, size_bytes: u64) -> TableShape {
        let table = TableName { schema: "public".into(), name: name.into() };
        TableShape {
            table,
            columns: vec!["id".into()],
            blocks,
            size_bytes,
            filter: String::new(),
            root: None,
        }
    }

    const LIMITS: CutLimits = CutLimits { part_bytes: 1000, batch_bytes: 3000, batch_parts: 4 };

    #[test]
    fn a_small_or_empty_table_is_one_whole_part() {
        let parts = cut(&[table("empty", 0, 0), table("small", 1, 999)], LIMITS);
        assert!(parts.iter().all(|part| part.range.is_none()));
        assert_eq!(parts.iter().map(|part| part.number).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_batch_of_wide_tables_stays_an_item_of_a_distributed_map() {
        let mut wide = table("wide", 1, 8192);
        wide.columns = (0..1600).map(|n| format!("column {n:04}, of {}", "name".repeat(10))).collect();
        let narrow = (0..300).map(|n| table(&format!("t{n}"), 1, 8192));
        let tables: Vec<TableShape> = std::iter::repeat_n(wide, 40).chain(narrow).collect();
        let batches = batches(cut(&tables, CutLimits::default()), CutLimits::default());
        assert_eq!(batches.iter().map(|batch| batch.parts.len()).sum::<usize>(), 340);
        for batch in &batches {
            // The run beside it needs some kilobytes more.
            let json = serde_json::to_string(batch).map_or(usize::MAX, |json| json.len());
            assert!(json < 200 << 10, "batch {}: {json}", batch.number);
        }
    }

    proptest! {
        #[test]
        fn ranges_cover_every_block_once_and_the_last_is_open(blocks in 0u32..5000, size in 0u64..100_000) {
            let parts = cut(&[table("t", blocks, size)], LIMITS);
            let ranges: Vec<BlockRange> = parts.iter().filter_map(|part| part.range).collect();
            if !ranges.is_empty() {
                prop_assert_eq!(ranges.len(), parts.len());
                prop_assert_eq!(ranges[0].from, 0);
                prop_assert_eq!(ranges[ranges.len() - 1].to, None);
                for pair in ranges.windows(2) {
                    prop_assert_eq!(pair[0].to, Some(pair[1].from));
                    prop_assert!(pair[0].from < pair[1].from);
                }
            }
        }

        #[test]
        fn batches_hold_every_part_once_within_their_limits(sizes in prop::collection::vec(0u64..5000, 0..60)) {
            let tables: Vec<TableShape> = sizes.iter().map(|size| table("t", 50, *size)).collect();
            let parts = cut(&tables, LIMITS);
            let batches = batches(parts.clone(), LIMITS);
            let mut numbers: Vec<u32> = batches.iter().flat_map(|b| b.parts.iter().map(|p| p.number)).collect();
            numbers.sort_unstable();
            prop_assert_eq!(numbers, parts.iter().map(|part| part.number).collect::<Vec<_>>());
            for batch in &batches {
                let bytes: u64 = batch.parts.iter().map(|part| part.size_bytes).sum();
                prop_assert!(batch.parts.len() <= LIMITS.batch_parts);
                prop_assert!(bytes <= LIMITS.batch_bytes || batch.parts.len() == 1);
            }
        }
    }
}
