//! Everything of a database that can be compared, read by psql and the newest `pg_dump`.

use crate::server::{Database, feed, psql_command};
use crate::ways::{schema, text};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Kind and name of each thing, and what it is.
pub type Evidence = BTreeMap<String, Vec<String>>;

pub fn evidence(database: &Database) -> Evidence {
    let mut evidence = entries(&schema(database));
    evidence.extend(rows(database));
    evidence.extend(sequences(database));
    evidence.extend(large_objects(database));
    evidence
}

/// The entries of a plain dump by their headings. One heading may stand above several: all are kept, sorted.
fn entries(dump: &str) -> Evidence {
    let mut entries = Evidence::new();
    let mut heading = "the dump's beginning".to_owned();
    let mut body = String::new();
    let mut keep = |heading: &str, body: &mut String| {
        entries.entry(heading.to_owned()).or_default().push(std::mem::take(body).trim().to_owned());
    };
    for line in dump.lines() {
        if let Some(next) = line.strip_prefix("-- Name: ") {
            keep(&heading, &mut body);
            let (name, owner) = next.split_once("; Owner: ").unwrap_or((next, ""));
            name.clone_into(&mut heading);
            body = format!("owner {owner}\n");
        } else if !is_of_the_program(line) {
            body.push_str(line);
            body.push('\n');
        }
    }
    keep(&heading, &mut body);
    entries.values_mut().for_each(|bodies| bodies.sort());
    entries
}

/// The versions of server and program, a random word, and lines between entries.
fn is_of_the_program(line: &str) -> bool {
    line == "--"
        || [
            "\\restrict ",
            "\\unrestrict ",
            "-- Dumped ",
            "-- PostgreSQL database dump",
            "SET default_table_access",
        ]
        .iter()
        .any(|begin| line.starts_with(begin))
}

/// Each table on its own, but for those under a hash on an enum: its values hash by their object ids, so that rows
/// lie in other partitions on another server. These are read through their root.
const TABLES: &str = "
    WITH moving AS (
        SELECT DISTINCT pg_partition_root(p.partrelid) AS oid FROM pg_partitioned_table p
        JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = ANY (p.partattrs)
        JOIN pg_type t ON t.oid = a.atttypid AND t.typtype = 'e' WHERE p.partstrat = 'h')
    SELECT COALESCE(json_agg(alone || format('%I.%I', n.nspname, c.relname) ORDER BY 1), '[]')
    FROM (SELECT oid, 'ONLY ' AS alone FROM pg_class
          WHERE relkind IN ('r', 'm') AND relispopulated AND relpersistence <> 't'
            AND NOT (relispartition AND pg_partition_root(oid) IN (SELECT oid FROM moving))
          UNION ALL SELECT oid, '' FROM moving) x
    JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')";

/// Every table's rows in one session, sorted by us: order is no property of a table.
fn rows(database: &Database) -> Evidence {
    let tables = database.json(TABLES);
    let tables: Vec<&str> = tables.as_array().unwrap().iter().map(|table| table.as_str().unwrap()).collect();
    let mark = format!("judge-{}", Uuid::now_v7());
    let mut script = String::new();
    for table in &tables {
        script += &format!("\\echo {mark}\nCOPY (SELECT * FROM {table}) TO STDOUT;\n");
    }
    // Names are in UTF-8; only rows may be what is no text.
    if database.sql("SHOW server_encoding") == "SQL_ASCII" {
        script.insert_str(0, "SET client_encoding = SQL_ASCII;\n");
    }
    let output = feed(psql_command(&database.url()), script.as_bytes());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut contents: Vec<Vec<String>> = Vec::new();
    for line in output.stdout.split_inclusive(|byte| *byte == b'\n') {
        if line.strip_suffix(b"\n") == Some(mark.as_bytes()) {
            contents.push(Vec::new());
        } else {
            contents.last_mut().expect("a mark comes first").push(printable(line));
        }
    }
    assert_eq!(contents.len(), tables.len());
    contents.iter_mut().for_each(|rows| rows.sort());
    tables.into_iter().map(|table| format!("rows of {table}")).zip(contents).collect()
}

/// Bytes that are no text are kept apart, each by its number.
fn printable(line: &[u8]) -> String {
    match std::str::from_utf8(line) {
        Ok(text) => text.to_owned(),
        Err(_) => line.escape_ascii().to_string(),
    }
}

fn sequences(database: &Database) -> Evidence {
    let names = database.json(
        "SELECT COALESCE(json_agg(format('%I.%I', n.nspname, c.relname)), '[]') FROM pg_class c
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'S' AND c.relpersistence <> 't'",
    );
    let names: Vec<&str> = names.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    // Few at a time: a statement's plan must stay small.
    let values = names.chunks(200).flat_map(|names| {
        let selects: Vec<String> =
            names.iter().map(|name| format!("SELECT last_value || ' ' || is_called FROM {name}")).collect();
        database.sql(&selects.join(" UNION ALL ")).lines().map(str::to_owned).collect::<Vec<_>>()
    });
    let values: Vec<String> = values.collect();
    assert_eq!(values.len(), names.len());
    names
        .iter()
        .map(|name| format!("sequence {name} stands at"))
        .zip(values.into_iter().map(|v| vec![v]))
        .collect()
}

fn large_objects(database: &Database) -> Evidence {
    let list = database.json(
        "SELECT COALESCE(json_agg(json_build_object('oid', m.oid, 'is', json_build_array(pg_get_userbyid(lomowner),
            (SELECT json_agg(a::text ORDER BY a::text) FROM unnest(lomacl) a),
            obj_description(m.oid, 'pg_largeobject'), md5(lo_get(m.oid))))), '[]') FROM pg_largeobject_metadata m",
    );
    let object = |one: &serde_json::Value| {
        (format!("large object {}", one["oid"].as_str().unwrap()), vec![one["is"].to_string()])
    };
    list.as_array().unwrap().iter().map(object).collect()
}
