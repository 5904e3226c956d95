use super::plain_statement;
use keepsake_domain::{PlainStatement, WrittenColumn, WrittenName};

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
        f jsonb DEFAULT '{}'::jsonb, g bigint GENERATED ALWAYS AS IDENTITY CHECK (g > 0), PRIMARY KEY (id), \
        CONSTRAINT own UNIQUE (a, c), CHECK (a <> 'y' OR length(a) BETWEEN 1 AND 9));";
    let columns = owned(&["id", "a", "b", "c", "d", "e", "f", "g"]);
    let relations = owned(&["T_id_seq", "T_b_key", "T_g_seq", "T_pkey", "own"]);
    let name = written(Some("s"), "T");
    assert_eq!(plain_statement(table), Some(PlainStatement::NewTable { name, columns, relations }));
    for index in [
        "CREATE INDEX ON guests (name, seat DESC NULLS LAST)",
        "/* ticket 7 */ CREATE INDEX i ON t USING gin (words) -- slow",
        "CREATE INDEX i ON t (lower(a), coalesce(b, ''), (c + 1)) WHERE d IS NULL AND e IN ('x', 'y') AND NOT f",
        "CREATE INDEX i ON t (a) WHERE b = ANY (ARRAY['x'::text, 'step 2'::text]) OR c > 0 OR d ILIKE 'x%' OR e IS TRUE",
    ] {
        assert_eq!(plain_statement(index), Some(PlainStatement::NewIndex { unique_in: None }), "{index}");
    }
    let unique = "CREATE UNIQUE INDEX IF NOT EXISTS i ON s.guests USING btree (name) INCLUDE (seat)";
    let unique_in = Some(written(Some("s"), "guests"));
    assert_eq!(plain_statement(unique), Some(PlainStatement::NewIndex { unique_in }));
    for comment in ["COMMENT ON TABLE guests IS 'all of them'", "COMMENT ON COLUMN s.guests.seat IS NULL"] {
        assert_eq!(plain_statement(comment), Some(PlainStatement::Comment), "{comment}");
    }
}

