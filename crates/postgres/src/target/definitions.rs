//! Statements that changed the source's schema, run again.

use super::later_keys;
use super::provided::{SILENT, may_be_silent};
use crate::session::Session;
use keepsake_domain::{SchemaEffect, SchemaStatement, quote_identifier};
use keepsake_steps::ports::TargetError;

const MAKE: &str =
    "CREATE TABLE IF NOT EXISTS keepsake_restore.schema_statements (number bigint PRIMARY KEY)";

pub(super) async fn out_of_reach(session: &Session, roles: &[String]) -> Result<Vec<String>, TargetError> {
    let sql = "SELECT wanted FROM unnest($1::text[]) wanted LEFT JOIN pg_roles r ON r.rolname = wanted
        WHERE r.oid IS NULL OR NOT pg_has_role(r.oid, 'MEMBER') ORDER BY 1";
    let rows = session.all("look for roles that changed the schema", sql, &[&roles]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

pub(super) async fn defined(session: &Session) -> Result<u64, TargetError> {
    let act = "read how far the schema stands";
    session.run(act, MAKE).await?;
    let row = session.one(act, "SELECT max(number) FROM keepsake_restore.schema_statements", &[]).await?;
    Ok(row.get::<_, Option<i64>>(0).map_or(0, i64::unsigned_abs))
}

/// `role` is `None` where nothing is given to its owners.
pub(super) async fn define(
    session: &Session,
    number: u64,
    statement: &SchemaStatement,
    role: Option<&str>,
) -> Result<(), TargetError> {
    let act = format!("run {} ({}) again", statement.command, statement.objects.join(", "));
    // Event triggers of the user's stand behind post-data, and acted on the source already.
    let is_silent = may_be_silent(session).await?;
    session.run(&act, "BEGIN").await?;
    if is_silent {
        session.run(&act, SILENT).await?;
    }
    let note =
        "INSERT INTO keepsake_restore.schema_statements VALUES ($1) ON CONFLICT DO NOTHING RETURNING number";
    if session.all(&act, note, &[&number.cast_signed()]).await?.is_empty() {
        return Ok(session.run(&act, "ROLLBACK").await?);
    }
    let path = "SELECT set_config('search_path', $1, true)";
    session.all(&act, path, &[&search_path(statement)]).await?;
    if let Some(role) = role {
        session.run(&act, &format!("SET LOCAL ROLE {}", quote_identifier(role))).await?;
    }
    session.run(&act, &statement.statement).await?;
    let relations: Vec<&String> = statement.relations().collect();
    if matches!(statement.effect, SchemaEffect::NewTable { .. }) {
        for revoke in given(session, &act, &relations).await? {
            session.run(&act, &revoke).await?;
        }
    }
    session.run(&act, "RESET ROLE").await?;
    let missing = "SELECT wanted FROM unnest($1::text[]) wanted
        WHERE pg_catalog.to_regclass(pg_catalog.substring(wanted, ' (.*)')) IS NULL";
    if let Some(row) = session.all(&act, missing, &[&relations]).await?.first() {
        let said = format!("{} is not there, and was on the source", row.get::<_, String>(0));
        return Err(session.strange(&act, said).into());
    }
    if matches!(statement.effect, SchemaEffect::NewTable { .. }) {
        later_keys::put_off(session, &act, &relations, role).await?;
    }
    Ok(session.run(&act, "COMMIT").await?)
}

/// As it was, also where nothing is run as the role of then: `"$user"` is the schema that is called after that one.
fn search_path(statement: &SchemaStatement) -> String {
    statement.search_path.replace(r#""$user""#, &quote_identifier(&statement.role))
}

/// Statements that take what the target's own default privileges gave of new relations: on the source nobody had them.
async fn given(session: &Session, act: &str, relations: &[&String]) -> Result<Vec<String>, TargetError> {
    let sql = "SELECT DISTINCT pg_catalog.format('REVOKE ALL ON %s %s FROM %s',
            CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::pg_catalog.regclass,
            CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END)
        FROM unnest($1::text[]) wanted
        JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(pg_catalog.substring(wanted, ' (.*)')),
        LATERAL pg_catalog.aclexplode(c.relacl) a WHERE a.grantee <> c.relowner ORDER BY 1";
    let rows = session.all(act, sql, &[&relations]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
