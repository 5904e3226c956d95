//! Opening a backup: its newest keys object, by whoever of the holders is at hand.

use crate::StepError;
use crate::list_backups::StandingBackup;
use crate::ports::{KeyHolder, Repository};
use keepsake_archive::{BackupIdentity, KeyFile};
use keepsake_domain::FailureClass;

/// A keys object holds a handful of wrapped keys, each under 4 KiB.
const KEYS_LIMIT_BYTES: u64 = 1 << 20;

/// Opens a backup's private half with one of the holders.
///
/// # Errors
/// When none of them wrapped it, the keys object is damaged or belongs to another backup, or the manifest was not sealed
/// with the backup's key.
pub async fn open_backup(
    repository: &dyn Repository,
    backup: &StandingBackup,
    holders: &[&dyn KeyHolder],
) -> Result<BackupIdentity, StepError> {
    let file = newest_keys(repository, backup).await?;
    for holder in holders {
        for wrapped in &file.holders {
            let opened = holder.unwrap(wrapped, backup.layout.backup_id).await?;
            if let Some(identity) = opened {
                return belongs(identity, backup);
            }
        }
    }
    let names: Vec<String> = file.holders.iter().map(keepsake_archive::WrappedKey::holder).collect();
    Err(StepError::found(
        FailureClass::Permanent,
        format!(
            "none of the keys at hand opens backup {}; its holders are: {}",
            backup.layout.backup_id,
            names.join(", ")
        ),
        "the backup is intact, it only cannot be read with these keys",
        "give the recovery key file by --key-file, or use a role that may decrypt with the KMS key",
    ))
}

/// Opens a backup's private half with an offline recovery key, given as the text of its file.
///
/// # Errors
/// When none of the file's identities is among the holders, the keys object is damaged or of another backup, or the
/// manifest was not sealed with the backup's key.
pub async fn open_backup_with_recovery_key(
    repository: &dyn Repository,
    backup: &StandingBackup,
    identity_file_text: &str,
) -> Result<BackupIdentity, StepError> {
    let file = newest_keys(repository, backup).await?;
    belongs(file.unwrap_with_age(identity_file_text)?, backup)
}

/// The newest generation of a backup's keys object; nothing is opened.
///
/// # Errors
/// [`FailureClass::Integrity`] when there is none, it is damaged, or it is of another key than the manifest.
pub async fn newest_keys(repository: &dyn Repository, backup: &StandingBackup) -> Result<KeyFile, StepError> {
    let prefix = format!("{}keys/", backup.layout.root());
    // Generations are zero-padded, so the last key is the newest.
    let newest = repository.list(&prefix).await?.pop().ok_or_else(|| {
        StepError::found(
            FailureClass::Integrity,
            format!("backup {} has no keys object under \"{prefix}\"", backup.layout.backup_id),
            "without its key the backup cannot be read from this repository",
            "restore from a copy, which carries its own keys object",
        )
    })?;
    let bytes = repository.get(&newest.key, KEYS_LIMIT_BYTES).await?;
    let file = KeyFile::parse(&newest.key, &bytes)?;
    if file.recipient.to_string() == backup.manifest.recipient {
        return Ok(file);
    }
    Err(replaced(backup, "is of another key than its manifest"))
}

/// The key is the backup's, and the manifest was sealed with it: from here on the manifest is as good as the key.
fn belongs(identity: BackupIdentity, backup: &StandingBackup) -> Result<BackupIdentity, StepError> {
    if identity.recipient().to_string() == backup.manifest.recipient {
        backup.seal.check(&backup.layout.manifest(), &identity.seal_key())?;
        return Ok(identity);
    }
    Err(replaced(backup, "holds another backup's key"))
}

fn replaced(backup: &StandingBackup, how: &str) -> StepError {
    StepError::found(
        FailureClass::Integrity,
        format!("the keys object of backup {} {how}", backup.layout.backup_id),
        "this repository's keys object was replaced; the rows themselves may be intact",
        "use the keys object of a copy",
    )
}
