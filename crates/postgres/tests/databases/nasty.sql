CREATE EXTENSION hstore;
CREATE EXTENSION postgres_fdw;
CREATE EXTENSION btree_gist;
GRANT ALL ON SCHEMA public TO some_role;

CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy');
CREATE DOMAIN email AS text CHECK (VALUE ~ '@');
CREATE TYPE pair AS (a integer, b text);
CREATE TYPE span AS RANGE (subtype = float8);
CREATE SCHEMA "we""ird Schéma";
CREATE TABLE "we""ird Schéma"."ta""ble, \1" ("co""l a" text, "select" integer, "dro pped" text, "é" bytea);
ALTER TABLE "we""ird Schéma"."ta""ble, \1" DROP COLUMN "dro pped";
INSERT INTO "we""ird Schéma"."ta""ble, \1" VALUES
    (E'tab\t newline\n return\r backslash\\ \\N \\.', 1, '\x00ff5c'), (NULL, NULL, NULL), ('', 0, '');

CREATE TABLE guests (
    id bigint GENERATED ALWAYS AS IDENTITY (START 100) PRIMARY KEY,
    name text NOT NULL, mail email, m mood DEFAULT 'happy', tags text[], extra jsonb, h hstore, p pair, s span,
    f4 real, f8 double precision, n numeric, d date, t timestamptz, ts timestamp, i interval, cash money, u uuid,
    ip inet, b bit varying, x xml, pt point, v tsvector,
    loud text GENERATED ALWAYS AS (upper(name)) STORED,
    during tstzrange, EXCLUDE USING gist (during WITH &&)
);
INSERT INTO guests (name, mail, m, tags, extra, h, p, s, f4, f8, n, d, t, ts, i, cash, u, ip, b, x, pt, v, during) VALUES
    ('Zoë', 'z@x', 'it''s ok', '{"a,b",NULL,"null","{x}"}', '{"a": [1, null, "\u00e9"]}', 'a=>1,b=>NULL', '(1,"x,y")',
     '[0.1,0.3)', 1.1, 0.1::float8 + 0.2, 'NaN', 'infinity', '-infinity', '0044-03-15 12:00 BC', '1 mon -3 days 00:00:01.5',
     1234567.89, '01990a5d-ac96-774b-bcce-b302099a8057', '10.0.0.1/8', B'1011', '<a>&amp;</a>', '(1e-300,2)', 'fat:1A cat', '[2026-01-01,2026-01-02)'),
    ('𝄞', NULL, NULL, '{}', 'null', '', NULL, 'empty', 'NaN', '-Infinity', 1e-30, NULL, '2026-10-25 02:30+02', 'infinity', NULL,
     NULL, NULL, '::1', B'', NULL, NULL, '', NULL);
CREATE INDEX guests_name_lower ON guests (lower(name)) WHERE m = 'happy';
ALTER TABLE guests OWNER TO some_role;
GRANT SELECT (id, name) ON guests TO PUBLIC;
COMMENT ON COLUMN guests.name IS 'as "written"';
ALTER TABLE guests ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON guests TO some_role USING (name = current_user);

CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := NEW.name || '!'; RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON guests FOR EACH ROW EXECUTE FUNCTION touch();
CREATE FUNCTION short(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT length($1) < 100';
CREATE TABLE checked (v text CHECK (short(v)) CHECK (v <> ''));
INSERT INTO checked VALUES ('x');

CREATE TABLE a (id integer PRIMARY KEY, b_id integer);
CREATE TABLE b (id integer PRIMARY KEY, a_id integer REFERENCES a DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE a ADD CONSTRAINT a_b FOREIGN KEY (b_id) REFERENCES b DEFERRABLE INITIALLY DEFERRED;
BEGIN;
INSERT INTO a VALUES (1, 1), (2, NULL);
INSERT INTO b VALUES (1, 1), (2, 2);
COMMIT;

CREATE TABLE events (at date NOT NULL, kind integer, what text) PARTITION BY RANGE (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY HASH (kind);
CREATE TABLE events_2025_0 PARTITION OF events_2025 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE events_2025_1 (what text, gone integer, kind integer, at date NOT NULL);
ALTER TABLE events_2025_1 DROP COLUMN gone;
ALTER TABLE events_2025 ATTACH PARTITION events_2025_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE events_rest PARTITION OF events DEFAULT;
ALTER TABLE events ADD PRIMARY KEY (at, kind);
CREATE TABLE notes (at date, kind integer, FOREIGN KEY (at, kind) REFERENCES events);
INSERT INTO events SELECT date '2025-01-01' + i, i, 'event ' || i FROM generate_series(1, 500) i;
INSERT INTO notes SELECT at, kind FROM events LIMIT 7;

CREATE TABLE parent (id integer, v text);
CREATE TABLE child (more text) INHERITS (parent);
INSERT INTO parent VALUES (1, 'parent');
INSERT INTO child VALUES (2, 'child', 'more');

CREATE TABLE nothing ();
INSERT INTO nothing DEFAULT VALUES;
INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE only_generated (g integer GENERATED ALWAYS AS (1) STORED);
INSERT INTO only_generated DEFAULT VALUES;
CREATE UNLOGGED TABLE fast (v text);
INSERT INTO fast VALUES ('unlogged');
CREATE TABLE empty (v text);
CREATE TABLE big AS SELECT i AS id, md5(i::text) AS hash, repeat(md5(i::text), 3) AS filler FROM generate_series(1, 20000) i;
DELETE FROM big WHERE id % 7 = 0;
INSERT INTO big SELECT i, md5(i::text), NULL FROM generate_series(1, 20000) i WHERE i % 7 = 0;
ALTER TABLE big ADD PRIMARY KEY (id);
ALTER TABLE big ALTER COLUMN filler SET STORAGE EXTERNAL;
CREATE TABLE toasted AS SELECT 1 AS id, repeat('0123456789', 1000000) AS v;
CREATE STATISTICS big_stats ON id, hash FROM big;

CREATE VIEW shown AS SELECT id, name FROM guests;
CREATE RULE no_delete AS ON DELETE TO shown DO INSTEAD NOTHING;
CREATE MATERIALIZED VIEW totals AS SELECT id % 10 AS digit, count(*) AS n FROM big GROUP BY 1;
CREATE UNIQUE INDEX totals_digit ON totals (digit);

CREATE SEQUENCE "Never called" START 5;
CREATE SEQUENCE downwards INCREMENT -3 MAXVALUE 100 START 100;
SELECT nextval('downwards'), nextval('downwards');
CREATE SEQUENCE exact;
SELECT setval('exact', 41, false);

CREATE AGGREGATE total (integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0');
CREATE COLLATION german (provider = libc, locale = 'C');
CREATE TEXT SEARCH CONFIGURATION plain_words (COPY = simple);
CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION on_ddl();
CREATE PUBLICATION some_tables FOR TABLE a, b;
CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'nowhere.invalid');
CREATE FOREIGN TABLE elsewhere (v text) SERVER far;
CREATE PROCEDURE nop() LANGUAGE sql AS '';
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO some_role;

SELECT lo_from_bytea(70001, '\x00ff'), lo_from_bytea(70002, decode(repeat('00ff5c0a', 200000), 'hex')), lo_create(70003);
COMMENT ON LARGE OBJECT 70001 IS 'a photo';
GRANT SELECT ON LARGE OBJECT 70002 TO some_role;
