//! Everything that would make a backup fail or be silently partial, asked before anything is begun.

use crate::client_tools::{PgBin, Program, fitting};
use crate::inventory::{FOREIGN_SCHEMAS, server_facts};
use crate::session::Session;
use keepsake_domain::{ConnectionUrl, Lineage};
use keepsake_steps::ports::{SourceError, SourceFacts};

/// TID range scans, by which large tables are cut, came with 14.
const OLDEST_MAJOR: u32 = 14;
/// How many objects an error names.
const NAMED: usize = 20;

/// Relations that `pg_dump` locks or that we read: tables with and without rows, and sequences. Of an extension's
/// only those whose rows are dumped.
const OURS: &str =
    "c.relkind IN ('r','p','S') AND c.relpersistence <> 't' AND (NOT EXISTS (SELECT FROM pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    OR EXISTS (SELECT FROM pg_extension e WHERE c.oid = ANY (e.extconfig)))";

pub(super) async fn preflight(url: &ConnectionUrl, pg_bin: &PgBin) -> Result<SourceFacts, SourceError> {
    let session = Session::open(url).await?;
    let row = session
        .one(
            "read who we are",
            "SELECT current_user::text, current_database()::text, oid, pg_is_in_recovery() FROM pg_database
            WHERE datname = current_database()",
            &[],
        )
        .await?;
    let role: String = row.get(0);
    let program = pg_dump_for(pg_bin, &session).await;
    let problems = [
        wal_access(&session, &role, row.get(3)).await?,
        not_readable(&session, &role).await?,
        hidden_rows(&session, &role).await?,
    ];
    let program = all_at_once(program, problems.into_iter().flatten().collect())?;
    Ok(SourceFacts {
        database: row.get(1),
        lineage: lineage(&session, row.get(2)).await?,
        server: server_facts(&session).await?,
        pg_dump: program.version,
    })
}

/// Tells every problem in one run, so that nobody mends them one by one.
fn all_at_once(
    program: Result<Program, SourceError>,
    mut problems: Vec<SourceError>,
) -> Result<Program, SourceError> {
    match (program, problems.len()) {
        (Ok(program), 0) => return Ok(program),
        (Ok(_), _) => {}
        (Err(missing), _) => problems.insert(0, missing),
    }
    match problems.len() {
        1 => Err(problems.remove(0)),
        _ => Err(SourceError::Several { problems }),
    }
}

/// The `pg_dump` for this server.
pub(super) async fn pg_dump_for(pg_bin: &PgBin, session: &Session) -> Result<Program, SourceError> {
    let major = session.version / 10_000;
    let server = format!("{major}.{}", session.version % 10_000);
    if major < OLDEST_MAJOR {
        let reason = format!("PostgreSQL {OLDEST_MAJOR} is the oldest that is supported");
        return Err(SourceError::Version { server, reason });
    }
    let programs = pg_bin.all("pg_dump").await;
    match (fitting(&programs, major), programs.last()) {
        (Some(program), _) => Ok(program.clone()),
        (None, Some(newest)) => Err(SourceError::Version {
            server,
            reason: format!("the newest client here is {}, which is older than the server", newest.version),
        }),
        (None, None) => Err(SourceError::NoClient { program: "pg_dump".to_owned(), places: pg_bin.places() }),
    }
}

async fn wal_access(
    session: &Session,
    role: &str,
    standby: bool,
) -> Result<Option<SourceError>, SourceError> {
    let position = if standby { "pg_last_wal_replay_lsn()" } else { "pg_current_wal_lsn()" };
    let mut functions = Vec::new();
    for function in [position, "pg_control_system()", "pg_control_checkpoint()", "pg_export_snapshot()"] {
        let sql = "SELECT has_function_privilege('pg_catalog.' || $1::text, 'EXECUTE')";
        if !session.one("read rights on functions", sql, &[&function]).await?.get::<_, bool>(0) {
            functions.push(function.to_owned());
        }
    }
    let (place, role) = (session.place.clone(), role.to_owned());
    Ok((!functions.is_empty()).then_some(SourceError::NoWalAccess { place, role, functions }))
}

async fn lineage(session: &Session, database_oid: u32) -> Result<Lineage, SourceError> {
    let act = "read the system identifier";
    let row = session
        .one(
            act,
            "SELECT s.system_identifier, c.timeline_id FROM pg_control_system() s, pg_control_checkpoint() c",
            &[],
        )
        .await?;
    let timeline =
        u32::try_from(row.get::<_, i32>(1)).map_err(|_| session.strange(act, "timeline below zero"))?;
    // The server shows the unsigned number as a signed one.
    Ok(Lineage { system_identifier: row.get::<_, i64>(0).cast_unsigned(), timeline, database_oid })
}

async fn not_readable(session: &Session, role: &str) -> Result<Option<SourceError>, SourceError> {
    let relations = format!(
        "SELECT CASE c.relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || n.nspname || '.' || c.relname
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {FOREIGN_SCHEMAS} AND {OURS}
          AND NOT (has_schema_privilege(n.oid, 'USAGE') AND CASE c.relkind
               WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT') ELSE has_table_privilege(c.oid, 'SELECT') END)"
    );
    let large_objects = "
        SELECT 'large object ' || m.oid FROM pg_largeobject_metadata m
        WHERE NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
          AND NOT pg_has_role(m.lomowner, 'USAGE')
          AND NOT EXISTS (SELECT FROM aclexplode(m.lomacl) a WHERE a.privilege_type = 'SELECT'
                          AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE')))";
    let mut objects = session.texts("read rights on tables", &relations).await?;
    objects.extend(session.texts("read rights on large objects", large_objects).await?);
    let (role, objects) = (role.to_owned(), shortened(objects));
    Ok((!objects.is_empty()).then_some(SourceError::NotReadable { role, objects }))
}

async fn hidden_rows(session: &Session, role: &str) -> Result<Option<SourceError>, SourceError> {
    let sql = format!(
        "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {FOREIGN_SCHEMAS} AND {OURS} AND c.relkind = 'r' AND row_security_active(c.oid)"
    );
    let tables = shortened(session.texts("read row-level security", &sql).await?);
    Ok((!tables.is_empty()).then_some(SourceError::HiddenRows { role: role.to_owned(), tables }))
}

/// At most 20 names, then how many more.
pub(crate) fn shortened(mut names: Vec<String>) -> Vec<String> {
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    names
}
