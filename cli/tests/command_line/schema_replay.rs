//! Changes of the schema between a full backup and a point: what a restore runs again, and what ends its way.

use crate::database::{Database, Server};
use crate::protected::{Protected, without_sequences};
use std::io::Write;
use std::process::{Command, Stdio};

const SCHEMA: &str = "
    CREATE TABLE guests (id serial PRIMARY KEY, name text UNIQUE, note text);
    CREATE TABLE empty (id integer PRIMARY KEY);
    CREATE TABLE lines (line text, n integer); ALTER TABLE lines REPLICA IDENTITY FULL;
    INSERT INTO guests (name, note) SELECT 'guest ' || n, repeat(md5(n::text), 200) FROM generate_series(1, 50) n;
    INSERT INTO lines SELECT 'line', n / 2 FROM generate_series(1, 20) n";

/// Each line is sent by itself, as clients do.
fn script(database: &Database, lines: &str) {
    let mut psql = Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", &database.url()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    psql.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(psql.wait().unwrap().success(), "{lines}");
}

/// The source at a time.
struct Then {
    lsn: String,
    rows: Vec<String>,
    schema: String,
}

fn now(source: &Database) -> Then {
    let lsn = source.sql("SELECT pg_current_wal_insert_lsn()").trim().to_owned();
    Then { lsn, rows: without_sequences(&source.rows()), schema: schema(source) }
}

/// Without what belongs to our publication: a new table is captured on the source only.
fn schema(database: &Database) -> String {
    let schema = database.schema();
    let is_ours =
        |line: &&str| line.starts_with("keepsake_pitr_") || line.starts_with("ALTER PUBLICATION keepsake_");
    schema.lines().filter(|line| !is_ours(line)).collect::<Vec<_>>().join("\n")
}

/// What the history does, one point behind each.
const HISTORY: [&str; 6] = [
    "INSERT INTO guests (name) VALUES ('early'); UPDATE guests SET name = 'second' WHERE id = 2; DELETE FROM lines WHERE n = 3;",
    "ALTER TABLE guests ADD COLUMN seat text, ADD \"is Here\" boolean;
     ALTER TABLE lines ADD COLUMN more integer;
     ALTER TABLE empty ADD COLUMN x text;
     INSERT INTO guests (name, seat) VALUES ('with a seat', 'a1'); UPDATE guests SET seat = 'b' || id WHERE id < 20;
     UPDATE guests SET name = 'moved' WHERE id = 30; DELETE FROM guests WHERE id = 31;
     UPDATE lines SET more = n WHERE n = 4; DELETE FROM lines WHERE n = 5; INSERT INTO empty VALUES (1, 'x');",
    "CREATE TABLE \"The Tables\" (id serial PRIMARY KEY, guest integer UNIQUE, made timestamptz DEFAULT now(), words jsonb DEFAULT '{}');
     INSERT INTO \"The Tables\" (guest) SELECT id FROM guests WHERE id < 10;
     UPDATE \"The Tables\" SET words = '{\"a\": 1}' WHERE guest = 2; DELETE FROM \"The Tables\" WHERE guest = 3;",
    "CREATE INDEX by_seat ON guests (seat, name);
     CREATE UNIQUE INDEX ON \"The Tables\" (guest, id);
     COMMENT ON COLUMN guests.seat IS 'where one sits';
     COMMENT ON TABLE \"The Tables\" IS 'one for each guest';
     UPDATE guests SET seat = 'c1' WHERE id = 40;",
    "BEGIN; SAVEPOINT s; CREATE TABLE never (id integer PRIMARY KEY); ROLLBACK TO s;
     ALTER TABLE \"The Tables\" ADD COLUMN note varchar(20); COMMIT;
     CREATE TABLE IF NOT EXISTS guests (id integer PRIMARY KEY);
     TRUNCATE lines; INSERT INTO lines VALUES ('new', 1, 2); INSERT INTO \"The Tables\" (guest, note) VALUES (77, 'x');",
    "INSERT INTO guests (name) VALUES ('last'); DELETE FROM \"The Tables\" WHERE guest = 4;",
];

