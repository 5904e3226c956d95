//! The database that is restored to.

mod books;
mod changes;
mod check;
mod clean;
mod definitions;
mod entries;
mod foreign_keys;
mod globals;
mod later_keys;
mod left_behind;
mod lent;
mod memory;
mod pg_restore;
mod programs;
mod provided;
mod rights;
mod roles;
mod statistics;
mod unlinked;
mod writer;

use crate::client_tools::PgBin;
use crate::inventory;
use crate::reader::Reader;
use crate::session::Session;
use async_trait::async_trait;
use keepsake_domain::{
    ConnectionUrl, Globals, GlobalsOutcome, LeftOut, MissingRoles, ProvidedFacts, ProvidedPlan,
    SchemaStatement, SequenceValue, TableShape,
};
use keepsake_steps::ports::{
    ChunkReceiver, LoadedPart, RowReader, RowWriter, SchemaSection, SchemaTarget, Target, TargetError,
    TargetFacts,
};

/// A Postgres database over its connection URL. Making one does nothing; each call opens its own connection.
#[derive(Debug, Clone)]
pub struct PostgresTarget {
    url: ConnectionUrl,
    pg_bin: PgBin,
    roles: RoleWishes,
}

/// What is wished for beside the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct RoleWishes {
    missing: MissingRoles,
    /// All roles of the source's server with their attributes, not only those that the schema names.
    everything: bool,
}

impl PostgresTarget {
    /// `pg_bin` says where `pg_restore` is looked for.
    #[must_use]
    pub fn new(url: ConnectionUrl, pg_bin: PgBin) -> Self {
        Self { url, pg_bin, roles: RoleWishes::default() }
    }

    /// What to do about roles that the schema names and the target lacks.
    #[must_use]
    pub fn with_missing_roles(mut self, policy: MissingRoles) -> Self {
        self.roles.missing = policy;
        self
    }

    /// All roles of the globals are created, with their attributes but for login, password and superuser.
    #[must_use]
    pub fn with_all_roles(mut self) -> Self {
        self.roles.everything = true;
        self
    }

    /// Looks for a `pg_restore` that runs, without a connection.
    ///
    /// # Errors
    /// [`TargetError::NoClient`].
    pub async fn has_client(&self) -> Result<(), TargetError> {
        pg_restore::programs(&self.pg_bin).await.map(drop)
    }

    fn skips_ownership(&self) -> bool {
        self.roles.missing == MissingRoles::SkipOwnership
    }

    async fn session(&self) -> Result<Session, TargetError> {
        let session = Session::open(&self.url).await?;
        // The source's setting of the database, once it was restored, must not keep a next run from its end.
        session.run("open a session to restore with", "SET default_transaction_read_only = off").await?;
        Ok(session)
    }
}

#[async_trait]
impl Target for PostgresTarget {
    async fn facts(&self, backup_id: &str) -> Result<TargetFacts, TargetError> {
        let session = self.session().await?;
        let mut server = inventory::server_facts(&session).await?;
        server.extensions = inventory::available_extensions(&session).await?;
        Ok(TargetFacts {
            server,
            provider: inventory::provider(&session).await?,
            user_objects: books::foreign_content(&session, backup_id).await?,
        })
    }

    async fn check(&self, globals: &serde_json::Value, schema: ChunkReceiver) -> Result<(), TargetError> {
        let session = self.session().await?;
        check::check(self, &session, &parsed(&session, globals)?, schema).await
    }

    async fn provided(&self, asked: ProvidedFacts) -> Result<ProvidedFacts, TargetError> {
        provided::look(&self.session().await?, asked).await
    }

    async fn take_provided(&self, plan: &ProvidedPlan) -> Result<(), TargetError> {
        provided::take(&self.session().await?, plan).await
    }

    async fn begin(&self, backup_id: &str) -> Result<(), TargetError> {
        books::open(&self.session().await?, backup_id).await
    }

