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
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("--recipient") && ended.stderr.contains("--kms-key"), "{}", ended.stderr);
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