/// What migrations do in one transaction each: rows before, between and behind what they define, and what is given up again.
const MIGRATIONS: [&str; 4] = [
    "BEGIN; INSERT INTO guests (name) VALUES ('of the old shape'); UPDATE guests SET note = 'n' WHERE id = 3;
     ALTER TABLE guests ADD COLUMN x integer;
     UPDATE guests SET x = id WHERE id < 10; INSERT INTO guests (name, x) VALUES ('with x', 1);
     ALTER TABLE guests ADD COLUMN y text; UPDATE guests SET y = 'y' || id WHERE id BETWEEN 5 AND 15;
     DELETE FROM guests WHERE id = 7; COMMIT;",
    "BEGIN; UPDATE lines SET line = 'before' WHERE n = 2; ALTER TABLE lines ADD COLUMN more integer;
     UPDATE lines SET more = n WHERE n = 4; DELETE FROM lines WHERE n = 5;
     CREATE TABLE made (id integer PRIMARY KEY, guest integer); INSERT INTO made SELECT id, id FROM guests WHERE id < 6;
     ALTER TABLE made ADD COLUMN z text; UPDATE made SET z = 'z' WHERE id < 3; INSERT INTO made VALUES (100, 1, 'z');
     CREATE INDEX ON made (guest); CREATE TABLE other (id integer PRIMARY KEY); INSERT INTO other VALUES (1);
     COMMENT ON TABLE other IS 'made with another'; COMMIT;",
    "BEGIN; UPDATE made SET z = 'first' WHERE id = 1;
     SAVEPOINT a; ALTER TABLE made ADD COLUMN never integer; UPDATE made SET never = 1; CREATE TABLE gone (id integer PRIMARY KEY);
     INSERT INTO gone VALUES (1); ROLLBACK TO a;
     UPDATE made SET z = 'second' WHERE id = 2; ALTER TABLE made ADD COLUMN kept integer;
     SAVEPOINT b; UPDATE made SET kept = 2 WHERE id = 2; ALTER TABLE made ADD COLUMN also integer; RELEASE b;
     SAVEPOINT c; UPDATE made SET also = 9; ROLLBACK TO c; INSERT INTO made VALUES (101, 1, 'z', 3, 4); COMMIT;",
    "BEGIN; ALTER TABLE made ADD COLUMN given_up integer; UPDATE made SET given_up = 1; ROLLBACK;
     BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM made; ALTER TABLE made ADD COLUMN last integer;
     UPDATE made SET last = 5 WHERE id = 100; COMMIT; DELETE FROM made WHERE id = 101;",
];

#[test]
fn statements_and_rows_of_one_transaction_come_back_as_the_source_had_them() {
    let protected = Protected::with(SCHEMA);
    protected.backup();
    let points = history(&protected, &MIGRATIONS);
    for (number, then) in points.iter().enumerate() {
        restores_to(&protected, number, then);
    }
}

/// Runs each of them, with a capture behind it, and answers what the source was then. Every point of it can be restored to.
fn history(protected: &Protected, migrations: &[&str]) -> Vec<Then> {
    let one = |lines: &&str| {
        script(&protected.source, lines);
        let then = now(&protected.source);
        protected.capture_with(keepsake_statements::plain_statement);
        then
    };
    let points = migrations.iter().map(one).collect();
    let window = protected.window();
    assert_eq!(window["gaps"], serde_json::json!([]), "{window}");
    points
}

fn restores_to(protected: &Protected, number: usize, then: &Then) {
    let target = Database::empty(Server::Target);
    let restored = protected.restore(&target, &["--lsn", &then.lsn, "--json"]).ok().json();
    assert_eq!(restored["certificate"]["verdict"], "passed", "point {number}");
    assert_eq!(without_sequences(&target.rows()), then.rows, "point {number}");
    assert_eq!(schema(&target), then.schema, "point {number}");
}

