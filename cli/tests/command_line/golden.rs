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

/// One archive: `repository/`, `recovery.key`, and `expected/<backup id>.txt` with the rows that it held.
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

/// `cargo x golden NAME` runs this. An archive that stands is never made anew: it would no longer be of its format.
#[test]
#[ignore = "makes a new golden archive; run by cargo x golden"]
fn makes_a_golden_archive() {
    let name = std::env::var("KEEPSAKE_GOLDEN").expect("KEEPSAKE_GOLDEN: run cargo x golden NAME");
    let archive = Golden { folder: golden().join(name) };
    std::fs::create_dir(&archive.folder).expect("a new name: archives that stand are never made anew");
    for folder in ["repository", "expected"] {
        std::fs::create_dir(archive.folder.join(folder)).unwrap();
    }
    let recipient = crate::program::run(&["keygen", "--out", &archive.key()]).ok().stdout;
    let source = Database::empty(Server::Source);
    source.sql(include_str!("../../../tests/golden/sample.sql"));
    for change in
        ["UPDATE guests SET name = name || ' (second)' WHERE id % 3 = 0", "DELETE FROM guests WHERE id > 700"]
    {
        let backup = ["backup", "--source", "env:SOURCE", "--name", "golden", "--part-size", "65536"];
        let more = ["--repo", &archive.repo(), "--json", "--recipient", recipient.trim()];
        let mut command: Command = command(&[&backup[..], &more[..]].concat());
        let summary = ended(command.env("SOURCE", source.url())).ok().json();
        let expected = archive.expected(summary["backup_id"].as_str().unwrap());
        std::fs::write(expected, source.rows().join("\n") + "\n").unwrap();
        source.sql(change);
    }
}
