//! The bytes of a differential, batch by batch, on their way to the repository.

use crate::StepError;
use crate::net_changes::HashRange;
use crate::ports::{Chunk, ChunkSender, TableChange};
use bytes::BytesMut;
use keepsake_archive::{DifferentialEnd, DifferentialTable, DifferentialWriter};
use keepsake_domain::{Lsn, SequenceValue, TableName};
use std::collections::BTreeSet;

/// Bytes that go to the sealer at once.
const PIECE_BYTES: usize = 1 << 20;

/// The differential under way.
pub(super) struct Output {
    raw: BytesMut,
    writer: DifferentialWriter,
    /// Tables that were emptied: once only, or what was inserted since would go too.
    emptied: BTreeSet<TableName>,
    to: ChunkSender,
}

impl Output {
    pub fn begin(to: ChunkSender) -> Self {
        let mut raw = BytesMut::new();
        let writer = DifferentialWriter::begin(&mut raw);
        Self { raw, writer, emptied: BTreeSet::new(), to }
    }

    pub async fn batch(&mut self, tables: Vec<TableChange>) -> Result<(), StepError> {
        let mut has_tables = false;
        for change in tables {
            has_tables |= self.table(change).await?;
        }
        if has_tables {
            self.writer.end_of_batch(&mut self.raw);
        }
        self.send(PIECE_BYTES).await
    }

    /// Answers whether anything of the table had to be written.
    async fn table(&mut self, change: TableChange) -> Result<bool, StepError> {
        let TableChange { table, columns, key, is_emptied, deletions, updates, insertions } = change;
        let is_emptied = is_emptied && self.emptied.insert(table.clone());
        if !is_emptied && deletions.is_empty() && updates.is_empty() && insertions.is_empty() {
            return Ok(false);
        }
        let begins = DifferentialTable { table, columns, key, is_emptied };
        self.writer.table(&begins, &mut self.raw).map_err(unwritten)?;
        for one in deletions {
            self.writer.deletion(one.lsn, one.count, &one.key, &mut self.raw);
            self.send(PIECE_BYTES).await?;
        }
        for one in updates {
            self.writer.update(one.lsn, &one.key, &one.row, &mut self.raw);
            self.send(PIECE_BYTES).await?;
        }
        for one in insertions {
            self.writer.insertion(one.count, &one.row, &mut self.raw);
            self.send(PIECE_BYTES).await?;
        }
        Ok(true)
    }

    pub async fn end(mut self, lsn: Lsn, sequences: &[SequenceValue]) -> Result<DifferentialEnd, StepError> {
        let mut rest = std::mem::take(&mut self.raw);
        let holds = self.writer.end(lsn, sequences, &mut rest).map_err(unwritten)?;
        self.to.send(Chunk::Data(rest.freeze())).await.map_err(|_| gone())?;
        self.to.send(Chunk::End).await.map_err(|_| gone())?;
        Ok(holds)
    }

    async fn send(&mut self, enough: usize) -> Result<(), StepError> {
        if self.raw.len() < enough {
            return Ok(());
        }
        self.to.send(Chunk::Data(self.raw.split().freeze())).await.map_err(|_| gone())
    }
}

/// Parts what one reading gathered into batches of about so many bytes: a restore holds some of them at a time. All of one
/// key stays together.
pub(super) fn in_pieces(tables: Vec<TableChange>, range: HashRange, bytes: usize) -> Vec<Vec<TableChange>> {
    let pieces = tables.iter().map(weight).sum::<usize>() / bytes + 1;
    let mut all: Vec<Vec<TableChange>> = vec![Vec::new(); pieces];
    for change in tables {
        let TableChange { table, columns, key, is_emptied, deletions, updates, insertions } = change;
        let empty = (Vec::new(), Vec::new(), Vec::new());
        let head = TableChange {
            table,
            columns,
            key: key.clone(),
            is_emptied,
            deletions: empty.0,
            updates: empty.1,
            insertions: empty.2,
        };
        let mut parts = vec![head; pieces];
        for one in deletions {
            parts[range.piece(&one.key, pieces)].deletions.push(one);
        }
        for one in updates {
            parts[range.piece(&one.key, pieces)].updates.push(one);
        }
        for one in insertions {
            let named = if key.is_empty() { one.row.clone() } else { one.row.at(&key) };
            parts[range.piece(&named, pieces)].insertions.push(one);
        }
        all.iter_mut().zip(parts).for_each(|(piece, part)| piece.push(part));
    }
    all
}

fn weight(change: &TableChange) -> usize {
    change.deletions.iter().map(|one| one.key.len()).sum::<usize>()
        + change.updates.iter().map(|one| one.row.len()).sum::<usize>()
        + change.insertions.iter().map(|one| one.row.len()).sum::<usize>()
}

fn unwritten(cause: serde_json::Error) -> StepError {
    StepError::Work { key: "a differential".to_owned(), cause }
}

fn gone() -> StepError {
    StepError::WorkerDied { what: "an upload".to_owned() }
}
