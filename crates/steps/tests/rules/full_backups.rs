//! Full backups behind captured changes: manifest and key, without the objects.

use crate::differential::manifest;
use keepsake_archive::{ArchiveLayout, BackupIdentity, KeyFile};
use keepsake_domain::BackupId;
use keepsake_steps::ports::{KeyHolder, Repository};
use keepsake_steps::{StandingBackup, StandingChanges, read_backup};
use keepsake_testkit::MemoryKeyHolder;
use uuid::Uuid;

/// Writes one that was made where these changes end, with the key holder "k".
pub(crate) async fn full_backup(
    repository: &dyn Repository,
    at: &StandingChanges,
    number: u128,
) -> StandingBackup {
    let (identity, backup_id) = (BackupIdentity::generate(), BackupId(Uuid::from_u128(number)));
    let layout = ArchiveLayout::new("wedsync", at.layout.lineage.clone(), backup_id).unwrap();
    let wrapped = MemoryKeyHolder::new("k").wrap(&identity, backup_id).await.unwrap();
    let time = at.boundary().position.at;
    let keys = KeyFile::new(backup_id, identity.recipient(), vec![wrapped], time).unwrap();
    repository.put_new(&layout.keys(1), keys.to_json().unwrap().into()).await.unwrap();
    let manifest = manifest(&layout, at, identity.recipient().to_string());
    let json = manifest.to_json(&identity.seal_key()).unwrap();
    repository.put_new(&layout.manifest(), json.into()).await.unwrap();
    read_backup(repository, layout).await.unwrap()
}
