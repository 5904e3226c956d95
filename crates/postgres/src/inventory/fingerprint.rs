//! One number for the definitions of everything that users made in a database.
//!
//! The rows of the catalogs themselves are digested, object ids included: within one database the fingerprint changes as
//! soon as anything is defined, changed or dropped, and two databases never have the same. Left out is what the server
//! changes by itself and what maintenance does: statistics, storage, in which relation an index is built (`REINDEX
//! CONCURRENTLY` builds another). Subscriptions and the passwords of user mappings cannot be read by everybody, and are
//! left out too. Our own publication counts, but for the comment in which it keeps notes: a table that joins it or leaves
//! it has changes that were not captured.
//!
//! What is changed and changed back in between leaves the definition as it was, and not what was streamed meanwhile: rows
//! of two tables that swapped their names, or changes that were not published. Rows of catalogs that decide over that
//! count with their version, which maintenance leaves alone.

use super::FOREIGN_SCHEMAS;
use crate::error::ConnectError;
use crate::session::Session;
use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use std::pin::pin;
use tokio_postgres::types::ToSql;

/// What changes in a relation's row without any definition.
const STORAGE: &str = "relfilenode,relpages,reltuples,relallvisible,relallfrozen,reltoastrelid,relhasindex,relhasrules,\
                       relhastriggers,relhassubclass,relispopulated,relrewrite,relfrozenxid,relminmxid";

/// Catalogs with the column that names a relation, and columns that do not count.
const OF_RELATIONS: [(&str, &str, &str); 12] = [
    ("pg_class", "oid", STORAGE),
    ("pg_attribute", "attrelid", "atthasmissing,attmissingval,attcacheoff"),
    ("pg_attrdef", "adrelid", ""),
    ("pg_constraint", "conrelid", "conindid"),
    ("pg_trigger", "tgrelid", "tgconstrindid"),
    ("pg_policy", "polrelid", ""),
    ("pg_rewrite", "ev_class", ""),
    ("pg_sequence", "seqrelid", ""),
    ("pg_partitioned_table", "partrelid", ""),
    ("pg_inherits", "inhrelid", ""),
    ("pg_foreign_table", "ftrelid", ""),
    ("pg_statistic_ext", "stxrelid", ""),
];

/// Catalogs with the column that names a schema.
const OF_SCHEMAS: [(&str, &str); 9] = [
    ("pg_type", "typnamespace"),
    ("pg_proc", "pronamespace"),
    ("pg_operator", "oprnamespace"),
    ("pg_opclass", "opcnamespace"),
    ("pg_opfamily", "opfnamespace"),
    ("pg_collation", "collnamespace"),
    ("pg_conversion", "connamespace"),
    ("pg_ts_config", "cfgnamespace"),
    ("pg_ts_dict", "dictnamespace"),
];

/// All others, with the rows that users made. Object ids below 16384 are the server's own.
/// Source: `FirstNormalObjectId` in PostgreSQL's `access/transam.h`, read 2026-11-21.
const OTHERS: [(&str, &str, &str); 22] = [
    ("pg_namespace", "(o.oid >= 16384 OR o.nspname = 'public') AND o.oid IN (SELECT oid FROM schemas)", ""),
    // Of a domain; those of tables stand above.
    (
        "pg_constraint",
        "o.contypid <> 0 AND o.connamespace IN (SELECT oid FROM schemas) AND o.oid >= 16384",
        "",
    ),
    (
        "pg_enum",
        "o.enumtypid IN (SELECT t.oid FROM pg_type t WHERE t.typnamespace IN (SELECT oid FROM schemas))",
        "",
    ),
    (
        "pg_range",
        "o.rngtypid >= 16384 AND o.rngtypid IN (SELECT t.oid FROM pg_type t WHERE t.typnamespace IN (SELECT oid FROM schemas))",
        "",
    ),
    ("pg_aggregate", "o.aggfnoid::oid >= 16384", ""),
    ("pg_amop", "o.oid >= 16384", ""),
    ("pg_amproc", "o.oid >= 16384", ""),
    ("pg_am", "o.oid >= 16384", ""),
    ("pg_cast", "o.oid >= 16384", ""),
    ("pg_transform", "o.oid >= 16384", ""),
    ("pg_language", "o.oid >= 16384 OR o.lanacl IS NOT NULL", ""),
    ("pg_ts_config_map", "o.mapcfg >= 16384", ""),
    ("pg_ts_parser", "o.oid >= 16384", ""),
    ("pg_ts_template", "o.oid >= 16384", ""),
    ("pg_foreign_data_wrapper", "o.oid >= 16384", ""),
    ("pg_foreign_server", "o.oid >= 16384", ""),
    ("pg_user_mappings", "true", "umoptions"),
    ("pg_event_trigger", "o.oid >= 16384 AND o.evtname !~ '^keepsake_capture_'", ""),
    ("pg_extension", "o.oid >= 16384", ""),
    ("pg_default_acl", "true", ""),
    ("pg_publication", "true", ""),
    ("pg_publication_rel", "true", ""),
];

