-- What came with PostgreSQL 16.
CREATE TABLE stored (v text STORAGE EXTERNAL, j jsonb CHECK (j IS JSON OBJECT WITH UNIQUE KEYS));
INSERT INTO stored VALUES (repeat('outside ', 1000), '{"a": 1}');
CREATE STATISTICS ON id, v FROM serials;
CREATE VIEW constructed AS SELECT JSON_OBJECT('id': id, 'v': v ABSENT ON NULL) AS o, JSON_ARRAYAGG(v ORDER BY id) AS a FROM serials GROUP BY id, v;
CREATE TABLE based (n integer DEFAULT 0x_ff, m bigint DEFAULT 1_000_000);
INSERT INTO based DEFAULT VALUES;
CREATE COLLATION ruled (provider = icu, locale = 'und', rules = '&V << w <<< W');
CREATE TABLE in_rules (v text COLLATE ruled PRIMARY KEY);
INSERT INTO in_rules VALUES ('w'), ('V');
