use super::plain_statement;
use keepsake_domain::{PlainStatement, WrittenName};

fn written(schema: Option<&str>, name: &str) -> WrittenName {
    WrittenName { schema: schema.map(str::to_owned), name: name.to_owned() }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn what_a_plain_statement_defines_is_read_from_it() {
    let table = "CREATE TABLE IF NOT EXISTS s.\"T\" (id serial, a text NOT NULL DEFAULT 'x', b integer[] NULL UNIQUE, \
        c timestamptz DEFAULT now(), d numeric(8, 2) DEFAULT -1, e date DEFAULT CURRENT_DATE, \
        f jsonb DEFAULT '{}'::jsonb, g bigint GENERATED ALWAYS AS IDENTITY, PRIMARY KEY (id), CONSTRAINT own UNIQUE (a, c));";
    let columns = owned(&["id", "a", "b", "c", "d", "e", "f", "g"]);
    let relations = owned(&["T_id_seq", "T_b_key", "T_g_seq", "T_pkey", "own"]);
    let name = written(Some("s"), "T");
    assert_eq!(plain_statement(table), Some(PlainStatement::NewTable { name, columns, relations }));
    let alter = "ALTER TABLE guests ADD COLUMN seat character varying(10), ADD \"x y\" uuid NULL";
    let (name, columns) = (written(None, "guests"), owned(&["seat", "x y"]));
    assert_eq!(plain_statement(alter), Some(PlainStatement::NewColumns { name, columns }));
    for index in [
        "CREATE INDEX ON guests (name, seat DESC NULLS LAST)",
        "CREATE UNIQUE INDEX IF NOT EXISTS i ON s.guests USING btree (name) INCLUDE (seat)",
        "/* ticket 7 */ CREATE INDEX i ON t USING gin (words) -- slow",
    ] {
        assert_eq!(plain_statement(index), Some(PlainStatement::NewIndex), "{index}");
    }
    for comment in ["COMMENT ON TABLE guests IS 'all of them'", "COMMENT ON COLUMN s.guests.seat IS NULL"] {
        assert_eq!(plain_statement(comment), Some(PlainStatement::Comment), "{comment}");
    }
}

/// Each differs from a plain one in one thing.
const NOT_PLAIN: &[&str] = &[
    "",
    "not SQL",
    "SELECT 1",
    "SELECT make_table()",
    "DO $$ BEGIN CREATE TABLE t (id integer PRIMARY KEY); END $$",
    "CREATE TABLE t (id integer PRIMARY KEY); CREATE TABLE u (id integer PRIMARY KEY)",
    "BEGIN; CREATE TABLE t (id integer PRIMARY KEY); COMMIT",
    "CREATE TABLE t (id integer)",
    "CREATE TABLE t AS SELECT 1 AS id",
    "CREATE TABLE t (LIKE u)",
    "CREATE TABLE t (LIKE u INCLUDING ALL, PRIMARY KEY (id))",
    "CREATE TABLE t (id integer PRIMARY KEY) INHERITS (u)",
    "CREATE TABLE t PARTITION OF u FOR VALUES IN (1)",
    "CREATE TABLE t (id integer PRIMARY KEY) PARTITION BY HASH (id)",
    "CREATE TABLE t OF u (PRIMARY KEY (id))",
    "CREATE TABLE t (id integer PRIMARY KEY) WITH (fillfactor = 70)",
    "CREATE TABLE t (id integer PRIMARY KEY) TABLESPACE fast",
    "CREATE TABLE t (id integer PRIMARY KEY) USING heap",
    "CREATE TEMPORARY TABLE t (id integer PRIMARY KEY)",
    "CREATE UNLOGGED TABLE t (id integer PRIMARY KEY)",
    "CREATE TABLE d.s.t (id integer PRIMARY KEY)",
    "CREATE TABLE t (id integer PRIMARY KEY DEFERRABLE)",
    "CREATE TABLE t (id integer PRIMARY KEY USING INDEX TABLESPACE fast)",
    "CREATE TABLE t (id integer PRIMARY KEY WITH (fillfactor = 70))",
    "CREATE TABLE t (id mood PRIMARY KEY)",
    "CREATE TABLE t (id s.int4 PRIMARY KEY)",
    "CREATE TABLE t (id integer PRIMARY KEY, a text COLLATE \"C\")",
    "CREATE TABLE t (id integer PRIMARY KEY, a text COMPRESSION lz4)",
    "CREATE TABLE t (id integer PRIMARY KEY, a text STORAGE external)",
    "CREATE TABLE t (id integer PRIMARY KEY, a integer CHECK (a > 0))",
    "CREATE TABLE t (id integer PRIMARY KEY, a integer REFERENCES u)",
    "CREATE TABLE t (id integer PRIMARY KEY, a integer GENERATED ALWAYS AS (id + 1) STORED)",
    "CREATE TABLE t (id integer PRIMARY KEY, a integer DEFAULT f())",
    "CREATE TABLE t (id integer PRIMARY KEY, a integer DEFAULT s.now())",
    "CREATE TABLE t (id integer PRIMARY KEY, a integer DEFAULT nextval('s'))",
    "CREATE TABLE t (id integer PRIMARY KEY, a mood DEFAULT 'sad'::mood)",
    "CREATE TABLE t (id integer PRIMARY KEY, a text DEFAULT 'a' || 'b')",
    "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY (START 7) PRIMARY KEY)",
    "CREATE TABLE t (id integer PRIMARY KEY, CHECK (id > 0))",
    "CREATE TABLE t (id integer PRIMARY KEY, FOREIGN KEY (id) REFERENCES u)",
    "CREATE TABLE t (id integer PRIMARY KEY, EXCLUDE (id WITH =))",
    "CREATE TABLE a_table_with_a_name_that_is_so_long_that_nothing_fits_behind (id integer PRIMARY KEY)",
    "ALTER TABLE t ADD COLUMN a integer DEFAULT 0",
    "ALTER TABLE t ADD COLUMN a integer NOT NULL",
    "ALTER TABLE t ADD COLUMN a integer UNIQUE",
    "ALTER TABLE t ADD COLUMN a serial",
    "ALTER TABLE t ADD COLUMN a integer GENERATED ALWAYS AS IDENTITY",
    "ALTER TABLE t ADD COLUMN a integer REFERENCES u",
    "ALTER TABLE t ADD COLUMN a mood",
    "ALTER TABLE t ADD COLUMN IF NOT EXISTS a integer",
    "ALTER TABLE IF EXISTS ONLY t ADD COLUMN a integer",
    "ALTER TABLE t ADD COLUMN a integer, DROP COLUMN b",
    "ALTER TABLE t ALTER COLUMN a TYPE bigint",
    "ALTER TABLE t DROP COLUMN a",
    "ALTER TABLE t RENAME COLUMN a TO b",
    "ALTER TABLE t OWNER TO other",
    "ALTER FOREIGN TABLE t ADD COLUMN a integer",
    "CREATE INDEX CONCURRENTLY i ON t (a)",
    "CREATE INDEX i ON t (lower(a))",
    "CREATE INDEX i ON t ((a + 1))",
    "CREATE INDEX i ON t (a) WHERE a > 0",
    "CREATE INDEX i ON t (a text_pattern_ops)",
    "CREATE INDEX i ON t (a COLLATE \"C\")",
    "CREATE INDEX i ON t (a) WITH (fillfactor = 70)",
    "CREATE INDEX i ON t (a) TABLESPACE fast",
    "CREATE INDEX i ON t USING theirs (a)",
    "CREATE INDEX i ON ONLY t (a)",
    "COMMENT ON FUNCTION f() IS 'x'",
    "COMMENT ON DATABASE d IS 'x'",
    "DROP TABLE t",
    "DROP INDEX i",
    "GRANT SELECT ON t TO PUBLIC",
    "CREATE VIEW v AS SELECT 1",
    "CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "TRUNCATE t",
];

#[test]
fn whatever_is_not_on_the_list_is_not_plain() {
    let plain: Vec<_> = NOT_PLAIN.iter().filter(|sql| plain_statement(sql).is_some()).collect();
    assert_eq!(plain, Vec::<&&str>::new());
}
