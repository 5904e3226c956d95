//! Tables with rows of their own.

use super::FOREIGN_SCHEMAS;
use crate::error::ConnectError;
use crate::session::Session;
use keepsake_domain::{TableName, TableShape};

/// The root of a partition whose rows another server may put elsewhere: hash values of an enum follow its object ids,
/// hash values and order of text follow encoding and collation. `pg_dump` does so for enums.
const ROOT: &str = "
    LEFT JOIN LATERAL (SELECT pg_partition_root(c.oid) AS oid WHERE c.relispartition AND EXISTS (
        SELECT FROM pg_partition_ancestors(c.oid) a JOIN pg_partitioned_table p ON p.partrelid = a.relid,
            LATERAL unnest(p.partclass::oid[], p.partcollation::oid[]) AS key(class, coll)
            JOIN pg_opclass o ON o.oid = key.class
        WHERE (p.partstrat = 'h' AND o.opcintype = 'anyenum'::regtype)
           OR (p.partstrat IN ('h', 'r') AND key.coll <> 0))) root ON true
    LEFT JOIN pg_class rc ON rc.oid = root.oid LEFT JOIN pg_namespace rn ON rn.oid = rc.relnamespace";

/// Plain tables and leaf partitions, also unlogged ones, as `pg_dump` takes them. Of an extension's tables only those
/// that it marked as configuration, with its filter. Only the heap's blocks can be read by range; a table of another
/// access method says 0 blocks and stays whole.
fn statement() -> String {
    format!(
        "SELECT n.nspname, c.relname,
            ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = COALESCE(root.oid, c.oid) AND a.attnum > 0
                  AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum),
            CASE WHEN m.amname = 'heap' THEN pg_relation_size(c.oid) / 8192 ELSE 0 END,
            pg_table_size(c.oid),
            COALESCE(x.condition, ''), rn.nspname, rc.relname
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_am m ON m.oid = c.relam
        LEFT JOIN (SELECT config.oid, config.condition FROM pg_extension e,
                   unnest(e.extconfig, e.extcondition) AS config(oid, condition)) x ON x.oid = c.oid
        {ROOT}
        WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND {FOREIGN_SCHEMAS}
          AND (x.oid IS NOT NULL OR NOT EXISTS (SELECT FROM pg_depend d
               WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))
        ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\""
    )
}

pub(crate) async fn tables(session: &Session) -> Result<Vec<TableShape>, ConnectError> {
    let rows = session.all("list the tables", &statement(), &[]).await?;
    let shape = |row: &tokio_postgres::Row| TableShape {
        table: TableName { schema: row.get(0), name: row.get(1) },
        columns: row.get(2),
        // A relation has at most 2^32 - 1 blocks. A table dropped meanwhile has no size.
        blocks: u32::try_from(row.get::<_, Option<i64>>(3).unwrap_or(0)).unwrap_or(0),
        size_bytes: u64::try_from(row.get::<_, Option<i64>>(4).unwrap_or(0)).unwrap_or(0),
        filter: row.get(5),
        root: row
            .get::<_, Option<String>>(6)
            .map(|schema| TableName { schema, name: row.get::<_, Option<String>>(7).unwrap_or_default() }),
    };
    Ok(rows.iter().map(shape).collect())
}
