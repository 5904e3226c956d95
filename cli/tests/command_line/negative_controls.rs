//! Every damage is found by the check that should find it: the real program, real servers, a repository in a folder.

use crate::bench::Bench;
use crate::database::{Database, Server};
use keepsake_archive::{BackupIdentity, KeyFile};
use keepsake_domain::compare;
use keepsake_folder::FolderRepository;
use keepsake_postgres::{PgBin, PostgresTarget};
use keepsake_steps::{find_backup, read_back};
use keepsake_testkit::controls::{
    ARCHIVE_CONTROLS, ArchiveControl, Detector, Look, RESTORED_CONTROLS, RestoredDamage, Specimen,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A repository with two backups of one source, and a target to try restores into.
struct Archives {
    bench: Bench,
    backup: String,
    older: String,
}

impl Archives {
    fn new() -> Self {
        let (bench, source) = (Bench::new(), Database::filled());
        let id = |summary: serde_json::Value| summary["backup_id"].as_str().unwrap().to_owned();
        let older = id(bench.good_backup(&source));
        let backup = id(bench.good_backup(&source));
        Self { bench, backup, older }
    }

    fn damaged(&self, control: &ArchiveControl) -> String {
        let repo = self.bench.copy(&format!("{:?}", control.damage));
        let (backup, older) = (folder(&repo, &self.backup), folder(&repo, &self.older));
        let mut specimen = Specimen {
            key: self.key(&backup),
            older_key: self.key(&older),
            backup: objects(&backup),
            older: objects(&older),
        };
        control.damage.apply(&mut specimen);
        replace(&backup, &specimen.backup);
        replace(&older, &specimen.older);
        repo
    }

    fn key(&self, archive: &Path) -> BackupIdentity {
        let file = std::fs::read(archive.join("keys/000001.json")).unwrap();
        let text = std::fs::read_to_string(self.bench.key_file()).unwrap();
        serde_json::from_slice::<KeyFile>(&file).unwrap().unwrap_with_age(&text).unwrap()
    }

    /// What the program's first finding says; `None` when it found all well.
    fn look(&self, repo: &str, look: Look) -> Option<String> {
        let key = self.bench.key_file();
        let arguments: &[&str] = match look {
            Look::Objects => &["--json"],
            Look::Bytes => &["--json", "--deep"],
            Look::Rows => &["--json", "--deep", "--key-file", &key],
            Look::Restore => return self.restore(repo),
        };
        let verified = self.bench.verify(repo, arguments);
        let json = verified.json();
        let mut damages = json["backups"].as_array().unwrap().iter().flat_map(|backup| {
            backup["damages"].as_array().unwrap().iter().map(|damage| damage["finding"].as_str().unwrap())
        });
        let first = damages.next().map(str::to_owned);
        assert_eq!(verified.code, Some(if first.is_some() { 14 } else { 0 }), "{}", verified.stderr);
        first
    }

    fn restore(&self, repo: &str) -> Option<String> {
        let target = Database::empty(Server::Target);
        let restored = self.bench.restore(repo, &target, &["--json"]);
        match restored.code {
            Some(0) => None,
            Some(13) => Some(restored.stderr),
            Some(14) => Some(restored.json()["certificate"]["differences"][0].as_str().unwrap().to_owned()),
            other => panic!("{other:?}: {}", restored.stderr),
        }
    }
}

/// Where the backup lies in a repository.
fn folder(repo: &str, backup: &str) -> PathBuf {
    let source = PathBuf::from(repo.strip_prefix("file://").unwrap()).join("party");
    let lineage = std::fs::read_dir(source).unwrap().next().unwrap().unwrap();
    lineage.path().join("full").join(backup)
}

fn objects(archive: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut objects = BTreeMap::new();
    let mut folders = vec![archive.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(archive).unwrap().to_str().unwrap().to_owned();
            objects.insert(name, std::fs::read(path).unwrap());
        }
    }
    objects
}

