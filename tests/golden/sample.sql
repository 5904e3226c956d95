-- A small database with one of everything that an archive treats in its own way.
CREATE TYPE mood AS ENUM ('glad', 'sad', 'it''s ok');
CREATE DOMAIN percent AS integer CHECK (VALUE BETWEEN 0 AND 100);
CREATE TABLE guests (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    feels mood,
    share percent,
    tags text[],
    facts jsonb,
    picture bytea,
    born timestamptz,
    weight double precision
);
INSERT INTO guests (name, feels, share, tags, facts, picture, born, weight)
SELECT 'guest ' || n || E' with a tab\t, a backslash \\ and a line\nend', (ARRAY['glad', 'sad', NULL]::mood[])[1 + n % 3],
       n % 101, ARRAY['a', NULL, n::text], jsonb_build_object('n', n), decode(md5(n::text), 'hex'),
       '2026-01-01 00:00:00+00'::timestamptz + n * interval '1 hour', n / 4.0
FROM generate_series(1, 800) AS n;
CREATE TABLE "Gäste ""Liste""" ("Schlüssel" integer PRIMARY KEY, "SELECT" text DEFAULT '\N');
INSERT INTO "Gäste ""Liste""" VALUES (1, '\N'), (2, NULL), (3, ''), (4, '\.'), (5, 'ü');
CREATE TABLE events (at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_rest PARTITION OF events DEFAULT;
INSERT INTO events SELECT '2025-12-01'::date + n, 'event ' || n FROM generate_series(1, 60) AS n;
CREATE TABLE empty_one (nothing integer);
CREATE TABLE no_columns ();
INSERT INTO no_columns SELECT FROM generate_series(1, 3);
CREATE SEQUENCE tickets START 100 INCREMENT 5;
SELECT nextval('tickets'), nextval('tickets');
CREATE INDEX guests_by_share ON guests (share) WHERE feels IS NOT NULL;
CREATE VIEW glad_guests AS SELECT id, name FROM guests WHERE feels = 'glad';
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
CREATE POLICY only_recent ON events USING (at > '2026-01-01');
SELECT lo_from_bytea(0, decode(repeat('c0ffee', 3000), 'hex')), lo_from_bytea(0, '');
