//! The judge can fail: every single change of a database is found, and an untouched one is equal to itself.

use crate::evidence::evidence;
use crate::server::Server;
use crate::verdict::differences;
use crate::zoos::zoo;
use std::collections::BTreeSet;

/// A change, and how the difference that it must give begins; no two of them give the same.
const CHANGES: [(&str, &str); 34] = [
    ("DROP PUBLICATION all_of_it", "all_of_it; Type: PUBLICATION"),
    ("DROP INDEX serials_part", "serials_part; Type: INDEX"),
    ("DROP VIEW steps", "steps; Type: VIEW"),
    ("DROP POLICY own_rows ON secret", "secret own_rows; Type: POLICY"),
    ("ALTER TABLE secret NO FORCE ROW LEVEL SECURITY", "secret; Type: TABLE"),
    ("ALTER TABLE worn ALTER late SET DEFAULT 'later'", "worn; Type: TABLE"),
    ("ALTER TABLE parent ALTER id DROP DEFAULT", "parent; Type: TABLE"),
    ("ALTER TABLE loose DROP CONSTRAINT loose_a", "loose loose_a; Type: FK CONSTRAINT"),
    ("ALTER SEQUENCE never_called OWNER TO ROLE_B", "never_called; Type: SEQUENCE"),
    ("GRANT SELECT ON loose TO ROLE_A", "TABLE loose; Type: ACL"),
    ("REVOKE SELECT (a) ON worn FROM ROLE_B", "COLUMN worn.a; Type: ACL"),
    ("REVOKE USAGE ON TYPE mood FROM ROLE_B", "TYPE mood; Type: ACL"),
    ("COMMENT ON TABLE worn IS 'torn'", "TABLE worn; Type: COMMENT"),
    (
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM ROLE_B",
        "DEFAULT PRIVILEGES FOR TABLES",
    ),
    ("ALTER TABLE a ENABLE TRIGGER after_all", "a after_all; Type: TRIGGER"),
    ("DROP RULE no_delete ON shown", "shown no_delete; Type: RULE"),
    ("ALTER EVENT TRIGGER asleep ENABLE", "asleep; Type: EVENT TRIGGER"),
    ("ALTER PUBLICATION some_tables DROP TABLE a", "some_tables a; Type: PUBLICATION TABLE"),
    ("DROP STATISTICS serials_stats", "serials_stats; Type: STATISTICS"),
    ("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'", "mood; Type: TYPE"),
    ("DROP CAST (whole AS text)", "CAST (public.whole AS text)"),
    ("ALTER SERVER far OPTIONS (SET host 'other.invalid')", "far; Type: SERVER"),
    ("DROP EXTENSION pg_trgm CASCADE", "pg_trgm; Type: EXTENSION"),
    (
        "CREATE OR REPLACE FUNCTION pair_to_int(pair) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 1'",
        "pair_to_int",
    ),
    ("REFRESH MATERIALIZED VIEW unfilled", "rows of ONLY public.unfilled"),
    ("INSERT INTO nothing DEFAULT VALUES", "rows of ONLY public.nothing"),
    ("DELETE FROM worn WHERE c = 3", "rows of ONLY public.worn"),
    ("UPDATE bloated SET filler = filler || ' ' WHERE id = 1", "rows of ONLY public.bloated"),
    (
        "UPDATE values_of_all_types SET f8 = 0 WHERE f8 = '-Infinity'",
        "rows of ONLY public.values_of_all_types",
    ),
    ("UPDATE by_mood SET v = NULL WHERE v = 'none'", "rows of public.by_mood"),
    ("SELECT setval('exact', 42, false)", "sequence public.exact"),
    ("SELECT lo_put(70002, 5, 'x')", "large object 70002"),
    ("GRANT SELECT ON LARGE OBJECT 70003 TO ROLE_A", "large object 70003"),
    ("COMMENT ON LARGE OBJECT 70001 IS NULL", "large object 70001"),
];

#[test]
fn every_change_of_a_database_is_found() {
    assert_eq!(CHANGES.iter().map(|(_, found)| found).collect::<BTreeSet<_>>().len(), CHANGES.len());
    let mut zoo = zoo(&Server::source());
    let before = evidence(&zoo);
    assert!(differences(&before, &evidence(&zoo)).is_empty(), "a database differs from itself");
    for (change, _) in CHANGES {
        zoo.load(change);
    }
    let differences = differences(&before, &evidence(&zoo));
    for (change, found) in CHANGES {
        assert!(
            differences.iter().any(|one| one.starts_with(found)),
            "{change}: no \"{found}\" in {differences:#?}"
        );
    }
}
