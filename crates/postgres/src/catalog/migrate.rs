//! Migrations, embedded in the program, so that what runs and what it expects are of one version.

use super::PostgresCatalog;
use super::error::{failed, refused};
use super::session::connect;
use keepsake_domain::ConnectionUrl;
use keepsake_steps::ports::CatalogError;
use tokio_postgres::Client;

mod embedded {
    refinery::embed_migrations!("../../migrations");
}

/// In the schema that the login creates tables in by default: `keepsake` is itself made by the first migration.
const HISTORY_TABLE: &str = "keepsake_schema_history";

/// A migration may build an index over years of rows, and the second of two that migrate at once waits for the first.
const MIGRATION_TIMEOUT: &str = "set statement_timeout = '10min'";

const LOCK: &str = "select pg_advisory_lock(hashtextextended('keepsake.migrate', 0))";
const UNLOCK: &str = "select pg_advisory_unlock(hashtextextended('keepsake.migrate', 0))";

impl PostgresCatalog {
    /// Brings the schema to this program's version, and answers the names of the migrations that were missing. A
    /// second call changes nothing and answers none; of two calls at once, one waits.
    ///
    /// # Errors
    /// [`CatalogError::Refused`] when the login may not create the schema, or when the database was migrated by
    /// other files than this program's.
    pub async fn migrate(url: &ConnectionUrl) -> Result<Vec<String>, CatalogError> {
        let act = "migrate";
        let mut client = connect(url, act).await?;
        for statement in [MIGRATION_TIMEOUT, LOCK] {
            client.batch_execute(statement).await.map_err(failed(act))?;
        }
        let applied = run(&mut client).await?;
        client.batch_execute(UNLOCK).await.map_err(failed(act))?;
        Ok(applied)
    }
}

async fn run(client: &mut Client) -> Result<Vec<String>, CatalogError> {
    let mut runner = embedded::migrations::runner();
    runner.set_migration_table_name(HISTORY_TABLE);
    let report = runner.run_async(client).await.map_err(|error| refused("migrate", error))?;
    Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
}
