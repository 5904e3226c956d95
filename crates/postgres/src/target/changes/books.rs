//! How far changes stand and what they did, in the bookkeeping of the restore: it moves in the transaction of each batch.

use super::super::books::{SectionState, section};
use super::super::programs::POST_DATA;
use crate::session::Session;
use keepsake_archive::CopyText;
use keepsake_domain::{Lsn, RowsDigest, TableName};
use keepsake_steps::ports::{
    AppliedChanges, ChangeBatch, ChangePosition, ChangedTable, TableChange, TargetError,
};
use tokio_postgres::Row;

const MAKE: &str = "
    CREATE TABLE IF NOT EXISTS keepsake_restore.changes (transaction_lsn text NOT NULL, messages bigint NOT NULL,
        has_ended boolean NOT NULL);
    INSERT INTO keepsake_restore.changes SELECT '0/0', 0, false
        WHERE NOT EXISTS (SELECT FROM keepsake_restore.changes);
    CREATE TABLE IF NOT EXISTS keepsake_restore.changed_tables (schema_name text, table_name text,
        is_emptied boolean NOT NULL DEFAULT false,
        deleted_rows bigint NOT NULL DEFAULT 0, deleted_bytes bigint NOT NULL DEFAULT 0, deleted_digest text NOT NULL,
        inserted_rows bigint NOT NULL DEFAULT 0, inserted_bytes bigint NOT NULL DEFAULT 0,
        inserted_digest text NOT NULL, PRIMARY KEY (schema_name, table_name));
    CREATE TABLE IF NOT EXISTS keepsake_restore.key_indexes (schema_name text, index_name text,
        PRIMARY KEY (schema_name, index_name));
    CREATE TABLE IF NOT EXISTS keepsake_restore.as_of_backup (schema_name text, table_name text,
        PRIMARY KEY (schema_name, table_name))";

const ACT: &str = "record how far the changes stand";

/// Refuses a database that has its keys already, or began to get them: triggers would fire, and keys be in the way.
pub(super) async fn has_no_keys(session: &Session) -> Result<(), TargetError> {
    let (position, has_ended) = position(session, "").await?;
    let post_data = section(session, POST_DATA).await?;
    if has_ended || post_data == SectionState::Untouched {
        return Ok(());
    }
    Err(TargetError::ChangesElsewhere {
        place: session.place.clone(),
        stands: format!("{}, their end: indexes and constraints were begun", shown(position)),
        wanted: "their beginning".to_owned(),
    })
}

/// Makes the tables. A second call finds them. The lock keeps two that begin at once apart.
pub(super) async fn make(session: &Session) -> Result<(), TargetError> {
    let lock = "SELECT pg_advisory_xact_lock(hashtext('keepsake_restore.changes'))";
    Ok(session.run(ACT, &format!("BEGIN; {lock}; {MAKE}; COMMIT")).await?)
}

/// Whether the batch is the next one; false when it stands already. Locks the position until the transaction ends.
pub(super) async fn stands_before(session: &Session, batch: &ChangeBatch) -> Result<bool, TargetError> {
    let (position, has_ended) = position(session, "FOR UPDATE").await?;
    if position >= batch.to {
        return Ok(false);
    }
    if !has_ended && position == batch.from {
        return Ok(true);
    }
    let stands = format!("{}{}", shown(position), if has_ended { ", their end" } else { "" });
    Err(TargetError::ChangesElsewhere { place: session.place.clone(), stands, wanted: shown(batch.from) })
}

fn shown(position: ChangePosition) -> String {
    format!("{} after {} messages", position.transaction, position.messages)
}

async fn position(session: &Session, lock: &str) -> Result<(ChangePosition, bool), TargetError> {
    let sql = format!("SELECT transaction_lsn, messages, has_ended FROM keepsake_restore.changes {lock}");
    let row = session.one(ACT, &sql, &[]).await?;
    let transaction: Lsn = parsed(session, row.get(0))?;
    let position = ChangePosition { transaction, messages: unsigned(row.get(1)) };
    Ok((position, row.get(2)))
}

pub(super) async fn move_to(session: &Session, position: ChangePosition) -> Result<(), TargetError> {
    let sql = "UPDATE keepsake_restore.changes SET transaction_lsn = $1, messages = $2";
    let (transaction, messages) = (position.transaction.to_string(), signed(position.messages));
    session.all(ACT, sql, &[&transaction, &messages]).await?;
    Ok(())
}

pub(super) async fn applied(session: &Session) -> Result<AppliedChanges, TargetError> {
    let (position, has_ended) = position(session, "").await?;
    let sql = "SELECT schema_name, table_name, is_emptied, deleted_rows, deleted_bytes, deleted_digest, inserted_rows,
        inserted_bytes, inserted_digest FROM keepsake_restore.changed_tables ORDER BY 1, 2";
    let rows = session.all(ACT, sql, &[]).await?;
    let tables = rows.iter().map(|row| changed_table(session, row)).collect::<Result<_, _>>()?;
    Ok(AppliedChanges { position, has_ended, tables })
}