/// Objects may be read-only, as immutable things are.
fn replace(archive: &Path, by: &BTreeMap<String, Vec<u8>>) {
    for (name, was) in objects(archive) {
        let bytes = by.get(&name);
        if bytes == Some(&was) {
            continue;
        }
        std::fs::remove_file(archive.join(&name)).unwrap();
        if let Some(bytes) = bytes {
            std::fs::write(archive.join(&name), bytes).unwrap();
        }
    }
}

#[test]
fn every_damage_of_an_archive_in_a_folder_is_found_by_the_check_that_should_find_it() {
    let archives = Archives::new();
    let whole = archives.bench.repo();
    for look in Look::ALL {
        assert_eq!(archives.look(&whole, look), None, "a whole archive is no finding");
    }
    for control in &ARCHIVE_CONTROLS {
        let repo = archives.damaged(control);
        for look in Look::ALL {
            let (found, expected) = (archives.look(&repo, look), control.at(look));
            let fits = match (&found, expected.map(Detector::words)) {
                (Some(finding), Some(words)) => finding.contains(words),
                (found, words) => found.is_none() && words.is_none(),
            };
            assert!(fits, "{}, {look:?}: expected {expected:?}, found {found:?}", control.what);
        }
    }
}

fn statement(damage: RestoredDamage) -> &'static str {
    match damage {
        RestoredDamage::RowDropped => "DELETE FROM guests WHERE id = (SELECT max(id) FROM guests)",
        RestoredDamage::RowDuplicated => "INSERT INTO events_2025 SELECT * FROM events_2025 LIMIT 1",
        RestoredDamage::RowReplaced => {
            "UPDATE events_2025 SET (at, what) = (SELECT at, what FROM events_2025 ORDER BY at LIMIT 1)
             WHERE at = (SELECT max(at) FROM events_2025)"
        }
        RestoredDamage::CellChanged => "UPDATE guests SET name = name || 'x' WHERE id = 1",
        RestoredDamage::RowInEmptyTable => "INSERT INTO empty_one VALUES (1)",
        RestoredDamage::TableDropped => "DROP TABLE empty_one",
        RestoredDamage::TableAdded => "CREATE TABLE added ()",
        RestoredDamage::SequenceStale => "SELECT setval('tickets', 100)",
        RestoredDamage::IndexDropped => "DROP INDEX letters_by_length",
        RestoredDamage::PolicyDropped => "DROP POLICY only_recent ON events",
        RestoredDamage::LargeObjectChanged => {
            "SELECT lo_put((SELECT min(oid) FROM pg_largeobject_metadata), 0, '\\x00')"
        }
    }
}

/// What the comparison at a restore's end finds first in this database.
fn first_difference(repo: &str, database: &Database) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let repository = FolderRepository::open(Path::new(repo.strip_prefix("file://").unwrap())).unwrap();
        let backup = find_backup(&repository, None).await.unwrap();
        let target = PostgresTarget::new(database.url().parse().unwrap(), PgBin::debian());
        let restored = read_back(&target, 2).await.unwrap();
        compare(&backup.manifest.expected(), &restored).into_iter().next()
    })
}

#[test]
fn every_damage_of_a_restored_database_is_found_by_the_check_that_should_find_it() {
    let (bench, source, restored) = (Bench::new(), Database::filled(), Database::empty(Server::Target));
    bench.good_backup(&source);
    bench.restore(&bench.repo(), &restored, &[]).ok();
    assert_eq!(first_difference(&bench.repo(), &restored), None);
    for control in &RESTORED_CONTROLS {
        let damaged = Database::like(&restored);
        damaged.sql(statement(control.damage));
        let found = first_difference(&bench.repo(), &damaged).unwrap_or_default();
        assert!(found.contains(control.found_by.words()), "{}: {found}", control.what);
    }
}