#[test]
fn what_a_plain_alter_table_does_is_read_from_it() {
    let alter = "ALTER TABLE guests ADD COLUMN seat character varying(10), ADD \"x y\" uuid NULL, \
        ADD a boolean NOT NULL DEFAULT false, ADD b text DEFAULT 'on 2026-11-22', ADD c text[] NOT NULL DEFAULT '{}', \
        ADD d numeric(8, 2) DEFAULT -1.5, ADD e jsonb DEFAULT '{}'::jsonb, ADD f date DEFAULT NULL";
    let column = |(name, is_filled): (&str, bool)| WrittenColumn { name: name.to_owned(), is_filled };
    let columns =
        [("seat", false), ("x y", false), ("a", true), ("b", true), ("c", true), ("d", true), ("e", true)];
    let columns = columns.into_iter().chain([("f", false)]).map(column).collect();
    let name = written(None, "guests");
    assert_eq!(plain_statement(alter), Some(PlainStatement::NewColumns { name: name.clone(), columns }));
    let one = "ALTER TABLE guests ADD COLUMN IF NOT EXISTS a integer";
    let columns = vec![column(("a", false))];
    assert_eq!(plain_statement(one), Some(PlainStatement::NewColumns { name: name.clone(), columns }));
    let column = "seat".to_owned();
    let nullable = PlainStatement::Nullable { name: name.clone(), column: column.clone() };
    assert_eq!(plain_statement("ALTER TABLE guests ALTER seat DROP NOT NULL"), Some(nullable));
    let required = PlainStatement::Required { name: name.clone(), column };
    assert_eq!(plain_statement("ALTER TABLE guests ALTER COLUMN seat SET NOT NULL"), Some(required));
    let altered = |refers_to: &[WrittenName], relations: &[&str]| PlainStatement::Altered {
        name: name.clone(),
        refers_to: refers_to.to_vec(),
        relations: owned(relations),
    };
    for (alter, found) in [
        (
            "ALTER TABLE guests ALTER a SET DEFAULT 7, ALTER b SET DEFAULT now(), ALTER c SET DEFAULT 'x'",
            altered(&[], &[]),
        ),
        ("ALTER TABLE guests ALTER a SET DEFAULT 7, ADD CONSTRAINT c CHECK (a > 0)", altered(&[], &[])),
        ("ALTER TABLE guests ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY", altered(&[], &[])),
        (
            "ALTER TABLE guests ADD UNIQUE (a, b), ADD CONSTRAINT own UNIQUE (c)",
            altered(&[], &["guests_a_b_key", "own"]),
        ),
        (
            "ALTER TABLE guests ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES s.halls (id) MATCH FULL \
             ON DELETE SET NULL ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED, ADD FOREIGN KEY (b) REFERENCES seats",
            altered(&[written(Some("s"), "halls"), written(None, "seats")], &[]),
        ),
    ] {
        assert_eq!(plain_statement(alter), Some(found), "{alter}");
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
    "CREATE TABLE t (id integer PRIMARY KEY, a integer CHECK (f(a)))",
    "CREATE TABLE t (id integer PRIMARY KEY, a date CHECK (a > now()))",
    "CREATE TABLE t (id integer PRIMARY KEY, a date CHECK (a > '01/02/2026'))",
    "CREATE TABLE t (id integer PRIMARY KEY, a date CHECK (a > 'today'))",
    "CREATE TABLE t (id integer PRIMARY KEY, a date CHECK (a > date '2026-01-02'))",
    "CREATE TABLE t (id integer PRIMARY KEY, a date, b timestamptz, CHECK (a > b))",
    "CREATE TABLE t (id integer PRIMARY KEY, a timestamptz CHECK (a::date > b))",
    "CREATE TABLE t (id integer PRIMARY KEY, a integer CHECK (a OPERATOR(s.>) 0))",
    "CREATE TABLE t (id integer PRIMARY KEY, a integer CHECK (a > 0) NO INHERIT)",
    "CREATE TABLE t (id integer PRIMARY KEY, CHECK (t IS NOT NULL AND t.* IS NOT NULL))",
    "CREATE TABLE t (id integer PRIMARY KEY, a text CHECK (lower(DISTINCT a) = 'x'))",
    "CREATE TABLE t (id integer PRIMARY KEY, a integer REFERENCES u)",
    "CREATE TABLE t (id integer PRIMARY KEY, a integer GENERATED ALWAYS AS (id + 1) STORED)",
    "CREATE TABLE t (id integer PRIMARY KEY, a integer DEFAULT f())",
    "CREATE TABLE t (id integer PRIMARY KEY, a integer DEFAULT s.now())",
    "CREATE TABLE t (id integer PRIMARY KEY, a integer DEFAULT nextval('s'))",
    "CREATE TABLE t (id integer PRIMARY KEY, a mood DEFAULT 'sad'::mood)",
    "CREATE TABLE t (id integer PRIMARY KEY, a text DEFAULT 'a' || 'b')",
    "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY (START 7) PRIMARY KEY)",
    "CREATE TABLE t (id integer PRIMARY KEY, FOREIGN KEY (id) REFERENCES u)",
    "CREATE TABLE t (id integer PRIMARY KEY, EXCLUDE (id WITH =))",
    "CREATE TABLE a_table_with_a_name_that_is_so_long_that_nothing_fits_behind (id integer PRIMARY KEY)",
    "ALTER TABLE t ADD COLUMN a timestamptz DEFAULT now()",
    "ALTER TABLE t ADD COLUMN a date DEFAULT CURRENT_DATE",
    "ALTER TABLE t ADD COLUMN a date DEFAULT '2026-11-22'",
    "ALTER TABLE t ADD COLUMN a integer[] DEFAULT '{1}'",
    "ALTER TABLE t ADD COLUMN a integer NOT NULL DEFAULT NULL",
    "ALTER TABLE t ADD COLUMN a integer NOT NULL",
    "ALTER TABLE t ADD COLUMN a integer CHECK (a > 0)",
    "ALTER TABLE t ADD COLUMN a text CHECK (b IS NOT NULL OR a IS NOT NULL)",
    "ALTER TABLE t ADD COLUMN a integer UNIQUE",
    "ALTER TABLE t ADD COLUMN a serial",
    "ALTER TABLE t ADD COLUMN a integer GENERATED ALWAYS AS IDENTITY",
    "ALTER TABLE t ADD COLUMN a integer REFERENCES u",
    "ALTER TABLE t ADD COLUMN a mood",
    "ALTER TABLE t ADD COLUMN IF NOT EXISTS a integer, ADD COLUMN b integer",
    "ALTER TABLE t ADD COLUMN a integer, ADD COLUMN IF NOT EXISTS b integer",
    "ALTER TABLE t ADD COLUMN a integer, ALTER COLUMN b SET NOT NULL",
    "ALTER TABLE t ADD COLUMN a integer, ALTER COLUMN a SET DEFAULT 7",
    "ALTER TABLE t ALTER COLUMN a SET NOT NULL, ALTER COLUMN b SET NOT NULL",
    "ALTER TABLE t ALTER COLUMN a DROP DEFAULT",
    "ALTER TABLE t ALTER COLUMN a SET DEFAULT NULL",
    "ALTER TABLE t ALTER COLUMN a SET DEFAULT NULL::text",
    "ALTER TABLE t ALTER COLUMN a SET DEFAULT f()",
    "ALTER TABLE t ALTER COLUMN a SET DEFAULT '01/02/2026'",
    "ALTER TABLE t ALTER COLUMN a SET DEFAULT 'now'",
    "ALTER TABLE t ALTER COLUMN a SET DEFAULT nextval('s')",
    "ALTER TABLE t ALTER COLUMN a SET STATISTICS 7",
    "ALTER TABLE t ADD PRIMARY KEY (a)",
    "ALTER TABLE t ADD UNIQUE USING INDEX i",
    "ALTER TABLE t ADD UNIQUE (a) DEFERRABLE",
    "ALTER TABLE t ADD CHECK (a > 0) NOT VALID",
    "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u NOT VALID",
    "ALTER TABLE t ADD CONSTRAINT c EXCLUDE USING gist (a WITH &&)",
    "ALTER TABLE t VALIDATE CONSTRAINT c",
    "ALTER TABLE t DROP CONSTRAINT c",
    "ALTER TABLE t REPLICA IDENTITY FULL",
    "ALTER TABLE t DISABLE TRIGGER ALL",
    "ALTER VIEW t ALTER COLUMN a SET DEFAULT 7",
    "ALTER TABLE IF EXISTS ONLY t ADD COLUMN a integer",
    "ALTER TABLE t ADD COLUMN a integer, DROP COLUMN b",
    "ALTER TABLE t ALTER COLUMN a TYPE bigint",
    "ALTER TABLE t DROP COLUMN a",
    "ALTER TABLE t RENAME COLUMN a TO b",
    "ALTER TABLE t OWNER TO other",
    "ALTER FOREIGN TABLE t ADD COLUMN a integer",
    "CREATE INDEX CONCURRENTLY i ON t (a)",
    "CREATE INDEX i ON t (f(a))",
    "CREATE INDEX i ON t (s.lower(a))",
    "CREATE INDEX i ON t ((a + b))",
    "CREATE INDEX i ON t (a) WHERE f(a)",
    "CREATE INDEX i ON t (a) WHERE a > '2026-01-01'",
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
