//! Tables that the provider made before us, into which rows of the backup may go.

use super::books;
use crate::error::sql_state;
use crate::inventory;
use crate::session::Session;
use keepsake_domain::{ProvidedFacts, ProvidedPlan, ProvidedTable, SequenceName, TableName};
use keepsake_steps::ports::TargetError;
use std::collections::BTreeSet;

/// Rights were not enough.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// Neither triggers nor foreign keys act on what is loaded then, but for triggers that are told to.
pub(super) const SILENT: &str = "SET LOCAL session_replication_role = replica";

/// Bit 2 of a trigger's type: it fires on INSERT. Source: `TRIGGER_TYPE_INSERT` in PostgreSQL's `catalog/pg_trigger.h`, read
/// 2026-11-21.
const TABLES: &str = "
    SELECT n.nspname::text, c.relname::text,
        has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'INSERT')
            AND has_table_privilege(c.oid, 'SELECT'),
        row_security_active(c.oid),
        ARRAY(SELECT t.tgname::text FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
              AND t.tgtype & 4 <> 0 AND t.tgenabled::text = ANY ($2) ORDER BY 1)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname::text = ANY ($1)";

const SEQUENCES: &str = "
    SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname::text = ANY ($1) AND has_schema_privilege(n.oid, 'USAGE')
      AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'UPDATE') ELSE false END";

/// Fills in the target's side of what is asked for.
pub(super) async fn look(session: &Session, mut asked: ProvidedFacts) -> Result<ProvidedFacts, TargetError> {
    let act = "look at what the provider made";
    let ours = books::provided(session).await?;
    let shapes = inventory::tables(session).await?;
    let enabled: &[&str] = if may_be_silent(session).await? { &["A", "R"] } else { &["A", "O"] };
    let schemas: BTreeSet<&String> = asked.held.keys().map(|table| &table.schema).collect();
    let schemas: Vec<&String> = schemas.into_iter().collect();
    for row in session.all(act, TABLES, &[&schemas, &enabled]).await? {
        let table = TableName { schema: row.get(0), name: row.get(1) };
        let shape = shapes.iter().find(|shape| shape.table == table && shape.root.is_none());
        let (Some(shape), true) = (shape, asked.held.contains_key(&table)) else { continue };
        let may_be_used: bool = row.get(2);
        let mut in_the_way = Vec::new();
        in_the_way.extend((!may_be_used).then(|| "the role may not read and fill it".to_owned()));
        in_the_way.extend(row.get::<_, bool>(3).then(|| "row-level security hides its rows".to_owned()));
        let triggers: Vec<String> = row.get(4);
        in_the_way.extend(triggers.iter().map(|name| format!("trigger {name} would act on each row")));
        if may_be_used && !ours.contains(&table) && holds_rows(session, &table).await? {
            in_the_way.push("the target's has rows already".to_owned());
        }
        asked.provided.insert(table, ProvidedTable { columns: shape.columns.clone(), in_the_way });
    }
    let schemas: Vec<&String> = asked.sequences.keys().map(|sequence| &sequence.schema).collect();
    for row in session.all(act, SEQUENCES, &[&schemas]).await? {
        let sequence = SequenceName { schema: row.get(0), name: row.get(1) };
        if let Some(may_be_set) = asked.sequences.get_mut(&sequence) {
            *may_be_set = true;
        }
    }
    Ok(asked)
}

async fn holds_rows(session: &Session, table: &TableName) -> Result<bool, TargetError> {
    let sql = format!("SELECT EXISTS (SELECT FROM {})", table.quoted());
    Ok(session.one("look at what the provider made", &sql, &[]).await?.get(0))
}

/// Whether the restoring role may keep triggers from acting: only the try tells, which is rolled back.
pub(super) async fn may_be_silent(session: &Session) -> Result<bool, TargetError> {
    let act = "try to keep triggers from acting";
    let tried = session.client.batch_execute(&format!("BEGIN; {SILENT}")).await;
    session.run(act, "ROLLBACK").await?;
    match tried {
        Ok(()) => Ok(true),
        Err(error) if sql_state(&error) == Some(INSUFFICIENT_PRIVILEGE) => Ok(false),
        Err(error) => Err(session.failed(act, &error).into()),
    }
}

/// Notes the plan in the books of the restore.
pub(super) async fn take(session: &Session, plan: &ProvidedPlan) -> Result<(), TargetError> {
    books::note_provided(session, &plan.loaded).await?;
    books::note_left_out(session, &plan.left_out).await
}
