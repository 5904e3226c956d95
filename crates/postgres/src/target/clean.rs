//! What `pg_restore --clean` cannot drop by itself.

use super::rights::Provided;
use crate::inventory::FOREIGN_SCHEMAS;
use crate::session::Session;
use keepsake_steps::ports::TargetError;

/// Foreign keys that point at a partitioned table or a partition, then the indexes and keys of whole partitioned
/// tables; each with its schema. `--clean` begins with those of the partitions, which the server refuses while the
/// whole table's stand; with the whole table's go those of its partitions.
fn statement() -> String {
    format!(
        "SELECT s.statement, n.nspname::text FROM (
            SELECT 1 AS step, k.conrelid AS oid,
                format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::regclass, k.conname) AS statement
            FROM pg_constraint k JOIN pg_class f ON f.oid = k.confrelid
            WHERE k.contype = 'f' AND k.conparentid = 0 AND (f.relkind = 'p' OR f.relispartition)
            UNION ALL
            SELECT 2, x.indrelid, CASE WHEN k.oid IS NULL THEN format('DROP INDEX %s', i.oid::regclass)
                ELSE format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::regclass, k.conname) END
            FROM pg_class i JOIN pg_index x ON x.indexrelid = i.oid
            LEFT JOIN pg_constraint k ON k.conindid = i.oid AND k.contype IN ('p', 'u', 'x')
            WHERE i.relkind = 'I' AND NOT i.relispartition) s
        JOIN pg_class c ON c.oid = s.oid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {FOREIGN_SCHEMAS} AND NOT EXISTS (SELECT FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
        ORDER BY s.step"
    )
}

/// Drops it, so that post-data can be restored again with `--clean --if-exists`. A second call finds nothing.
pub(super) async fn drop_partitioned(session: &Session) -> Result<(), TargetError> {
    let act = "drop keys and indexes of partitioned tables, to make them again";
    let provided = Provided::read(session).await?;
    let mut statements = Vec::new();
    for row in session.all(act, &statement(), &[]).await? {
        if !provided.holds_schema(row.get(1)) {
            statements.push(row.get::<_, String>(0));
        }
    }
    // One batch is one transaction.
    Ok(session.run(act, &statements.join(";\n")).await?)
}
