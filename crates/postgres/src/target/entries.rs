//! The table of contents of a `pg_dump` archive, as `pg_restore --list` prints it.

use keepsake_domain::SchemaEntry;

/// Kinds of entries, and of what a comment or a list of rights hangs on. A longer one comes before a shorter one that
/// begins it. Source: `pg_dump.c` of PostgreSQL 14 to 18 and the words in the programs of 15, 16 and 18, read 2026-11-21.
const KINDS: [&str; 63] = [
    "ACCESS METHOD",
    "AGGREGATE",
    "BLOB METADATA",
    "BLOBS",
    "BLOB",
    "CAST",
    "CHECK CONSTRAINT",
    "COLLATION",
    "COLUMN",
    "CONSTRAINT",
    "CONVERSION",
    "DATABASE PROPERTIES",
    "DATABASE",
    "DEFAULT ACL",
    "DEFAULT",
    "DOMAIN",
    "EVENT TRIGGER",
    "EXTENSION",
    "FK CONSTRAINT",
    "FOREIGN DATA WRAPPER",
    "FOREIGN SERVER",
    "FOREIGN TABLE",
    "FUNCTION",
    "INDEX ATTACH",
    "INDEX",
    "LANGUAGE",
    "LARGE OBJECTS",
    "LARGE OBJECT",
    "MATERIALIZED VIEW DATA",
    "MATERIALIZED VIEW",
    "OPERATOR CLASS",
    "OPERATOR FAMILY",
    "OPERATOR",
    "POLICY",
    "PROCEDURAL LANGUAGE",
    "PROCEDURE",
    "PUBLICATION TABLES IN SCHEMA",
    "PUBLICATION TABLE",
    "PUBLICATION",
    "ROW SECURITY",
    "RULE",
    "SCHEMA",
    "SEQUENCE OWNED BY",
    "SEQUENCE SET",
    "SEQUENCE",
    "SERVER",
    "SHELL TYPE",
    "STATISTICS DATA",
    "STATISTICS",
    "SUBSCRIPTION TABLE",
    "SUBSCRIPTION",
    "TABLE ATTACH",
    "TABLE DATA",
    "TABLE",
    "TEXT SEARCH CONFIGURATION",
    "TEXT SEARCH DICTIONARY",
    "TEXT SEARCH PARSER",
    "TEXT SEARCH TEMPLATE",
    "TRANSFORM",
    "TRIGGER",
    "TYPE",
    "USER MAPPING",
    "VIEW",
];

/// What hangs on another object, whose kind then stands before its name.
const ATTACHED: [&str; 3] = ["ACL", "COMMENT", "SECURITY LABEL"];

/// Reads the whole list. `roles` are the names of roles that the target knows. The list does not say where a schema,
/// a name or an owner ends, and each may hold spaces: schemas are those that the archive itself makes.
pub(super) fn parse<'a>(contents: &'a str, roles: &[String]) -> Vec<(&'a str, SchemaEntry)> {
    let lines = || contents.lines().filter(|line| !line.starts_with(';'));
    let made = lines().map(|line| parse_line(line, roles, &[]));
    let made = made.filter(|entry| entry.kind == "SCHEMA" && !entry.is_attached);
    let schemas: Vec<String> = made.map(|entry| entry.name).collect();
    lines().map(|line| (line, parse_line(line, roles, &schemas))).collect()
}

/// Reads `5; 2615 16386 SCHEMA - sales owner`. A line of another shape is an entry that no rule knows.
fn parse_line(line: &str, roles: &[String], schemas: &[String]) -> SchemaEntry {
    let what = line.splitn(4, ' ').nth(3).unwrap_or_default();
    let (rest, owner) = without_owner(what, roles);
    let attached = ATTACHED.iter().find_map(|kind| rest.strip_prefix(kind)?.strip_prefix(' '));
    let parsed = match attached {
        None => known_kind(rest).and_then(|(kind, rest)| Some((kind, split_schema(rest, schemas)?))),
        // `ACL - SCHEMA sales`, `COMMENT public TABLE guests`
        Some(rest) => split_schema(rest, schemas).and_then(|(schema, rest)| {
            let (kind, name) = known_kind(rest)?;
            Some((kind, (schema, name)))
        }),
    };
    let Some((kind, (schema, name))) = parsed else { return SchemaEntry::default() };
    SchemaEntry {
        kind: kind.to_owned(),
        is_attached: attached.is_some(),
        schema: (schema != "-").then(|| schema.to_owned()),
        name: name.trim_end().to_owned(),
        owner,
    }
}

