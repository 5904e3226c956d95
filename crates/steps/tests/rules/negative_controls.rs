//! Rule 9: a test restore can fail. Every damage is found, by the check that should find it, on the twins.

use crate::dumped;
use async_trait::async_trait;
use bytes::Bytes;
use keepsake_archive::{BackupIdentity, ExposeSecret, ManifestError};
use keepsake_domain::{Certificate, Classified, FailureClass, Verdict, chain};
use keepsake_steps::ports::{ChunkReceiver, ChunkSender, ObjectInfo, Repository, RepositoryError};
use keepsake_steps::{
    Depth, Restore, RestoreFacts, StandingBackup, StepError, certify, find_backup, finish_target,
    manifest_keys, newest_keys, open_backup_with_recovery_key, prepare_target, read_back, read_backup,
    restore_parts, verify_archive, verify_link,
};
use keepsake_testkit::controls::{
    ARCHIVE_CONTROLS, ArchiveDamage, Detector, Look, RESTORED_CONTROLS, RestoredDamage, Specimen, tables,
};
use keepsake_testkit::scenario::{Scenario, Setting};
use keepsake_testkit::{MemoryDatabase, MemoryRepository, MemoryTable, MemoryTarget};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A store that keeps no checksums, as a folder: nothing but our own detectors finds damage of equal length.
pub(crate) struct WithoutChecksums(pub(crate) Arc<MemoryRepository>);

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
    async fn list_after(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<ObjectInfo>, RepositoryError> {
        self.0.list_after(prefix, after, limit).await
    }
    async fn folders(&self, prefix: &str) -> Result<Vec<String>, RepositoryError> {
        self.0.folders(prefix).await
    }
    async fn copy_from(&self, from_url: &str, key: &str) -> Result<Option<ObjectInfo>, RepositoryError> {
        self.0.copy_from(from_url, key).await
    }
    async fn sweep_unfinished(&self, prefix: &str) -> Result<u32, RepositoryError> {
        self.0.sweep_unfinished(prefix).await
    }
}

/// A backup, an older one beside it, and the recovery key of both.
struct Bench {
    scenario: Arc<Scenario>,
    repository: Arc<dyn Repository>,
    backup: StandingBackup,
    older: StandingBackup,
    recovery: String,
}

impl Bench {
    async fn new() -> Self {
        let scenario = Scenario::new(Setting::default());
        let older = dumped(&scenario, "run-0").await;
        scenario.seal(&older).await.unwrap();
        let over = scenario.run("run-1").await.unwrap_err();
        scenario.fail("run-0", &over).await;
        let run = dumped(&scenario, "run-2").await;
        scenario.seal(&run).await.unwrap();
        let repository: Arc<dyn Repository> = Arc::new(WithoutChecksums(Arc::clone(&scenario.primary)));
        let backup = find_backup(repository.as_ref(), Some(run.backup_id)).await.unwrap();
        let older = find_backup(repository.as_ref(), Some(older.backup_id)).await.unwrap();
        let recovery = scenario.recovery.file_text.expose_secret().to_owned();
        Self { scenario, repository, backup, older, recovery }
    }

    async fn objects(&self, of: &StandingBackup) -> BTreeMap<String, Vec<u8>> {
        let root = of.layout.root();
        let mut objects = BTreeMap::new();
        for info in self.repository.list(&root).await.unwrap() {
            let bytes = self.repository.get(&info.key, u64::MAX).await.unwrap();
            objects.insert(info.key[root.len()..].to_owned(), bytes.to_vec());
        }
        objects
    }

    async fn key_of(&self, backup: &StandingBackup) -> BackupIdentity {
        open_backup_with_recovery_key(self.repository.as_ref(), backup, &self.recovery).await.unwrap()
    }

    async fn damage(&self, damage: ArchiveDamage) {
        let mut specimen = Specimen {
            backup: self.objects(&self.backup).await,
            older: self.objects(&self.older).await,
            key: self.key_of(&self.backup).await,
            older_key: self.key_of(&self.older).await,
        };
        damage.apply(&mut specimen);
        for (backup, damaged) in [(&self.backup, specimen.backup), (&self.older, specimen.older)] {
            for (name, was) in self.objects(backup).await {
                let key = format!("{}{name}", backup.layout.root());
                match damaged.get(&name) {
                    Some(bytes) if *bytes == was => {}
                    Some(bytes) => self.scenario.primary.corrupt(&key, |place| place.clone_from(bytes)),
                    None => self.scenario.primary.lose(&key),
                }
            }
        }
    }

