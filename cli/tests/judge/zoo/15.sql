-- What came with PostgreSQL 15.
CREATE TABLE distinct_nulls (a integer, b text, UNIQUE NULLS NOT DISTINCT (a, b));
INSERT INTO distinct_nulls VALUES (1, NULL), (NULL, NULL), (NULL, 'x');
CREATE UNIQUE INDEX distinct_b ON distinct_nulls (b, a) NULLS NOT DISTINCT WHERE b = 'x';
CREATE VIEW invoked WITH (security_invoker = true, security_barrier = false) AS SELECT * FROM secret;
CREATE PUBLICATION filtered FOR TABLE serials (id, v) WHERE (id > 1 AND v <> 'none'), worn (a) WITH (publish = 'insert');
CREATE PUBLICATION of_a_schema FOR TABLES IN SCHEMA "UPPER", "we""ird Schéma 日本";
COMMENT ON PUBLICATION filtered IS 'only some';
CREATE UNLOGGED SEQUENCE hurried START 7;
SELECT nextval('hurried');
CREATE TABLE tenants (tenant integer, id integer, PRIMARY KEY (tenant, id));
CREATE TABLE rented (tenant integer, of integer, FOREIGN KEY (tenant, of) REFERENCES tenants ON DELETE SET NULL (of));
INSERT INTO tenants VALUES (1, 1);
INSERT INTO rented VALUES (1, 1), (1, NULL);
CREATE TABLE rounded (n numeric(3, -2), m numeric(2, 5));
INSERT INTO rounded VALUES (12345, 0.00012);
CREATE COLLATION by_number (provider = icu, locale = 'de-u-kn-true', deterministic = false);
CREATE TABLE numbered (v text COLLATE by_number UNIQUE);
INSERT INTO numbered VALUES ('a10'), ('a9');