/// Columns with values in rows that are there, and what is asked of rows.
const ORDINARY: [&str; 4] = [
    "INSERT INTO guests (name) VALUES ('older'); UPDATE guests SET name = 'changed' WHERE id = 2;
     DELETE FROM lines WHERE n = 3; UPDATE lines SET line = 'older' WHERE n = 4;
     ALTER TABLE guests ADD COLUMN active boolean NOT NULL DEFAULT true, ADD COLUMN score numeric(8, 2) DEFAULT 1.5,
         ADD COLUMN tags text[] NOT NULL DEFAULT '{}', ADD COLUMN word text DEFAULT 'a	b ''c'' ü', ADD COLUMN plain text;
     ALTER TABLE lines ADD COLUMN k double precision NOT NULL DEFAULT 0.1;
     ALTER TABLE empty ADD COLUMN x integer NOT NULL DEFAULT 7;
     INSERT INTO guests (name, word) VALUES ('newer', NULL); UPDATE guests SET active = false WHERE id = 3;
     DELETE FROM lines WHERE n = 5; UPDATE lines SET k = 8 WHERE n = 6; UPDATE lines SET n = 40 WHERE n = 4;
     INSERT INTO lines VALUES ('x', 50); INSERT INTO empty VALUES (1);",
    "ALTER TABLE guests ALTER COLUMN score SET DEFAULT 2, ALTER COLUMN word SET DEFAULT 'other',
         ALTER COLUMN note SET DEFAULT 'n';
     ALTER TABLE notes ALTER kind SET DEFAULT 'high'; INSERT INTO notes VALUES (4, 'of another kind');
     INSERT INTO guests (name) VALUES ('by other defaults');
     ALTER TABLE notes ALTER body DROP NOT NULL; INSERT INTO notes VALUES (2, NULL);
     UPDATE notes SET body = 'x' WHERE body IS NULL; ALTER TABLE notes ALTER body SET NOT NULL;",
    "ALTER TABLE notes ALTER body DROP NOT NULL; INSERT INTO notes VALUES (3, NULL);
     ALTER TABLE guests ALTER COLUMN name SET NOT NULL;
     ALTER TABLE guests ADD CONSTRAINT known CHECK (name <> 'nobody' AND (score IS NULL OR score >= 0)),
         ADD CHECK (length(name) BETWEEN 1 AND 100);
     CREATE TABLE seats (id serial PRIMARY KEY, guest integer NOT NULL, kind text NOT NULL DEFAULT 'low'
         CHECK (kind IN ('low', 'high')), CONSTRAINT one UNIQUE (guest, kind), CHECK (id > 0));
     INSERT INTO seats (guest) SELECT id FROM guests WHERE id < 10;
     ALTER TABLE seats ADD CONSTRAINT of_guest FOREIGN KEY (guest) REFERENCES guests (id) ON DELETE CASCADE
         DEFERRABLE INITIALLY DEFERRED;
     DELETE FROM guests WHERE id = 5;",
    "CREATE INDEX ON guests (lower(name)) WHERE active; CREATE UNIQUE INDEX ON guests (name) WHERE note IS NULL;
     ALTER TABLE guests ADD COLUMN IF NOT EXISTS late text; ALTER TABLE guests ADD COLUMN IF NOT EXISTS late text;
     CREATE INDEX IF NOT EXISTS late_too ON guests (late); CREATE INDEX IF NOT EXISTS late_too ON guests (late);
     ALTER TABLE seats ADD UNIQUE (guest, id), ENABLE ROW LEVEL SECURITY; UPDATE seats SET kind = 'high' WHERE id = 2;",
];

#[test]
fn what_ordinary_migrations_ask_of_rows_and_fill_in_is_restored() {
    let protected = Protected::with(&format!(
        "{SCHEMA}; CREATE TABLE notes (id integer PRIMARY KEY, body text NOT NULL, kind text DEFAULT 'low'); INSERT INTO notes VALUES (1, 'one')"
    ));
    protected.backup();
    let points = history(&protected, &ORDINARY);
    for (number, then) in points.iter().enumerate() {
        restores_to(&protected, number, then);
    }
}

