//! The database under protection. Everything here only reads.

mod dump;
mod preflight;
pub(crate) use preflight::{lineage as lineage_of, shortened};
mod snapshot;
pub(crate) use snapshot::read_lsn as wal_position;
mod strain;

use crate::client_tools::PgBin;
use crate::inventory;
use crate::reader::Reader;
use async_trait::async_trait;
use keepsake_domain::ConnectionUrl;
use keepsake_steps::ports::{
    ChunkSender, DatabaseShape, HeldSnapshot, Provider, RowReader, Source, SourceError, SourceFacts,
};

/// A Postgres database over its connection URL. Making one does nothing; each call opens its own connection.
#[derive(Debug, Clone)]
pub struct PostgresSource {
    url: ConnectionUrl,
    provider: Provider,
    pg_bin: PgBin,
    label: String,
}

impl PostgresSource {
    /// `provider` counts where the server does not show its own; `pg_bin` says where `pg_dump` is looked for.
    #[must_use]
    pub fn new(url: ConnectionUrl, provider: Provider, pg_bin: PgBin) -> Self {
        Self { url, provider, pg_bin, label: "keepsake".to_owned() }
    }
}

#[async_trait]
impl Source for PostgresSource {
    async fn preflight(&self, connections: u32) -> Result<SourceFacts, SourceError> {
        preflight::preflight(&self.url, &self.pg_bin, connections).await
    }

    async fn take_snapshot(&self) -> Result<Box<dyn HeldSnapshot>, SourceError> {
        Ok(Box::new(snapshot::Holder::take(self).await?))
    }

    async fn take_over_snapshot(&self, name: &str) -> Result<Box<dyn HeldSnapshot>, SourceError> {
        Ok(Box::new(snapshot::Holder::take_over(self, name).await?))
    }

    async fn shape(&self, snapshot_name: &str) -> Result<DatabaseShape, SourceError> {
        let session = snapshot::in_snapshot(self, &self.label, snapshot_name).await?;
        let provider = match inventory::provider(&session).await? {
            Provider::Plain => self.provider,
            recognised => recognised,
        };
        Ok(DatabaseShape {
            tables: inventory::tables(&session).await?,
            large_objects: inventory::large_objects(&session).await?,
            objects: inventory::objects(&session).await?,
            schema_fingerprint: inventory::schema_fingerprint(&session).await?,
            globals: inventory::globals(&session, provider).await?,
            coverage: inventory::coverage(&session, provider).await?,
        })
    }

    async fn dump_schema(&self, snapshot_name: &str, to: &ChunkSender) -> Result<(), SourceError> {
        dump::dump(self, snapshot_name, &dump::SCHEMA, to).await
    }

    async fn dump_large_objects(&self, snapshot_name: &str, to: &ChunkSender) -> Result<(), SourceError> {
        dump::dump(self, snapshot_name, &dump::LARGE_OBJECTS, to).await
    }

    async fn reader(&self, snapshot_name: &str) -> Result<Box<dyn RowReader>, SourceError> {
        let session = snapshot::in_snapshot(self, &self.label, snapshot_name).await?;
        Ok(Box::new(Reader::open(session).await?))
    }
}
