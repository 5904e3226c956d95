//! What a database holds, read by psql alone.

use keepsake_testkit::cluster::{finish, psql_command};
use std::collections::BTreeMap;
use std::io::Write;

/// `nextval` writes its value and 32 more ahead to the WAL, and a recovered server stands behind all of them.
/// Source: `SEQ_LOG_VALS` in PostgreSQL's `commands/sequence.c`, read 2026-11-21. Twice: two ways to one target end at
/// different places between the last transaction before it and the first behind, and the few numbers that open
/// transactions took in between may be the ones that write the next stretch.
const LOGGED_AHEAD: i64 = 2 * 33;

/// Count and a sum of hashes of every table, which no order of rows changes; one statement per table.
const TABLES: &str = "SELECT format($$SELECT 'table %s', count(*), coalesce(sum(('x' || substr(md5(t::text), 1, 15))::bit(60)::bigint), 0) FROM ONLY %s t$$,
    c.oid::regclass, c.oid::regclass) FROM pg_class c
    WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace ORDER BY 1 \\gexec
";

/// Where sequences stand, and their steps.
const SEQUENCES: &str =
    "SELECT 'sequence ' || sequencename, coalesce(last_value, 0), increment_by FROM pg_sequences;
";

/// The largest value that a row holds of the sequence behind its column.
const USED: &str = "SELECT format($$SELECT 'used %s', coalesce(max(%I), 0) FROM %s$$, s.relname, a.attname, d.refobjid::regclass)
    FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') ORDER BY 1 \\gexec
";

/// Sequences that the load sets back. Where that happens between a target and the end of its segment, ours stand behind the
/// rows, and not behind numbers that only a transaction took which was rolled back.
const SET_BACK: [&str; 1] = ["emptied_id_seq"];

/// The content of one database.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content {
    /// By name: rows and hash.
    pub tables: BTreeMap<String, String>,
    /// By name: last value and step.
    sequences: BTreeMap<String, (i64, i64)>,
    /// By the sequence's name: the largest value in use.
    used: BTreeMap<String, i64>,
}

impl Content {
    pub fn of(url: &str) -> Self {
        let mut content = Self::default();
        let said = feed(url, &[TABLES, SEQUENCES, USED].concat());
        for line in said.lines() {
            let fields: Vec<&str> = line.split('|').collect();
            let number = |index: usize| fields[index].parse::<i64>().unwrap();
            match fields[0].split_once(' ').unwrap() {
                ("table", name) => {
                    drop(content.tables.insert(name.to_owned(), fields[1..].join(" rows, hash ")))
                }
                ("sequence", name) => drop(content.sequences.insert(name.to_owned(), (number(1), number(2)))),
                (_, name) => drop(content.used.insert(name.to_owned(), number(1))),
            }
        }
        assert!(content.tables.len() >= 12 && content.sequences.len() >= 4, "{said}");
        content
    }

    /// How another recovery to the same target differs from this one, which is Postgres's own. Sequences of the other may
    /// stand further, since they are not in the stream of changes; behind what a row uses, never.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        for name in
            self.tables.keys().chain(other.tables.keys().filter(|name| !self.tables.contains_key(*name)))
        {
            let (one, two) = (self.tables.get(name), other.tables.get(name));
            if one != two {
                differences.push(format!("table {name}: {one:?} by Postgres, {two:?} by the other"));
            }
        }
        for (name, (last, step)) in &self.sequences {
            let there = other.sequences.get(name).map(|(last, _)| *last);
            let used = other.used.get(name).copied().unwrap_or(0);
            let least = if SET_BACK.contains(&name.as_str()) { used } else { last - LOGGED_AHEAD * step };
            if there.is_none_or(|there| there < least || there < used) {
                differences.push(format!(
                    "sequence {name}: {last} by Postgres, {there:?} by the other, {used} in use"
                ));
            }
        }
        differences
    }
}

/// Runs a script that may hold `\\gexec`; the first error ends it.
pub fn feed(url: &str, script: &str) -> String {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(script.as_bytes()).unwrap();
    let mut command = psql_command(url);
    finish(command.args(["--set=ON_ERROR_STOP=1", "--file"]).arg(file.path()))
}
