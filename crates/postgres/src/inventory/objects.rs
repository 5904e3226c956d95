//! Kind and identity of every schema object that a user made.

use super::FOREIGN_SCHEMAS;
use crate::error::ConnectError;
use crate::session::Session;

/// Object ids below are the server's own.
/// Source: `FirstNormalObjectId` in PostgreSQL's `access/transam.h`, read 2026-11-21.
const FIRST_USER_OID: u32 = 16_384;

/// Catalogs whose rows stand for themselves, with what is left out of each.
///
/// Left out is what a dump does not name or names anew: row types and array types, internal triggers, rules behind
/// views, clones on partitions, and the not-null constraints that version 18 lists and older ones do not.
const CATALOGS: [(&str, &str); 27] = [
    ("pg_namespace", "nspname !~ '^pg_(temp|toast_temp)_'"),
    ("pg_class", "relkind IN ('r','p','v','m','f','S','i','I','c') AND relpersistence <> 't'"),
    ("pg_constraint", "contype <> 'n' AND (contype <> 'f' OR conparentid = 0)"),
    ("pg_trigger", "NOT tgisinternal AND tgparentid = 0"),
    ("pg_policy", "true"),
    ("pg_rewrite", "rulename <> '_RETURN'"),
    ("pg_attrdef", "true"),
    ("pg_proc", "true"),
    (
        "pg_type",
        "typrelid = 0 AND typtype <> 'm' AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = o.oid)",
    ),
    ("pg_extension", "true"),
    ("pg_operator", "true"),
    ("pg_opclass", "true"),
    ("pg_opfamily", "true"),
    ("pg_cast", "true"),
    ("pg_collation", "true"),
    ("pg_conversion", "true"),
    ("pg_language", "true"),
    ("pg_am", "true"),
    ("pg_transform", "true"),
    ("pg_statistic_ext", "true"),
    ("pg_ts_config", "true"),
    ("pg_ts_dict", "true"),
    ("pg_ts_parser", "true"),
    ("pg_ts_template", "true"),
    ("pg_foreign_data_wrapper", "true"),
    ("pg_foreign_server", "true"),
    ("pg_event_trigger", "evtname !~ '^keepsake_capture_'"),
];

/// The table that an object hangs on: what hangs on an extension's table is the extension's.
const PARENTS: &str = "
    SELECT 'pg_class'::regclass, indexrelid, indrelid FROM pg_index
    UNION ALL SELECT 'pg_constraint'::regclass, oid, conrelid FROM pg_constraint WHERE conrelid <> 0
    UNION ALL SELECT 'pg_trigger'::regclass, oid, tgrelid FROM pg_trigger
    UNION ALL SELECT 'pg_policy'::regclass, oid, polrelid FROM pg_policy
    UNION ALL SELECT 'pg_rewrite'::regclass, oid, ev_class FROM pg_rewrite
    UNION ALL SELECT 'pg_attrdef'::regclass, oid, adrelid FROM pg_attrdef
    UNION ALL SELECT 'pg_class'::regclass, objid, refobjid FROM pg_depend
        WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND refobjsubid > 0
          AND deptype IN ('a', 'i')";

fn statement() -> String {
    let catalogs: Vec<String> = CATALOGS
        .iter()
        .chain([&("pg_publication", "true")])
        .map(|(catalog, which)| {
            format!("SELECT '{catalog}'::regclass AS classid, o.oid AS objid FROM {catalog} o WHERE o.oid >= {FIRST_USER_OID} AND {which}")
        })
        .collect();
    format!(
        "WITH all_objects AS ({}),
        members AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
        parents (classid, objid, parent) AS ({PARENTS}),
        foreign_tables AS (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE NOT ({FOREIGN_SCHEMAS}) OR c.relpersistence = 't'
               OR ('pg_class'::regclass, c.oid) IN (SELECT classid, objid FROM members)),
        -- EXCEPT, because a server that takes these sets for small compares each object with each: of 10,000 tables
        -- for minutes.
        ours AS MATERIALIZED (SELECT classid, objid FROM all_objects EXCEPT SELECT classid, objid FROM members
            EXCEPT SELECT classid, objid FROM parents WHERE parent IN (SELECT oid FROM foreign_tables))
        SELECT i.type || ' ' || CASE i.type
            -- Until version 15 servers said `on language`.
            WHEN 'transform' THEN replace(i.identity, ' on language ', ' language ') ELSE i.identity END
        FROM ours o, LATERAL pg_identify_object(o.classid, o.objid, 0) i
        WHERE NOT EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = i.schema AND NOT ({FOREIGN_SCHEMAS}))
          AND NOT (i.type = 'schema' AND i.name IN ('keepsake_restore', 'keepsake_capture', 'public'))
          AND i.identity IS NOT NULL
",
        catalogs.join(" UNION ALL ")
    )
}

/// `table public.guests`, `policy own_rows on public.guests` and so on, sorted and without doubles.
pub(crate) async fn objects(session: &Session) -> Result<Vec<String>, ConnectError> {
    let mut objects = session.texts("list the schema's objects", &statement()).await?;
    objects.dedup();
    Ok(objects)
}

pub(crate) async fn large_objects(session: &Session) -> Result<u64, ConnectError> {
    let row =
        session.one("count the large objects", "SELECT count(*) FROM pg_largeobject_metadata", &[]).await?;
    Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or(0))
}
