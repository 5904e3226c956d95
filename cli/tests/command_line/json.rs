//! The page of JSON answers against real answers.

use crate::bench::{Bench, ended};
use crate::database::{Database, Server};
use crate::program::command;
use serde_json::Value;

const PAGE: &str = include_str!("../../../docs/cli-json.md");

/// The example under a heading.
pub fn example(heading: &str) -> Value {
    let section = PAGE.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no {heading}")).1;
    let block = section.split_once("```json\n").unwrap().1.split_once("\n```").unwrap().0;
    serde_json::from_str(block).unwrap()
}

/// Whether both have the same fields, as far as the example shows any: `{}`, `[]` and `null` fit everything, and a list's
/// first entry stands for all.
pub fn same_fields(at: &str, documented: &Value, real: &Value) {
    match (documented, real) {
        (Value::Object(documented), Value::Object(real)) if !documented.is_empty() => {
            let names = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(documented), names(real), "{at}");
            documented
                .iter()
                .for_each(|(name, value)| same_fields(&format!("{at}.{name}"), value, &real[name]));
        }
        (Value::Array(documented), Value::Array(real)) => {
            if let (Some(documented), Some(real)) = (documented.first(), real.first()) {
                same_fields(&format!("{at}[0]"), documented, real);
            }
        }
        (Value::Object(_) | Value::Null, _) | (_, Value::Null) => {}
        _ => assert_eq!(kind(documented), kind(real), "{at}"),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Number(_) => "number",
        Value::Bool(_) => "yes or no",
        _ => "list, object or nothing",
    }
}

#[test]
fn the_documented_json_answers_have_the_fields_of_real_ones() {
    let (bench, source, target) =
        (Bench::new(), Database::empty(Server::Source), Database::empty(Server::Target));
    source.sql("CREATE TABLE weddings (id int PRIMARY KEY); INSERT INTO weddings VALUES (1)");
    std::fs::create_dir(bench.path("copy")).unwrap();
    let (repo, copy, key) = (bench.repo(), bench.repo_at("copy"), bench.key_file());
    let run = |arguments: &[&str]| {
        let mut command = command(&[arguments, &["--json"]].concat());
        ended(command.env("SOURCE", source.url()).env("TARGET", target.url())).ok().json()
    };
    let restore = ["restore", "--repo", &repo, "--to", "env:TARGET", "--key-file", &key];
    let answers = [
        ("coverage", run(&["coverage", "--source", "env:SOURCE"])),
        ("backup", bench.backup(&source.url(), &["--copy-to", &copy, "--json"]).ok().json()),
        ("unprotect", run(&["unprotect", "--source", "env:SOURCE", "--name", "example"])),
        ("list", run(&["list", "--repo", &repo])),
        ("window", run(&["window", "--repo", &repo])),
        ("verify", run(&["verify", "--repo", &repo, "--deep", "--key-file", &key])),
        ("restore --plan", run(&[&restore[..], &["--plan"]].concat())),
        ("restore", run(&[&restore[..], &["--record"]].concat())),
        ("show", run(&["show", "--repo", &repo])),
    ];
    for (heading, answer) in answers {
        same_fields(heading, &example(heading), &answer);
    }
}