    async fn create_missing_roles(&self, globals: &serde_json::Value) -> Result<Vec<String>, TargetError> {
        let session = self.session().await?;
        let globals = parsed(&session, globals)?;
        roles::create_missing(&session, &globals, self.roles).await
    }

    async fn restore_schema(
        &self,
        section: SchemaSection,
        from: ChunkReceiver,
        jobs: u32,
    ) -> Result<(), TargetError> {
        match section {
            SchemaSection::PreData => programs::restore_pre_data(self, from).await,
            SchemaSection::PostData => programs::restore_post_data(self, from, jobs).await,
        }
    }

    async fn restore_large_objects(&self, from: ChunkReceiver) -> Result<(), TargetError> {
        programs::restore_large_objects(self, from).await
    }

    async fn loaded_parts(&self) -> Result<Vec<LoadedPart>, TargetError> {
        books::loaded_parts(&self.session().await?).await
    }

    async fn writer(&self) -> Result<Box<dyn RowWriter>, TargetError> {
        Ok(Box::new(writer::Writer::open(self.session().await?).await?))
    }

    async fn reader(&self) -> Result<Box<dyn RowReader>, TargetError> {
        let session = self.session().await?;
        session.run("begin to read back", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        Ok(Box::new(Reader::open(session).await?))
    }

    async fn tables(&self) -> Result<Vec<TableShape>, TargetError> {
        let session = self.session().await?;
        let provided = rights::Provided::read(&session).await?;
        let mut tables = inventory::tables(&session).await?;
        let loaded = books::provided(&session).await?;
        tables.retain(|shape| !provided.holds_schema(&shape.table.schema) || loaded.contains(&shape.table));
        Ok(tables)
    }

    async fn objects(&self) -> Result<Vec<String>, TargetError> {
        Ok(inventory::objects(&self.session().await?).await?)
    }

    async fn large_objects(&self) -> Result<u64, TargetError> {
        Ok(inventory::large_objects(&self.session().await?).await?)
    }

    async fn set_sequences(&self, values: &[SequenceValue]) -> Result<(), TargetError> {
        let session = self.session().await?;
        let sql = "SELECT setval($1::text::regclass, $2, $3)";
        for value in values {
            let name = value.sequence.quoted();
            session.all("set a sequence", sql, &[&name, &value.last_value, &value.is_called]).await?;
        }
        Ok(())
    }

    async fn left_out(&self) -> Result<Vec<LeftOut>, TargetError> {
        books::left_out(&self.session().await?).await
    }

    async fn restore_globals(&self, globals: &serde_json::Value) -> Result<GlobalsOutcome, TargetError> {
        let session = self.session().await?;
        let wanted = parsed(&session, globals)?;
        globals::restore(&session, &wanted).await
    }

    async fn finish(&self) -> Result<(), TargetError> {
        let session = self.session().await?;
        statistics::gather(self, &session).await?;
        books::close(&session).await
    }
}

#[async_trait]
impl SchemaTarget for PostgresTarget {
    async fn out_of_reach(&self, roles: &[String]) -> Result<Vec<String>, TargetError> {
        if self.skips_ownership() {
            return Ok(Vec::new());
        }
        definitions::out_of_reach(&self.session().await?, roles).await
    }

    async fn defined(&self) -> Result<u64, TargetError> {
        definitions::defined(&self.session().await?).await
    }

    async fn define(&self, number: u64, statement: &SchemaStatement) -> Result<(), TargetError> {
        let role = Some(statement.role.as_str()).filter(|_| !self.skips_ownership());
        definitions::define(&self.session().await?, number, statement, role).await
    }
}

fn parsed(session: &Session, globals: &serde_json::Value) -> Result<Globals, TargetError> {
    let strange = |cause: serde_json::Error| session.strange("read the archive's globals", cause.to_string());
    Ok(serde_json::from_value(globals.clone()).map_err(strange)?)
}