fn changed_table(session: &Session, row: &Row) -> Result<ChangedTable, TargetError> {
    let sum = |first: usize| {
        Ok::<_, TargetError>(CopyText {
            rows: unsigned(row.get(first)),
            raw_bytes: unsigned(row.get(first + 1)),
            rows_digest: parsed(session, row.get(first + 2))?,
        })
    };
    Ok(ChangedTable {
        table: TableName { schema: row.get(0), name: row.get(1) },
        is_emptied: row.get(2),
        deleted: sum(3)?,
        inserted: sum(6)?,
    })
}

/// Which sum of a table.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sum {
    Deleted,
    Inserted,
}

/// What was counted of a table before it was emptied counts no more.
pub(super) async fn note_emptied(session: &Session, change: &TableChange) -> Result<(), TargetError> {
    if !change.is_emptied {
        return Ok(());
    }
    let sql = "INSERT INTO keepsake_restore.changed_tables
        (schema_name, table_name, is_emptied, deleted_digest, inserted_digest) VALUES ($1, $2, true, $3, $3)
        ON CONFLICT (schema_name, table_name) DO UPDATE SET is_emptied = true, deleted_rows = 0, deleted_bytes = 0,
        deleted_digest = $3, inserted_rows = 0, inserted_bytes = 0, inserted_digest = $3";
    let none = RowsDigest::default().to_string();
    session.all(ACT, sql, &[&change.table.schema, &change.table.name, &none]).await?;
    Ok(())
}

/// Adds to a table's sums. Nobody else does at this time: the position is locked.
pub(super) async fn add(
    session: &Session,
    table: &TableName,
    sum: Sum,
    more: CopyText,
) -> Result<(), TargetError> {
    let which = match sum {
        Sum::Deleted => "deleted",
        Sum::Inserted => "inserted",
    };
    let none = RowsDigest::default().to_string();
    let sql = "INSERT INTO keepsake_restore.changed_tables (schema_name, table_name, deleted_digest, inserted_digest)
        VALUES ($1, $2, $3, $3) ON CONFLICT DO NOTHING";
    session.all(ACT, sql, &[&table.schema, &table.name, &none]).await?;
    let sql = format!(
        "SELECT {which}_digest FROM keepsake_restore.changed_tables WHERE schema_name = $1 AND table_name = $2"
    );
    let row = session.one(ACT, &sql, &[&table.schema, &table.name]).await?;
    let mut digest: RowsDigest = parsed(session, row.get(0))?;
    digest += more.rows_digest;
    let sql = format!(
        "UPDATE keepsake_restore.changed_tables SET {which}_rows = {which}_rows + $3,
         {which}_bytes = {which}_bytes + $4, {which}_digest = $5 WHERE schema_name = $1 AND table_name = $2"
    );
    let (rows, bytes, digest) = (signed(more.rows), signed(more.raw_bytes), digest.to_string());
    session.all(ACT, &sql, &[&table.schema, &table.name, &rows, &bytes, &digest]).await?;
    Ok(())
}

/// Remembers an index of ours, to drop it.
pub(super) async fn note_index(session: &Session, schema: &str, index: &str) -> Result<(), TargetError> {
    let sql = "INSERT INTO keepsake_restore.key_indexes VALUES ($1, $2) ON CONFLICT DO NOTHING";
    session.all("record an index", sql, &[&schema, &index]).await?;
    Ok(())
}

/// Drops our indexes, keeps in mind which tables no change reached, and lets no further batch in, in one transaction.
pub(super) async fn end(session: &Session, as_of_backup: &[TableName]) -> Result<(), TargetError> {
    let act = "end the changes";
    // The batches did not wait for the disk.
    session.run(act, "BEGIN; SET LOCAL synchronous_commit = on").await?;
    position(session, "FOR UPDATE").await?;
    let note = "INSERT INTO keepsake_restore.as_of_backup VALUES ($1, $2) ON CONFLICT DO NOTHING";
    for table in as_of_backup {
        session.all(act, note, &[&table.schema, &table.name]).await?;
    }
    let sql = "SELECT format('%I.%I', schema_name, index_name) FROM keepsake_restore.key_indexes";
    for index in session.texts(act, sql).await? {
        session.run(act, &format!("DROP INDEX IF EXISTS {index}")).await?;
    }
    let sql = "DELETE FROM keepsake_restore.key_indexes; UPDATE keepsake_restore.changes SET has_ended = true; COMMIT";
    Ok(session.run(act, sql).await?)
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    session: &Session,
    text: String,
) -> Result<T, TargetError> {
    text.parse().map_err(|error: T::Err| session.strange(ACT, error.to_string()).into())
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
