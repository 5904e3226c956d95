//! Repositories in buckets and keys of KMS: the same program against a cloud.

use crate::bench::{Bench, ended};
use crate::database::{Database, Server};
use crate::program::{Ended, command};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Command;
use uuid::Uuid;

/// The aws command line: another eye than the program's own.
fn aws(arguments: &[&str]) -> Value {
    assert!(std::env::var_os("AWS_ENDPOINT_URL").is_some(), "AWS_ENDPOINT_URL is not set: run cargo x test");
    let output = Command::new("aws").args(arguments).args(["--output", "json"]).output().unwrap();
    assert!(output.status.success(), "aws {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    // Some commands answer in words.
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

/// A bucket of its own, and a prefix in it.
fn repository() -> String {
    let bucket = format!("keepsake-cli-{}", Uuid::now_v7());
    let region = std::env::var("AWS_REGION").unwrap();
    let here = format!("LocationConstraint={region}");
    aws(&["s3api", "create-bucket", "--bucket", &bucket, "--create-bucket-configuration", &here]);
    format!("s3://{bucket}/night/one")
}

fn kms_key() -> String {
    aws(&["kms", "create-key"])["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
}

/// Runs with the URLs of both databases at hand.
fn keepsake(source: &Database, target: &Database, arguments: &[&str]) -> Ended {
    ended(command(arguments).env("SOURCE", source.url()).env("TARGET", target.url()))
}

fn databases() -> (Database, Database) {
    (Database::filled(), Database::empty(Server::Target))
}

#[test]
fn a_backup_in_a_bucket_under_a_kms_key_is_listed_verified_and_restored_row_for_row() {
    let ((source, target), bench) = (databases(), Bench::new());
    let (repo, key) = (repository(), kms_key());
    let run = |arguments: &[&str]| keepsake(&source, &target, arguments);
    let backup = ["backup", "--source", "env:SOURCE", "--repo", &repo, "--name", "party", "--json"];
    let both = ["--kms-key", &key, "--recipient", &bench.recipient, "--part-size", "65536"];

    let summary = run(&[&backup[..], &both].concat()).ok().json();

    let id = summary["backup_id"].as_str().unwrap();
    let listed = run(&["list", "--repo", &repo, "--json"]).ok().json();
    assert_eq!(listed["backups"][0]["backup_id"], id);
    let shown = run(&["show", "--repo", &repo, id]).ok().stdout;
    assert!(shown.contains(&key) && shown.contains(&bench.recipient), "who can open it:\n{shown}");
    run(&["verify", "--repo", &repo]).ok();
    let key_file = bench.key_file();
    for holder in [&["--kms"][..], &["--key-file", &key_file]] {
        let deep = ["verify", "--repo", &repo, "--deep", "--json"];
        let verified = run(&[&deep[..], holder].concat()).ok().json();
        assert_eq!((&verified["depth"], &verified["verdict"]), (&"rows".into(), &"passed".into()));
    }
    run(&["restore", "--repo", &repo, "--to", "env:TARGET", "--kms", "--record"]).ok();
    assert_eq!(target.content(), source.content());
    let listed = run(&["list", "--repo", &repo, "--json"]).ok().json();
    assert_eq!(
        (&listed["backups"][0]["verdict"], &listed["backups"][0]["rows"]),
        (&"passed".into(), &summary["rows"])
    );
}

#[test]
fn a_backup_that_kms_alone_opens_is_restored_from_its_copy_in_another_bucket() {
    let (source, target) = databases();
    let (repo, copy, key) = (repository(), repository(), kms_key());
    let backup = ["backup", "--source", "env:SOURCE", "--repo", &repo, "--copy-to", &copy, "--kms-key", &key];
    keepsake(&source, &target, &backup).ok();
    let bucket = repo.split('/').nth(2).unwrap();
    aws(&["s3", "rb", "--force", &format!("s3://{bucket}")]);
    keepsake(&source, &target, &["list", "--repo", &repo]).failed(12, &[&repo, "does not exist"]);

    keepsake(&source, &target, &["restore", "--repo", &copy, "--to", "env:TARGET", "--kms"]).ok();

    assert_eq!(target.content(), source.content());
}

#[test]
fn a_bucket_that_does_not_exist_is_named_by_every_command_and_not_made() {
    let (source, target) = (Database::empty(Server::Source), Database::empty(Server::Target));
    let bench = Bench::new();
    let (repo, key_file) = (format!("s3://keepsake-nowhere-{}/x", Uuid::now_v7()), bench.key_file());
    let commands: [&[&str]; 5] = [
        &["backup", "--source", "env:SOURCE", "--recipient", &bench.recipient],
        &["list"],
        &["show"],
        &["verify"],
        &["restore", "--to", "env:TARGET", "--key-file", &key_file],
    ];
    for arguments in commands {
        let arguments = [arguments, &["--repo", &repo]].concat();
        let failed = keepsake(&source, &target, &arguments).failed(12, &[&repo, "does not exist"]);
        assert_eq!(failed.stdout, "", "{arguments:?}");
    }
    assert!(!aws(&["s3api", "list-buckets"]).to_string().contains("keepsake-nowhere"));
}

#[test]
fn a_disabled_kms_key_makes_no_backup_and_opens_none_and_the_recovery_key_still_does() {
    let ((source, target), bench) = (databases(), Bench::new());
    let (repo, key, key_file) = (repository(), kms_key(), bench.key_file());
    let run = |arguments: &[&str]| keepsake(&source, &target, arguments);
    let backup = ["backup", "--source", "env:SOURCE", "--repo", &repo, "--kms-key", &key];
    let backup = [&backup[..], &["--recipient", &bench.recipient]].concat();
    run(&backup).ok();
    let before = target.content();
    aws(&["kms", "disable-key", "--key-id", &key]);

    run(&backup).failed(12, &[&key, "denied to encrypt", "DisabledException"]);
    let listed = run(&["list", "--repo", &repo, "--json"]).ok().json();
    assert_eq!(listed["backups"].as_array().unwrap().len(), 1, "only the first stands: {listed}");
    let restore = ["restore", "--repo", &repo, "--to", "env:TARGET"];
    let failed = run(&[&restore[..], &["--kms"]].concat()).failed(12, &[&key, "denied to decrypt"]);
    assert!(failed.stderr.contains("--key-file"), "the way out is named: {}", failed.stderr);
    assert_eq!(target.content(), before);

    run(&[&restore[..], &["--key-file", &key_file]].concat()).ok();
    assert_eq!(target.content(), source.content());
}

/// A service that answers every call with this, until the test ends.
fn service_that_answers(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while lines.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            drop(lines.read_exact(&mut vec![0; length]));
            let answer = format!(
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            // A client that went away wants no answer.
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    url
}

#[test]
fn a_kms_key_that_the_role_may_not_use_is_denied_before_anything_is_written() {
    let source = Database::empty(Server::Source);
    let (bench, key) = (Bench::new(), kms_key());
    let body =
        r#"{"__type":"AccessDeniedException","message":"role x is not authorized to perform: kms:Encrypt"}"#;
    let repo = bench.repo();
    let backup = ["backup", "--source", "env:SOURCE", "--repo", &repo, "--kms-key", &key];
    let mut command = command(&backup);
    command
        .env("SOURCE", source.url())
        .env("AWS_ENDPOINT_URL_KMS", service_that_answers("400 Bad Request", body));
    ended(&mut command).failed(12, &[&key, "denied to encrypt", "kms:Encrypt"]);
    assert_eq!(std::fs::read_dir(bench.path("repo")).unwrap().count(), 0);
}

#[test]
fn a_bucket_that_the_role_may_not_read_is_denied_and_the_right_is_named() {
    let endpoint = service_that_answers("403 Forbidden", "");
    let mut command = command(&["list", "--repo", "s3://somebody-elses/x"]);
    let failed =
        ended(command.env("AWS_ENDPOINT_URL_S3", endpoint)).failed(12, &["s3://somebody-elses/x", "denied"]);
    assert!(failed.stderr.contains("next: grant"), "{}", failed.stderr);
}
