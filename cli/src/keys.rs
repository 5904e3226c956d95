//! Who can open a backup, from the command line: recovery recipients and key files, or KMS.

use crate::arguments::KeyArguments;
use crate::failure::Failure;
use crate::places::Places;
use crate::secret_text::SecretText;
use async_trait::async_trait;
use keepsake_archive::{BackupIdentity, Recipient, WrappedKey, wrap_for};
use keepsake_aws::KmsKeyHolder;
use keepsake_domain::BackupId;
use keepsake_steps::ports::{KeyHolder, KeyHolderError, Repository};
use keepsake_steps::{Locked, Opener, StepError, open_backup, open_backup_with_recovery_key};
use std::path::Path;
use zeroize::Zeroizing;

/// A key file holds a few lines; a backup of one would never be larger than this.
const KEY_FILE_LIMIT_BYTES: u64 = 1 << 20;

/// Parses recovery recipients.
///
/// # Errors
/// When one is none. A secret key that was given in its place is not repeated.
pub fn recipients(texts: &[SecretText]) -> Result<Vec<Recipient>, Failure> {
    let parse = |text: &SecretText| {
        text.expose().parse().map_err(|_| {
            Failure::usage(
                "--recipient is no age recipient",
                "give the public half (age1…) that keygen printed",
            )
        })
    };
    texts.iter().map(parse).collect()
}

/// A recovery recipient as a key holder: wraps with the public half, and opens nothing.
pub struct RecoveryRecipient(pub Recipient);

#[async_trait]
impl KeyHolder for RecoveryRecipient {
    async fn wrap(
        &self,
        identity: &BackupIdentity,
        _backup_id: BackupId,
    ) -> Result<WrappedKey, KeyHolderError> {
        wrap_for(identity, &self.0).map_err(|cause| KeyHolderError::Denied {
            key_id: self.0.to_string(),
            act: "wrap the backup's key".to_owned(),
            cause: Box::new(cause),
        })
    }

    async fn unwrap(
        &self,
        _wrapped: &WrappedKey,
        _backup_id: BackupId,
    ) -> Result<Option<BackupIdentity>, KeyHolderError> {
        Ok(None)
    }
}

/// Who wraps new keys: the KMS key that was given, or the first recipient.
///
/// # Errors
/// When nobody was named, or AWS's region or credentials are not set.
pub async fn key_holder(
    places: &Places,
    kms_key: Option<&str>,
    recipients: &[Recipient],
) -> Result<Box<dyn KeyHolder>, Failure> {
    match (kms_key, recipients) {
        (Some(key_id), _) => Ok(Box::new(places.kms_key(key_id).await?)),
        (None, [recipient, ..]) => Ok(Box::new(RecoveryRecipient(recipient.clone()))),
        (None, []) => Err(Failure::usage(
            "nobody could open what would be written",
            "give --recipient with what keepsake keygen prints, or --kms-key",
        )),
    }
}

/// The key that was given to read backups with.
pub enum ReadingKey {
    /// Text of a recovery key's file.
    RecoveryKey(Zeroizing<String>),
    /// KMS.
    Kms(Box<KmsKeyHolder>),
}

impl ReadingKey {
    /// Reads the key file, if one was given; `None` when no key was given at all.
    ///
    /// # Errors
    /// When the file cannot be read, or AWS's region or credentials are not set.
    pub async fn given(arguments: &KeyArguments, places: &Places) -> Result<Option<Self>, Failure> {
        match &arguments.key_file {
            Some(path) => Ok(Some(Self::RecoveryKey(read_key_file(path)?))),
            None if arguments.kms => Ok(Some(Self::Kms(Box::new(places.any_kms_key().await?)))),
            None => Ok(None),
        }
    }
}

#[async_trait]
impl Opener for ReadingKey {
    async fn open(
        &self,
        repository: &dyn Repository,
        locked: &dyn Locked,
    ) -> Result<BackupIdentity, StepError> {
        match self {
            Self::RecoveryKey(text) => open_backup_with_recovery_key(repository, locked, text).await,
            Self::Kms(holder) => open_backup(repository, locked, &[holder.as_ref()]).await,
        }
    }
}

fn read_key_file(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let next = "give the file that keygen or age-keygen wrote";
    let failed = |cause: std::io::Error| {
        Failure::usage(format!("cannot read key file {}: {cause}", path.display()), next)
    };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > KEY_FILE_LIMIT_BYTES {
        return Err(Failure::usage(format!("{} is too large for a key file", path.display()), next));
    }
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(failed)
}
