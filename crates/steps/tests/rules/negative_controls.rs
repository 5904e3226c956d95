//! Rule 9: a test restore can fail. Every damage here is found, and the table says by what.

use crate::dumped;
use async_trait::async_trait;
use bytes::Bytes;
use keepsake_archive::BackupIdentity;
use keepsake_domain::{Certificate, FailureClass, RowsDigest, Verdict};
use keepsake_domain::{Classified, chain};
use keepsake_steps::ports::{ChunkReceiver, ChunkSender, ObjectInfo, Repository, RepositoryError};
use keepsake_steps::{
    Depth, Restore, RestoreFacts, Run, StandingBackup, StepError, certify, find_backup, finish_target,
    open_backup, prepare_target, read_back, restore_parts, verify_archive,
};
use keepsake_testkit::scenario::{Scenario, Setting};
use keepsake_testkit::{MemoryDatabase, MemoryRepository, MemoryTarget};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A store that keeps no checksums, as a folder: nothing but our own detectors finds damage of equal length.
struct WithoutChecksums(Arc<MemoryRepository>);

#[async_trait]
impl Repository for WithoutChecksums {
    fn url(&self) -> String {
        self.0.url()
    }
    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<ObjectInfo, RepositoryError> {
        self.0.put_new(key, bytes).await
    }
    async fn upload(&self, key: &str, chunks: ChunkReceiver) -> Result<ObjectInfo, RepositoryError> {
        self.0.upload(key, chunks).await
    }
    async fn get(&self, key: &str, limit_bytes: u64) -> Result<Bytes, RepositoryError> {
        self.0.get(key, limit_bytes).await
    }
    async fn download(&self, key: &str, to: ChunkSender) -> Result<(), RepositoryError> {
        self.0.download(key, to).await
    }
    async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, RepositoryError> {
        Ok(self.0.head(key).await?.map(|info| ObjectInfo { crc32: None, ..info }))
    }
    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, RepositoryError> {
        self.0.list(prefix).await
    }
    async fn copy_from(&self, from_url: &str, key: &str) -> Result<Option<ObjectInfo>, RepositoryError> {
        self.0.copy_from(from_url, key).await
    }
    async fn sweep_unfinished(&self, prefix: &str) -> Result<u32, RepositoryError> {
        self.0.sweep_unfinished(prefix).await
    }
}

/// A backup, another one beside it, and the key of the first.
struct Bench {
    scenario: Arc<Scenario>,
    repository: Arc<dyn Repository>,
    run: Run,
    backup: StandingBackup,
    other: StandingBackup,
    identity: BackupIdentity,
}

impl Bench {
    async fn new() -> Self {
        let scenario = Scenario::new(Setting::default());
        let other = dumped(&scenario, "run-0").await;
        scenario.seal(&other).await.unwrap();
        let over = scenario.run("run-1").await.unwrap_err();
        scenario.fail("run-0", &over).await;
        let run = dumped(&scenario, "run-2").await;
        scenario.seal(&run).await.unwrap();
        let repository: Arc<dyn Repository> = Arc::new(WithoutChecksums(Arc::clone(&scenario.primary)));
        let backup = find_backup(repository.as_ref(), Some(run.backup_id)).await.unwrap();
        let other = find_backup(repository.as_ref(), Some(other.backup_id)).await.unwrap();
        let identity = open_backup(repository.as_ref(), &backup, &[&scenario.key_holder]).await.unwrap();
        Self { scenario, repository, run, backup, other, identity }
    }

    fn part(&self, index: usize) -> &str {
        &self.backup.manifest.parts[index].object.key
    }

    fn corrupt(&self, key: &str, damage: impl FnOnce(&mut Vec<u8>)) {
        self.scenario.primary.corrupt(key, damage);
    }

    async fn bytes(&self, key: &str) -> Vec<u8> {
        self.repository.get(key, u64::MAX).await.unwrap().to_vec()
    }

    /// Puts another object's bytes into the place of one.
    async fn replace(&self, key: &str, by: &str) {
        let bytes = self.bytes(by).await;
        self.corrupt(key, |place| *place = bytes);
    }

    fn edit(&mut self, change: impl FnOnce(&mut serde_json::Value)) {
        self.corrupt(&self.backup.layout.manifest(), |bytes| {
            let mut manifest = serde_json::from_slice(bytes).unwrap();
            change(&mut manifest);
            *bytes = serde_json::to_vec(&manifest).unwrap();
        });
    }

