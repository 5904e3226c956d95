//! Loads one part in one transaction, together with its mark.

use super::{books, provided};
use crate::reader::column_list;
use crate::session::Session;
use async_trait::async_trait;
use bytes::Bytes;
use futures::SinkExt;
use keepsake_domain::{PartPlan, TableName};
use keepsake_steps::ports::{Chunk, ChunkReceiver, RowWriter, TargetError};
use std::collections::BTreeSet;
use std::pin::pin;

/// One connection that loads rows.
pub(super) struct Writer {
    session: Session,
    /// Tables of the provider, whose own triggers must not act on rows that are loaded, as far as the role may choose.
    silent: BTreeSet<TableName>,
}

impl Writer {
    pub async fn open(session: Session) -> Result<Self, TargetError> {
        let mut silent = books::provided(&session).await?;
        if !silent.is_empty() && !provided::may_be_silent(&session).await? {
            silent.clear();
        }
        Ok(Self { session, silent })
    }

    async fn load(&self, part: &PartPlan, from: ChunkReceiver) -> Result<u64, TargetError> {
        let act = format!("load part {} into table {}", part.number, part.table);
        let number = i64::from(part.number);
        self.session.run(&act, "BEGIN").await?;
        // The mark comes first: whoever loads the same part at the same time waits here, and then finds it.
        let sql = "INSERT INTO keepsake_restore.parts (number, rows) VALUES ($1, -1) ON CONFLICT DO NOTHING RETURNING number";
        if self.session.all(&act, sql, &[&number]).await?.is_empty() {
            let sql = "SELECT rows FROM keepsake_restore.parts WHERE number = $1";
            let rows: i64 = self.session.one(&act, sql, &[&number]).await?.get(0);
            self.session.run(&act, "ROLLBACK").await?;
            return Ok(u64::try_from(rows).unwrap_or(0));
        }
        if self.silent.contains(part.destination()) {
            self.session.run(&act, provided::SILENT).await?;
        }
        let rows = self.copy(&act, part, from).await?;
        let counted = i64::try_from(rows).unwrap_or(i64::MAX);
        let sql = "UPDATE keepsake_restore.parts SET rows = $2 WHERE number = $1";
        self.session.all(&act, sql, &[&number, &counted]).await?;
        self.session.run(&act, "COMMIT").await?;
        Ok(rows)
    }

    async fn copy(&self, act: &str, part: &PartPlan, mut from: ChunkReceiver) -> Result<u64, TargetError> {
        let failed = |error: tokio_postgres::Error| TargetError::from(self.session.failed(act, &error));
        let sql = format!(
            "COPY {}{} FROM STDIN (FORMAT text)",
            part.destination().quoted(),
            column_list(&part.columns)
        );
        let mut sink = pin!(self.session.client.copy_in::<_, Bytes>(&sql).await.map_err(failed)?);
        loop {
            match from.recv().await {
                Some(Chunk::Data(bytes)) => {
                    if sink.send(bytes).await.is_err() {
                        // The server refused; finishing tells why.
                        return sink.finish().await.map_err(failed);
                    }
                }
                Some(Chunk::End) => return sink.finish().await.map_err(failed),
                // A sink that is dropped tells the server that the copy failed.
                None => return Err(TargetError::CutOff { what: format!("part {}", part.number) }),
            }
        }
    }
}

#[async_trait]
impl RowWriter for Writer {
    async fn copy_in(&mut self, part: &PartPlan, from: ChunkReceiver) -> Result<u64, TargetError> {
        let loaded = self.load(part, from).await;
        if loaded.is_err() {
            // So that the connection can load the next part; if it broke, the server did it.
            let _ = self.session.client.batch_execute("ROLLBACK").await;
        }
        loaded
    }
}
