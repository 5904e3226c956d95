use super::*;
use keepsake_steps::ports::Source;

pub async fn fingerprint(changes: &PostgresChanges) -> String {
    let fingerprint =
        changes.boundary().await.unwrap_or_else(|e| panic!("{}", all_text(&e))).schema_fingerprint;
    assert_eq!(fingerprint.len(), 64);
    fingerprint
}

pub const BEGINNING: &str = "
    CREATE TABLE t (n integer PRIMARY KEY, v text, w integer); CREATE INDEX t_v ON t (lower(v)) WHERE w > 1;
    COMMENT ON INDEX t_v IS 'old'; CREATE SEQUENCE s; CREATE VIEW looks AS SELECT n FROM t;
    CREATE MATERIALIZED VIEW sums AS SELECT count(*) FROM t; CREATE UNIQUE INDEX sums_i ON sums (count);
    CREATE TYPE mood AS ENUM ('glad'); CREATE DOMAIN d AS integer; CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER g BEFORE INSERT ON t EXECUTE FUNCTION g();
    CREATE TABLE parted (n integer) PARTITION BY RANGE (n); CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
    CREATE INDEX parted_i ON parted (n);
    CREATE FUNCTION h() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE PUBLICATION theirs;
    CREATE FOREIGN DATA WRAPPER fdw; CREATE SERVER far FOREIGN DATA WRAPPER fdw;
    CREATE PUBLICATION keepsake_noted; COMMENT ON PUBLICATION keepsake_noted IS 'one';
    INSERT INTO t SELECT i, 'v' || i, i FROM generate_series(1, 1000) i";

/// Each changes what a dump of the schema would hold.
pub const DEFINITIONS: &str = "
    ALTER TABLE t ADD COLUMN x integer; ALTER TABLE t ALTER x TYPE bigint; ALTER TABLE t RENAME x TO y;
    ALTER TABLE t ALTER y SET DEFAULT 7; ALTER TABLE t ALTER y SET NOT NULL; ALTER TABLE t ALTER v SET STORAGE EXTERNAL;
    ALTER TABLE t ALTER v TYPE text USING v || '!'; ALTER TABLE t ALTER v SET STATISTICS 500; ALTER TABLE t DROP COLUMN y; ALTER TABLE t SET (fillfactor = 70);
    ALTER TABLE t REPLICA IDENTITY FULL; ALTER TABLE t ADD CONSTRAINT c CHECK (n > 0) NOT VALID;
    ALTER TABLE t VALIDATE CONSTRAINT c; ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (n > 0);
    ALTER POLICY p ON t USING (n > 1); ALTER TABLE t DISABLE TRIGGER g; GRANT SELECT ON t TO PUBLIC; GRANT SELECT (n) ON t TO PUBLIC;
    CREATE INDEX t_w ON t (w); CREATE INDEX CONCURRENTLY t_w2 ON t (w DESC); DROP INDEX t_w; ALTER INDEX t_v RENAME TO t_vv;
    ALTER INDEX t_vv ALTER COLUMN 1 SET STATISTICS 300; COMMENT ON INDEX t_vv IS 'new'; COMMENT ON TABLE t IS 'x';
    COMMENT ON COLUMN t.n IS 'x'; COMMENT ON SCHEMA public IS 'mine'; CREATE STATISTICS st ON n, w FROM t;
    ALTER SEQUENCE s INCREMENT 2; ALTER SEQUENCE s OWNED BY t.n; CREATE OR REPLACE VIEW looks AS SELECT n FROM t WHERE n > 0;
    ALTER TYPE mood ADD VALUE 'sad'; ALTER DOMAIN d ADD CHECK (VALUE > 0); ALTER DOMAIN d SET DEFAULT 3;
    CREATE OR REPLACE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT 2'; ALTER FUNCTION f() STABLE; REVOKE EXECUTE ON FUNCTION f() FROM PUBLIC;
    CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20); ALTER TABLE parted DETACH PARTITION parted_2;
    CREATE INDEX parted_2_j ON parted_2 (n); CREATE INDEX parted_j ON ONLY parted (n);
    CREATE SCHEMA more; GRANT USAGE ON SCHEMA more TO PUBLIC; ALTER TABLE parted_2 SET SCHEMA more; DROP TABLE more.parted_2;
    CREATE EXTENSION hstore; ALTER EXTENSION hstore ADD TABLE parted; ALTER EXTENSION hstore DROP TABLE parted;
    CREATE EVENT TRIGGER et ON ddl_command_end WHEN TAG IN ('CREATE RULE') EXECUTE FUNCTION h(); ALTER EVENT TRIGGER et DISABLE; DROP EVENT TRIGGER et;
    ALTER PUBLICATION theirs ADD TABLE t; DROP PUBLICATION theirs;
    CREATE PUBLICATION keepsake_ours FOR TABLE t; ALTER PUBLICATION keepsake_ours DROP TABLE t; ALTER PUBLICATION keepsake_ours SET (publish = 'insert'); CREATE RULE r AS ON DELETE TO looks DO INSTEAD NOTHING;
    CREATE COLLATION co FROM \"C\"; CREATE CAST (mood AS integer) WITH INOUT; CREATE OPERATOR === (LEFTARG = integer, RIGHTARG = integer, FUNCTION = int4eq);
    CREATE TEXT SEARCH CONFIGURATION tc (COPY = simple); ALTER TEXT SEARCH CONFIGURATION tc DROP MAPPING FOR asciiword;
    CREATE FOREIGN TABLE ft (n integer) SERVER far OPTIONS (a 'b'); ALTER FOREIGN TABLE ft OPTIONS (SET a 'c');
    CREATE USER MAPPING FOR PUBLIC SERVER far; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC;
    CREATE AGGREGATE agg (integer) (SFUNC = int4pl, STYPE = integer); CREATE TABLE empty (); DROP TABLE empty;
    REVOKE EXECUTE ON FUNCTION pg_catalog.pg_current_wal_lsn() FROM PUBLIC; CREATE TYPE span AS RANGE (SUBTYPE = integer);
    ALTER MATERIALIZED VIEW sums RENAME TO sums2; CREATE PROCEDURE pr() LANGUAGE sql AS 'SELECT 1'; ALTER TABLE t INHERIT base";

