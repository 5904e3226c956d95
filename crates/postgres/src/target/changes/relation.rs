//! What has to be known of a table before its rows can be changed by their keys.

use super::books;
use crate::session::Session;
use keepsake_domain::{TableName, quote_identifier};
use keepsake_steps::ports::{TableChange, TargetError};
use std::collections::BTreeMap;

/// A table of the target.
#[derive(Debug, Clone)]
pub(super) struct Relation {
    /// Whether rows go into its partitions.
    is_partitioned: bool,
    /// Columns that are `GENERATED ALWAYS AS IDENTITY`: no statement but an insertion can set them.
    pub identities: Vec<String>,
    /// Columns of a domain, with the type below it: a domain may refuse the NULL that stands for an unchanged value.
    domains: BTreeMap<String, String>,
    /// For each column of the key the operator that its index finds equal values by. Empty without an index.
    pub equalities: Vec<String>,
}

/// Whether rows are looked for by a key.
pub(super) fn needs_index(change: &TableChange) -> bool {
    let looks_for_rows = !change.deletions.is_empty() || !change.updates.is_empty();
    looks_for_rows && !change.key.is_empty()
}

const FIND: &str = "
    SELECT c.oid, c.relkind::text, ARRAY(SELECT a.attname::text FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attidentity = 'a')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1::text AND c.relname = $2::text AND c.relkind IN ('r', 'p')";

/// A domain may be one over another.
const DOMAINS: &str = "
    WITH RECURSIVE below AS (
        SELECT a.attname, t.typtype, t.typbasetype, t.typnamespace, t.typname
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND t.typtype = 'd'
        UNION ALL
        SELECT b.attname, t.typtype, t.typbasetype, t.typnamespace, t.typname
        FROM below b JOIN pg_type t ON t.oid = b.typbasetype WHERE b.typtype = 'd')
    SELECT b.attname::text, quote_ident(n.nspname) || '.' || quote_ident(b.typname)
    FROM below b JOIN pg_namespace n ON n.oid = b.typnamespace WHERE b.typtype <> 'd'";

/// The server knows which operator an index serves, whatever the column's type and wherever that was made.
const EQUALITIES: &str = "
    SELECT quote_ident(n.nspname) || '.' || o.oprname
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_namespace s ON s.oid = i.relnamespace,
        LATERAL unnest(x.indclass::oid[]) WITH ORDINALITY AS part(class, number)
    JOIN pg_opclass c ON c.oid = part.class
    JOIN pg_amop a ON a.amopfamily = c.opcfamily AND a.amoplefttype = c.opcintype
        AND a.amoprighttype = c.opcintype AND a.amopstrategy = 3
    JOIN pg_operator o ON o.oid = a.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace
    WHERE s.nspname = $1::text AND i.relname = $2::text ORDER BY part.number";

impl Relation {
    /// Looks the table up, and makes the index that its changes need. A second call finds the index.
    pub async fn of(session: &Session, change: &TableChange) -> Result<Self, TargetError> {
        let table = &change.table;
        let act = format!("find table {table}");
        let found = session.all(&act, FIND, &[&table.schema, &table.name]).await?;
        let [row] = found.as_slice() else {
            let said = "the restored schema has no such table, and the changes have rows of it";
            return Err(session.strange(&act, said).into());
        };
        let domains = session.all(&act, DOMAINS, &[&row.get::<_, u32>(0)]).await?;
        let mut relation = Self {
            is_partitioned: row.get::<_, String>(1) == "p",
            identities: row.get(2),
            domains: domains.iter().map(|row| (row.get(0), row.get(1))).collect(),
            equalities: Vec::new(),
        };
        if needs_index(change) {
            relation.equalities = key_index(session, change).await?;
        }
        Ok(relation)
    }

    /// A column of a row `t` with a type that takes every value and NULL.
    pub fn without_domain(&self, column: &str) -> String {
        let name = format!("t.{}", quote_identifier(column));
        self.domains.get(column).map_or_else(|| name.clone(), |below| format!("{name}::{below}"))
    }

    pub fn has_index(&self) -> bool {
        !self.equalities.is_empty()
    }

    /// The table in a statement, without tables that inherit from it: they have changes of their own.
    pub fn alone(&self, table: &TableName) -> String {
        format!("{}{}", if self.is_partitioned { "" } else { "ONLY " }, table.quoted())
    }
}

/// Without uniqueness: between deletions and insertions of a batch keys may be there twice, and a key that must not be
/// is counted and told with its position.
async fn key_index(session: &Session, change: &TableChange) -> Result<Vec<String>, TargetError> {
    let table = &change.table;
    let act = format!("index the key of table {table}");
    let columns: Vec<String> = change.key_columns().into_iter().map(quote_identifier).collect();
    let columns = columns.join(", ");
    let name = "SELECT 'keepsake_key_' || left(md5($1::text || ' ' || $2::text), 16)";
    let index: String = session.one(&act, name, &[&table.quoted(), &columns]).await?.get(0);
    let known = "SELECT FROM keepsake_restore.key_indexes WHERE schema_name = $1 AND index_name = $2";
    if session.all(&act, known, &[&table.schema, &index]).await?.is_empty() {
        let (index, on) = (quote_identifier(&index), table.quoted());
        // With statistics of the key the server knows that it finds one row, and uses the index.
        let sql = format!("CREATE INDEX {index} ON {on} ({columns}); ANALYZE {on} ({columns})");
        session.run(&act, &sql).await?;
    }
    books::note_index(session, &table.schema, &index).await?;
    let found = session.all(&act, EQUALITIES, &[&table.schema, &index]).await?;
    let equalities: Vec<String> = found.iter().map(|row| row.get(0)).collect();
    if equalities.len() != change.key.len() {
        return Err(session.strange(&act, "an index without operators of equality").into());
    }
    Ok(equalities)
}
