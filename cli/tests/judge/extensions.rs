//! What extensions bring, and what users make of it.

use crate::server::{Database, Server};
use crate::trial::judge;
use std::os::unix::fs::PermissionsExt;

/// Every contrib extension that can be installed here, each once.
const ALL: &str = "DO $$ DECLARE e name; BEGIN
    FOR e IN SELECT name FROM pg_available_extensions WHERE installed_version IS NULL ORDER BY name LOOP
        EXECUTE format('CREATE EXTENSION IF NOT EXISTS %I CASCADE', e);
    END LOOP; END $$;";

const USES: &str = r#"
CREATE TABLE of_extensions (c citext, h hstore, l ltree, ls ltree[], q lquery, cu cube, i isbn13, e ean13, s seg, ea earth, lo lo, ia integer[], u uuid DEFAULT uuid_generate_v4(), t text);
INSERT INTO of_extensions VALUES ('CaSe', 'a=>1, b=>NULL', 'Top.A', '{a.b,c}', '*.a@', '(1,2),(3,4)', '978-0-393-04002-9', '4006381333931', '1.5 .. <2.5', ll_to_earth(48, 11), 4711, '{3,1,2}', DEFAULT, 'Ünaccented text'),
    (NULL, '', '', '{}', NULL, '(-1e300)', NULL, NULL, '~7', NULL, NULL, NULL, NULL, NULL);
CREATE INDEX ON of_extensions USING gin (t gin_trgm_ops);
CREATE INDEX ON of_extensions USING gist (t gist_trgm_ops (siglen = 32));
CREATE INDEX ON of_extensions USING gin (ia gin__int_ops);
CREATE INDEX ON of_extensions USING gist (l gist_ltree_ops (siglen = 100));
CREATE INDEX ON of_extensions USING gist (cu);
CREATE INDEX ON of_extensions USING bloom (t) WITH (length = 80, col1 = 4);
CREATE INDEX ON of_extensions USING gist (c gist_text_ops);
CREATE INDEX ON of_extensions USING gin (u uuid_ops);
CREATE TRIGGER keep BEFORE UPDATE OR DELETE ON of_extensions FOR EACH ROW EXECUTE FUNCTION lo_manage(lo);
CREATE TEXT SEARCH CONFIGURATION plain (COPY = simple);
ALTER TEXT SEARCH CONFIGURATION plain ALTER MAPPING FOR word, asciiword WITH unaccent, simple;
CREATE TEXT SEARCH DICTIONARY numbers (TEMPLATE = intdict_template, maxlen = 3);
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE from_file (v text) SERVER files OPTIONS (filename '/nowhere', format 'csv');
CREATE SERVER far FOREIGN DATA WRAPPER dblink_fdw OPTIONS (dbname 'x');
CREATE VIEW busy AS SELECT query, calls FROM pg_stat_statements;
CREATE TABLE hashed AS SELECT crypt('x', '$1$abcdefgh$') AS p, digest('x', 'sha256') AS d;
CREATE TABLE dated (v text, at timestamp);
CREATE TRIGGER moved BEFORE UPDATE ON dated FOR EACH ROW EXECUTE FUNCTION moddatetime(at);
CREATE FUNCTION metric(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT public.metaphone($1, 4)';
CREATE INDEX ON of_extensions (metric(t));
REVOKE EXECUTE ON FUNCTION crypt(text, text) FROM PUBLIC;
GRANT SELECT ON pg_stat_statements_info TO ROLE_A;
REVOKE SELECT ON pg_stat_statements FROM PUBLIC;
"#;

#[test]
fn objects_of_every_contrib_extension_come_back() {
    let mut source = Database::on(&Server::source());
    source.load(&format!("{ALL}{USES}"));
    let installed: u32 = source.sql("SELECT count(*) FROM pg_extension").parse().unwrap();
    assert!(installed > 40, "only {installed} extensions");
    judge(&source, &Server::target(), "", &[]);
}

const CONTROL: &str = "default_version = '1.0'\nrelocatable = false\nschema = parts\n";
const SCRIPT: &str = "
CREATE TABLE settings (k text PRIMARY KEY, v text, builtin boolean DEFAULT false);
INSERT INTO settings VALUES ('own', 'x', true);
SELECT pg_extension_config_dump('settings', 'WHERE NOT builtin');
CREATE TABLE whole (id serial PRIMARY KEY, v text);
SELECT pg_extension_config_dump('whole', '');
SELECT pg_extension_config_dump('whole_id_seq', '');
CREATE TABLE related (k text REFERENCES settings);
SELECT pg_extension_config_dump('related', '');
CREATE TABLE scratch (v text);
";
const CONFIGURED: &str = "
CREATE SCHEMA parts;
CREATE EXTENSION judged_config;
INSERT INTO parts.settings VALUES ('mine', E'y\\t\\\\z'), ('null', NULL);
INSERT INTO parts.whole (v) SELECT 'row ' || i FROM generate_series(1, 5000) i;
INSERT INTO parts.related VALUES ('mine');
INSERT INTO parts.scratch VALUES ('no configuration');
CREATE TABLE uses (k text REFERENCES parts.settings);
INSERT INTO uses VALUES ('mine'), ('own');
CREATE INDEX by_the_user ON parts.whole (v);
GRANT SELECT ON parts.settings TO ROLE_A;";

/// Only version 18 takes extensions from a folder of ours.
#[test]
fn configuration_tables_of_extensions_come_back_as_far_as_they_are_marked() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let files = folder.path().join("extension");
    std::fs::create_dir(&files).unwrap();
    std::fs::write(files.join("judged_config.control"), CONTROL).unwrap();
    std::fs::write(files.join("judged_config--1.0.sql"), SCRIPT).unwrap();
    let path = format!("{}:$system", folder.path().display());
    let server = Server::of_major(18).with_setting("extension_control_path", &path);
    let mut source = Database::on(&server);
    source.load(CONFIGURED);
    // The table that is no configuration comes back as the extension makes it, in both ways.
    judge(&source, &server, "", &["rows of ONLY parts.scratch"]);
}