/// Rows, storage, statistics, and what dies with its session.
const NO_DEFINITIONS: &str = "
    INSERT INTO t VALUES (-1, 'v', 2); UPDATE t SET v = repeat('x', 100); DELETE FROM t WHERE n > 500; ANALYZE; VACUUM; VACUUM FULL;
    VACUUM FREEZE t; TRUNCATE t; TRUNCATE t RESTART IDENTITY; REINDEX TABLE t; REINDEX TABLE CONCURRENTLY t; REINDEX INDEX CONCURRENTLY t_v;
    REINDEX TABLE CONCURRENTLY parted; CLUSTER t USING t_pkey; SELECT nextval('s'), setval('s', 7); ALTER SEQUENCE s RESTART WITH 9;
    REFRESH MATERIALIZED VIEW sums; REFRESH MATERIALIZED VIEW CONCURRENTLY sums; SELECT lo_create(0); CHECKPOINT;
    CREATE TEMPORARY TABLE gone (n serial PRIMARY KEY, v text CHECK (v <> '')); PREPARE q AS SELECT 1;
    COMMENT ON PUBLICATION keepsake_noted IS 'two'; VACUUM FULL pg_type; VACUUM FREEZE pg_namespace; SELECT 1";

/// Each leaves every definition as it was, and what was streamed in between means something else: rows of a table that had
/// another's name, labels that were others', changes that were not published.
const THERE_AND_BACK: &str = "
    ALTER TABLE t RENAME TO x; ALTER TABLE base RENAME TO t; ALTER TABLE t RENAME TO base; ALTER TABLE x RENAME TO t |
    ALTER TABLE t SET SCHEMA away; ALTER TABLE away.t SET SCHEMA public |
    ALTER SCHEMA away RENAME TO further; ALTER SCHEMA further RENAME TO away |
    ALTER TABLE t RENAME v TO x; ALTER TABLE t RENAME w TO v; ALTER TABLE t RENAME v TO w; ALTER TABLE t RENAME x TO v |
    ALTER TYPE mood RENAME VALUE 'glad' TO 'x'; ALTER TYPE mood RENAME VALUE 'x' TO 'glad' |
    ALTER PUBLICATION keepsake_noted SET (publish = 'insert'); ALTER PUBLICATION keepsake_noted SET (publish = 'insert, update, delete, truncate') |
    ALTER PUBLICATION keepsake_noted DROP TABLE t; ALTER PUBLICATION keepsake_noted ADD TABLE t |
    DROP TABLE base; CREATE TABLE base (n integer, v text, w integer)";

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_and_changed_back_shows_in_the_fingerprint() {
    let db = Database::source().await;
    let changes = begin(&db).await;
    db.run("CREATE SCHEMA away; ALTER PUBLICATION keepsake_noted ADD TABLE t").await;
    let mut before = fingerprint(&changes).await;
    for there_and_back in THERE_AND_BACK.split('|') {
        db.run_each(there_and_back).await;
        let after = fingerprint(&changes).await;
        assert_ne!(after, before, "{there_and_back}");
        before = after;
    }
}

