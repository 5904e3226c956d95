-- One of everything that PostgreSQL 14 and later can hold, and a contrib extension or two that most have.
SET client_min_messages = error;
GRANT CREATE, USAGE ON SCHEMA public TO ROLE_A;
COMMENT ON SCHEMA public IS 'with a comment of its own';

-- Extensions, in schemas of their own too.
CREATE SCHEMA contrib;
CREATE EXTENSION hstore SCHEMA contrib;
CREATE EXTENSION citext;
CREATE EXTENSION ltree;
CREATE EXTENSION btree_gist;
CREATE EXTENSION pg_trgm;
CREATE EXTENSION postgres_fdw;
COMMENT ON EXTENSION citext IS 'spoken about';

-- Types.
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'glücklich', '');
ALTER TYPE mood ADD VALUE 'between' BEFORE 'glücklich';
CREATE DOMAIN email AS citext COLLATE "C" DEFAULT 'a@b' CONSTRAINT has_at CHECK (VALUE ~ '@') NOT NULL;
CREATE DOMAIN moods AS mood[] CHECK (cardinality(VALUE) < 5);
CREATE TYPE pair AS (a integer, b text COLLATE "C");
CREATE TYPE nested AS (p pair, ps pair[], m mood);
CREATE TYPE span AS RANGE (subtype = float8, subtype_diff = float8mi, multirange_type_name = spans);
CREATE TYPE shell;
CREATE TYPE whole;
CREATE FUNCTION whole_in(cstring) RETURNS whole LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION whole_out(whole) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';
CREATE TYPE whole (INPUT = whole_in, OUTPUT = whole_out, LIKE = integer);
COMMENT ON TYPE nested IS E'two\nlines';
ALTER TYPE pair OWNER TO ROLE_A;
REVOKE USAGE ON TYPE mood FROM PUBLIC;
GRANT USAGE ON TYPE mood TO ROLE_B WITH GRANT OPTION;

