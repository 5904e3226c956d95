//! The database that is loaded: one table for each way in which a change can be told from the WAL, or go wrong there.

/// Rows of every table have keys from 1 to this; small, so that connections meet.
pub const KEYS: u32 = 120;

pub const SCHEMA: &str = "
    CREATE TYPE mood AS ENUM ('calm', 'glad', 'sad');
    CREATE TYPE place AS (street text, number integer);
    CREATE TABLE accounts (id bigserial PRIMARY KEY, owner text NOT NULL, amount numeric, seen timestamptz);
    CREATE TABLE entries (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account bigint REFERENCES accounts ON DELETE
        CASCADE, amount numeric NOT NULL, doubled numeric GENERATED ALWAYS AS (amount * 2) STORED);
    CREATE TABLE ledger (a integer, b text, v jsonb, PRIMARY KEY (a, b));
    CREATE TABLE documents (id integer PRIMARY KEY, title text, body text, n integer NOT NULL DEFAULT 0);
    ALTER TABLE documents ALTER body SET STORAGE EXTERNAL;
    CREATE TABLE tagged (n integer NOT NULL, tag uuid NOT NULL, payload bytea);
    CREATE UNIQUE INDEX tagged_tag ON tagged (tag); ALTER TABLE tagged REPLICA IDENTITY USING INDEX tagged_tag;
    CREATE TABLE keyless (a integer, b text, c double precision); ALTER TABLE keyless REPLICA IDENTITY FULL;
    CREATE TABLE parted (id integer, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
    CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (MINVALUE) TO (60);
    CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (60) TO (MAXVALUE);
    CREATE TABLE emptied (id serial PRIMARY KEY, v text); CREATE TABLE emptied_too (id integer PRIMARY KEY, of integer);
    CREATE TABLE typed (id integer PRIMARY KEY, m mood, p place, r int4range, days date[], f double precision, i interval,
        h bytea, t timestamptz, note text);
    CREATE TABLE untouched (id integer PRIMARY KEY, v text); INSERT INTO untouched SELECT n, md5(n::text) FROM generate_series(1, 500) n;
    CREATE SEQUENCE tickets INCREMENT 3; CREATE TABLE \"Odd \"\"Name\" (\"the key\" integer PRIMARY KEY, \"a.b\" text);
    INSERT INTO accounts (owner, amount) SELECT 'first ' || n, n FROM generate_series(1, 60) n;
    INSERT INTO ledger SELECT n, 'k' || n, '{}' FROM generate_series(1, 60) n;
    INSERT INTO documents SELECT n, 'title', repeat(md5(n::text), 200), 0 FROM generate_series(1, 60) n;
    INSERT INTO keyless SELECT n, 'b' || n, n / 3.0 FROM generate_series(1, 60) n;
    INSERT INTO parted SELECT n, 'v' FROM generate_series(1, 118, 2) n;
    INSERT INTO tagged SELECT n, md5(n::text)::uuid, decode(md5(n::text), 'hex') FROM generate_series(1, 60) n;
";
