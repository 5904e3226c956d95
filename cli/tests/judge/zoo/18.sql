-- What came with PostgreSQL 18.
CREATE TABLE computed (a integer, b integer GENERATED ALWAYS AS (a * 2) VIRTUAL, c integer GENERATED ALWAYS AS (a * 3) STORED, d text DEFAULT 'd');
INSERT INTO computed (a) SELECT generate_series(1, 50);
CREATE PUBLICATION with_computed FOR TABLE computed WITH (publish_generated_columns = stored);
CREATE TABLE named (a integer CONSTRAINT "a must be" NOT NULL, b integer, c integer CONSTRAINT alone NOT NULL NO INHERIT);
INSERT INTO named VALUES (1, NULL, 1);
ALTER TABLE named ADD CONSTRAINT later_b NOT NULL b NOT VALID;
COMMENT ON CONSTRAINT "a must be" ON named IS 'indeed';
CREATE TABLE of_named () INHERITS (named);
INSERT INTO of_named VALUES (2, 2, NULL);
CREATE TABLE rooms (room integer, during daterange, PRIMARY KEY (room, during WITHOUT OVERLAPS));
CREATE TABLE stays (room integer, during daterange, guest text, UNIQUE (guest, during WITHOUT OVERLAPS),
    FOREIGN KEY (room, PERIOD during) REFERENCES rooms (room, PERIOD during));
INSERT INTO rooms VALUES (1, '[2026-01-01,2026-06-01)'), (1, '[2026-06-01,2027-01-01)');
INSERT INTO stays VALUES (1, '[2026-05-01,2026-07-01)', 'a guest');
CREATE TABLE trusting (id integer REFERENCES a NOT ENFORCED, n integer CONSTRAINT small CHECK (n < 10) NOT ENFORCED);
INSERT INTO trusting VALUES (4711, 100);
CREATE TABLE loose_parts (a_id integer) PARTITION BY LIST (a_id);
CREATE TABLE loose_part PARTITION OF loose_parts DEFAULT;
INSERT INTO loose_parts VALUES (98);
ALTER TABLE loose_parts ADD CONSTRAINT loose_parts_a FOREIGN KEY (a_id) REFERENCES a NOT VALID;
CREATE COLLATION unicode_fast (provider = builtin, locale = 'PG_UNICODE_FAST');
CREATE TABLE folded (v text COLLATE unicode_fast, id uuid DEFAULT uuidv7());
CREATE INDEX ON folded (casefold(v));
INSERT INTO folded VALUES ('Straße');
