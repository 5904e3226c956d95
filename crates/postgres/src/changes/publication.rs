//! Our publication: which tables are in it, and which must not be.
//!
//! Publishing a table that has no usable replica identity makes its users' UPDATE and DELETE fail. So tables are named
//! one by one, each `ONLY` itself (without it, all that inherit from it would be published too), and a table that lost
//! its identity is taken out again.

use super::slot::SlotName;
use crate::error::lock_not_granted;
use crate::inventory::FOREIGN_SCHEMAS;
use crate::session::Session;
use keepsake_domain::{NotCaptured, NotCapturedReason, TableName, quote_identifier};
use keepsake_steps::ports::SourceError;
use serde::{Deserialize, Serialize};

/// For the lock that a change of a replica identity needs. Every statement on the table waits behind us meanwhile.
const IDENTITY_PATIENCE: &str = "SET LOCAL lock_timeout = '2s'";

/// From this version on a publication may name schemas, filter rows and leave columns out.
pub(super) const NARROWED_SINCE: u32 = 150_000;

/// From this version on a replica identity may hold no generated column, which are not published.
const GENERATED_FORBIDDEN_SINCE: u32 = 180_000;

/// A table with rows of its own, as capture sees it.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub name: TableName,
    /// `None`: its changes can be captured.
    pub obstacle: Option<NotCapturedReason>,
    /// Whether `REPLICA IDENTITY FULL` would help.
    pub full_helps: bool,
    pub is_published: bool,
    /// Whether only some of its rows or columns are published.
    pub is_narrowed: bool,
    /// `relreplident`.
    identity: String,
    /// The index that it is by.
    identity_index: Option<String>,
}

/// Whether the server can tell which row was changed by this index. Until version 17 the stream silently leaves
/// generated columns out of a key, from 18 on the user's UPDATE fails.
const KEY: &str =
    "EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
    AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey::int2[])
                    AND a.attgenerated <> '') AND ";

/// Whether `REPLICA IDENTITY FULL` makes table `c` one whose changes can be captured.
fn full_helps(version: u32) -> &'static str {
    if version >= GENERATED_FORBIDDEN_SINCE {
        "NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attgenerated <> '')"
    } else {
        "true"
    }
}

/// `captured`, or why not, of table `c`; in SQL.
pub(super) fn state_of_table(version: u32) -> String {
    let full = full_helps(version);
    format!(
        "CASE
                WHEN c.relkind = 'f' THEN 'foreign'
                WHEN EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                             AND d.deptype = 'e') THEN 'extension'
                WHEN c.relpersistence = 'u' THEN 'unlogged'
                WHEN NOT pg_has_role(c.relowner, 'USAGE') THEN 'not owner'
                WHEN c.relreplident = 'f' AND {full} OR c.relreplident = 'd' AND {KEY} i.indisprimary)
                     OR c.relreplident = 'i' AND {KEY} i.indisreplident) THEN 'captured'
                ELSE 'no identity' END"
    )
}

fn statement(version: u32) -> String {
    let (state, full) = (state_of_table(version), full_helps(version));
    let narrowed =
        if version >= NARROWED_SINCE { "r.prqual IS NOT NULL OR r.prattrs IS NOT NULL" } else { "false" };
    format!(
        "SELECT n.nspname, c.relname, {state},
            {full}, r.oid IS NOT NULL, COALESCE({narrowed}, false), c.relreplident::text,
            (SELECT x.relname FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
             WHERE i.indrelid = c.oid AND i.indisreplident AND c.relreplident = 'i')
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_publication_rel r ON r.prrelid = c.oid
            AND r.prpubid = (SELECT p.oid FROM pg_publication p WHERE p.pubname::text = $1)
        WHERE c.relkind IN ('r', 'f') AND c.relpersistence <> 't' AND {FOREIGN_SCHEMAS}
        ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\""
    )
}

