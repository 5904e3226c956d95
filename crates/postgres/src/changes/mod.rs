//! The changes of a database: what is published and why not, our slot, and the stream of changes.

mod align;
mod boundary;
mod governed;
mod lend;
mod preflight;
mod protect;
mod publication;
mod pulse;
mod schema_watch;
mod slot;
mod stream;
mod unprotect;
mod wire;

use crate::session::Session;
use crate::source::{lineage_of, wal_position};
use async_trait::async_trait;
use keepsake_domain::{ConnectionUrl, Lsn};
use keepsake_steps::ports::{
    Boundary, CaptureState, ChangeSource, ChangeStream, Mark, ProtectWishes, Protection, SourceError,
    Unprotected,
};
use slot::SlotName;

/// The changes of a Postgres database over its connection URL. Making one does nothing; each call opens its own
/// connection.
#[derive(Debug, Clone)]
pub struct PostgresChanges {
    url: ConnectionUrl,
    slot: SlotName,
}

impl PostgresChanges {
    /// Slot and publication on the server are named after `source`, the source's name in the repository.
    #[must_use]
    pub fn new(url: ConnectionUrl, source: &str) -> Self {
        Self { url, slot: SlotName::of_source(source) }
    }

    async fn open(&self) -> Result<Session, SourceError> {
        let session = Session::open(&self.url).await?;
        session.label("keepsake capture").await?;
        Ok(session)
    }
}

#[async_trait]
impl ChangeSource for PostgresChanges {
    async fn capture_state(&self) -> Result<CaptureState, SourceError> {
        let session = self.open().await?;
        let sql = "SELECT d.datname::text, d.oid, pg_is_in_recovery() FROM pg_database d
            WHERE d.datname = current_database()";
        let row = session.one("read which database it is", sql, &[]).await?;
        let memory = publication::memory(&session, &self.slot).await?;
        Ok(CaptureState {
            lineage: lineage_of(&session, row.get(1)).await?,
            database: row.get(0),
            server_version: session.version,
            slot: slot::state(&session, &self.slot).await?,
            is_wanted: memory.as_ref().is_some_and(|memory| !memory.is_leaving),
            holder: memory.and_then(|memory| memory.holder),
            published: publication::published(&session, &self.slot).await?,
            wal_lsn: wal_position(&session, row.get(2)).await?,
        })
    }

    async fn protect(&self, wishes: &ProtectWishes) -> Result<Protection, SourceError> {
        protect::protect(&self.open().await?, &self.slot, wishes).await
    }

    async fn unprotect(&self) -> Result<Unprotected, SourceError> {
        unprotect::unprotect(&self.open().await?, &self.slot).await
    }

    async fn stream(&self, from: Lsn) -> Result<Box<dyn ChangeStream>, SourceError> {
        Ok(Box::new(stream::open(self, from).await?))
    }

    async fn mark(&self) -> Result<Mark, SourceError> {
        boundary::mark(&self.open().await?).await
    }

    async fn boundary(&self) -> Result<Boundary, SourceError> {
        boundary::boundary(&self.open().await?, &self.slot).await
    }
}
