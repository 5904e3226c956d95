//! Archives that are not what was written, and what the program says of them. Every damage and the check that finds it
//! are in `negative_controls`.

use crate::bench::Bench;
use crate::database::{Database, Server};
use keepsake_archive::{BackupIdentity, KeyFile, Manifest};
use std::path::{Path, PathBuf};

/// Objects of rows, largest first.
fn parts(archive: &Path) -> Vec<PathBuf> {
    let mut parts: Vec<PathBuf> =
        std::fs::read_dir(archive.join("data")).unwrap().map(|entry| entry.unwrap().path()).collect();
    parts.sort_by_key(|path| std::cmp::Reverse(std::fs::metadata(path).unwrap().len()));
    parts
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    overwrite(path, &bytes);
}

/// Objects may be read-only, as immutable things are.
fn overwrite(path: &Path, bytes: &[u8]) {
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Changes a manifest and seals it anew with this backup's key.
fn seal_anew(archive: &Path, key: &BackupIdentity, edit: impl FnOnce(&mut Manifest)) {
    let path = archive.join("manifest.json");
    let mut manifest: Manifest = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    edit(&mut manifest);
    overwrite(&path, &manifest.to_json(&key.seal_key()).unwrap());
}

/// A whole backup, and a copy of its repository for each damage.
struct Damaged {
    bench: Bench,
}

impl Damaged {
    fn new() -> Self {
        let (bench, source) = (Bench::new(), Database::filled());
        bench.good_backup(&source);
        Self { bench }
    }

    /// The key that opens the backup.
    fn key(&self) -> BackupIdentity {
        let archive = self.bench.archive(&self.bench.repo());
        let file = std::fs::read(archive.join("keys/000001.json")).unwrap();
        let text = std::fs::read_to_string(self.bench.key_file()).unwrap();
        serde_json::from_slice::<KeyFile>(&file).unwrap().unwrap_with_age(&text).unwrap()
    }
}

#[test]
fn a_quick_verify_without_a_key_finds_a_missing_object() {
    let damaged = Damaged::new();
    let repo = damaged.bench.copy("missing");
    std::fs::remove_file(&parts(&damaged.bench.archive(&repo))[0]).unwrap();
    damaged.bench.verify(&repo, &[]).failed(14, &["1 of 1 backups are damaged"]);
}

#[test]
fn a_key_without_deep_opens_the_key_file_and_checks_the_manifests_mac_and_a_wrong_key_is_told() {
    let damaged = Damaged::new();
    let (bench, other) = (&damaged.bench, Bench::new());
    let (repo, key, other_key) = (bench.repo(), bench.key_file(), other.key_file());
    let checks = |more: &[&str]| {
        let answer = bench.verify(&repo, &[&["--json"], more].concat()).ok().json();
        answer["backups"][0]["manifest_checks"].clone()
    };
    assert_eq!(checks(&[]), serde_json::json!(["digest"]));
    assert_eq!(checks(&["--key-file", &key]), serde_json::json!(["digest", "mac"]));
    let told = bench.verify(&repo, &["--key-file", &key]).ok().stdout;
    assert!(told.contains("objects, key and the manifest's MAC; contents not read: --deep"), "{told}");
    let refused = bench.verify(&repo, &["--key-file", &other_key]).failed(12, &[]);
    assert!(refused.stderr.contains(&bench.recipient), "the holders are named: {}", refused.stderr);

    let forged = bench.copy("forged");
    let forger = BackupIdentity::generate();
    seal_anew(&bench.archive(&forged), &forger, |manifest| manifest.sequences.clear());
    bench.verify(&forged, &[]).ok();
    let found = bench.verify(&forged, &["--json", "--key-file", &key]).failed(14, &["damaged"]).json();
    let finding = found["backups"][0]["damages"][0]["finding"].as_str().unwrap();
    assert!(finding.contains("MAC"), "{finding}");
}

#[test]
fn hashing_without_a_key_finds_a_flipped_byte_and_says_that_rows_were_not_counted() {
    let damaged = Damaged::new();
    let repo = damaged.bench.copy("flipped");
    flip(&parts(&damaged.bench.archive(&repo))[0], 1000);
    let failed = damaged.bench.verify(&repo, &["--deep"]).failed(14, &["damaged"]);
    assert!(failed.stderr.contains("no key was given"), "{}", failed.stderr);
}

#[test]
fn a_manifest_of_a_newer_format_is_told_apart_from_damage() {
    let damaged = Damaged::new();
    let repo = damaged.bench.copy("newer");
    seal_anew(&damaged.bench.archive(&repo), &damaged.key(), |manifest| manifest.format_version = 99);
    let target = Database::empty(Server::Target);
    damaged.bench.restore(&repo, &target, &[]).failed(12, &["format version 99"]);
    crate::program::run(&["list", "--repo", &repo]).failed(12, &["format version 99"]);
    damaged.bench.verify(&repo, &[]).failed(14, &[]);
}

#[test]
fn a_target_older_than_the_source_is_refused_before_anything_is_changed() {
    let damaged = Damaged::new();
    let repo = damaged.bench.copy("from the future");
    seal_anew(&damaged.bench.archive(&repo), &damaged.key(), |manifest| {
        manifest.server.server_version = 990_000;
    });
    let target = Database::empty(Server::Target);
    let before = target.content();
    damaged.bench.restore(&repo, &target, &[]).failed(12, &["does not fit", "version 99"]);
    assert_eq!(target.content(), before);
}

#[test]
fn a_restore_that_lacks_a_schema_object_is_not_proven_and_says_so() {
    let damaged = Damaged::new();
    let repo = damaged.bench.copy("ghost");
    seal_anew(&damaged.bench.archive(&repo), &damaged.key(), |manifest| {
        manifest.schema_objects.push("table public.ghost".to_owned());
    });
    let target = Database::empty(Server::Target);
    let failed =
        damaged.bench.restore(&repo, &target, &["--json", "--record"]).failed(14, &["differs in 1 places"]);
    let certificate = &failed.json()["certificate"];
    assert_eq!(certificate["verdict"], "failed");
    assert_eq!(certificate["differences"][0], "table public.ghost is missing");
    assert_eq!(damaged.bench.list(&repo)["backups"][0]["verdict"], "failed");
}
