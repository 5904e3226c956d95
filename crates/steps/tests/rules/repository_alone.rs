//! Rule 8: losing the catalog loses no backup. And the keys of either side open it.

use keepsake_archive::ExposeSecret;
use keepsake_steps::ports::Repository;
use keepsake_steps::{
    Restore, StandingBackup, find_backup, finish_target, manifest_keys, open_backup_with_recovery_key,
    prepare_target, read_backup, restore_parts,
};
use keepsake_testkit::scenario::{Scenario, Setting};
use keepsake_testkit::{MemoryRepository, MemoryTarget};
use std::sync::Arc;

/// What is left after a disaster: a repository, and a file in a safe.
struct Ruins {
    repository: Arc<MemoryRepository>,
    recovery_file: String,
}

impl Ruins {
    async fn restore(&self, backup: StandingBackup) -> MemoryTarget {
        let identity =
            open_backup_with_recovery_key(self.repository.as_ref(), &backup, &self.recovery_file).await;
        let target = MemoryTarget::new();
        let restore = Restore {
            repository: Arc::clone(&self.repository) as Arc<dyn Repository>,
            backup: Arc::new(backup),
            identity: identity.unwrap(),
            target: Arc::new(target.clone()),
            jobs: 1,
        };
        prepare_target(&restore).await.unwrap();
        restore_parts(&restore, restore.backup.manifest.parts.clone(), &|_| {}).await.unwrap();
        finish_target(&restore).await.unwrap();
        target
    }
}

#[tokio::test(start_paused = true)]
async fn repository_and_recovery_key_alone_list_find_and_restore_every_backup() {
    let scenario = Scenario::new(Setting::default());
    scenario.run("run-1").await.unwrap();
    scenario.run("run-2").await.unwrap();
    let rows = scenario.source.database().sorted_rows();
    let recovery_file = scenario.recovery.file_text.expose_secret().to_owned();
    let (primary, copy) = (Arc::clone(&scenario.primary), Arc::clone(&scenario.copy));
    drop(scenario);
    for repository in [primary, copy] {
        let ruins = Ruins { repository, recovery_file: recovery_file.clone() };
        let found = manifest_keys(ruins.repository.as_ref(), "").await.unwrap();
        assert_eq!(found.len(), 2);
        let newest = find_backup(ruins.repository.as_ref(), None).await.unwrap();
        assert_eq!(newest.layout, found[1]);
        for layout in found {
            let backup = read_backup(ruins.repository.as_ref(), layout).await.unwrap();
            assert_eq!(ruins.restore(backup).await.database().sorted_rows(), rows);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_backup_and_an_empty_repository_are_errors_and_not_the_newest() {
    let scenario = Scenario::new(Setting::default());
    assert!(find_backup(scenario.primary.as_ref(), None).await.is_err());
    scenario.run("run-1").await.unwrap();
    let unknown = keepsake_domain::BackupId(uuid::Uuid::from_u128(1));
    assert!(find_backup(scenario.primary.as_ref(), Some(unknown)).await.is_err());
}