/// Indexes by name, since `REINDEX CONCURRENTLY` gives them another object id and prints their expressions anew; those
/// that are not valid yet, or never became so, are in no dump either. Comments on them likewise. Then which sequence
/// belongs to which column, what belongs to an extension, and rights on the server's own objects.
const BESIDE: &str = "
    SELECT 'index', regexp_replace(jsonb_build_array(x.name, to_jsonb(i) - '{indexrelid,indisclustered,indcheckxmin,indisvalid,indisready,indislive}'::text[],
            to_jsonb(c) - ('{oid,' || $storage || '}')::text[],
            (SELECT jsonb_agg(jsonb_build_array(a.attnum, a.attname, a.attstattarget, a.attoptions) ORDER BY a.attnum)
             FROM pg_attribute a WHERE a.attrelid = c.oid),
            (SELECT d.description FROM pg_description d WHERE d.classoid = 'pg_class'::regclass AND d.objoid = c.oid),
            (SELECT jsonb_agg(p.name) FROM pg_inherits h JOIN indexes p ON p.oid = h.inhparent WHERE h.inhrelid = c.oid)
        )::text, ' :location -?[0-9]+', '', 'g')
    FROM indexes x JOIN pg_index i ON i.indexrelid = x.oid JOIN pg_class c ON c.oid = x.oid
    UNION ALL SELECT 'pg_description', to_jsonb(o)::text FROM pg_description o
        WHERE (o.objoid >= 16384 AND o.classoid <> ALL ('{pg_class,pg_publication}'::regclass[])
            OR o.classoid = 'pg_publication'::regclass
                AND o.objoid NOT IN (SELECT p.oid FROM pg_publication p WHERE starts_with(p.pubname::text, 'keepsake_'))
            OR o.classoid = 'pg_class'::regclass AND o.objoid IN (SELECT oid FROM relations)
            OR o.classoid = 'pg_namespace'::regclass AND o.objoid = 'public'::regnamespace)
    UNION ALL SELECT 'pg_seclabel', to_jsonb(o)::text FROM pg_seclabel o
    UNION ALL SELECT 'pg_depend', to_jsonb(o)::text FROM pg_depend o
        WHERE o.classid = 'pg_class'::regclass AND o.objid IN (SELECT oid FROM relations WHERE relkind = 'S')
              AND o.deptype IN ('a', 'i')
           OR o.deptype IN ('e', 'x') AND o.objid >= 16384
              AND (o.classid <> 'pg_class'::regclass OR o.objid IN (SELECT oid FROM relations))
    UNION ALL SELECT 'rights', jsonb_build_array('pg_proc', o.oid, o.proacl)::text FROM pg_proc o
        WHERE o.oid < 16384 AND o.proacl IS NOT NULL
    UNION ALL SELECT 'rights', jsonb_build_array('pg_class', o.oid, o.relacl)::text FROM pg_class o
        WHERE o.oid < 16384 AND o.relacl IS NOT NULL";

