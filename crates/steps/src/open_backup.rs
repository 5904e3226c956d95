//! Opening a backup or captured changes: the newest keys object, by whoever of the holders is at hand.

use crate::StepError;
use crate::list_backups::StandingBackup;
use crate::list_changes::StandingChanges;
use crate::ports::{KeyHolder, Repository};
use keepsake_archive::{BackupIdentity, KeyFile, ManifestSeal};
use keepsake_domain::{BackupId, FailureClass};

/// A keys object holds a handful of wrapped keys, each under 4 KiB.
const KEYS_LIMIT_BYTES: u64 = 1 << 20;

/// What a key of its own protects: a backup, or what one run captured.
pub trait Locked: Sync {
    /// Which key, and where it lies.
    fn lock(&self) -> Lock<'_>;
}

/// A key of its own, as a manifest names it.
pub struct Lock<'a> {
    /// What it protects, for people.
    pub what: String,
    /// The backup, or the run.
    pub id: BackupId,
    /// What the keys of its key files begin with.
    pub keys: String,
    /// Public half.
    pub recipient: &'a str,
    /// Where the manifest lies.
    pub manifest: String,
    /// The manifest's seal, which the private half checks.
    pub seal: &'a ManifestSeal,
}

impl Locked for StandingBackup {
    fn lock(&self) -> Lock<'_> {
        Lock {
            what: format!("backup {}", self.layout.backup_id),
            id: self.layout.backup_id,
            keys: format!("{}keys/", self.layout.root()),
            recipient: &self.manifest.recipient,
            manifest: self.layout.manifest(),
            seal: &self.seal,
        }
    }
}

impl Locked for StandingChanges {
    fn lock(&self) -> Lock<'_> {
        Lock {
            what: format!("capture run {}", self.run_id()),
            id: self.run_id(),
            keys: format!("{}keys/", self.layout.run(self.run_id())),
            recipient: self.recipient(),
            manifest: self.manifest_key(),
            seal: &self.seal,
        }
    }
}

/// Opens a private half with one of the holders. The segments of one run share theirs; the manifest's seal is checked at
/// each call.
///
/// # Errors
/// When none of them wrapped it, the keys object is damaged or belongs to another backup, or the manifest was not sealed
/// with the backup's key.
pub async fn open_backup(
    repository: &dyn Repository,
    locked: &dyn Locked,
    holders: &[&dyn KeyHolder],
) -> Result<BackupIdentity, StepError> {
    let lock = locked.lock();
    let file = newest_keys(repository, locked).await?;
    for holder in holders {
        for wrapped in &file.holders {
            let opened = holder.unwrap(wrapped, lock.id).await?;
            if let Some(identity) = opened {
                return belongs(identity, &lock);
            }
        }
    }
    let names: Vec<String> = file.holders.iter().map(keepsake_archive::WrappedKey::holder).collect();
    Err(StepError::found(
        FailureClass::Permanent,
        format!("none of the keys at hand opens {}; its holders are: {}", lock.what, names.join(", ")),
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
    locked: &dyn Locked,
    identity_file_text: &str,
) -> Result<BackupIdentity, StepError> {
    let file = newest_keys(repository, locked).await?;
    belongs(file.unwrap_with_age(identity_file_text)?, &locked.lock())
}

/// The newest generation of a keys object; nothing is opened.
///
/// # Errors
/// [`FailureClass::Integrity`] when there is none, it is damaged, or it is of another key than the manifest.
pub async fn newest_keys(repository: &dyn Repository, locked: &dyn Locked) -> Result<KeyFile, StepError> {
    let lock = locked.lock();
    // Generations are zero-padded, so the last key is the newest.
    let newest = repository.list(&lock.keys).await?.pop().ok_or_else(|| {
        StepError::found(
            FailureClass::Integrity,
            format!("{} has no keys object under \"{}\"", lock.what, lock.keys),
            "without its key it cannot be read from this repository",
            "restore from a copy, which carries its own keys object",
        )
    })?;
    let bytes = repository.get(&newest.key, KEYS_LIMIT_BYTES).await?;
    let file = KeyFile::parse(&newest.key, &bytes)?;
    if file.recipient.to_string() == lock.recipient {
        return Ok(file);
    }
    Err(replaced(&lock, "is of another key than its manifest"))
}

/// The key is the right one, and the manifest was sealed with it: from here on the manifest is as good as the key.
fn belongs(identity: BackupIdentity, lock: &Lock<'_>) -> Result<BackupIdentity, StepError> {
    if identity.recipient().to_string() == lock.recipient {
        lock.seal.check(&lock.manifest, &identity.seal_key())?;
        return Ok(identity);
    }
    Err(replaced(lock, "holds another key"))
}

fn replaced(lock: &Lock<'_>, how: &str) -> StepError {
    StepError::found(
        FailureClass::Integrity,
        format!("the keys object of {} {how}", lock.what),
        "this repository's keys object was replaced; the rows themselves may be intact",
        "use the keys object of a copy",
    )
}
