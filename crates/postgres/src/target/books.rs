//! The bookkeeping of a restore, inside the target, so that an interrupted one goes on where it stood.

use super::rights::Provided;
use crate::inventory;
use crate::session::Session;
use crate::source::shortened;
use keepsake_domain::{LeftOut, LeftOutRule, TableName};
use keepsake_steps::ports::{LoadedPart, TargetError};
use std::collections::BTreeSet;

/// Any number that nobody else is likely to lock; it keeps two restores from beginning at once.
const BEGIN_LOCK: i64 = 0x6b65_6570_7361_6b65;

const CREATE: &str = "
    CREATE SCHEMA keepsake_restore;
    CREATE TABLE keepsake_restore.restore (backup_id text PRIMARY KEY, begun_at timestamptz NOT NULL DEFAULT now());
    CREATE TABLE keepsake_restore.parts (number bigint PRIMARY KEY, rows bigint NOT NULL);
    CREATE TABLE keepsake_restore.sections (name text PRIMARY KEY, state text NOT NULL)";

/// How far one archive's restore got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SectionState {
    /// Never tried.
    Untouched,
    /// Tried; its transaction may or may not have been committed, or its statements stand in part.
    Begun,
    /// Tried in many transactions, since one could not hold all its locks; it cannot be told how far that got.
    InPieces,
    /// Stands.
    Done,
}

impl SectionState {
    fn name(self) -> &'static str {
        match self {
            Self::Untouched => "untouched",
            Self::Begun => "begun",
            Self::InPieces => "in_pieces",
            Self::Done => "done",
        }
    }
}

/// What a restore of this backup would clash with. Extensions do not clash: they are created if they are missing.
pub(super) async fn foreign_content(session: &Session, backup_id: &str) -> Result<Vec<String>, TargetError> {
    let other = match begun_backup(session).await? {
        Some(begun) if begun == backup_id => return Ok(Vec::new()),
        Some(begun) => vec![format!("unfinished restore of backup {begun}")],
        None => Vec::new(),
    };
    Ok(shortened([other, content(session).await?].concat()))
}

/// All that a user or a restore made here; what the provider puts into each new database is not meant.
pub(super) async fn content(session: &Session) -> Result<Vec<String>, TargetError> {
    let mut objects = inventory::objects(session).await?;
    let provided = Provided::read(session).await?;
    objects.retain(|object| !object.starts_with("extension ") && !provided.holds(object));
    match inventory::large_objects(session).await? {
        0 => {}
        count => objects.push(format!("{count} large objects")),
    }
    Ok(objects)
}

pub(super) async fn open(session: &Session, backup_id: &str) -> Result<(), TargetError> {
    session.run("begin the restore", &format!("BEGIN; SELECT pg_advisory_xact_lock({BEGIN_LOCK})")).await?;
    let begun = begun_backup(session).await?.is_some();
    let objects = foreign_content(session, backup_id).await?;
    if !objects.is_empty() {
        return Err(TargetError::NotEmpty { place: session.place.clone(), objects });
    }
    if !begun {
        session.run("begin the restore", CREATE).await?;
        let sql = "INSERT INTO keepsake_restore.restore (backup_id) VALUES ($1)";
        session.all("begin the restore", sql, &[&backup_id]).await?;
    }
    Ok(session.run("begin the restore", "COMMIT").await?)
}

pub(super) async fn close(session: &Session) -> Result<(), TargetError> {
    Ok(session.run("end the restore", "DROP SCHEMA IF EXISTS keepsake_restore CASCADE").await?)
}

async fn begun_backup(session: &Session) -> Result<Option<String>, TargetError> {
    let act = "look for an unfinished restore";
    let there = "SELECT to_regclass('keepsake_restore.restore') IS NOT NULL";
    if !session.one(act, there, &[]).await?.get::<_, bool>(0) {
        return Ok(None);
    }
    let begun = session.texts(act, "SELECT backup_id FROM keepsake_restore.restore").await?;
    Ok(begun.into_iter().next())
}

pub(super) async fn loaded_parts(session: &Session) -> Result<Vec<LoadedPart>, TargetError> {
    let sql = "SELECT number, rows FROM keepsake_restore.parts ORDER BY number";
    let rows = session.all("list the loaded parts", sql, &[]).await?;
    let part = |row: &tokio_postgres::Row| LoadedPart {
        number: u32::try_from(row.get::<_, i64>(0)).unwrap_or(0),
        rows: u64::try_from(row.get::<_, i64>(1)).unwrap_or(0),
    };
    Ok(rows.iter().map(part).collect())
}