    /// What verifying at some depth finds; reading manifest and keys is part of it.
    async fn verify(&self, depth: usize) -> Option<String> {
        let found = async {
            let backup = find_backup(self.repository.as_ref(), Some(self.run.backup_id)).await?;
            let depth = match depth {
                0 => Depth::Objects,
                1 => Depth::Bytes,
                _ => Depth::Rows(&self.identity),
            };
            verify_archive(self.repository.as_ref(), &backup, depth).await
        };
        match found.await {
            Ok(damages) => damages.first().map(|damage| damage.finding.clone()),
            Err(error) => Some(integrity(&error)),
        }
    }

    async fn restore(&self) -> Option<String> {
        let target = MemoryTarget::new();
        match self.restored(&target).await {
            Ok(certificate) if certificate.verdict == Verdict::Passed => None,
            Ok(certificate) => Some(certificate.differences[0].clone()),
            Err(error) => Some(integrity(&error)),
        }
    }

    async fn restored(&self, target: &MemoryTarget) -> Result<Certificate, StepError> {
        let backup = find_backup(self.repository.as_ref(), Some(self.run.backup_id)).await?;
        let identity = open_backup(self.repository.as_ref(), &backup, &[&self.scenario.key_holder]).await?;
        let restore = Restore {
            repository: Arc::clone(&self.repository),
            backup: Arc::new(backup),
            identity,
            target: Arc::new(target.clone()),
            jobs: 1,
        };
        prepare_target(&restore).await?;
        restore_parts(&restore, restore.backup.manifest.parts.clone(), &|_| {}).await?;
        finish_target(&restore).await?;
        self.certify(target).await
    }

    async fn certify(&self, target: &MemoryTarget) -> Result<Certificate, StepError> {
        let backup = find_backup(self.repository.as_ref(), Some(self.run.backup_id)).await?;
        let restored = read_back(target, 1).await?;
        let (repository, target_version) = (self.repository.url(), 150_018);
        let facts = RestoreFacts { repository, target_version, phase_milliseconds: BTreeMap::new() };
        Ok(certify(&backup, &restored, facts, self.scenario.clock.as_ref()))
    }
}

/// Damage must be told as damage: it stops, keeps the evidence and wakes someone.
fn integrity(error: &StepError) -> String {
    assert_eq!(error.class(), FailureClass::Integrity, "{}", chain(error));
    chain(error)
}

const CONTROLS: [&str; 16] = [
    "byte flipped in the age header",
    "byte flipped in the body",
    "byte flipped in the last block",
    "last byte cut off",
    "byte added at the end",
    "part missing",
    "two parts swapped",
    "part of another backup",
    "schema of another backup",
    "manifest: rows changed",
    "manifest: digest changed",
    "manifest: part of a cut table removed",
    "manifest: whole table removed",
    "manifest: sequence changed",
    "manifest: of another backup",
    "keys object of another backup",
];

async fn damage(bench: &mut Bench, control: &str) {
    let part = bench.part(1).to_owned();
    match control {
        "byte flipped in the age header" => bench.corrupt(&part, |bytes| bytes[30] ^= 1),
        "byte flipped in the body" => bench.corrupt(&part, |bytes| {
            let middle = bytes.len() - 40;
            bytes[middle] ^= 1;
        }),
        "byte flipped in the last block" => bench.corrupt(&part, |bytes| *bytes.last_mut().unwrap() ^= 1),
        "last byte cut off" => bench.corrupt(&part, |bytes| bytes.truncate(bytes.len() - 1)),
        "byte added at the end" => bench.corrupt(&part, |bytes| bytes.push(0)),
        "part missing" => bench.scenario.primary.lose(&part),
        "two parts swapped" => {
            let (other, first) = (bench.part(0).to_owned(), bench.bytes(&part).await);
            bench.replace(&part, &other).await;
            bench.corrupt(&other, |bytes| *bytes = first);
        }
        "part of another backup" => {
            let by = bench.other.manifest.parts[1].object.key.clone();
            bench.replace(&part, &by).await;
        }
        "schema of another backup" => {
            let (key, by) =
                (bench.backup.manifest.schema.key.clone(), bench.other.manifest.schema.key.clone());
            bench.replace(&key, &by).await;
        }
        "manifest: rows changed" => bench.edit(|manifest| manifest["parts"][1]["rows"] = 7.into()),
        "manifest: digest changed" => bench.edit(|manifest| {
            manifest["parts"][1]["rows_digest"] = serde_json::to_value(RowsDigest(1)).unwrap();
        }),
        "manifest: part of a cut table removed" => {
            bench.edit(|manifest| drop(manifest["parts"].as_array_mut().unwrap().remove(1)));
        }
        "manifest: whole table removed" => bench.edit(|manifest| {
            let parts = manifest["parts"].as_array_mut().unwrap();
            parts.retain(|part| part["table"]["name"] != "vendors");
        }),
        "manifest: sequence changed" => {
            bench.edit(|manifest| manifest["sequences"][0]["last_value"] = 1.into())
        }
        "manifest: of another backup" => {
            let (key, by) = (bench.backup.layout.manifest(), bench.other.layout.manifest());
            bench.replace(&key, &by).await;
        }
        _ => {
            let (key, by) = (bench.backup.layout.keys(1), bench.other.layout.keys(1));
            bench.replace(&key, &by).await;
        }
    }
}

