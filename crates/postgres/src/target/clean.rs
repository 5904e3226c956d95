//! What `pg_restore --clean` cannot drop by itself.

use super::rights::Provided;
use crate::inventory::FOREIGN_SCHEMAS;
use crate::session::Session;
use keepsake_steps::ports::TargetError;

/// In this order, each with its schema:
///
/// 1. Foreign keys that point at a partitioned table or a partition.
/// 2. Views that need a key of these (`GROUP BY` it) become empty shells, as `--clean` makes them; they come back with post-data.
/// 3. Indexes and keys of partitioned tables and of partitions that are attached to none above them. With them go those that
///    are, and what else needs a key: materialised views and functions, which are made behind keys then, and so again.
///
/// `--clean` drops no index of a partition that belonged to one of the whole table on the source, since it goes with that
/// one. Where a try ended before `ATTACH PARTITION`, or that statement was the one that failed, it stands by itself and
/// is in the way. The server refuses to drop one that is attached.
fn statement() -> String {
    format!(
        "WITH RECURSIVE going AS (
            SELECT x.indrelid, k.oid AS key, CASE WHEN k.oid IS NULL THEN format('DROP INDEX %s CASCADE', i.oid::regclass)
                ELSE format('ALTER TABLE %s DROP CONSTRAINT %I CASCADE', k.conrelid::regclass, k.conname) END AS statement
            FROM pg_class i JOIN pg_index x ON x.indexrelid = i.oid JOIN pg_class t ON t.oid = x.indrelid
            LEFT JOIN pg_constraint k ON k.conindid = i.oid AND k.contype IN ('p', 'u', 'x')
            WHERE (t.relkind = 'p' OR t.relispartition) AND NOT i.relispartition),
        needing AS (
            SELECT 'pg_constraint'::regclass AS class, key AS oid, false AS is_view FROM going WHERE key IS NOT NULL
            UNION
            SELECT CASE WHEN v.oid IS NULL THEN 'pg_proc' ELSE 'pg_class' END::regclass, COALESCE(v.oid, d.objid),
                COALESCE(v.relkind = 'v', false)
            FROM needing n JOIN pg_depend d ON d.refclassid = n.class AND d.refobjid = n.oid
            LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
            LEFT JOIN pg_class v ON v.oid = r.ev_class AND v.relkind IN ('v', 'm')
            WHERE NOT n.is_view AND (v.oid IS NOT NULL OR d.classid = 'pg_proc'::regclass))
        SELECT s.statement, n.nspname::text FROM (
            SELECT 1 AS step, k.conrelid AS oid,
                format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::regclass, k.conname) AS statement
            FROM pg_constraint k JOIN pg_class f ON f.oid = k.confrelid
            WHERE k.contype = 'f' AND k.conparentid = 0 AND (f.relkind = 'p' OR f.relispartition)
            UNION ALL
            SELECT 2, v.oid, format('CREATE OR REPLACE VIEW %s AS SELECT %s', v.oid::regclass,
                string_agg(format('NULL::%s%s AS %I', format_type(a.atttypid, a.atttypmod),
                    CASE WHEN a.attcollation <> t.typcollation THEN ' COLLATE ' || a.attcollation::regcollation END,
                    a.attname), ', ' ORDER BY a.attnum))
            FROM needing v JOIN pg_attribute a ON a.attrelid = v.oid AND a.attnum > 0 JOIN pg_type t ON t.oid = a.atttypid
            WHERE v.is_view GROUP BY v.oid
            UNION ALL
            SELECT 3, indrelid, statement FROM going) s
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
