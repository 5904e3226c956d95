//! Keys of tables that a statement of the source's makes again. A restore makes them behind all rows, as those of the backup:
//! changes are applied in no order that a unique key allows.

use super::provided::{SILENT, may_be_silent};
use crate::session::Session;
use keepsake_domain::quote_identifier;
use keepsake_steps::ports::TargetError;

const MAKE: &str = "CREATE TABLE IF NOT EXISTS keepsake_restore.later_keys
    (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, role_name text, statement text NOT NULL)";

/// Takes the keys of these relations away and keeps in mind how they are made, within the transaction that made the relations.
pub(super) async fn put_off(
    session: &Session,
    act: &str,
    relations: &[&String],
    role: Option<&str>,
) -> Result<(), TargetError> {
    session.run(act, MAKE).await?;
    let keys =
        "SELECT pg_catalog.format('ALTER TABLE %I.%I DROP CONSTRAINT %I', n.nspname, c.relname, k.conname),
            pg_catalog.format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', n.nspname, c.relname, k.conname,
                pg_catalog.pg_get_constraintdef(k.oid))
        FROM unnest($1::text[]) wanted
        JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(pg_catalog.substring(wanted, ' (.*)'))
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.contype IN ('p', 'u') ORDER BY k.oid";
    let note = "INSERT INTO keepsake_restore.later_keys (role_name, statement) VALUES ($1, $2)";
    for key in session.all(act, keys, &[&relations]).await? {
        session.all(act, note, &[&role, &key.get::<_, String>(1)]).await?;
        run_as(session, act, role, key.get(0)).await?;
    }
    Ok(())
}

/// Makes them, each in its own transaction. A second call makes those that are not there yet.
pub(super) async fn make(session: &Session) -> Result<(), TargetError> {
    let act = "make the keys of new tables";
    let there = "SELECT to_regclass('keepsake_restore.later_keys') IS NOT NULL";
    if !session.one(act, there, &[]).await?.get::<_, bool>(0) {
        return Ok(());
    }
    // Event triggers of the user's stand by now, and acted on the source already.
    let is_silent = may_be_silent(session).await?;
    let sql = "SELECT number, role_name, statement FROM keepsake_restore.later_keys ORDER BY number";
    for key in session.all(act, sql, &[]).await? {
        session.run(act, "BEGIN").await?;
        if is_silent {
            session.run(act, SILENT).await?;
        }
        run_as(session, act, key.get(1), key.get(2)).await?;
        let made = "DELETE FROM keepsake_restore.later_keys WHERE number = $1";
        session.all(act, made, &[&key.get::<_, i64>(0)]).await?;
        session.run(act, "COMMIT").await?;
    }
    Ok(())
}

/// Within a transaction: who owns the table may not be who restores.
async fn run_as(session: &Session, act: &str, role: Option<&str>, sql: &str) -> Result<(), TargetError> {
    if let Some(role) = role {
        session.run(act, &format!("SET LOCAL ROLE {}", quote_identifier(role))).await?;
    }
    session.run(act, sql).await?;
    Ok(session.run(act, "RESET ROLE").await?)
}
