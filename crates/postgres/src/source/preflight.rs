//! Everything that would make a backup fail or be silently partial, asked before anything is begun.

use crate::client_tools::{PgBin, Program, fitting};
use crate::inventory::{FOREIGN_SCHEMAS, server_facts};
use crate::session::Session;
use keepsake_domain::{ConnectionUrl, Lineage};
use keepsake_steps::ports::{SourceError, SourceFacts};

/// TID range scans, by which large tables are cut, came with 14.
const OLDEST_MAJOR: u32 = 14;
/// Connections that a run leaves to others, as many as Postgres keeps for superusers by default.
const KEPT_FREE: i64 = 3;

/// How many connections this role could open in this database beside this one, and which limit says so. What is kept
/// for superusers and the like (`reserved_connections` from 16 on) is nobody's to take, also if we are one. Parallel
/// workers count as connections where the role may not see that they are none. A role's own limit is for
/// us alone; superusers have none, and none of a database.
const FREE_CONNECTIONS: &str = "
    WITH others AS (
        SELECT datid, usesysid FROM pg_stat_activity WHERE datid IS NOT NULL
            AND COALESCE(backend_type, 'client backend') = 'client backend' AND pid <> pg_backend_pid()),
    me AS (SELECT oid, rolname, rolconnlimit FROM pg_roles WHERE rolname = current_user AND NOT rolsuper)
    SELECT free, kept, bound FROM (
        SELECT current_setting('max_connections')::int8 - current_setting('superuser_reserved_connections')::int8
            - COALESCE(current_setting('reserved_connections', true)::int8, 0)
            - (SELECT count(*) FROM others), $1::int8, 'max_connections'
        UNION ALL SELECT rolconnlimit - (SELECT count(*) FROM others WHERE usesysid = r.oid),
            0, 'connection limit of role ' || rolname FROM me r WHERE rolconnlimit >= 0
        UNION ALL SELECT datconnlimit - (SELECT count(*) FROM others WHERE datid = d.oid),
            $1::int8, 'connection limit of database ' || datname FROM pg_database d
            WHERE datname = current_database() AND datconnlimit >= 0 AND EXISTS (SELECT FROM me)
    ) AS bounds (free, kept, bound) ORDER BY free - kept LIMIT 1";

/// How many tables `pg_dump` locks in one transaction, and how many locks the server has room for. More would fail the
/// dump, and until then leave the server's own users without locks.
/// Source: `NLOCKENTS` in `lock.c` and `MaxBackends` in `postinit.c` of PostgreSQL 18.6, read 2026-11-21.
const LOCKS: &str = "
    SELECT (SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p') AND relpersistence <> 't' AND oid >= 16384),
        current_setting('max_locks_per_transaction')::int8 * (1 + current_setting('max_connections')::int8
            + current_setting('max_prepared_transactions')::int8 + current_setting('max_worker_processes')::int8
            + current_setting('max_wal_senders')::int8 + COALESCE(current_setting('autovacuum_worker_slots', true),
                current_setting('autovacuum_max_workers'))::int8)";
/// How many objects an error names.
const NAMED: usize = 20;

/// Relations that `pg_dump` locks or that we read: tables with and without rows, and sequences. Of an extension's
/// only those whose rows are dumped.
const OURS: &str =
    "c.relkind IN ('r','p','S') AND c.relpersistence <> 't' AND (NOT EXISTS (SELECT FROM pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    OR EXISTS (SELECT FROM pg_extension e WHERE c.oid = ANY (e.extconfig)))";

pub(super) async fn preflight(
    url: &ConnectionUrl,
    pg_bin: &PgBin,
    connections: u32,
) -> Result<SourceFacts, SourceError> {
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
        too_few_connections(&session, connections).await?,
        too_few_locks(&session).await?,
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

/// Refuses a run that could take the last connections from the source's own users. Without, a run would fail in its
/// middle, or they would.
async fn too_few_connections(session: &Session, needed: u32) -> Result<Option<SourceError>, SourceError> {
    let row = session.one("count connections", FREE_CONNECTIONS, &[&KEPT_FREE]).await?;
    let (free, kept): (i64, i64) = (row.get(0), row.get(1));
    if free >= i64::from(needed) + kept {
        return Ok(None);
    }
    Ok(Some(SourceError::TooFewConnections {
        place: session.place.clone(),
        free: free.max(0).unsigned_abs(),
        needed,
        kept: kept.unsigned_abs(),
        bound: row.get(2),
    }))
}

async fn too_few_locks(session: &Session) -> Result<Option<SourceError>, SourceError> {
    let row = session.one("count tables and locks", LOCKS, &[]).await?;
    let (tables, room): (i64, i64) = (row.get(0), row.get(1));
    Ok((tables > room).then(|| SourceError::TooFewLocks {
        place: session.place.clone(),
        tables: tables.to_string(),
        room: format!(", it has room for about {room} locks"),
    }))
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

/// The timeline that is written now. The control file tells it only from the first checkpoint on that ends behind a
/// promotion.
const TIMELINE_WRITTEN: &str =
    "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int4";

/// A standby writes none, and replays the one of its primary.
const TIMELINE_REPLAYED: &str = "SELECT GREATEST(c.timeline_id, r.min_recovery_end_timeline)
    FROM pg_control_checkpoint() c, pg_control_recovery() r";

/// Where a server does not have these functions or lets nobody call them, which some providers' do not.
const TIMELINE_OF_CHECKPOINT: &str = "SELECT timeline_id FROM pg_control_checkpoint()";

/// No such function, not for this role, or not supported: anything else may pass, and would give a wrong lineage.
fn is_refused(error: &tokio_postgres::Error) -> bool {
    use tokio_postgres::error::SqlState;
    let refusals =
        [SqlState::UNDEFINED_FUNCTION, SqlState::INSUFFICIENT_PRIVILEGE, SqlState::FEATURE_NOT_SUPPORTED];
    error.code().is_some_and(|code| refusals.contains(code))
}

pub(crate) async fn lineage(session: &Session, database_oid: u32) -> Result<Lineage, SourceError> {
    let act = "read the system identifier";
    let sql = "SELECT system_identifier, pg_is_in_recovery() FROM pg_control_system()";
    let row = session.one(act, sql, &[]).await?;
    let now = if row.get(1) { TIMELINE_REPLAYED } else { TIMELINE_WRITTEN };
    let timeline = match session.client.query_one(now, &[]).await {
        Ok(row) => row,
        Err(error) if is_refused(session.cause(&error)) => {
            session.one(act, TIMELINE_OF_CHECKPOINT, &[]).await?
        }
        Err(error) => return Err(session.failed(act, &error).into()),
    };
    let timeline =
        u32::try_from(timeline.get::<_, i32>(0)).map_err(|_| session.strange(act, "timeline below zero"))?;
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
