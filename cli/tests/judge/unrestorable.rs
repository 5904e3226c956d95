//! What a dump may hold and no tool brings back: it must be told before anybody relies on the backup.

use crate::server::{Database, Server};
use crate::ways::{Bench, answer, text, try_pg_dump};
use serde_json::Value;

/// One that attaches no index, since it has no partition, comes back; one of a plain table does too.
const STAYS: &str =
    "CREATE TABLE planned (during int4range, EXCLUDE USING gist (during WITH =, during WITH &&))
        PARTITION BY LIST (during);
    CREATE TABLE single (during int4range, EXCLUDE USING gist (during WITH &&));";

const OVERLAPS: &str = "CREATE TABLE bookings (room int4range, during int4range,
        CONSTRAINT no_overlap EXCLUDE USING gist (room WITH =, during WITH &&)) PARTITION BY LIST (room);
    CREATE TABLE bookings_one PARTITION OF bookings FOR VALUES IN ('[1,2)');
    INSERT INTO bookings VALUES ('[1,2)', '[10,20)'), ('[1,2)', '[20,30)');";

fn told(backup: &Value) -> Vec<&Value> {
    let all = backup["not_covered"].as_array().unwrap();
    all.iter().filter(|one| one["kind"] == "partitioned_exclusion").collect()
}

#[test]
fn an_exclusion_constraint_of_a_partitioned_table_is_told_since_no_tool_restores_it() {
    for major in [17, 18] {
        let server = Server::of_major(major);
        let source = Database::on(&server);
        source.sql(STAYS);
        let before = Bench::new();
        let backup = answer(&before.backup(&source, &[]));
        assert_eq!(told(&backup), [&Value::Null; 0], "{major}");
        before.restore_whole(&Database::on(&server));

        source.sql(OVERLAPS);
        let theirs = text(&try_pg_dump(&source, &Database::on(&server)).stderr);
        assert!(theirs.contains("cannot attach index"), "pg_restore {major} may do it by now: {theirs}");

        let bench = Bench::new();
        let backup = answer(&bench.backup(&source, &[]));
        let told = told(&backup);
        assert_eq!(told.len(), 1, "{major}: {backup}");
        let what = "exclusion constraint of a partitioned table: public.bookings no_overlap";
        assert_eq!(told[0]["what"], what);
        assert!(told[0]["advice"].as_str().unwrap().contains("on each partition"));
        let ours = bench.restore(&Database::on(&server), &[]);
        assert_eq!(ours.status.code(), Some(12), "{}", text(&ours.stderr));
        assert!(text(&ours.stderr).contains("cannot attach index"), "{}", text(&ours.stderr));
    }
}

/// The right stands for as long as this lives; it is the server's and outlives every database.
struct ParameterRight<'a>(&'a Database);

impl Drop for ParameterRight<'_> {
    fn drop(&mut self) {
        self.0.sql("REVOKE SET ON PARAMETER temp_file_limit FROM pg_monitor");
    }
}

#[test]
fn rights_to_set_parameters_are_told_as_no_part_of_a_database() {
    let source = Database::on(&Server::of_major(16));
    let right = ParameterRight(&source);
    source.sql("GRANT SET ON PARAMETER temp_file_limit TO pg_monitor");
    let backup = answer(&Bench::new().backup(&source, &[]));
    drop(right);
    let told: Vec<&Value> = backup["not_covered"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["kind"] == "parameter_rights")
        .collect();
    assert_eq!(told.len(), 1, "{backup}");
    let what = told[0]["what"].as_str().unwrap();
    assert!(what.starts_with("rights to set parameters: "), "{what}");
    assert!(
        !told[0].to_string().contains("temp_file_limit"),
        "what the server allows to whom is not told in clear"
    );
}
