//! What is protected and what is not: told before the first backup, in it, and at the restore.

use crate::bench::{Bench, ended};
use crate::database::{Database, Server};
use crate::program::{Ended, command};
use serde_json::Value;

fn coverage(source: &Database, more: &[&str]) -> Ended {
    let mut arguments = vec!["coverage", "--source", "env:SOURCE"];
    arguments.extend(more);
    ended(command(&arguments).env("SOURCE", source.url()))
}

fn told(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|one| one["what"].as_str().unwrap()).collect()
}

/// Roles belong to the server, where other tests make and drop them all the time.
fn of_the_database(list: &Value) -> Vec<&Value> {
    list.as_array().unwrap().iter().filter(|one| one["kind"] != "roles").collect()
}

#[test]
fn what_is_left_out_is_the_same_before_the_backup_in_it_and_at_the_restore() {
    let (bench, source, target) =
        (Bench::new(), Database::empty(Server::Source), Database::empty(Server::Target));
    source.sql("CREATE UNLOGGED TABLE fast (id int PRIMARY KEY); CREATE TABLE blurred (n int)");
    let before = coverage(&source, &["--json"]).ok().json();
    let summary = bench.backup(&source.url(), &["--json"]).ok().json();
    let repo = bench.repo();
    let shown = ended(&mut command(&["show", "--repo", &repo, "--json"])).ok().json();
    let plan = bench.restore(&repo, &target, &["--plan", "--json"]).ok().json();

    assert_eq!(before["protected"]["tables"], 2);
    // Other tests play providers on this server.
    assert!(before["provider"].is_string(), "{before}");
    assert!(told(&before["limited"]).contains(&"unlogged table public.fast"), "{before}");
    assert!(told(&before["limited"]).contains(&"table without replica identity public.blurred"), "{before}");
    assert!(told(&before["not_covered"]).contains(&"passwords of roles"), "{before}");
    for later in [&summary, &shown["manifest"]["coverage"], &plan] {
        assert_eq!(of_the_database(&later["limited"]), of_the_database(&before["limited"]));
    }
    let text = ended(&mut command(&["show", "--repo", &repo])).ok().stdout;
    let readme = std::fs::read_to_string(bench.archive(&repo).join("README.txt")).unwrap();
    for told in [text, readme, coverage(&source, &[]).ok().stdout] {
        assert!(told.contains("unlogged table public.fast: its rows are in each full backup"), "{told}");
    }
}

#[test]
fn a_database_that_a_backup_would_refuse_is_reported_and_fails() {
    let source = Database::empty(Server::Source);
    source.sql("CREATE TABLE secured (n int); ALTER TABLE secured ENABLE ROW LEVEL SECURITY");
    let role = format!("reader_{}", uuid::Uuid::now_v7().simple());
    source.sql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'reader' IN ROLE pg_read_all_data"));
    let url = source.url_as(&format!("{role}:reader"));
    let refused = ended(command(&["coverage", "--source", "env:SOURCE", "--json"]).env("SOURCE", url));
    source.sql(&format!("DROP ROLE {role}"));
    let report = refused.json();
    assert_eq!(told(&report["not_covered"])[0], "rows of public.secured", "the gravest stands first");
    refused.failed(12, &["row-level security would hide rows", "secured"]);
}

/// One policy per database: each names its database in its URL and has a source's name of its own.
#[test]
fn two_databases_of_one_server_share_a_repository_and_nothing_else() {
    let bench = Bench::new();
    let (one, two) = (Database::empty(Server::Source), Database::empty(Server::Source));
    let (back_one, back_two) = (Database::empty(Server::Target), Database::empty(Server::Target));
    one.sql("CREATE TABLE guests (id int PRIMARY KEY); INSERT INTO guests VALUES (1), (2)");
    two.sql("CREATE TABLE vendors (id int PRIMARY KEY); INSERT INTO vendors VALUES (3)");

    // The coverage of each names the other.
    let other = format!("database {}", two.name);
    assert!(told(&coverage(&one, &["--json"]).ok().json()["not_covered"]).contains(&other.as_str()));

    let repo = bench.repo();
    let backup = |source: &Database, name: &[&str]| {
        let mut arguments = vec!["backup", "--source", "env:SOURCE", "--repo", &repo, "--json"];
        arguments.extend(["--recipient", &bench.recipient]);
        arguments.extend(name);
        ended(command(&arguments).env("SOURCE", source.url())).ok().json()
    };
    // Under one name by mistake, and under the names of the databases.
    let named = ["--name", "party"];
    let (first, second) = (backup(&one, &named), backup(&two, &named));
    let (third, fourth) = (backup(&one, &[]), backup(&two, &[]));

    let lineage = |summary: &Value| summary["lineage"].as_str().unwrap().to_owned();
    assert_ne!(lineage(&first), lineage(&second), "one server, two databases");
    assert_eq!(lineage(&first), lineage(&third));
    assert_eq!((&third["source"], &fourth["source"]), (&Value::from(&*one.name), &Value::from(&*two.name)));
    for (summary, target, source) in [(&first, &back_one, &one), (&second, &back_two, &two)] {
        let id = summary["backup_id"].as_str().unwrap();
        let restored = bench.restore(&repo, target, &["--backup", id, "--json"]).ok().json();
        assert_eq!(restored["plan"]["database"], Value::from(&*source.name));
        assert_eq!(target.content(), source.content());
    }
    // No manifest follows one of another lineage.
    let shown = |summary: &Value| {
        let id = summary["backup_id"].as_str().unwrap();
        ended(&mut command(&["show", "--repo", &repo, id, "--json"])).ok().json()
    };
    assert!(shown(&second)["manifest"].get("previous_manifest").is_none());
    let next = shown(&backup(&one, &named));
    assert_eq!(next["manifest"]["previous_manifest"]["sha256"], shown(&first)["manifest_sha256"]);
    bench.verify(&repo, &["--deep", "--key-file", &bench.key_file()]).ok();
}
