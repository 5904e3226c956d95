//! Restores by the owner of a database, who is no superuser.

use crate::evidence::evidence;
use crate::server::{Database, Server};
use crate::verdict::differences;
use crate::ways::Bench;

const SHOP: &str = "
    CREATE EXTENSION hstore;
    CREATE TABLE t (id serial PRIMARY KEY, v hstore);
    INSERT INTO t (v) SELECT hstore('n', n::text) FROM generate_series(1, 100) n;
    CREATE SCHEMA s; CREATE TABLE s.points (t integer REFERENCES public.t); INSERT INTO s.points VALUES (7);
    CREATE VIEW shown AS SELECT 1 AS one; GRANT SELECT ON t TO PUBLIC; COMMENT ON TABLE t IS 'kept';";

/// Until version 14 schema public belonged to the superuser and everybody could create in it; from 15 on it belongs to
/// the database's owner, who may not give it to the superuser.
#[test]
fn an_owner_without_superuser_brings_a_source_of_14_to_14_and_to_newer_majors() {
    let mut source = Database::on(&Server::of_major(14));
    let owner = source.belongs_to_a_role("");
    source.sql(&format!("SET ROLE {owner}; {SHOP}"));
    let bench = Bench::new();
    bench.backup_whole(&source);
    for (major, rules) in [
        (14, &["public_schema_owner", "public_schema_rights"][..]),
        (15, &["public_schema_owner"]),
        (17, &["public_schema_owner"]),
    ] {
        let mut target = Database::on(&Server::of_major(major));
        target.owns_the_roles_of(&source);
        let keeper = target.belongs_to_a_role("CREATEROLE");
        if major == 14 {
            target.sql(&format!("GRANT {owner} TO {keeper}"));
        }
        let certificate = bench.restore_whole(&target);
        let left_out: Vec<&str> = certificate["left_out"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["rule"].as_str().unwrap())
            .collect();
        assert_eq!(left_out, rules, "to {major}: {certificate}");
        let mut differences = differences(&evidence(&source), &evidence(&target));
        differences.retain(|difference| !difference.contains("public; Type: "));
        assert!(differences.is_empty(), "to {major}:\n{}", differences.join("\n"));
    }
}
