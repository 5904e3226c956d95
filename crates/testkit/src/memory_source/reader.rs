//! One connection that reads a database of the twins.

use super::{Break, MemoryDatabase, PLACE, State};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use keepsake_domain::{PartPlan, SequenceValue};
use keepsake_steps::ports::{Chunk, ChunkSender, RowReader, SourceError};
use std::sync::{Arc, Mutex, PoisonError};

/// Rows go out in pieces of this size, so that a part is more than one piece and a piece ends inside of rows.
const PIECE_BYTES: usize = 1000;

pub(super) type Between = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Reads what its database held when it was opened.
pub(crate) struct DatabaseReader {
    database: MemoryDatabase,
    source: Option<(Arc<Mutex<State>>, Option<Between>)>,
}

impl DatabaseReader {
    pub(crate) fn of_target(database: MemoryDatabase) -> Self {
        Self { database, source: None }
    }

    pub(super) fn of_source(
        database: MemoryDatabase,
        state: Arc<Mutex<State>>,
        between: Option<Between>,
    ) -> Self {
        Self { database, source: Some((state, between)) }
    }

    fn gives_way(&self, table: &str) -> bool {
        let Some((state, _)) = self.source.as_ref() else { return false };
        state.lock().unwrap_or_else(PoisonError::into_inner).script.next_rows_give_way(table)
    }

    fn next_break(&self, table: &str) -> Option<Break> {
        let (state, _) = self.source.as_ref()?;
        state.lock().unwrap_or_else(PoisonError::into_inner).script.next_rows(table)
    }
}

#[async_trait]
impl RowReader for DatabaseReader {
    async fn copy_out(&mut self, part: &PartPlan, to: &ChunkSender) -> Result<(), SourceError> {
        if let Some((_, Some(between))) = &self.source {
            between().await;
        }
        let table = self.database.tables.iter().find(|table| table.table == part.table);
        let table = table.ok_or_else(|| failed(format!("copy table {}", part.table), false))?;
        let text = table.copy_text(part);
        if self.gives_way(&part.table.name) {
            let what = format!("table {}", part.table);
            return Err(SourceError::GaveWay { what, place: PLACE.to_owned() });
        }
        match self.next_break(&part.table.name) {
            None => send(text, true, &part.table.to_string(), to).await,
            Some(at) => {
                let some = text.slice(..text.len().min(at.after_bytes));
                send(some, false, &part.table.to_string(), to).await?;
                if at.is_silent {
                    return Ok(());
                }
                Err(failed(format!("copy table {}", part.table), true))
            }
        }
    }

    async fn copy_large_objects_out(&mut self, to: &ChunkSender) -> Result<(), SourceError> {
        send(self.database.large_objects_text(), true, "large objects", to).await
    }

    async fn sequences(&mut self) -> Result<Vec<SequenceValue>, SourceError> {
        // Sequences are not transactional: a source's reader sees where they stand now.
        Ok(match &self.source {
            Some((state, _)) => {
                state.lock().unwrap_or_else(PoisonError::into_inner).database.sequences.clone()
            }
            None => self.database.sequences.clone(),
        })
    }
}

fn failed(act: String, transient: bool) -> SourceError {
    let cause = "server closed the connection unexpectedly".into();
    SourceError::Statement { act, place: PLACE.to_owned(), transient, cause }
}

async fn send(mut text: Bytes, with_end: bool, what: &str, to: &ChunkSender) -> Result<(), SourceError> {
    let gone = || SourceError::ReceiverGone { what: what.to_owned() };
    while !text.is_empty() {
        let piece = text.split_to(text.len().min(PIECE_BYTES.max(text.len() / 16)));
        to.send(Chunk::Data(piece)).await.map_err(|_| gone())?;
    }
    if with_end { to.send(Chunk::End).await.map_err(|_| gone()) } else { Ok(()) }
}
