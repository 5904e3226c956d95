//! The command line itself: keys, help, and what is wrong with it.

use crate::bench::Bench;
use crate::program::{command, run};
use std::os::unix::fs::PermissionsExt;

const PASSWORD: &str = "s3cr3t-on-argv";

#[test]
fn a_key_file_is_private_and_never_overwritten() {
    let bench = Bench::new();
    let path = bench.key_file();
    let before = std::fs::read(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    run(&["keygen", "--out", &path]).failed(12, &["cannot write key file", "exists"]);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn help_names_every_exit_code() {
    let help = run(&["--help"]).ok().stdout;
    for code in ["0 ", "2 ", "10 ", "11 ", "12 ", "13 ", "14 ", "130 "] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(code)), "{code} is not in\n{help}");
    }
}

#[test]
fn there_is_no_plaintext_mode() {
    let ended = run(&["backup", "--source", "postgres://h/d", "--repo", "file:///nowhere"]);
    let ended = ended.failed(2, &["--recipient", "--kms-key"]);
    assert!(ended.stderr.contains("keepsake keygen"), "how to get a recipient: {}", ended.stderr);
}

#[test]
fn every_wrong_command_line_is_told_in_the_same_three_lines() {
    for (arguments, text) in [
        (&["backup"][..], "--source"),
        (&["restore", "--frobnicate"], "--frobnicate"),
        (&["list", "--repoo", "file:///x"], "similar argument exists: '--repo'"),
        (&["backup", "--jobs", "many"], "many"),
        (&["show", "--repo", "file:///x", "not-an-id"], "first characters"),
        (&["bakcup"], "bakcup"),
        (&[], "no command"),
    ] {
        let ended = run(arguments).failed(2, &[text]);
        assert_eq!(ended.stdout, "", "{arguments:?}");
        assert!(arguments.is_empty() || ended.stderr.lines().count() == 3, "{}", ended.stderr);
    }
}

#[test]
fn a_repository_url_that_cannot_be_one_is_a_wrong_command_line() {
    for url in ["file://relative", "file:", "s3://", "s3:///prefix", "s3://Bucket", "/folder", "https://b/x"]
    {
        run(&["list", "--repo", url]).failed(2, &["--repo is no repository"]);
    }
}

#[test]
fn client_tools_that_are_not_where_they_were_said_to_be_are_a_wrong_command_line() {
    let bench = Bench::new();
    let failed = bench.backup("postgres://anna@nowhere.invalid/d", &["--pg-bin", "/nope"]);
    let failed = failed.failed(2, &["--pg-bin", "pg_dump", "/nope"]);
    assert!(failed.stderr.contains("next: name the folder that holds pg_dump"), "{}", failed.stderr);
}

#[test]
fn a_forgotten_region_and_forgotten_credentials_are_told_with_the_variables_to_set() {
    let bench = Bench::new();
    let without = |variables: &[&str]| {
        let mut command = command(&["list", "--repo", "s3://bucket/x"]);
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", bench.path("tmp"));
        for variable in variables {
            command.env_remove(variable);
        }
        crate::program::Ended::of(command.output().unwrap(), &[])
    };
    let failed = without(&["AWS_REGION", "AWS_DEFAULT_REGION"]).failed(12, &["no AWS region"]);
    assert!(failed.stderr.contains("next: set AWS_REGION"), "{}", failed.stderr);
    let failed = without(&["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]).failed(12, &["no AWS credentials"]);
    assert!(failed.stderr.contains("AWS_PROFILE, or AWS_ACCESS_KEY_ID"), "{}", failed.stderr);
}

#[test]
fn a_wrong_command_line_never_repeats_a_password() {
    let bench = Bench::new();
    let (url, other) = (format!("postgres://anna:{PASSWORD}@h/d"), format!("mysql://anna:{PASSWORD}@h/d"));
    let (repo, recipient) = (bench.repo(), bench.recipient.as_str());
    let cases: [&[&str]; 7] = [
        &["backup", &url],
        &["restore", "--to", &url, &url],
        &["list", "--repo", &url],
        &["--verbose", &url],
        &["backup", "--source", &other, "--repo", &repo, "--recipient", recipient],
        &["backup", "--source", &url, "--repo", &repo, "--recipient", PASSWORD],
        &["catalog", "show", "--catalog", &other],
    ];
    for arguments in cases {
        let ended = run(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains(PASSWORD) && !ended.stdout.contains(PASSWORD), "{}", ended.stderr);
    }
}

#[test]
fn a_source_from_a_variable_that_is_not_set_is_a_wrong_command_line() {
    let bench = Bench::new();
    let repo = bench.repo();
    let arguments = ["backup", "--source", "env:NOWHERE", "--repo", &repo, "--recipient", &bench.recipient];
    let output = command(&arguments).env_remove("NOWHERE").output().unwrap();
    crate::program::Ended::of(output, &[]).failed(2, &["NOWHERE", "not set"]);
}

#[test]
fn a_name_that_could_leave_its_folder_is_refused_before_anything_is_asked() {
    let bench = Bench::new();
    let (repo, source) = (bench.repo(), "postgres://nobody@nowhere.invalid/d");
    for name in ["../x", "Ä", ""] {
        let arguments =
            ["backup", "--source", source, "--repo", &repo, "--recipient", &bench.recipient, "--name", name];
        run(&arguments).failed(2, &["cannot name a source"]);
    }
}