CREATE TABLE values_of_all_types (
    id bigint GENERATED ALWAYS AS IDENTITY (START -5 INCREMENT 3 MINVALUE -100 CYCLE) PRIMARY KEY,
    s smallint, i integer, b bigint, n numeric, n2 numeric(10, 3), f4 real, f8 double precision, cash money,
    c char(7), vc varchar(9), t text, by bytea, bo boolean, "char" "char", na name,
    d date, ti time, tz timetz, ts timestamp, tt timestamptz, iv interval, iy interval year to month,
    u uuid, ip inet, ci cidr, mac macaddr, mac8 macaddr8, bi bit(5), bv bit varying,
    x xml, j json, jb jsonb, jp jsonpath, tv tsvector, tq tsquery,
    pt point, li line, ls lseg, bx box, pa path, po polygon, ce circle,
    m mood, ms moods, e email, p pair, ne nested, nes nested[], es email[], e2 mood[][],
    r4 int4range, rn numrange, rt tstzrange, rd daterange, sp span, sps spans, m4 int4multirange, mt tstzmultirange,
    h contrib.hstore, lt ltree, lq lquery, w whole, ci_ citext, o oid, rc regclass, rp regprocedure, ro regrole, lsn pg_lsn, tid tid, xid8 xid8,
    loud text GENERATED ALWAYS AS (upper(t) || coalesce(i, 0)::text) STORED
);
INSERT INTO values_of_all_types (s, i, b, n, n2, f4, f8, cash, c, vc, t, by, bo, "char", na, d, ti, tz, ts, tt, iv, iy, u, ip,
    ci, mac, mac8, bi, bv, x, j, jb, jp, tv, tq, pt, li, ls, bx, pa, po, ce, m, ms, e, p, ne, nes, es, e2,
    r4, rn, rt, rd, sp, sps, m4, mt, h, lt, lq, w, ci_, o, rc, rp, ro, lsn, tid, xid8) VALUES
  (-32768, 2147483647, -9223372036854775808, 'NaN', 1234567.891, '1.17549435e-38', 5e-324, '-92233720368547758.08',
   'ab', 'ünïcödé', E'tab\t nl\n cr\r bs\\ \b\f\v \\N \\. end', '\x00ff5c0a0d09', true, 'x', 'a name',
   'infinity', '24:00:00', '00:00:00.000001+15:59', '4713-01-01 00:00:00 BC', '-infinity', '178000000 years', '-5-3',
   '01990a5d-ac96-774b-bcce-b302099a8057', '10.1.2.3/8', '2001:db8::/32', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', B'10110', B'',
   '<a b="&amp;">ü<!-- c --></a><b/>', '{"b": 1,  "a": [1, 2 ],"b":2}', '{"n": 1e400, "u": "\u00e9\ud834\udd1e", "": null}', '$.a[*] ? (@ > 1)', 'fat:1A,2B cat', 'fat & !(cat:*A | rat)',
   '(1e-300,-0)', '{1,2,3}', '[(1,2),(3,4)]', '((3,4),(1,2))', '[(1,2),(3,4)]', '((1,2),(3,4),(5,0))', '<(1,2),3.5>',
   'it''s ok', '{sad,NULL,"it''s ok",""}', 'X@Y', '(1,"a,b""c\\d")', '("(2,)","{""(3,x)"",NULL}",sad)', ARRAY[ROW(ROW(1, 'q'), NULL, NULL)::nested], '{a@b,"c,@d"}', '{{sad,""},{NULL,between}}',
   '[1,5)', '(,1.5]', '["2026-01-01 00:00+00",infinity)', 'empty', '[0.1,0.3)', '{[0.1,0.2),[1,2]}', '{[1,3),[5,)}', '{}',
   'a=>1,"b c"=>NULL,""=>"\"\\"', 'Top.Science', 'Top.*{1,2}.a|b@', '42', 'CaSe', 4294967295, 'pg_class', 'lower(text)', 'pg_monitor', 'FFFFFFFF/FFFFFFFF', '(4294967295,65535)', '18446744073709551615'),
  (NULL, NULL, NULL, 'Infinity', NULL, 'NaN', '-Infinity', NULL, '', '', '', '', false, '', '', '0044-03-15 BC', NULL, NULL, 'infinity', '2026-10-25 02:30+02',
   '1 mon -3 days 00:00:01.5', NULL, NULL, '::1', NULL, NULL, NULL, NULL, NULL, '', 'null', 'null', NULL, '', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
   NULL, '{}', 'q@', NULL, NULL, '{}', '{}', '{}', 'empty', NULL, NULL, NULL, NULL, '{}', NULL, NULL, '', '', NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL),
  (0, 0, 0, '-Infinity', -0.001, '-0', '0.1', 0, NULL, NULL, '𝄞 \x00 ' || chr(1) || chr(127), NULL, NULL, '\377', NULL, '5874897-12-31', NULL, NULL, '294276-12-31 23:59:59.999999', NULL,
   NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '"\u0000x"', '[1.10, "\\u0000"]', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
   'glücklich', NULL, '@', '(,)', '(,,)', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO values_of_all_types (n, t, e) SELECT ('1' || repeat('0', 200) || '.' || repeat('7', 100))::numeric, repeat('0123456789', 500000), 'big@x';

-- Columns: dropped in front, between and behind; defaults, storage, compression, statistics, identity by default.
CREATE TABLE worn (gone_1 integer, a integer DEFAULT 1 NOT NULL, gone_2 text, b text DEFAULT E'q\'\\' || now()::text,
    c integer GENERATED BY DEFAULT AS IDENTITY, gone_3 xml, "select" text COLLATE "POSIX", UNIQUE (a, b), CHECK (a > 0) NO INHERIT);
ALTER TABLE worn DROP COLUMN gone_1, DROP COLUMN gone_2, DROP COLUMN gone_3, ADD late text DEFAULT 'late',
    ALTER b SET STORAGE EXTERNAL, ALTER "select" SET STATISTICS 7, ALTER a SET (n_distinct = -0.5),
    ADD CONSTRAINT not_yet CHECK (length(b) < 3) NOT VALID, SET (fillfactor = 70, autovacuum_enabled = off, toast.autovacuum_enabled = off);
ALTER TABLE worn ALTER late SET COMPRESSION pglz;
INSERT INTO worn (a, b) SELECT i, 'x' FROM generate_series(1, 20) i WHERE false;
ALTER TABLE worn DROP CONSTRAINT not_yet;
INSERT INTO worn (a, b, "select") SELECT i, 'long enough ' || i, 'Ä' FROM generate_series(1, 20) i;
ALTER TABLE worn ADD CONSTRAINT not_yet CHECK (length(b) < 3) NOT VALID;
ALTER TABLE worn REPLICA IDENTITY FULL;
CREATE TABLE nothing ();
INSERT INTO nothing DEFAULT VALUES;
INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE all_dropped (a integer);
INSERT INTO all_dropped VALUES (1), (2), (3);
ALTER TABLE all_dropped DROP COLUMN a;
CREATE TABLE only_generated (g integer GENERATED ALWAYS AS (1 + 1) STORED);
INSERT INTO only_generated DEFAULT VALUES;
CREATE UNLOGGED TABLE fast (v text PRIMARY KEY);
INSERT INTO fast VALUES ('unlogged');
CREATE TABLE typed OF pair (PRIMARY KEY (a), b WITH OPTIONS DEFAULT 'typed');
INSERT INTO typed VALUES (1);
CREATE TABLE bloated AS SELECT i AS id, md5(i::text) AS hash, repeat(md5(i::text), 3) AS filler FROM generate_series(1, 3000) i;
DELETE FROM bloated WHERE id % 3 = 0;
UPDATE bloated SET filler = 'again' WHERE id % 5 = 0;
ALTER TABLE bloated ADD PRIMARY KEY (id);
CLUSTER bloated USING bloated_pkey;

-- Names.
CREATE SCHEMA "we""ird Schéma 日本";
CREATE SCHEMA "UPPER";
CREATE TABLE "we""ird Schéma 日本"."ta""ble, \1 'q' ;--
next line" ("co""l
a" text, "select" integer, "dro pped" text, "é%s" bytea, "$1" integer CHECK ("$1" > 0));
ALTER TABLE "we""ird Schéma 日本"."ta""ble, \1 'q' ;--
next line" DROP COLUMN "dro pped";
INSERT INTO "we""ird Schéma 日本"."ta""ble, \1 'q' ;--
next line" VALUES (E'\t\n\r\\', 1, '\x00', 1), (NULL, NULL, NULL, NULL), ('', 0, '', 2);
COMMENT ON COLUMN "we""ird Schéma 日本"."ta""ble, \1 'q' ;--
next line"."é%s" IS E'a comment\n\\. with ''quotes''\n-- Name: x; Type: TABLE';
CREATE INDEX "in""dex
2" ON "we""ird Schéma 日本"."ta""ble, \1 'q' ;--
next line" (("co""l
a" || 'x'), "select" DESC NULLS LAST);
CREATE SEQUENCE "UPPER"."Se""q
uence" START 5;
SELECT nextval('"UPPER"."Se""q
uence"');
CREATE VIEW "UPPER"."V;" AS SELECT "$1" AS "a b", "é%s" FROM "we""ird Schéma 日本"."ta""ble, \1 'q' ;--
next line";
CREATE TYPE "UPPER"."Ty pe" AS ENUM ('a b', E'new\nline', 'q"uote');
CREATE TABLE "UPPER"."t" (v "UPPER"."Ty pe"[], CONSTRAINT "c
 on" CHECK (cardinality(v) > 0));
INSERT INTO "UPPER"."t" VALUES (E'{"a b","new\nline","q\\"uote"}');

-- Partitions: of partitions, of another column order, by every strategy, on an enum's hash, and detached ones.
CREATE TABLE events (at date NOT NULL, kind integer, what text DEFAULT 'parent', PRIMARY KEY (at, kind)) PARTITION BY RANGE (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY HASH (kind);
CREATE TABLE events_2025_0 PARTITION OF events_2025 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE "UPPER".events_2025_1 (what text, gone integer, kind integer NOT NULL, at date NOT NULL);
ALTER TABLE "UPPER".events_2025_1 DROP COLUMN gone, ALTER what SET DEFAULT 'leaf';
ALTER TABLE events_2025 ATTACH PARTITION "UPPER".events_2025_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO (MAXVALUE) PARTITION BY LIST (kind);
CREATE TABLE events_2026_odd PARTITION OF events_2026 FOR VALUES IN (1, 3, 5);
CREATE TABLE events_2026_rest PARTITION OF events_2026 DEFAULT;
CREATE TABLE events_rest PARTITION OF events DEFAULT;
CREATE TABLE events_gone PARTITION OF events FOR VALUES FROM ('1999-01-01') TO ('2000-01-01');
CREATE TABLE events_empty (at date, kind integer) PARTITION BY LIST (kind);
INSERT INTO events SELECT date '2025-01-01' + i, i, 'event ' || i FROM generate_series(1, 500) i;
INSERT INTO events VALUES ('1980-01-01', 1, NULL), ('1999-05-05', 1, 'detached'), ('2027-01-01', 3, 'odd');
ALTER TABLE events DETACH PARTITION events_gone;
CREATE INDEX events_what ON events (what);
CREATE INDEX events_only ON ONLY events (kind);
CREATE INDEX events_only_rest ON events_rest (kind);
ALTER INDEX events_only ATTACH PARTITION events_only_rest;
CREATE TABLE notes (at date, kind integer, FOREIGN KEY (at, kind) REFERENCES events ON UPDATE CASCADE ON DELETE SET NULL);
INSERT INTO notes SELECT at, kind FROM events LIMIT 7;
CREATE TABLE by_mood (m mood, v text) PARTITION BY HASH (m);
CREATE TABLE by_mood_0 PARTITION OF by_mood FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE by_mood_1 PARTITION OF by_mood FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE by_mood_2 PARTITION OF by_mood FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO by_mood SELECT m, m || ' ' || i FROM unnest(enum_range(NULL::mood)) m, generate_series(1, 7) i;
INSERT INTO by_mood VALUES (NULL, 'none');

-- Inheritance, with defaults and constraints of their own, twice.
CREATE TABLE parent (id integer DEFAULT 7 CHECK (id > 0), v text);
CREATE TABLE other_parent (v text, w text);
CREATE TABLE child (more text) INHERITS (parent, other_parent);
ALTER TABLE child ALTER id SET DEFAULT 8;
CREATE TABLE grandchild () INHERITS (child);
INSERT INTO parent VALUES (1, 'parent');
INSERT INTO child VALUES (2, 'child', 'w', 'more');
INSERT INTO grandchild (v) VALUES ('grandchild');

-- Keys in circles, on themselves, deferred, not valid, across schemas; exclusion.
CREATE TABLE a (id integer PRIMARY KEY, b_id integer, a_id integer REFERENCES a);
CREATE TABLE "UPPER".b (id integer PRIMARY KEY, a_id integer REFERENCES a DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE a ADD CONSTRAINT a_b FOREIGN KEY (b_id) REFERENCES "UPPER".b DEFERRABLE INITIALLY DEFERRED;
BEGIN;
INSERT INTO a VALUES (1, 1, 3), (2, NULL, 1), (3, 2, NULL);
INSERT INTO "UPPER".b VALUES (1, 1), (2, 2);
COMMIT;
CREATE TABLE loose (a_id integer);
INSERT INTO loose VALUES (99);
ALTER TABLE loose ADD CONSTRAINT loose_a FOREIGN KEY (a_id) REFERENCES a NOT VALID;
CREATE TABLE booked (room integer, during tstzrange, EXCLUDE USING gist (room WITH =, during WITH &&) WHERE (room > 0));
INSERT INTO booked VALUES (1, '[2026-01-01,2026-01-02)'), (1, '[2026-01-02,2026-01-03)'), (0, NULL);

-- Functions of every kind, languages, triggers, rules, views, policies.
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN NEW.what := NEW.what || '!$q$'; RETURN NEW; END $body$;
CREATE TRIGGER touch BEFORE INSERT OR UPDATE OF what ON events FOR EACH ROW WHEN (NEW.what <> '') EXECUTE FUNCTION touch();
CREATE TRIGGER after_all AFTER UPDATE ON a REFERENCING OLD TABLE AS o NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION touch();
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON a DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION touch('x', E'y\\z');
ALTER TABLE a DISABLE TRIGGER after_all, ENABLE ALWAYS TRIGGER later;
CREATE FUNCTION short(text, n integer DEFAULT 100, VARIADIC more text[] DEFAULT '{}') RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE LEAKPROOF COST 7
    SET search_path = public, "UPPER" SET work_mem = '5MB' AS 'SELECT length($1) < $2';
CREATE TABLE checked (v text CHECK (short(v)) CHECK (v <> ''));
INSERT INTO checked VALUES ('x');
CREATE FUNCTION body(x integer) RETURNS TABLE (y integer) LANGUAGE sql BEGIN ATOMIC SELECT x + 1; SELECT id FROM a WHERE id = x; END;
CREATE FUNCTION many() RETURNS SETOF pair LANGUAGE sql ROWS 3 SECURITY DEFINER AS 'SELECT 1, ''x''';
REVOKE EXECUTE ON FUNCTION many() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION many() TO ROLE_B;
CREATE PROCEDURE nop(INOUT x integer) LANGUAGE plpgsql AS 'BEGIN x := 1; END';
CREATE AGGREGATE total (integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0', COMBINEFUNC = int4pl, PARALLEL = safe);
CREATE AGGREGATE ranked (float8 ORDER BY anyelement) (SFUNC = ordered_set_transition_multi, STYPE = internal, FINALFUNC = percentile_disc_final, FINALFUNC_EXTRA);
CREATE FUNCTION talk_handler() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';
CREATE TRUSTED LANGUAGE talk HANDLER talk_handler;
COMMENT ON LANGUAGE talk IS 'a language';

CREATE VIEW shown WITH (security_barrier) AS SELECT id, v, '"' AS q FROM parent WHERE id > 0 WITH LOCAL CHECK OPTION;
CREATE VIEW grouped AS SELECT id, hash, count(*) FROM bloated GROUP BY id;
CREATE RECURSIVE VIEW steps (n) AS SELECT 1 UNION ALL SELECT n + 1 FROM steps WHERE n < 5;
ALTER VIEW shown ALTER COLUMN v SET DEFAULT 'by view';
CREATE RULE no_delete AS ON DELETE TO shown DO INSTEAD NOTHING;
CREATE RULE log_it AS ON UPDATE TO parent WHERE OLD.id <> NEW.id DO ALSO INSERT INTO other_parent VALUES (NEW.v, 'rule');
ALTER TABLE parent DISABLE RULE log_it;
CREATE MATERIALIZED VIEW base AS SELECT id % 10 AS digit, count(*) AS n FROM bloated GROUP BY 1;
CREATE UNIQUE INDEX base_digit ON base (digit);
CREATE MATERIALIZED VIEW a_second AS SELECT sum(n) AS n FROM base;
CREATE VIEW over_it AS SELECT n FROM a_second;
CREATE MATERIALIZED VIEW a_third AS SELECT n + 1 AS n FROM over_it;
CREATE MATERIALIZED VIEW unfilled AS SELECT * FROM base WITH NO DATA;
CREATE INDEX ON unfilled (n);
CREATE TABLE secret (owner name DEFAULT current_user, v text);
INSERT INTO secret VALUES ('x', 'y'), ('postgres', 'z');
ALTER TABLE secret ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON secret USING (owner = current_user) WITH CHECK (v <> '');
CREATE POLICY "re strictive" ON secret AS RESTRICTIVE FOR UPDATE TO ROLE_A, ROLE_B USING (true);
CREATE TABLE guarded_off (v integer);
CREATE POLICY idle ON guarded_off FOR SELECT TO PUBLIC USING (v > 0);

-- Sequences.
CREATE SEQUENCE never_called START 5;
CREATE SEQUENCE downwards AS smallint INCREMENT -3 MAXVALUE 100 START 100 CACHE 5 CYCLE;
SELECT nextval('downwards'), nextval('downwards');
CREATE SEQUENCE exact OWNED BY worn.a;
SELECT setval('exact', 41, false);
CREATE TABLE serials (id serial, big bigserial PRIMARY KEY, v text);
INSERT INTO serials (v) VALUES ('x'), ('y');
CREATE INDEX serials_gin ON serials USING gin (v gin_trgm_ops) WITH (fastupdate = off);
CREATE INDEX serials_brin ON serials USING brin (id) WITH (pages_per_range = 4);
CREATE UNIQUE INDEX serials_part ON serials (lower(v) COLLATE "C" text_pattern_ops) INCLUDE (id) WHERE id > 1;
CREATE STATISTICS serials_stats (ndistinct, mcv) ON id, v FROM serials;
CREATE STATISTICS "UPPER".by_expression ON (id % 3), lower(v) FROM serials;
ALTER STATISTICS serials_stats SET STATISTICS 50;
COMMENT ON STATISTICS serials_stats IS 'known';
ALTER INDEX serials_part ALTER COLUMN 1 SET STATISTICS 99;
ALTER TABLE serials CLUSTER ON serials_pkey;

-- Operators, classes, families, casts, conversions, collations, text search, access methods, transforms.
CREATE FUNCTION pair_less(pair, pair) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT ($1).a < ($2).a';
CREATE FUNCTION pair_cmp(pair, pair) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT ($1).a - ($2).a';
CREATE OPERATOR <<< (LEFTARG = pair, RIGHTARG = pair, FUNCTION = pair_less, COMMUTATOR = >>>, RESTRICT = scalarltsel);
CREATE OPERATOR >>> (LEFTARG = pair, RIGHTARG = pair, FUNCTION = pair_less, COMMUTATOR = <<<);
CREATE OPERATOR "UPPER".!! (RIGHTARG = integer, FUNCTION = int4abs);
CREATE OPERATOR FAMILY pair_ops USING btree;
CREATE OPERATOR CLASS pair_ops FOR TYPE pair USING btree FAMILY pair_ops AS OPERATOR 1 <<<, FUNCTION 1 pair_cmp(pair, pair);
CREATE OPERATOR FAMILY alone USING hash;
CREATE FUNCTION pair_to_int(pair) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT ($1).a';
CREATE CAST (pair AS integer) WITH FUNCTION pair_to_int(pair) AS ASSIGNMENT;
CREATE CAST (whole AS text) WITH INOUT;
CREATE CONVERSION my_conversion FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE COLLATION german (provider = libc, locale = 'C');
CREATE COLLATION "UPPER".copied FROM "POSIX";
CREATE ACCESS METHOD my_heap TYPE TABLE HANDLER heap_tableam_handler;
CREATE TABLE in_my_heap (v text) USING my_heap;
INSERT INTO in_my_heap SELECT 'row ' || i FROM generate_series(1, 3000) i;
CREATE TRANSFORM FOR integer LANGUAGE sql (FROM SQL WITH FUNCTION prsd_lextype(internal), TO SQL WITH FUNCTION int4recv(internal));
CREATE TEXT SEARCH PARSER my_parser (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype, HEADLINE = prsd_headline);
CREATE TEXT SEARCH TEMPLATE my_template (INIT = dsimple_init, LEXIZE = dsimple_lexize);
CREATE TEXT SEARCH DICTIONARY my_dict (TEMPLATE = my_template, accept = 'false');
CREATE TEXT SEARCH CONFIGURATION my_config (PARSER = my_parser);
ALTER TEXT SEARCH CONFIGURATION my_config ADD MAPPING FOR word, asciiword WITH my_dict, simple;
COMMENT ON TEXT SEARCH CONFIGURATION my_config IS 'found';
CREATE INDEX worn_words ON worn USING gin (to_tsvector('english', b));

-- Foreign data, publications, a subscription, event triggers.
CREATE FOREIGN DATA WRAPPER dummy OPTIONS (debug 'true');
CREATE SERVER far TYPE 'pg' VERSION '1' FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'nowhere.invalid', dbname 'd''b');
GRANT USAGE ON FOREIGN SERVER far TO ROLE_B;
CREATE USER MAPPING FOR ROLE_A SERVER far OPTIONS (user 'u', password 'p''w');
CREATE USER MAPPING FOR PUBLIC SERVER far;
CREATE FOREIGN TABLE elsewhere (id integer OPTIONS (column_name 'x') NOT NULL, v text CHECK (v <> '')) SERVER far OPTIONS (table_name 'there');
CREATE FOREIGN TABLE far_part PARTITION OF events_empty FOR VALUES IN (1) SERVER far;
CREATE PUBLICATION some_tables FOR TABLE a, ONLY parent WITH (publish = 'insert, truncate');
CREATE PUBLICATION all_of_it FOR ALL TABLES WITH (publish_via_partition_root = true);
COMMENT ON PUBLICATION some_tables IS 'read all about it';
CREATE SUBSCRIPTION idle CONNECTION 'host=nowhere.invalid password=not-here' PUBLICATION x WITH (connect = false, slot_name = NONE, enabled = false);
CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watch ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'DROP TABLE') EXECUTE FUNCTION on_ddl();
CREATE EVENT TRIGGER asleep ON sql_drop EXECUTE FUNCTION on_ddl();
ALTER EVENT TRIGGER asleep DISABLE;

-- Owners and rights.
ALTER TABLE worn OWNER TO ROLE_A;
ALTER SCHEMA "UPPER" OWNER TO ROLE_B;
ALTER FUNCTION body(integer) OWNER TO ROLE_A;
GRANT SELECT ON bloated TO ROLE_A;
ALTER MATERIALIZED VIEW base OWNER TO ROLE_A;
GRANT SELECT ON base TO PUBLIC;
GRANT SELECT (a, "select"), UPDATE (b) ON worn TO ROLE_B WITH GRANT OPTION;
GRANT ALL ON parent TO ROLE_A WITH GRANT OPTION;
SET ROLE ROLE_A;
GRANT SELECT, TRIGGER ON parent TO ROLE_B;
RESET ROLE;
REVOKE INSERT ON worn FROM ROLE_A;
GRANT USAGE ON SEQUENCE never_called TO PUBLIC;
GRANT USAGE ON LANGUAGE talk TO ROLE_A;
REVOKE ALL ON FUNCTION short(text, integer, text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION pg_catalog.pg_rotate_logfile() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION contrib.hstore(text, text) TO ROLE_A;
REVOKE EXECUTE ON FUNCTION contrib.akeys(contrib.hstore) FROM PUBLIC;
GRANT SELECT ON pg_catalog.pg_authid TO ROLE_A;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO ROLE_B;
ALTER DEFAULT PRIVILEGES FOR ROLE ROLE_A REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE ROLE_B IN SCHEMA "UPPER" GRANT USAGE ON SEQUENCES TO ROLE_A WITH GRANT OPTION;

-- Large objects.
SELECT lo_from_bytea(70001, '\x00ff'), lo_from_bytea(70002, decode(repeat('00ff5c0a', 200000), 'hex')), lo_create(70003);
COMMENT ON LARGE OBJECT 70001 IS E'a photo''s\nname';
GRANT SELECT ON LARGE OBJECT 70002 TO ROLE_B;
GRANT ALL ON LARGE OBJECT 70002 TO ROLE_A WITH GRANT OPTION;
ALTER LARGE OBJECT 70003 OWNER TO ROLE_B;
CREATE TABLE pointing (photo oid, again oid);
INSERT INTO pointing VALUES (70001, 70002);

-- Comments on what has none yet.
COMMENT ON TABLE worn IS 'worn';
COMMENT ON CONSTRAINT a_b ON a IS 'a circle';
COMMENT ON TRIGGER touch ON events IS 'touched';
COMMENT ON POLICY own_rows ON secret IS 'own';
COMMENT ON RULE no_delete ON shown IS 'ruled';
COMMENT ON INDEX base_digit IS 'indexed';
COMMENT ON FUNCTION body(integer) IS 'bodily';
COMMENT ON OPERATOR <<< (pair, pair) IS 'less';
COMMENT ON CAST (pair AS integer) IS 'cast';
COMMENT ON DOMAIN email IS 'mail';
COMMENT ON CONSTRAINT has_at ON DOMAIN email IS 'at';
COMMENT ON EVENT TRIGGER watch IS 'watching';
COMMENT ON SERVER far IS 'far';
COMMENT ON AGGREGATE total(integer) IS 'all';
COMMENT ON COLLATION german IS 'so';