pub(super) async fn section(session: &Session, name: &str) -> Result<SectionState, TargetError> {
    let sql = "SELECT state FROM keepsake_restore.sections WHERE name = $1";
    let rows = session.all("read how far the restore got", sql, &[&name]).await?;
    Ok(match rows.first().map(|row| row.get::<_, String>(0)).as_deref() {
        Some("done") => SectionState::Done,
        Some("in_pieces") => SectionState::InPieces,
        Some(_) => SectionState::Begun,
        None => SectionState::Untouched,
    })
}

pub(super) async fn mark(session: &Session, name: &str, state: SectionState) -> Result<(), TargetError> {
    let sql = "INSERT INTO keepsake_restore.sections (name, state) VALUES ($1, $2)
               ON CONFLICT (name) DO UPDATE SET state = excluded.state";
    session.all("record how far the restore got", sql, &[&name, &state.name()]).await?;
    Ok(())
}

/// Keeps in mind which tables of the provider this restore loads. A second call with the same keeps them once.
pub(super) async fn note_provided(session: &Session, tables: &[TableName]) -> Result<(), TargetError> {
    let act = "record which of the provider's tables are loaded";
    let create = "CREATE TABLE IF NOT EXISTS keepsake_restore.provided
        (schema_name text NOT NULL, table_name text NOT NULL, PRIMARY KEY (schema_name, table_name))";
    session.run(act, create).await?;
    let sql = "INSERT INTO keepsake_restore.provided VALUES ($1, $2) ON CONFLICT DO NOTHING";
    for table in tables {
        session.all(act, sql, &[&table.schema, &table.name]).await?;
    }
    Ok(())
}

/// Tables of the provider that this restore loads; none for most.
pub(super) async fn provided(session: &Session) -> Result<BTreeSet<TableName>, TargetError> {
    let act = "read which of the provider's tables are loaded";
    let there = "SELECT to_regclass('keepsake_restore.provided') IS NOT NULL";
    if !session.one(act, there, &[]).await?.get::<_, bool>(0) {
        return Ok(BTreeSet::new());
    }
    let rows = session.all(act, "SELECT schema_name, table_name FROM keepsake_restore.provided", &[]).await?;
    Ok(rows.iter().map(|row| TableName { schema: row.get(0), name: row.get(1) }).collect())
}

/// Tables that hold the backup's rows behind changes of others; none where no changes were replayed.
pub(super) async fn as_of_backup(session: &Session) -> Result<BTreeSet<TableName>, TargetError> {
    let act = "read which tables hold the backup's rows";
    let there = "SELECT to_regclass('keepsake_restore.as_of_backup') IS NOT NULL";
    if !session.one(act, there, &[]).await?.get::<_, bool>(0) {
        return Ok(BTreeSet::new());
    }
    let sql = "SELECT schema_name, table_name FROM keepsake_restore.as_of_backup";
    let rows = session.all(act, sql, &[]).await?;
    Ok(rows.iter().map(|row| TableName { schema: row.get(0), name: row.get(1) }).collect())
}

/// Keeps what is left out until the certificate names it. A second call with the same keeps it once.
pub(super) async fn note_left_out(session: &Session, left_out: &[LeftOut]) -> Result<(), TargetError> {
    let act = "record what is left out";
    let table = "CREATE TABLE IF NOT EXISTS keepsake_restore.left_out
        (rule text NOT NULL, object text NOT NULL, PRIMARY KEY (rule, object))";
    session.run(act, table).await?;
    let sql = "INSERT INTO keepsake_restore.left_out (rule, object) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    for one in left_out {
        session.all(act, sql, &[&one.rule.name(), &one.object]).await?;
    }
    Ok(())
}

pub(super) async fn left_out(session: &Session) -> Result<Vec<LeftOut>, TargetError> {
    let act = "read what was left out";
    let there = "SELECT to_regclass('keepsake_restore.left_out') IS NOT NULL";
    if !session.one(act, there, &[]).await?.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    let rows = session.all(act, "SELECT rule, object FROM keepsake_restore.left_out", &[]).await?;
    let one = |row: &tokio_postgres::Row| {
        Some(LeftOut { rule: LeftOutRule::of_name(row.get(0))?, object: row.get(1) })
    };
    let mut left_out: Vec<LeftOut> = rows.iter().filter_map(one).collect();
    left_out.sort();
    Ok(left_out)
}
