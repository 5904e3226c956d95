//! Event triggers by which a table that is new joins the publication in the transaction that makes it, one that lost its
//! identity leaves, and the stream tells what was defined. Only some roles may make them; without them each boundary looks by
//! itself, and the fingerprint at each segment's end tells that something was defined, not what.

use super::publication;
use crate::error::sql_state;
use crate::inventory::{FOREIGN_SCHEMAS, schema_rows};
use crate::session::Session;
use keepsake_domain::{CAPTURE_SCHEMA, DDL_MESSAGE_FORMAT, DDL_MESSAGE_PREFIX};
use keepsake_steps::ports::SourceError;

const ACT: &str = "watch for changes of the schema";

/// Of any of ours. Two that protect at once would replace each other's functions, which the server refuses.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtext('keepsake_capture'))";

/// The event triggers fire for everybody and call ours, and all functions run as a role that may change the publications
/// that this role may change, with their own settings, and are nobody else's to call.
const THERE: &str = "SELECT (SELECT count(*) = 3 FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid
        WHERE (e.evtname, e.evtevent, p.proname) IN (('keepsake_capture_start', 'ddl_command_start', 'looked'),
            ('keepsake_capture_ddl', 'ddl_command_end', 'noted'), ('keepsake_capture_drop', 'sql_drop', 'noted'))
          AND e.evtenabled = 'A' AND p.pronamespace = to_regnamespace($1::text)
          AND e.evttags IS NOT DISTINCT FROM CASE e.evtname WHEN 'keepsake_capture_start' THEN $2::text[] END)
    AND (SELECT count(*) = 4 FROM pg_proc p
        WHERE p.pronamespace = to_regnamespace($1::text) AND p.prosecdef
          AND p.proconfig IS NOT DISTINCT FROM CASE p.proname
              WHEN 'note' THEN ARRAY['search_path=pg_catalog, pg_temp', 'lock_timeout=100ms', 'extra_float_digits=3']
              WHEN 'fingerprint' THEN ARRAY['search_path=pg_catalog, pg_temp', 'jit=off', 'bytea_output=hex',
                  'extra_float_digits=3', 'quote_all_identifiers=off', 'TimeZone=UTC', 'row_security=off'] END
          AND NOT has_function_privilege('public', p.oid, 'EXECUTE')
          AND NOT EXISTS (SELECT FROM pg_publication b
                          WHERE b.pubname LIKE 'keepsake\\_%' AND pg_has_role(b.pubowner, 'USAGE')
                            AND NOT pg_has_role(p.proowner, b.pubowner, 'USAGE')))";

/// Commands of which statements may be run again by a restore. Others are told without the schema's fingerprints.
const TAGS: [&str; 4] = ["CREATE TABLE", "ALTER TABLE", "CREATE INDEX", "COMMENT"];

/// What the functions do, in the order of the statements.
const BODIES: &str = "SELECT p.prosrc FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = $1::text ORDER BY p.proname DESC";

fn statements(version: u32) -> String {
    include_str!("schema_watch.sql")
        .replace("@schema@", CAPTURE_SCHEMA)
        .replace("@prefix@", DDL_MESSAGE_PREFIX)
        .replace("@format@", &DDL_MESSAGE_FORMAT.to_string())
        .replace("@tags@", &TAGS.map(|tag| format!("'{tag}'")).join(", "))
        .replace("@user_schemas@", FOREIGN_SCHEMAS)
        .replace("@state@", &publication::state_of_table(version))
        .replace("@rows@", &schema_rows(version))
}

/// Makes schema, functions and event triggers of ours, or makes them anew if they are not what they should be. `None` when
/// they stand, else why not, in the server's words: whoever may not make them can be protected without. A second call
/// changes nothing.
///
/// # Errors
/// Only when the server could not be asked.
pub(super) async fn install(session: &Session) -> Result<Option<String>, SourceError> {
    let statements = statements(session.version);
    if stands(session, &statements).await? {
        return Ok(None);
    }
    let sql = format!("BEGIN; {LOCK}; {statements}; COMMIT");
    let Err(error) = session.client.batch_execute(&sql).await else { return Ok(None) };
    if sql_state(session.cause(&error)).is_none() {
        return Err(session.failed(ACT, &error).into());
    }
    session.run(ACT, "ROLLBACK").await?;
    if session.one(ACT, THERE, &[&CAPTURE_SCHEMA, &TAGS.as_slice()]).await?.get(0) {
        return Ok(None);
    }
    Ok(Some(keepsake_domain::chain(&session.failed(ACT, &error))))
}

/// Whether event triggers and functions are as these statements make them.
async fn stands(session: &Session, statements: &str) -> Result<bool, SourceError> {
    let there: bool = session.one(ACT, THERE, &[&CAPTURE_SCHEMA, &TAGS.as_slice()]).await?.get(0);
    let found = session.all(ACT, BODIES, &[&CAPTURE_SCHEMA]).await?;
    let found = found.iter().map(|row| row.get::<_, &str>(0));
    Ok(there && found.eq(statements.split("$keepsake$").skip(1).step_by(2)))
}

/// Removes them, unless another source of this database needs them; answers what went.
///
/// # Errors
/// [`SourceError`]; a second call goes on.
pub(super) async fn remove(session: &Session) -> Result<Vec<String>, SourceError> {
    let state = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1::text),
        EXISTS (SELECT FROM pg_publication WHERE pubname LIKE 'keepsake\\_%')";
    let row = session.one(ACT, state, &[&CAPTURE_SCHEMA]).await?;
    if !row.get::<_, bool>(0) || row.get(1) {
        return Ok(Vec::new());
    }
    // Functions only after nobody can be about to call them.
    for sql in [
        format!(
            "DROP EVENT TRIGGER IF EXISTS {CAPTURE_SCHEMA}_start; DROP EVENT TRIGGER IF EXISTS {CAPTURE_SCHEMA}_ddl;
             DROP EVENT TRIGGER IF EXISTS {CAPTURE_SCHEMA}_drop"
        ),
        format!("DROP SCHEMA IF EXISTS {CAPTURE_SCHEMA} CASCADE"),
    ] {
        session.run("remove what watches the schema", &sql).await?;
    }
    Ok(vec![format!("event triggers and schema {CAPTURE_SCHEMA}")])
}