    /// What the first finding says, of all backups, as `keepsake verify` looks at them.
    async fn look(&self, look: Look) -> Option<String> {
        if look == Look::Restore {
            return self.restore().await;
        }
        let layouts = manifest_keys(self.repository.as_ref(), "").await.unwrap();
        for (index, layout) in layouts.iter().enumerate() {
            let found = async {
                let backup = read_backup(self.repository.as_ref(), layout.clone()).await?;
                if let Some(next) = layouts.get(index + 1) {
                    let linked = verify_link(self.repository.as_ref(), &backup, next.clone()).await;
                    // A next manifest that cannot be read is that one's own finding.
                    if let Err(unlinked @ StepError::Manifest(ManifestError::Unlinked { .. })) = linked {
                        return Err(unlinked);
                    }
                }
                newest_keys(self.repository.as_ref(), &backup).await?;
                let key;
                let depth = match look {
                    Look::Objects => Depth::Objects,
                    Look::Bytes => Depth::Bytes,
                    Look::Rows | Look::Restore => {
                        key =
                            open_backup_with_recovery_key(self.repository.as_ref(), &backup, &self.recovery)
                                .await?;
                        Depth::Rows(&key)
                    }
                };
                verify_archive(self.repository.as_ref(), &backup, depth).await
            };
            match found.await {
                Ok(damages) if damages.is_empty() => {}
                Ok(damages) => return Some(damages[0].finding.clone()),
                Err(error) => return Some(integrity(&error)),
            }
        }
        None
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
        let backup = read_backup(self.repository.as_ref(), self.backup.layout.clone()).await?;
        let identity =
            open_backup_with_recovery_key(self.repository.as_ref(), &backup, &self.recovery).await?;
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
        let backup = read_backup(self.repository.as_ref(), self.backup.layout.clone()).await?;
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

#[tokio::test(start_paused = true)]
async fn every_damage_of_an_archive_is_found() {
    let clean = Bench::new().await;
    for look in Look::ALL {
        assert_eq!(clean.look(look).await, None, "a whole archive is no finding");
    }
    for control in ARCHIVE_CONTROLS {
        let bench = Bench::new().await;
        bench.damage(control.damage).await;
        for look in Look::ALL {
            let (found, expected) = (bench.look(look).await, control.at(look));
            let by = expected.map(Detector::words);
            let fits = match (&found, by) {
                (Some(finding), Some(words)) => finding.contains(words),
                (found, by) => found.is_none() && by.is_none(),
            };
            assert!(fits, "{}, {look:?}: expected {expected:?}, found {found:?}", control.what);
        }
    }
    println!("{}", tables().join("\n"));
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

fn tamper(damage: RestoredDamage, database: &mut MemoryDatabase) {
    match damage {
        RestoredDamage::RowDropped => drop(database.table("guests").rows.remove(7)),
        RestoredDamage::RowDuplicated => {
            let row = database.table("guests").rows[3].clone();
            database.table("guests").rows.push(row);
        }
        RestoredDamage::RowReplaced => {
            database.table("guests").rows[4] = database.table("guests").rows[3].clone();
        }
        RestoredDamage::CellChanged => database.table("vendors").rows[0].push('x'),
        RestoredDamage::RowInEmptyTable => database.table("photos").rows.push("1".to_owned()),
        RestoredDamage::TableDropped => database.tables.retain(|table| table.table.name != "photos"),
        RestoredDamage::TableAdded => database.tables.push(MemoryTable::new("added", &["id"], [])),
        RestoredDamage::SequenceStale => database.sequences[0].last_value = 31,
        RestoredDamage::IndexDropped => database.post_objects.retain(|object| !object.starts_with("index")),
        RestoredDamage::PolicyDropped => database.post_objects.retain(|object| !object.starts_with("policy")),
        RestoredDamage::LargeObjectChanged => database.large_objects[1][0] = 1,
    }
}

#[tokio::test(start_paused = true)]
async fn every_difference_of_a_restored_database_is_found() {
    let bench = Bench::new().await;
    for control in RESTORED_CONTROLS {
        let target = MemoryTarget::new();
        assert_eq!(bench.restored(&target).await.unwrap().verdict, Verdict::Passed);
        target.tamper(|database| tamper(control.damage, database));
        let certificate = bench.certify(&target).await.unwrap();
        assert_eq!(certificate.verdict, Verdict::Failed, "{} went unnoticed", control.what);
        let first = &certificate.differences[0];
        assert!(first.contains(control.found_by.words()), "{}: {first}", control.what);
    }
}

#[test]
fn the_document_of_detectors_shows_these_tables() {
    let document = include_str!("../../../../docs/detectors.md");
    for table in tables() {
        assert!(document.contains(&table), "docs/detectors.md must hold this table:\n{table}");
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
