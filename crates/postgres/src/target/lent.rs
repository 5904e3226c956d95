//! Rights lent to owners for the time of a restore.
//!
//! Who is not a superuser may give an object only to a role that may create in its schema, and a publication only to
//! one that may create in the database. At the source the owner may have had that right as the database's owner, or
//! lost it since. So it is lent, written down first, and taken back after the last owner was set.

use super::rights::is_superuser;
use crate::session::Session;
use keepsake_domain::{SchemaEntry, quote_identifier};
use keepsake_steps::ports::TargetError;
use std::collections::BTreeSet;

const ACT: &str = "lend rights to the owners of objects";

/// In a schema that is not there nothing is lent; whatever belongs there fails with the server's own words.
const IN_SCHEMA: &str = "SELECT COALESCE(bool_or(has_schema_privilege($1::name, oid, 'CREATE')), true)
    FROM pg_namespace WHERE nspname = $2::text";
const IN_DATABASE: &str =
    "SELECT has_database_privilege($1::name, COALESCE($2::text, current_database()), 'CREATE')";

/// Lends what the owners of these entries lack. A second call lends nothing twice.
pub(super) async fn lend<'a>(
    session: &Session,
    entries: impl Iterator<Item = &'a SchemaEntry>,
) -> Result<(), TargetError> {
    if is_superuser(session).await? {
        return Ok(());
    }
    let table =
        "CREATE TABLE IF NOT EXISTS keepsake_restore.lent (place text, role text, PRIMARY KEY (place, role))";
    session.run(ACT, table).await?;
    let row = session.one(ACT, "SELECT current_database()::text", &[]).await?;
    let database = format!("DATABASE {}", quote_identifier(row.get(0)));
    for (schema, owner) in owned(entries) {
        let (has, place) = match &schema {
            Some(schema) => (IN_SCHEMA, format!("SCHEMA {}", quote_identifier(schema))),
            None => (IN_DATABASE, database.clone()),
        };
        if !session.one(ACT, has, &[&owner, &schema]).await?.get::<_, bool>(0) {
            let note = "INSERT INTO keepsake_restore.lent VALUES ($1, $2) ON CONFLICT DO NOTHING";
            session.all(ACT, note, &[&place, &owner]).await?;
            session.run(ACT, &format!("GRANT CREATE ON {place} TO {}", quote_identifier(&owner))).await?;
        }
    }
    Ok(())
}

/// Schemas with those who own something in them; no schema stands for the database, in which publications are.
fn owned<'a>(entries: impl Iterator<Item = &'a SchemaEntry>) -> BTreeSet<(Option<String>, String)> {
    let objects = entries.filter(|entry| !entry.is_attached && entry.kind != "DEFAULT ACL");
    let placed = objects.filter(|entry| entry.schema.is_some() || entry.kind == "PUBLICATION");
    placed.filter_map(|entry| Some((entry.schema.clone(), entry.owner.clone()?))).collect()
}

/// Takes back what was lent. A second call finds nothing to take.
pub(super) async fn take_back(session: &Session) -> Result<(), TargetError> {
    let act = "take lent rights back";
    let there = "SELECT to_regclass('keepsake_restore.lent') IS NOT NULL";
    if !session.one(act, there, &[]).await?.get::<_, bool>(0) {
        return Ok(());
    }
    for row in session.all(act, "SELECT place, role FROM keepsake_restore.lent", &[]).await? {
        let (place, role): (String, String) = (row.get(0), row.get(1));
        session.run(act, &format!("REVOKE CREATE ON {place} FROM {}", quote_identifier(&role))).await?;
    }
    Ok(session.run(act, "TRUNCATE keepsake_restore.lent").await?)
}
