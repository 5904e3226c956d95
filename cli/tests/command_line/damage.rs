//! Archives that are not what was written: verify finds it, restore refuses it, and nothing looks complete.

use crate::bench::Bench;
use crate::database::{Database, Server};
use serde_json::Value;
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

fn edit_manifest(archive: &Path, edit: impl FnOnce(&mut Value)) {
    let path = archive.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    edit(&mut manifest);
    overwrite(&path, &serde_json::to_vec_pretty(&manifest).unwrap());
}

/// A whole backup, and a copy of its repository for each damage.
struct Damaged {
    bench: Bench,
    source: Database,
}

impl Damaged {
    fn new() -> Self {
        let (bench, source) = (Bench::new(), Database::filled());
        bench.good_backup(&source);
        Self { bench, source }
    }

    /// Damages a copy, and sees that verify finds it and restore does not get through.
    fn is_found(&self, name: &str, damage: impl FnOnce(&Path)) {
        let repo = self.bench.copy(name);
        damage(&self.bench.archive(&repo));
        let key = self.bench.key_file();
        let verified = self.bench.verify(&repo, &["--deep", "--key-file", &key, "--json"]);
        assert_eq!(verified.code, Some(14), "{name}: {}\n{}", verified.stdout, verified.stderr);
        assert_eq!(verified.json()["verdict"], "failed", "{name}");
        let target = Database::empty(Server::Target);
        let restored = self.bench.restore(&repo, &target, &[]);
        assert!(matches!(restored.code, Some(13 | 14)), "{name}: {:?}\n{}", restored.code, restored.stderr);
        assert_ne!(target.content(), self.source.content(), "{name} looks complete");
    }
}

#[test]
fn a_flipped_byte_is_found_wherever_it_lies() {
    let damaged = Damaged::new();
    damaged.is_found("header", |archive| flip(&parts(archive)[0], 3));
    damaged.is_found("middle", |archive| {
        let part = &parts(archive)[0];
        flip(part, usize::try_from(std::fs::metadata(part).unwrap().len()).unwrap() / 2);
    });
    damaged.is_found("last", |archive| {
        let part = &parts(archive)[0];
        flip(part, usize::try_from(std::fs::metadata(part).unwrap().len()).unwrap() - 1);
    });
}

#[test]
fn a_missing_a_cut_and_a_swapped_object_are_found() {
    let damaged = Damaged::new();
    damaged.is_found("missing", |archive| std::fs::remove_file(&parts(archive)[0]).unwrap());
    damaged.is_found("cut", |archive| {
        let part = &parts(archive)[0];
        let bytes = std::fs::read(part).unwrap();
        overwrite(part, &bytes[..bytes.len() - 100]);
    });
    damaged.is_found("swapped", |archive| {
        let parts = parts(archive);
        let (one, other) = (std::fs::read(&parts[0]).unwrap(), std::fs::read(&parts[1]).unwrap());
        overwrite(&parts[0], &other);
        overwrite(&parts[1], &one);
    });
    damaged.is_found("keys", |archive| std::fs::remove_file(archive.join("keys/000001.json")).unwrap());
}

#[test]
fn an_edited_manifest_is_found() {
    let damaged = Damaged::new();
    damaged.is_found("rows", |archive| {
        edit_manifest(archive, |manifest| manifest["parts"][0]["rows"] = 1_000_000.into());
    });
    damaged.is_found("part less", |archive| {
        edit_manifest(archive, |manifest| {
            let parts = manifest["parts"].as_array_mut().unwrap();
            let cut = parts.iter().position(|part| part["range"].is_object()).unwrap();
            parts.remove(cut);
        });
    });
    damaged.is_found("other place", |archive| {
        edit_manifest(archive, |manifest| manifest["source"] = "other".into());
    });
}

#[test]
fn a_quick_verify_without_a_key_finds_a_missing_object() {
    let damaged = Damaged::new();
    let repo = damaged.bench.copy("missing");
    std::fs::remove_file(&parts(&damaged.bench.archive(&repo))[0]).unwrap();
    damaged.bench.verify(&repo, &[]).failed(14, &["1 of 1 backups are damaged"]);
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
    edit_manifest(&damaged.bench.archive(&repo), |manifest| manifest["format_version"] = 99.into());
    let target = Database::empty(Server::Target);
    damaged.bench.restore(&repo, &target, &[]).failed(12, &["format version 99"]);
    crate::program::run(&["list", "--repo", &repo]).failed(12, &["format version 99"]);
    damaged.bench.verify(&repo, &[]).failed(14, &[]);
}

#[test]
fn a_target_older_than_the_source_is_refused_before_anything_is_changed() {
    let damaged = Damaged::new();
    let repo = damaged.bench.copy("from the future");
    edit_manifest(&damaged.bench.archive(&repo), |manifest| {
        manifest["server"]["server_version"] = 990_000.into()
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
    edit_manifest(&damaged.bench.archive(&repo), |manifest| {
        manifest["schema_objects"].as_array_mut().unwrap().push("table public.ghost".into());
    });
    let target = Database::empty(Server::Target);
    let failed =
        damaged.bench.restore(&repo, &target, &["--json", "--record"]).failed(14, &["differs in 1 places"]);
    let certificate = &failed.json()["certificate"];
    assert_eq!(certificate["verdict"], "failed");
    assert_eq!(certificate["differences"][0], "table public.ghost is missing");
    assert_eq!(damaged.bench.list(&repo)["backups"][0]["verdict"], "failed");
}
