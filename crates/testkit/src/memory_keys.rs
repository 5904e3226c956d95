use async_trait::async_trait;
use keepsake_archive::{BackupIdentity, ExposeSecret, WrappedKey};
use keepsake_domain::BackupId;
use keepsake_steps::ports::{KeyHolder, KeyHolderError};
use std::collections::BTreeMap;

/// The entry of a wrapped key's context that binds it to its backup.
const BACKUP_ID: &str = "keepsake:backup-id";

/// The twin of a key service. It hides nothing: for tests only.
#[derive(Debug, Clone)]
pub struct MemoryKeyHolder {
    key_id: String,
}

impl MemoryKeyHolder {
    /// A holder with one key.
    #[must_use]
    pub fn new(key_id: &str) -> Self {
        Self { key_id: key_id.to_owned() }
    }
}

/// Its own inverse.
fn scramble(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ 0x5a).collect()
}

#[async_trait]
impl KeyHolder for MemoryKeyHolder {
    async fn wrap(
        &self,
        identity: &BackupIdentity,
        backup_id: BackupId,
    ) -> Result<WrappedKey, KeyHolderError> {
        Ok(WrappedKey::Kms {
            key_id: self.key_id.clone(),
            ciphertext: scramble(identity.expose_secret().expose_secret().as_bytes()),
            context: BTreeMap::from([(BACKUP_ID.to_owned(), backup_id.to_string())]),
        })
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedKey,
        backup_id: BackupId,
    ) -> Result<Option<BackupIdentity>, KeyHolderError> {
        let WrappedKey::Kms { key_id, ciphertext, context } = wrapped else { return Ok(None) };
        if *key_id != self.key_id {
            return Ok(None);
        }
        let tampered = || KeyHolderError::Tampered { key_id: key_id.clone() };
        if context.get(BACKUP_ID) != Some(&backup_id.to_string()) {
            return Err(tampered());
        }
        let text = String::from_utf8(scramble(ciphertext)).map_err(|_| tampered())?;
        BackupIdentity::from_secret(&text).map(Some).map_err(|_| tampered())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[tokio::test]
    async fn opens_its_own_for_the_same_backup_only() {
        let (holder, backup) = (MemoryKeyHolder::new("k"), BackupId(Uuid::from_u128(1)));
        let identity = BackupIdentity::generate();
        let wrapped = holder.wrap(&identity, backup).await.expect("wrap");
        let opened = holder.unwrap(&wrapped, backup).await.expect("unwrap").expect("ours");
        assert_eq!(opened.recipient(), identity.recipient());
        let swapped = holder.unwrap(&wrapped, BackupId(Uuid::from_u128(2))).await;
        assert!(matches!(swapped, Err(KeyHolderError::Tampered { .. })), "{swapped:?}");
        assert!(MemoryKeyHolder::new("other").unwrap(&wrapped, backup).await.expect("not ours").is_none());
    }
}