/// The longest schema that fits; a schema that the archive does not make, as `public`, is taken to hold no space.
fn split_schema<'a>(text: &'a str, schemas: &[String]) -> Option<(&'a str, &'a str)> {
    let fits =
        |schema: &&String| text.strip_prefix(schema.as_str()).is_some_and(|rest| rest.starts_with(' '));
    let Some(longest) = schemas.iter().filter(fits).max_by_key(|schema| schema.len()) else {
        return text.split_once(' ');
    };
    let (schema, rest) = text.split_at(longest.len());
    Some((schema, rest.strip_prefix(' ')?))
}

fn known_kind(text: &str) -> Option<(&'static str, &str)> {
    KINDS.iter().find_map(|kind| Some((*kind, text.strip_prefix(kind)?.strip_prefix(' ')?)))
}

/// An entry without owner ends in a space.
fn without_owner<'a>(what: &'a str, roles: &[String]) -> (&'a str, Option<String>) {
    let ends =
        roles.iter().filter_map(|role| Some((what.strip_suffix(role.as_str())?.strip_suffix(' ')?, role)));
    match ends.max_by_key(|(_, role)| role.len()) {
        Some((rest, role)) => (rest, Some(role.clone())),
        None => (what, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> (String, bool, String, String, String) {
        let roles = ["owner".to_owned(), "the owner".to_owned()];
        let schemas = ["Sales".to_owned(), "Sales Data".to_owned()];
        let entry = parse_line(line, &roles, &schemas);
        let text = |part: Option<String>| part.unwrap_or_else(|| "-".to_owned());
        (entry.kind, entry.is_attached, text(entry.schema), entry.name, text(entry.owner))
    }

    #[test]
    fn entries_of_every_shape_are_read() {
        for (line, kind, is_attached, schema, name, owner) in [
            ("5; 2615 16386 SCHEMA - sales owner", "SCHEMA", false, "-", "sales", "owner"),
            ("2; 3079 16385 EXTENSION - hstore ", "EXTENSION", false, "-", "hstore", "-"),
            ("3; 0 0 COMMENT - EXTENSION hstore ", "EXTENSION", true, "-", "hstore", "-"),
            ("6; 0 0 ACL - SCHEMA public owner", "SCHEMA", true, "-", "public", "owner"),
            (
                "7; 1259 16390 TABLE public my guests the owner",
                "TABLE",
                false,
                "public",
                "my guests",
                "the owner",
            ),
            ("8; 3466 16600 EVENT TRIGGER - watch nobody", "EVENT TRIGGER", false, "-", "watch nobody", "-"),
            ("9; 0 0 COMMENT - EVENT TRIGGER watch owner", "EVENT TRIGGER", true, "-", "watch", "owner"),
            (
                "1; 826 16602 DEFAULT ACL public DEFAULT PRIVILEGES FOR TABLES owner",
                "DEFAULT ACL",
                false,
                "public",
                "DEFAULT PRIVILEGES FOR TABLES",
                "owner",
            ),
            (
                "4; 6106 1 PUBLICATION TABLE public p guests owner",
                "PUBLICATION TABLE",
                false,
                "public",
                "p guests",
                "owner",
            ),
            (
                "4; 3602 17 TEXT SEARCH CONFIGURATION public plain owner",
                "TEXT SEARCH CONFIGURATION",
                false,
                "public",
                "plain",
                "owner",
            ),
            (
                "4; 0 0 COMMENT public TEXT SEARCH DICTIONARY words owner",
                "TEXT SEARCH DICTIONARY",
                true,
                "public",
                "words",
                "owner",
            ),
            ("5; 2615 18 SCHEMA - Sales Data owner", "SCHEMA", false, "-", "Sales Data", "owner"),
            ("5; 0 0 SECURITY LABEL - SCHEMA Sales Data owner", "SCHEMA", true, "-", "Sales Data", "owner"),
            ("7; 1259 19 TABLE Sales Data t owner", "TABLE", false, "Sales Data", "t", "owner"),
            ("7; 0 0 SECURITY LABEL public COLUMN t.a owner", "COLUMN", true, "public", "t.a", "owner"),
            ("7; 0 0 SECURITY LABEL public TABLE t owner", "TABLE", true, "public", "t", "owner"),
            (
                "7; 0 0 SECURITY LABEL public FUNCTION f(text) owner",
                "FUNCTION",
                true,
                "public",
                "f(text)",
                "owner",
            ),
            ("7; 0 0 ACL Sales Data TABLE t owner", "TABLE", true, "Sales Data", "t", "owner"),
            ("7; 1259 20 TABLE Sales Datas owner", "TABLE", false, "Sales", "Datas", "owner"),
            ("nonsense", "", false, "-", "", "-"),
            ("5; 1 2 MOON - full owner", "", false, "-", "", "-"),
        ] {
            let want = (kind.to_owned(), is_attached, schema.to_owned(), name.to_owned(), owner.to_owned());
            assert_eq!(parsed(line), want, "{line}");
        }
    }

    #[test]
    fn every_kind_that_pg_dump_writes_is_read() {
        // Of large objects in groups, and of what pg_upgrade alone asks for, no archive of ours tells.
        let mut unseen: Vec<&str> = KINDS
            .into_iter()
            .filter(|kind| !["LARGE OBJECTS", "SUBSCRIPTION TABLE"].contains(kind))
            .collect();
        let roles = ["postgres", "zoo_a", "zoo_b"].map(str::to_owned);
        let read = parse(include_str!("entries.list"), &roles);
        assert!(read.len() > 90, "{} entries", read.len());
        for (line, entry) in read {
            let words: Vec<&str> = line.split(' ').skip(3).collect();
            let attached = ATTACHED.contains(&words[0]);
            let shown = words[if attached { 2 } else { 0 }..].join(" ");
            assert!(
                !entry.kind.is_empty() && shown.starts_with(&format!("{} ", entry.kind)),
                "{line}: {entry:?}"
            );
            assert_eq!(entry.is_attached, attached, "{line}");
            assert_eq!(entry.owner.as_deref().unwrap_or_default(), words[words.len() - 1], "{line}");
            unseen.retain(|kind| *kind != entry.kind);
        }
        assert_eq!(unseen, [""; 0], "no list holds these");
    }

    #[test]
    fn a_schema_ends_where_the_archives_own_schema_does() {
        let contents =
            "; a remark\n7; 1259 19 TABLE Sales Data t owner\n5; 2615 18 SCHEMA - Sales Data owner";
        let read = parse(contents, &["owner".to_owned()]);
        assert_eq!(read.len(), 2, "{read:?}");
        let ((line, table), (_, schema)) = (&read[0], &read[1]);
        assert_eq!(*line, "7; 1259 19 TABLE Sales Data t owner");
        assert_eq!((table.schema.as_deref(), table.name.as_str()), (Some("Sales Data"), "t"));
        assert_eq!((schema.kind.as_str(), schema.name.as_str()), ("SCHEMA", "Sales Data"));
    }

    #[test]
    fn no_kind_hides_behind_one_that_begins_it() {
        for (index, kind) in KINDS.iter().enumerate() {
            let hidden = KINDS[index + 1..].iter().find(|later| later.starts_with(&format!("{kind} ")));
            assert_eq!(hidden, None, "{kind} stands before it");
        }
    }
}
