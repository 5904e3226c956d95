//! The catalog's commands, against a catalog of their own.

use crate::bench::ended;
use crate::database::{Database, Server};
use crate::program::{Ended, command};

const DECLARATION: &str = r#"{
    "sources": [{"name": "party", "provider": "plain", "connection_secret": "env:PARTY"}],
    "locations": [
        {"name": "here", "url": "s3://here/archive", "region": "eu-central-1"},
        {"name": "there", "url": "s3://there/archive", "region": "eu-west-1"}
    ],
    "policies": [{"name": "nightly", "source": "party", "primary": "here", "copies": ["there"],
        "kms_key_id": "alias/keepsake", "recovery_recipients": ["RECIPIENT"]}]
}"#;

fn keepsake(catalog: &Database, arguments: &[&str]) -> Ended {
    let arguments = [&["catalog"], arguments, &["--catalog", "env:CATALOG"]].concat();
    ended(command(&arguments).env("CATALOG", catalog.url()))
}

fn declared(bench: &crate::bench::Bench, text: &str) -> String {
    let path = bench.path("catalog.json");
    std::fs::write(&path, text.replace("RECIPIENT", &bench.recipient)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_catalog_is_migrated_once_declared_once_and_then_has_nothing_to_change() {
    let (bench, catalog) = (crate::bench::Bench::new(), Database::empty(Server::Target));
    let file = declared(&bench, DECLARATION);

    let applied = keepsake(&catalog, &["migrate", "--json"]).ok().json();
    assert!(applied["applied"].as_array().unwrap().len() > 3, "{applied}");
    assert_eq!(keepsake(&catalog, &["migrate"]).ok().stdout, "the catalog is up to date\n");

    let changes = keepsake(&catalog, &["apply", &file, "--json"]).ok().json();
    assert_eq!(changes["changes"].as_array().unwrap().len(), 4, "{changes}");
    assert_eq!(keepsake(&catalog, &["apply", &file]).ok().stdout, "nothing to change\n");
    let policies = catalog.sql("SELECT count(*) FROM keepsake.backup_policies WHERE name = 'nightly'");
    assert_eq!(policies, "1", "as psql sees it");

    assert_eq!(keepsake(&catalog, &["show"]).ok().stdout, "no run is recorded\n");
    assert_eq!(keepsake(&catalog, &["show", "--json"]).ok().json()["executions"], serde_json::json!([]));
}

#[test]
fn a_declaration_that_cannot_be_is_refused_with_every_problem_and_changes_nothing() {
    let (bench, catalog) = (crate::bench::Bench::new(), Database::empty(Server::Target));
    keepsake(&catalog, &["migrate"]).ok();
    let wrong = DECLARATION
        .replace("RECIPIENT", "age1mistyped")
        .replace("\"party\", \"provider\"", "\"../x\", \"provider\"");
    let file = declared(&bench, &wrong);
    keepsake(&catalog, &["apply", &file]).failed(12, &["recovery", "../x"]);
    keepsake(&catalog, &["apply", "/nowhere.json"]).failed(2, &["/nowhere.json"]);
    let rows = catalog.sql(
        "SELECT (SELECT count(*) FROM keepsake.sources) + (SELECT count(*) FROM keepsake.backup_policies)",
    );
    assert_eq!(rows, "0");
}

#[test]
fn a_database_without_catalog_says_that_it_must_be_migrated() {
    let catalog = Database::empty(Server::Target);
    let failed = keepsake(&catalog, &["show"]).failed(12, &[]);
    assert!(failed.stderr.contains("catalog migrate"), "{}", failed.stderr);
}
