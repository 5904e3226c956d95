//! Archives of former formats, kept for good in `tests/golden`: this build lists, verifies and restores each of them.

use crate::bench::ended;
use crate::database::{Database, Server};
use crate::program::{Ended, command};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

/// One archive: `repository/`, `recovery.key`, and `expected/<backup id>.txt` with the rows that it held. One with captured
/// changes has `points/<position, with a dash for the slash>.txt` with the rows of the tables at that position.
struct Golden {
    folder: PathBuf,
}

impl Golden {
    fn all() -> Vec<Self> {
        let entries = std::fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).map(|folder| Self { folder }).collect()
    }

    fn key(&self) -> String {
        self.folder.join("recovery.key").to_str().unwrap().to_owned()
    }

    fn repo(&self) -> String {
        format!("file://{}", self.folder.join("repository").canonicalize().unwrap().display())
    }

    fn expected(&self, backup: &str) -> PathBuf {
        self.folder.join("expected").join(format!("{backup}.txt"))
    }

    fn keepsake(&self, arguments: &[&str], target: Option<&Database>) -> Ended {
        let repo = self.repo();
        let mut command = command(&[&arguments[..1], &["--repo", &repo, "--json"], &arguments[1..]].concat());
        if let Some(target) = target {
            command.env("TARGET", target.url());
        }
        ended(&mut command)
    }

    /// Positions that can be restored, and the rows there.
    fn points(&self) -> Vec<(String, String)> {
        let Ok(files) = std::fs::read_dir(self.folder.join("points")) else { return Vec::new() };
        let point = |path: PathBuf| {
            let name = path.file_stem().unwrap().to_str().unwrap().replace('-', "/");
            (name, std::fs::read_to_string(path).unwrap())
        };
        files.map(|file| point(file.unwrap().path())).collect()
    }

    fn has_a_differential(&self) -> bool {
        let mut find = Command::new("find");
        find.arg(self.folder.join("repository")).args(["-name", "*.diff.zst.age"]);
        !find.output().unwrap().stdout.is_empty()
    }

    fn backups(&self) -> Vec<String> {
        let listed: Value = self.keepsake(&["list"], None).ok().json();
        let backups = listed["backups"].as_array().unwrap();
        backups.iter().map(|backup| backup["backup_id"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn every_golden_archive_is_listed_verified_and_restored_with_the_rows_that_it_held() {
    let archives = Golden::all();
    assert!(!archives.is_empty(), "tests/golden holds no archive");
    for archive in archives {
        let (key, backups) = (archive.key(), archive.backups());
        let kept = std::fs::read_dir(archive.folder.join("expected")).unwrap().count();
        assert_eq!(backups.len(), kept, "{}: every backup is listed", archive.folder.display());
        let verified = archive.keepsake(&["verify", "--deep", "--key-file", &key], None).ok().json();
        assert_eq!(verified["verdict"], "passed", "{verified}");
        for backup in backups {
            let target = Database::empty(Server::Target);
            let restore = ["restore", "--backup", &backup, "--to", "env:TARGET", "--key-file", &key];
            archive.keepsake(&restore, Some(&target)).ok();
            let expected = std::fs::read_to_string(archive.expected(&backup)).unwrap();
            assert_eq!(target.rows().join("\n"), expected.trim_end(), "backup {backup}");
        }
    }
}

/// Where sequences stand belongs to the end of a segment, and is left out.
fn rows_of_tables(database: &Database) -> String {
    let mut rows = database.rows();
    rows.retain(|line| line.starts_with("public."));
    rows.join("\n") + "\n"
}

#[test]
fn every_golden_chain_of_changes_is_shown_and_restored_to_each_of_its_points() {
    let archives: Vec<Golden> = Golden::all().into_iter().filter(|one| !one.points().is_empty()).collect();
    assert!(!archives.is_empty(), "tests/golden holds no captured changes");
    for archive in archives {
        let key = archive.key();
        let window = archive.keepsake(&["window"], None).ok().json();
        assert_eq!(window["lineages"][0]["gaps"], Value::Array(vec![]), "{window}");
        archive.keepsake(&["rpo", "--name", "golden", "--key-file", &key], None).ok();
        let mut by_differential = false;
        for (position, expected) in archive.points() {
            let restore = ["restore", "--lsn", &position, "--to", "env:TARGET", "--key-file", &key];
            let recovered = |more: &[&str]| {
                let target = Database::empty(Server::Target);
                let restored = archive.keepsake(&[&restore, more].concat(), Some(&target)).ok().json();
                assert_eq!(restored["certificate"]["verdict"], "passed");
                assert_eq!(rows_of_tables(&target), expected, "at {position} {more:?}");
                restored["certificate"]["recovered"].get("differential").is_some()
            };
            if recovered(&[]) {
                by_differential = true;
                assert!(!recovered(&["--without-differential"]));
            }
        }
        assert_eq!(by_differential, archive.has_a_differential(), "{}", archive.folder.display());
    }
}

/// `cargo x golden NAME` runs this. An archive that stands is never made anew: it would no longer be of its format.
#[test]
#[ignore = "makes a new golden archive; run by cargo x golden"]
fn makes_a_golden_archive() {
    let name = std::env::var("KEEPSAKE_GOLDEN").expect("KEEPSAKE_GOLDEN: run cargo x golden NAME");
    let archive = Golden { folder: golden().join(name) };
    std::fs::create_dir(&archive.folder).expect("a new name: archives that stand are never made anew");
    for folder in ["repository", "expected", "points"] {
        std::fs::create_dir(archive.folder.join(folder)).unwrap();
    }
    let recipient = crate::program::run(&["keygen", "--out", &archive.key()]).ok().stdout;
    let source = Database::empty(Server::Source);
    source.sql(include_str!("../../../tests/golden/sample.sql"));
    let repo = archive.repo();
    let sealing = ["--repo", &repo, "--json", "--recipient", recipient.trim()];
    let keepsake = |what: &str, more: &[&str]| {
        let place = ["--source", "env:SOURCE", "--name", "golden"];
        let mut command: Command = command(&[&[what][..], &place, &sealing, more].concat());
        ended(command.env("SOURCE", source.url())).ok().json()
    };
    let capture = |change: &str| {
        source.sql(change);
        let position = source.sql("SELECT pg_current_wal_insert_lsn()").trim().replace('/', "-");
        keepsake("capture", &[]);
        let point = archive.folder.join("points").join(format!("{position}.txt"));
        std::fs::write(point, rows_of_tables(&source)).unwrap();
    };
    keepsake("protect", &[]);
    for change in
        ["UPDATE guests SET name = name || ' (second)' WHERE id % 3 = 0", "DELETE FROM guests WHERE id > 700"]
    {
        source.wait_for_older_writers();
        let summary = keepsake("backup", &["--part-size", "65536"]);
        let expected = archive.expected(summary["backup_id"].as_str().unwrap());
        std::fs::write(expected, source.rows().join("\n") + "\n").unwrap();
        capture(change);
    }
    ended(&mut command(&[&["differential", "--key-file", &archive.key()][..], &sealing].concat())).ok();
    capture("UPDATE guests SET name = name || ' (third)' WHERE id % 5 = 0");
    // A database with a slot cannot be dropped.
    let mut unprotect = command(&["unprotect", "--source", "env:SOURCE", "--name", "golden"]);
    ended(unprotect.env("SOURCE", source.url())).ok();
}