pub async fn begin(db: &Database) -> PostgresChanges {
    db.run(BEGINNING).await;
    db.run("CREATE TABLE base (n integer, v text, w integer)").await;
    changes_of(db)
}

/// What every major shows: all of it at once.
pub async fn definitions_count_and_nothing_else_does(db: &Database) {
    let changes = begin(db).await;
    let before = fingerprint(&changes).await;
    db.run_each(NO_DEFINITIONS).await;
    assert_eq!(fingerprint(&changes).await, before);
    db.run_each(DEFINITIONS).await;
    assert_ne!(fingerprint(&changes).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_definition_changes_the_fingerprint_and_no_row_and_no_maintenance_does() {
    let db = Database::source().await;
    let changes = begin(&db).await;
    // One session, so that its temporary table lives while the fingerprint is taken.
    let client = db.client().await;
    let mut before = fingerprint(&changes).await;
    for sql in NO_DEFINITIONS.split(';') {
        client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(fingerprint(&changes).await, before, "{sql}");
    }
    for sql in DEFINITIONS.split(';') {
        client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let after = fingerprint(&changes).await;
        assert_ne!(after, before, "{sql}");
        before = after;
    }
    assert_eq!(fingerprint(&changes).await, before);
}

/// Of one state, whoever asks and in whatever language.
#[tokio::test(flavor = "multi_thread")]
async fn every_role_sees_the_same_fingerprint() {
    let mut db = Database::source().await;
    db.run(BEGINNING).await;
    let role = db.role("IN ROLE pg_read_all_data").await;
    let superusers = fingerprint(&changes_of(&db)).await;
    let other = PostgresChanges::new(db.url_as(&role, PASSWORD), "other");
    assert_eq!(fingerprint(&other).await, superusers);
}

/// By which a full backup is joined with the changes after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_backup_has_the_fingerprint_of_its_own_snapshot() {
    let db = Database::source().await;
    let changes = begin(&db).await;
    let before = fingerprint(&changes).await;
    let source = source_at(db.url());
    let held = source.take_snapshot().await.unwrap();
    db.run("ALTER TABLE t ADD COLUMN later integer; DROP VIEW looks; CREATE TABLE more (n integer)").await;
    assert_eq!(source.shape(held.name()).await.unwrap().schema_fingerprint, before);
    assert_ne!(fingerprint(&changes).await, before);
}

/// Definitions may hold bytes that are no UTF-8 in a database without encoding.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_encoding_has_a_fingerprint() {
    let db = Database::source_with("ENCODING 'SQL_ASCII' LOCALE 'C'").await;
    let changes = changes_of(&db);
    let before = fingerprint(&changes).await;
    let latin = "SET client_encoding = SQL_ASCII; DO $$ BEGIN EXECUTE 'COMMENT ON SCHEMA public IS ''' || E'\\xE4' || ''''; END $$";
    db.run(latin).await;
    assert_ne!(fingerprint(&changes).await, before);
}