#[test]
fn a_restore_to_any_point_behind_plain_changes_of_the_schema_is_what_the_source_was_then() {
    let protected = Protected::with(SCHEMA);
    protected.backup();
    let source = &protected.source;
    let mut points = vec![];
    for (number, lines) in HISTORY.iter().enumerate() {
        script(source, lines);
        points.push(now(source));
        if number % 2 == 1 {
            protected.capture_with(keepsake_statements::plain_statement);
        }
    }
    let window = protected.window();
    assert_eq!(window["gaps"], serde_json::json!([]), "{window}");
    for (number, then) in points.iter().enumerate() {
        let target = Database::empty(Server::Target);
        let restored = protected.restore(&target, &["--lsn", &then.lsn, "--json"]).ok().json();
        assert_eq!(restored["certificate"]["verdict"], "passed", "point {number}");
        assert_eq!(without_sequences(&target.rows()), then.rows, "point {number}");
        assert_eq!(schema(&target), then.schema, "point {number}");
        let repeated = &restored["certificate"]["recovered"]["schema_statements"];
        let repeated = repeated.as_array().map_or(0, Vec::len);
        assert_eq!(repeated, [0, 3, 4, 8, 9, 9][number], "point {number}");
        target.sql("INSERT INTO guests (name) VALUES ('next')");
    }
}

/// Each of them, and what it is.
const MARKED: [(&str, &str); 16] = [
    ("code", "DO $$ BEGIN ALTER TABLE guests ADD COLUMN a text; END $$"),
    ("rows that a query makes", "CREATE TABLE made AS SELECT 1 AS n"),
    ("a time in rows that are there", "ALTER TABLE guests ADD COLUMN b timestamptz DEFAULT now()"),
    ("two statements at once", "ALTER TABLE guests ADD COLUMN c text; ALTER TABLE guests ADD COLUMN d text"),
    ("a column less", "ALTER TABLE guests DROP COLUMN note"),
    (
        "a condition that rows of before may not hold",
        "ALTER TABLE guests ADD COLUMN phone text CHECK (name IS NOT NULL OR phone IS NOT NULL)",
    ),
    ("a default less", "ALTER TABLE guests ALTER COLUMN id DROP DEFAULT"),
    ("a table whose changes are not captured", "CREATE TABLE bare (id integer)"),
    ("a child with it", "CREATE TABLE child (x text) INHERITS (guests)"),
    ("a table with a child", "ALTER TABLE guests ADD COLUMN e text"),
    ("rights", "GRANT SELECT ON guests TO PUBLIC"),
    (
        "a time that is another one when it is read again",
        "CREATE TABLE late (id integer PRIMARY KEY, at timestamptz DEFAULT 'now')",
    ),
    ("rights of what is made later", "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC"),
    ("a table with such rights", "CREATE TABLE granted (id integer PRIMARY KEY)"),
    ("values in rows that nobody captured", "ALTER TABLE bare ALTER COLUMN id SET NOT NULL"),
    (
        "rows that nobody captured are referred to",
        "ALTER TABLE lines ADD FOREIGN KEY (n) REFERENCES keyless (id)",
    ),
];

#[test]
fn a_change_of_the_schema_that_is_not_plain_ends_what_can_be_restored_to_as_ever() {
    let protected = Protected::with(&format!(
        "{SCHEMA}; CREATE TABLE keyless (id integer UNIQUE); INSERT INTO keyless SELECT generate_series(0, 10)"
    ));
    protected.backup();
    for (what, sql) in MARKED {
        protected.source.sql(sql);
        protected.capture_with(keepsake_statements::plain_statement);
        let manifest = protected.newest_manifest();
        assert_eq!(manifest["schema_changed"], true, "{what}");
        assert_eq!(manifest["schema_replayable"], serde_json::Value::Null, "{what}");
    }
    let target = Database::empty(Server::Target);
    let plan = protected.restore(&target, &["--latest", "--plan"]).ok().stdout;
    assert!(plan.contains("NOT FURTHER the schema changed"), "{plan}");
}