/// All tables and partitions, sorted.
pub(super) async fn tables(session: &Session, slot: &SlotName) -> Result<Vec<Table>, SourceError> {
    let rows = session.all("list the tables", &statement(session.version), &[&slot.publication()]).await?;
    let table = |row: &tokio_postgres::Row| {
        let obstacle = match row.get(2) {
            "captured" => None,
            "foreign" => Some(NotCapturedReason::Foreign),
            "extension" => Some(NotCapturedReason::OwnedByExtension),
            "unlogged" => Some(NotCapturedReason::Unlogged),
            "not owner" => Some(NotCapturedReason::NotOwner),
            _ => Some(NotCapturedReason::NoReplicaIdentity),
        };
        Table {
            name: TableName { schema: row.get(0), name: row.get(1) },
            obstacle,
            full_helps: row.get(3),
            is_published: row.get(4),
            is_narrowed: row.get(5),
            identity: row.get(6),
            identity_index: row.get(7),
        }
    };
    Ok(rows.iter().map(table).collect())
}

impl Table {
    pub fn not_captured(&self) -> Option<NotCaptured> {
        let is_whole = self.is_published && !self.is_narrowed;
        let reason = self.obstacle.or((!is_whole).then_some(NotCapturedReason::NotPublishedYet));
        reason.map(|reason| NotCaptured { table: self.name.clone(), reason })
    }
}

/// Tables of our publication, sorted.
pub(super) async fn published(session: &Session, slot: &SlotName) -> Result<Vec<TableName>, SourceError> {
    let sql =
        "SELECT n.nspname, c.relname FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
            JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE p.pubname::text = $1 ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\"";
    let rows = session.all("list the published tables", sql, &[&slot.publication()]).await?;
    Ok(rows.iter().map(|row| TableName { schema: row.get(0), name: row.get(1) }).collect())
}

/// Whether there is a publication of ours.
pub(super) async fn stands(session: &Session, slot: &SlotName) -> Result<bool, SourceError> {
    let sql = "SELECT EXISTS (SELECT FROM pg_publication WHERE pubname::text = $1)";
    Ok(session.one("look for the publication", sql, &[&slot.publication()]).await?.get(0))
}

/// What the comment on our publication holds, as JSON: what must be set back when it goes, and who uses it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Replica identities that we set.
    #[serde(default)]
    pub identity_full: Vec<Before>,
    /// The repository that changes go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// Somebody began to take all of it away: nothing is published any more.
    #[serde(default)]
    pub is_leaving: bool,
}

/// A table whose replica identity we set, and what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Before {
    pub table: TableName,
    /// `relreplident`.
    pub was: String,
    /// The index that it was by. Older programs wrote none down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
}

impl Before {
    fn of(table: &Table) -> Self {
        let (table, was, index) = (table.name.clone(), table.identity.clone(), table.identity_index.clone());
        Self { table, was, index }
    }

    /// What sets it back. One whose index was dropped before means the same as none.
    fn identity(&self) -> String {
        match (self.was.as_str(), &self.index) {
            ("d", _) => "DEFAULT".to_owned(),
            (_, Some(index)) => format!("USING INDEX {}", quote_identifier(index)),
            _ => "NOTHING".to_owned(),
        }
    }
}