/// Damage that nothing at this depth can see, because everything that was read fits together.
fn is_invisible(control: &str, depth: usize) -> bool {
    match control {
        // The manifest still describes objects that stand; the schema's table without rows is found after a restore.
        "manifest: whole table removed" => true,
        // Rows are counted only where they are decrypted.
        "manifest: rows changed" | "manifest: digest changed" => depth < 2,
        // The restored sequence is set to what the manifest says.
        "manifest: sequence changed" => true,
        // The identity is at hand already; opening finds it.
        "keys object of another backup" => true,
        "manifest: part of a cut table removed" | "manifest: of another backup" => false,
        // A store without checksums tells lengths only.
        _ => depth == 0,
    }
}

#[tokio::test(start_paused = true)]
async fn every_damage_of_an_archive_is_found() {
    println!("{:38} | {:7} | {:7} | {:7} | found first by (restore)", "damage", "objects", "bytes", "rows");
    let clean = Bench::new().await;
    for depth in 0..3 {
        assert_eq!(clean.verify(depth).await, None, "a whole archive is no finding");
    }
    assert_eq!(clean.restore().await, None);
    for control in CONTROLS {
        let mut bench = Bench::new().await;
        damage(&mut bench, control).await;
        let mut found = Vec::new();
        for depth in 0..3 {
            let finding = bench.verify(depth).await;
            assert!(
                finding.is_some() || is_invisible(control, depth),
                "{control} was not found at depth {depth}"
            );
            found.push(finding.map_or("-", |_| "found"));
        }
        let restore = bench.restore().await;
        // The sequence's value is only what the manifest says it is: nothing else holds it.
        assert!(restore.is_some() || control == "manifest: sequence changed", "{control} restores unnoticed");
        let by = restore.unwrap_or_else(|| "-".to_owned());
        let by = by.rsplit("found by ").next().unwrap_or_default();
        println!("{control:38} | {:7} | {:7} | {:7} | {by}", found[0], found[1], found[2]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_key_opens_nothing_and_is_told_as_such() {
    let bench = Bench::new().await;
    let wrong = BackupIdentity::generate();
    let damages =
        verify_archive(bench.repository.as_ref(), &bench.backup, Depth::Rows(&wrong)).await.unwrap();
    // Everything but the README, which is not encrypted.
    assert_eq!(damages.len(), bench.backup.manifest.objects().count() - 1);
    assert!(damages.iter().all(|damage| damage.finding.contains("not encrypted for")), "{damages:?}");
}

type Tampering = fn(&mut MemoryDatabase);

const TAMPERINGS: [(&str, Tampering); 9] = [
    ("a row less", |database| drop(database.table("guests").rows.remove(7))),
    ("a row twice", |database| {
        let row = database.table("guests").rows[3].clone();
        database.table("guests").rows.push(row);
    }),
    ("a row replaced by another one twice", |database| {
        database.table("guests").rows[4] = database.table("guests").rows[3].clone();
    }),
    ("a changed cell", |database| database.table("vendors").rows[0].push('x')),
    ("a row in the empty table", |database| database.table("photos").rows.push("1".to_owned())),
    ("a table less", |database| database.tables.retain(|table| table.table.name != "photos")),
    ("a stale sequence", |database| database.sequences[0].last_value = 31),
    ("an index less", |database| drop(database.post_objects.remove(0))),
    ("a changed large object", |database| database.large_objects[1][0] = 1),
];

#[tokio::test(start_paused = true)]
async fn every_difference_of_a_restored_database_is_found() {
    let bench = Bench::new().await;
    for (what, tampering) in TAMPERINGS {
        let target = MemoryTarget::new();
        assert_eq!(bench.restored(&target).await.unwrap().verdict, Verdict::Passed);
        target.tamper(tampering);
        let certificate = bench.certify(&target).await.unwrap();
        assert_eq!(certificate.verdict, Verdict::Failed, "{what} went unnoticed");
        println!("{what:38} | {}", certificate.differences.join("; "));
    }
}

#[tokio::test(start_paused = true)]
async fn a_restore_into_a_target_that_holds_something_is_refused_before_anything_changed() {
    let bench = Bench::new().await;
    let target = MemoryTarget::with_foreign("table public.theirs");
    let refused = bench.restored(&target).await.unwrap_err();
    assert_eq!(refused.class(), FailureClass::Permanent, "{refused}");
    assert_eq!(target.database(), MemoryDatabase::default());
}
