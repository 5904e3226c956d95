//! The walls between crates: dependencies run inwards, never sideways, never back.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Who may depend on whom, within the workspace. A list kept here is compared with what Cargo says.
const ALLOWED: &[(&str, &[&str])] = &[
    ("keepsake-domain", &[]),
    ("keepsake-archive", &["keepsake-domain"]),
    ("keepsake-statements", &["keepsake-domain"]),
    ("keepsake-steps", &["keepsake-domain", "keepsake-archive"]),
    ("keepsake-aws", &["keepsake-domain", "keepsake-archive", "keepsake-steps"]),
    ("keepsake-postgres", &["keepsake-domain", "keepsake-archive", "keepsake-steps"]),
    ("keepsake-folder", &["keepsake-domain", "keepsake-steps"]),
    (
        "keepsake-functions",
        &[
            "keepsake-domain",
            "keepsake-archive",
            "keepsake-steps",
            "keepsake-aws",
            "keepsake-postgres",
            "keepsake-statements",
        ],
    ),
    (
        "keepsake",
        &[
            "keepsake-domain",
            "keepsake-archive",
            "keepsake-steps",
            "keepsake-aws",
            "keepsake-postgres",
            "keepsake-folder",
            "keepsake-statements",
        ],
    ),
    ("xtask", &[]),
    ("keepsake-testkit", &["keepsake-domain", "keepsake-archive", "keepsake-steps"]),
    ("keepsake-tests", &[]),
];

/// What must stay out of a crate, whatever feature would bring it: the reason is the wall's.
const BANNED: &[(&str, &[&str])] = &[
    ("keepsake-domain", &["tokio", "aws-config", "tokio-postgres", "rand", "tracing"]),
    ("keepsake-archive", &["tokio", "aws-config", "aws-sdk-s3", "tokio-postgres"]),
    ("keepsake-steps", &["aws-config", "aws-sdk-s3", "aws-sdk-kms", "tokio-postgres", "lambda_runtime"]),
    ("keepsake-aws", &["tokio-postgres", "lambda_runtime"]),
    ("keepsake-postgres", &["aws-config", "aws-sdk-s3", "lambda_runtime"]),
    ("keepsake-folder", &["aws-config", "tokio-postgres", "lambda_runtime"]),
    ("keepsake", &["lambda_runtime"]),
];

fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Normal and build dependencies by package; what only tests need may cross walls.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let shipped = dependencies.filter(|dependency| dependency["kind"] != "dev");
            let names = shipped.map(|dependency| dependency["name"].as_str().unwrap().to_owned());
            (package["name"].as_str().unwrap().to_owned(), names.collect())
        })
        .collect()
}

fn violations(dependencies: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut found = Vec::new();
    for (package, names) in dependencies {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| name == package) else {
            found.push(format!("{package} has no place in the layers"));
            continue;
        };
        let banned = BANNED.iter().find(|(name, _)| name == package).map_or(&[][..], |(_, banned)| *banned);
        for name in names {
            if dependencies.contains_key(name) && !allowed.contains(&name.as_str()) {
                found.push(format!("{package} must not depend on {name}"));
            }
            if banned.contains(&name.as_str()) {
                found.push(format!("{package} must stay free of {name}"));
            }
        }
    }
    found
}

#[test]
fn dependencies_run_inwards() {
    assert_eq!(violations(&dependencies()), Vec::<String>::new());
}

#[test]
fn every_layer_in_the_list_exists() {
    let dependencies = dependencies();
    for (package, _) in ALLOWED {
        assert!(dependencies.contains_key(*package), "{package} is in the list and not in the workspace");
    }
}

#[test]
fn a_step_back_or_sideways_is_found() {
    let mut dependencies = dependencies();
    dependencies.get_mut("keepsake-domain").unwrap().insert("keepsake-steps".to_owned());
    dependencies.get_mut("keepsake-aws").unwrap().insert("keepsake-postgres".to_owned());
    dependencies.get_mut("keepsake-steps").unwrap().insert("aws-sdk-s3".to_owned());
    assert_eq!(violations(&dependencies).len(), 3);
}