/// What our publication remembers; `None` when there is none.
pub(super) async fn memory(session: &Session, slot: &SlotName) -> Result<Option<Memory>, SourceError> {
    let sql = "SELECT COALESCE(obj_description(oid, 'pg_publication'), '{}') FROM pg_publication
        WHERE pubname::text = $1";
    let act = "read the publication";
    let rows = session.all(act, sql, &[&slot.publication()]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    // A comment that somebody else wrote remembers nothing.
    Ok(Some(serde_json::from_str(row.get(0)).unwrap_or_default()))
}

/// Every kind of change, and of partitions their own.
pub(super) const PUBLISHED: &str =
    "publish = 'insert, update, delete, truncate', publish_via_partition_root = false";

/// Makes the publication, without any table.
pub(super) async fn create(session: &Session, slot: &SlotName) -> Result<(), SourceError> {
    let sql = format!("CREATE PUBLICATION {} WITH ({PUBLISHED})", quote_identifier(slot.publication()));
    Ok(session.run("make the publication", &sql).await?)
}

/// Sets `REPLICA IDENTITY FULL` where a table has no other and it helps. What it was is written down before, so that a
/// call that dies in between leaves nothing that is not known.
pub(super) async fn identify(
    session: &Session,
    slot: &SlotName,
    tables: &mut [Table],
    memory: &mut Memory,
) -> Result<(), SourceError> {
    let lacks =
        |table: &&mut Table| table.obstacle == Some(NotCapturedReason::NoReplicaIdentity) && table.full_helps;
    let wanting: Vec<&mut Table> = tables.iter_mut().filter(lacks).collect();
    for table in &wanting {
        memory.identity_full.retain(|before| before.table != table.name);
        memory.identity_full.push(Before::of(table));
    }
    if wanting.is_empty() {
        return Ok(());
    }
    remember(session, slot, memory).await?;
    for table in wanting {
        set_identity(session, &table.name, "FULL").await?;
        table.obstacle = None;
    }
    Ok(())
}

pub(super) async fn remember(session: &Session, slot: &SlotName, memory: &Memory) -> Result<(), SourceError> {
    Ok(session.run(REMEMBER, &comment(session, slot, memory)?).await?)
}

const REMEMBER: &str = "write down what is changed on the source";

fn comment(session: &Session, slot: &SlotName, memory: &Memory) -> Result<String, SourceError> {
    let json = serde_json::to_string(memory).map_err(|error| session.strange(REMEMBER, error.to_string()))?;
    let publication = quote_identifier(slot.publication());
    Ok(format!("COMMENT ON PUBLICATION {publication} IS '{}'", json.replace('\'', "''")))
}

/// Publishes nothing any more, whatever is in the publication: no table needs an identity from then on. Locks no table.
pub(super) async fn silence(session: &Session, slot: &SlotName, memory: &Memory) -> Result<(), SourceError> {
    let comment = comment(session, slot, &Memory { is_leaving: true, ..memory.clone() })?;
    let publication = quote_identifier(slot.publication());
    let sql = format!("BEGIN; {comment}; ALTER PUBLICATION {publication} SET (publish = ''); COMMIT");
    Ok(session.run("publish nothing any more", &sql).await?)
}

/// Whether table `$1.$2` is still as we set it, and whether index `$3` of it can be its identity.
const STILL: &str = "SELECT c.relreplident = 'f', EXISTS (SELECT FROM pg_index i
            JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid AND x.relname = $3::text
            AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
            AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attnotnull
                            AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1::text AND c.relname = $2::text AND c.relkind = 'r'";

/// Sets the replica identities back that we set, where the tables still have them; answers for each what became of it.
pub(super) async fn forget(session: &Session, memory: &Memory) -> Result<Vec<String>, SourceError> {
    let mut told = Vec::new();
    for before in &memory.identity_full {
        let (table, index) = (&before.table, &before.index);
        let rows =
            session.all("read the replica identity", STILL, &[&table.schema, &table.name, index]).await?;
        let Some(row) = rows.first().filter(|row| row.get(0)) else { continue };
        match index {
            Some(index) if !row.get::<_, bool>(1) => told.push(format!(
                "replica identity of {table} not set back: it stays FULL, because index \"{index}\" is gone"
            )),
            _ => {
                set_identity(session, table, &before.identity()).await?;
                told.push(format!("replica identity of {table}"));
            }
        }
    }
    Ok(told)
}

async fn set_identity(session: &Session, table: &TableName, identity: &str) -> Result<(), SourceError> {
    let act = format!("set the replica identity of {table}");
    let sql = format!(
        "BEGIN; {IDENTITY_PATIENCE}; ALTER TABLE {} REPLICA IDENTITY {identity}; COMMIT",
        table.quoted()
    );
    let Err(error) = session.client.batch_execute(&sql).await else { return Ok(()) };
    let _ = session.client.batch_execute("ROLLBACK").await;
    if lock_not_granted(session.cause(&error)) {
        let what = format!("table {table}");
        return Err(SourceError::LockNotGranted { what, place: session.place.clone() });
    }
    Err(session.failed(&act, &error).into())
}
