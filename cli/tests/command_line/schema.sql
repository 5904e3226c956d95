CREATE SCHEMA "Büro";
CREATE TYPE mood AS ENUM ('glad', 'sad', 'it''s ok');
CREATE DOMAIN percent AS integer CHECK (VALUE BETWEEN 0 AND 100);
CREATE FUNCTION doubled(n integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';

CREATE TABLE guests (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    feels mood,
    share percent,
    twice integer GENERATED ALWAYS AS (doubled(7)) STORED,
    tags text[],
    facts jsonb,
    picture bytea,
    born timestamptz,
    weight double precision
);
INSERT INTO guests (name, feels, share, tags, facts, picture, born, weight)
SELECT 'guest ' || n || E' with a tab\t, a backslash \\ and a line\nend',
       (ARRAY['glad', 'sad', 'it''s ok', NULL]::mood[])[1 + n % 4],
       n % 101, ARRAY['a', NULL, n::text], jsonb_build_object('n', n, 'deep', jsonb_build_array(1, NULL, 'x')),
       decode(md5(n::text), 'hex'), '2026-01-01'::timestamptz + n * interval '1 hour 7 minutes', n / 3.0
FROM generate_series(1, 20000) AS n;
-- Holes, so that blocks are not full and row versions differ in age.
DELETE FROM guests WHERE id % 7 = 0;
UPDATE guests SET name = name || ' (changed)' WHERE id % 11 = 0;

CREATE TABLE "Büro"."Gäste ""Liste""" ("Schlüssel mit Leerzeichen" integer PRIMARY KEY, "SELECT" text DEFAULT '\N');
INSERT INTO "Büro"."Gäste ""Liste""" VALUES (1, '\N'), (2, NULL), (3, ''), (4, '\.'), (5, 'ü');

CREATE TABLE events (at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_rest PARTITION OF events DEFAULT;
INSERT INTO events SELECT '2025-06-01'::date + n, repeat('event ' || n || ' ', 20) FROM generate_series(1, 900) AS n;

CREATE TABLE letters (id serial PRIMARY KEY, guest bigint REFERENCES guests, body text);
-- Long values lie outside of their rows, and do not compress.
INSERT INTO letters (guest, body)
SELECT 1, string_agg(md5((n * 1000 + m)::text), '') FROM generate_series(1, 20) AS n, generate_series(1, 900) AS m GROUP BY n;
CREATE INDEX letters_by_length ON letters (length(body)) WHERE guest IS NOT NULL;
COMMENT ON TABLE letters IS 'It''s a comment; with "quotes"';

CREATE TABLE empty_one (nothing integer);
CREATE TABLE no_columns ();
INSERT INTO no_columns SELECT FROM generate_series(1, 3);

CREATE SEQUENCE tickets START 100 INCREMENT 5;
SELECT nextval('tickets'), nextval('tickets');

CREATE VIEW glad_guests AS SELECT id, name FROM guests WHERE feels = 'glad';
CREATE MATERIALIZED VIEW guests_by_mood AS SELECT feels, count(*) FROM guests GROUP BY feels;

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no rows here'; END $$;
CREATE TRIGGER no_new_letters BEFORE INSERT ON letters FOR EACH ROW EXECUTE FUNCTION refuse();

ALTER TABLE events ENABLE ROW LEVEL SECURITY;
CREATE POLICY only_recent ON events USING (at > '2026-01-01');

SELECT lo_from_bytea(0, decode(repeat('c0ffee', 30000), 'hex')), lo_from_bytea(0, '');