/// From this version on a publication may name schemas.
const PUBLISHED_SCHEMAS_SINCE: u32 = 150_000;

/// Catalogs whose rows count with their version. Of a column: a change of type to the type that it has rewrites all rows,
/// which no stream tells. Of the type that each table has for its rows, which is renamed and moved with it. Of a schema,
/// a label of an enum, and what is published.
const VERSIONED: [&str; 7] = [
    "pg_attribute",
    "pg_type",
    "pg_namespace",
    "pg_enum",
    "pg_publication",
    "pg_publication_rel",
    "pg_publication_namespace",
];

fn rows(catalog: &str, which: &str, without: &str) -> String {
    let version =
        if VERSIONED.contains(&catalog) { " || jsonb_build_object('version', o.xmin::text)" } else { "" };
    format!(
        "SELECT '{catalog}', ((to_jsonb(o) - '{{{without}}}'::text[]){version})::text FROM {catalog} o WHERE {which}"
    )
}

/// The digests of all rows that count, in no order. Their concatenation, sorted, is digested to the fingerprint.
pub(crate) fn schema_rows(version: u32) -> String {
    let of_relations = OF_RELATIONS.iter().map(|(catalog, column, without)| {
        let internal = if *catalog == "pg_trigger" { " AND NOT o.tgisinternal" } else { "" };
        rows(catalog, &format!("o.{column} IN (SELECT oid FROM relations){internal}"), without)
    });
    let of_schemas = OF_SCHEMAS.iter().map(|(catalog, column)| {
        rows(catalog, &format!("o.oid >= 16384 AND o.{column} IN (SELECT oid FROM schemas)"), "")
    });
    let others = OTHERS.iter().map(|(catalog, which, without)| rows(catalog, which, without));
    let published_schemas =
        (version >= PUBLISHED_SCHEMAS_SINCE).then(|| rows("pg_publication_namespace", "true", ""));
    let beside = BESIDE.replace("$storage", &format!("'{STORAGE}'"));
    let all: Vec<String> =
        of_relations.chain(of_schemas).chain(others).chain(published_schemas).chain([beside]).collect();
    format!(
        "WITH schemas AS MATERIALIZED (SELECT n.oid, n.nspname FROM pg_namespace n WHERE {FOREIGN_SCHEMAS}),
        of_users AS MATERIALIZED (SELECT c.oid, c.relkind, jsonb_build_array(s.nspname, c.relname) AS name
            FROM pg_class c JOIN schemas s ON s.oid = c.relnamespace WHERE c.oid >= 16384 AND c.relpersistence <> 't'),
        relations AS MATERIALIZED (SELECT oid, relkind FROM of_users WHERE relkind NOT IN ('i', 'I')),
        indexes AS MATERIALIZED (SELECT u.oid, u.name FROM of_users u JOIN pg_index i ON i.indexrelid = u.oid
            WHERE (i.indisvalid OR u.relkind = 'I') AND i.indisready)
        SELECT sha256(convert_to(kind || ' ' || line, 'SQL_ASCII')) FROM (
        {}) AS lines (kind, line)",
        all.join("\n UNION ALL ")
    )
}

/// SHA-256, 64 hexadecimal digits. The server digests each row as the bytes that it has, whatever its encoding, and sends
/// 32 bytes for each, in no order; they are sorted here.
pub(crate) async fn schema_fingerprint(session: &Session) -> Result<String, ConnectError> {
    let act = "digest the schema's definitions";
    let failed = |error: tokio_postgres::Error| session.failed(act, &error);
    let none: [&(dyn ToSql + Sync); 0] = [];
    let mut rows = pin!(session.client.query_raw(&schema_rows(session.version), none).await.map_err(failed)?);
    let mut digests: Vec<[u8; 32]> = Vec::new();
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        let digest: &[u8] = row.get(0);
        digests.push(digest.try_into().map_err(|_| session.strange(act, "a digest of another length"))?);
    }
    digests.sort_unstable();
    let all = Sha256::digest(digests.concat());
    Ok(all.iter().map(|byte| format!("{byte:02x}")).collect())
}