#[test]
fn a_change_of_the_schema_that_nobody_told_of_is_found_beside_one_that_was_told() {
    let protected = Protected::with(SCHEMA);
    let source = &protected.source;
    let plain = |number: u32| format!("ALTER TABLE guests ADD COLUMN plain_{number} text");
    let hidden = |number: u32| {
        source.sql("ALTER EVENT TRIGGER keepsake_capture_ddl DISABLE");
        source.sql(&format!("ALTER TABLE guests ADD COLUMN hidden_{number} text"));
        source.sql("ALTER EVENT TRIGGER keepsake_capture_ddl ENABLE ALWAYS");
    };
    let replayable = || {
        protected.capture_with(keepsake_statements::plain_statement);
        protected.newest_manifest()["schema_replayable"] == true
    };
    source.sql(&plain(1));
    assert!(replayable());
    hidden(2);
    source.sql(&plain(2));
    assert!(!replayable(), "before it");
    source.sql(&plain(3));
    hidden(3);
    assert!(!replayable(), "behind it");
    source.sql(&plain(4));
    hidden(4);
    source.sql(&plain(5));
    assert!(!replayable(), "between two");
    // Two at the same time: neither saw the other.
    let first = source.open_transaction("CREATE TABLE one (id integer PRIMARY KEY)");
    source.sql("ALTER TABLE guests ADD COLUMN plain_6 text");
    drop(first);
    assert!(replayable(), "of which one was given up");
    source.sql(&plain(7));
    assert!(replayable());
}

#[test]
fn what_is_defined_while_a_segment_ends_is_told_in_that_segment() {
    let protected = Protected::with(SCHEMA);
    protected.backup();
    let source = &protected.source;
    source.sql("ALTER TABLE guests ADD COLUMN before text");
    protected.capture_while("ALTER TABLE guests ADD COLUMN late text");
    assert_eq!(protected.newest_manifest()["schema_replayable"], true);
    source.sql("INSERT INTO guests (name, late) VALUES ('x', 'y')");
    let then = now(source);
    protected.capture_with(keepsake_statements::plain_statement);
    restores_to(&protected, 0, &then);
}

#[test]
fn roles_that_the_target_lacks_are_named_before_anything_is_changed() {
    let protected = Protected::with(SCHEMA);
    protected.backup();
    let role = format!("replay_{}", protected.source.name);
    protected.source.sql(&format!("CREATE ROLE {role} SUPERUSER"));
    script(&protected.source, &format!("SET ROLE {role};\nALTER TABLE guests ADD COLUMN seat text;"));
    protected.capture_with(keepsake_statements::plain_statement);
    protected.source.sql(&format!("DROP ROLE {role}"));
    let target = Database::empty(Server::Target);
    protected.restore(&target, &["--latest"]).failed(12, &["as which nothing can be run here", &role]);
    assert!(target.rows().iter().all(|line| line.trim().is_empty()), "nothing was changed");
    let without = ["--latest", "--missing-roles", "skip-ownership"];
    protected.restore(&target, &without).ok();
    assert_eq!(target.sql("SELECT count(*) FROM guests WHERE seat IS NULL").trim(), "50");
}

#[test]
fn a_roles_own_schema_is_in_front_also_where_nothing_is_run_as_that_role() {
    let protected = Protected::with(SCHEMA);
    let role = format!("own_{}", protected.source.name);
    let target = Database::empty(Server::Target);
    protected.source.sql(&format!("CREATE ROLE {role} SUPERUSER; CREATE SCHEMA AUTHORIZATION {role}"));
    protected.capture_with(keepsake_statements::plain_statement);
    protected.backup();
    let own = "CREATE TABLE seats (id integer PRIMARY KEY);\nINSERT INTO seats VALUES (7);";
    script(&protected.source, &format!("SET ROLE {role};\n{own}"));
    protected.capture_with(keepsake_statements::plain_statement);
    protected.restore(&target, &["--latest", "--missing-roles", "skip-ownership"]).ok();
    assert_eq!(target.sql(&format!("SELECT id FROM {role}.seats")).trim(), "7");
    protected.source.sql(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}"));
}
