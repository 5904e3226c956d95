use async_trait::async_trait;
use keepsake_archive::{BackupIdentity, WrappedKey};
use keepsake_domain::{BackupId, Classified, Explanation, FailureClass};

/// Someone who can open a backup: a KMS key, or a person with a recovery key.
#[async_trait]
pub trait KeyHolder: Send + Sync {
    /// Wraps a backup's private half. The backup's id is bound to it, so that wrapped keys cannot be swapped.
    ///
    /// # Errors
    /// [`KeyHolderError`].
    async fn wrap(
        &self,
        identity: &BackupIdentity,
        backup_id: BackupId,
    ) -> Result<WrappedKey, KeyHolderError>;

    /// Opens what was wrapped; `Ok(None)` when this holder did not wrap it.
    ///
    /// # Errors
    /// [`KeyHolderError`].
    async fn unwrap(
        &self,
        wrapped: &WrappedKey,
        backup_id: BackupId,
    ) -> Result<Option<BackupIdentity>, KeyHolderError>;
}

/// Why a key holder did not open or close. Never carries key material.
#[derive(Debug, thiserror::Error)]
pub enum KeyHolderError {
    /// No right to use the key, or it is disabled or deleted.
    #[error("key {key_id} denied to {act}")]
    Denied {
        /// The key.
        key_id: String,
        /// What was tried.
        act: String,
        /// What was said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It may pass.
    #[error("key {key_id} did not {act}")]
    Unavailable {
        /// The key.
        key_id: String,
        /// What was tried.
        act: String,
        /// What was seen.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What was wrapped is not what we wrapped.
    #[error("key {key_id} opened to something that is not this backup's key")]
    Tampered {
        /// The key.
        key_id: String,
    },
}

impl Classified for KeyHolderError {
    fn class(&self) -> FailureClass {
        match self {
            Self::Denied { .. } => FailureClass::Permanent,
            Self::Unavailable { .. } => FailureClass::Transient,
            Self::Tampered { .. } => FailureClass::Integrity,
        }
    }

    fn explanation(&self) -> Explanation {
        let next = match self {
            Self::Denied { key_id, act, .. } => {
                format!("allow the role to {act} with {key_id}, or use the offline recovery key (--key-file)")
            }
            Self::Unavailable { .. } => "run again; or use the offline recovery key (--key-file)".to_owned(),
            Self::Tampered { .. } => {
                "use another copy's keys object, or the offline recovery key (--key-file)".to_owned()
            }
        };
        Explanation { at_risk: "backups stand as they are; this key could not be used now".to_owned(), next }
    }
}
