use crate::{Clients, answer::Answer};
use async_trait::async_trait;
use aws_sdk_kms::primitives::Blob;
use keepsake_archive::{BackupIdentity, ExposeSecret, WrappedKey};
use keepsake_domain::BackupId;
use keepsake_steps::ports::{KeyHolder, KeyHolderError};
use std::collections::{BTreeMap, HashMap};

/// The entry of the encryption context that binds a wrapped key to its backup.
const BACKUP_ID: &str = "keepsake:backup-id";

/// A KMS key that wraps backups' keys. Symmetric; a multi-Region key opens wherever it has a replica.
#[derive(Debug, Clone)]
pub struct KmsKeyHolder {
    clients: Clients,
    key_id: Option<String>,
    /// Keys of other regions are not asked.
    only_region: Option<String>,
}

impl KmsKeyHolder {
    /// Wraps with this key (id, ARN or `alias/…`), and opens what it wrapped.
    #[must_use]
    pub fn new(clients: &Clients, key_id: impl Into<String>) -> Self {
        Self { clients: clients.clone(), key_id: Some(key_id.into()), only_region: None }
    }

    /// Opens with whatever key the wrapped key names, for a restore without configuration. It wraps nothing.
    #[must_use]
    pub fn for_reading(clients: &Clients) -> Self {
        Self { clients: clients.clone(), key_id: None, only_region: None }
    }

    /// Opens as in a region when no other is left: with the replica there of whatever key the wrapped key names.
    #[must_use]
    pub fn of_region_alone(clients: &Clients, region: &str) -> Self {
        Self { clients: clients.in_region(region), key_id: None, only_region: Some(region.to_owned()) }
    }

    /// Whether what `wrapped_by` wrapped may be opened by our key. An alias does not tell; then KMS is asked.
    fn may_open(&self, wrapped_by: &str) -> bool {
        self.key_id.as_deref().is_none_or(|ours| ours.contains("alias/") || tail(ours) == tail(wrapped_by))
    }

    async fn decrypt(
        &self,
        key_id: &str,
        ciphertext: &[u8],
        context: &HashMap<String, String>,
    ) -> Result<Opened, Answer> {
        let client = region_of(key_id)
            .map_or_else(|| self.clients.kms(), |region| self.clients.in_region(region).kms());
        let request = client.decrypt().key_id(key_id).ciphertext_blob(Blob::new(ciphertext));
        match request.set_encryption_context(Some(context.clone())).send().await.map_err(Answer::of) {
            Ok(opened) => Ok(Opened::Plaintext(opened.plaintext.map(Blob::into_inner).unwrap_or_default())),
            Err(answer) if answer.code == "IncorrectKeyException" => Ok(Opened::ByAnotherKey),
            Err(answer) if answer.code == "InvalidCiphertextException" => Ok(Opened::Tampered),
            Err(answer) => Err(answer),
        }
    }

    /// The replica in our own region first: the other region may be the one that is lost.
    fn keys_to_ask(&self, wrapped_by: &str) -> Vec<String> {
        let replica = replica_in(wrapped_by, self.clients.region());
        let mut keys: Vec<_> = replica.into_iter().chain([wrapped_by.to_owned()]).collect();
        keys.dedup();
        if let Some(only) = &self.only_region {
            keys.retain(|key| region_of(key) == Some(only));
        }
        keys
    }
}

enum Opened {
    Plaintext(Vec<u8>),
    ByAnotherKey,
    Tampered,
}

/// The key's own id, which replicas share, without account and region.
fn tail(key_id: &str) -> &str {
    key_id.rsplit('/').next().unwrap_or(key_id)
}

fn region_of(key_id: &str) -> Option<&str> {
    key_id.strip_prefix("arn:")?.split(':').nth(2).filter(|region| !region.is_empty())
}

/// The ARN of a multi-Region key's replica in another region.
fn replica_in(key_id: &str, region: Option<&str>) -> Option<String> {
    let (home, region) = region_of(key_id).zip(region)?;
    tail(key_id).starts_with("mrk-").then(|| key_id.replacen(&format!(":{home}:"), &format!(":{region}:"), 1))
}

fn failed(key_id: &str, act: &str, answer: Answer) -> KeyHolderError {
    let (key_id, act, cause) = (key_id.to_owned(), act.to_owned(), answer.cause);
    if answer.is_transient {
        KeyHolderError::Unavailable { key_id, act, cause }
    } else {
        KeyHolderError::Denied { key_id, act, cause }
    }
}

#[async_trait]
impl KeyHolder for KmsKeyHolder {
    async fn wrap(
        &self,
        identity: &BackupIdentity,
        backup_id: BackupId,
    ) -> Result<WrappedKey, KeyHolderError> {
        let key_id = self.key_id.as_deref().ok_or_else(|| KeyHolderError::Denied {
            key_id: "of the archive".to_owned(),
            act: "encrypt".to_owned(),
            cause: "it was opened for reading only".into(),
        })?;
        let client = region_of(key_id)
            .map_or_else(|| self.clients.kms(), |region| self.clients.in_region(region).kms());
        let secret = identity.expose_secret();
        let answer = client
            .encrypt()
            .key_id(key_id)
            .plaintext(Blob::new(secret.expose_secret().as_bytes()))
            .encryption_context(BACKUP_ID, backup_id.to_string())
            .send()
            .await;
        let wrapped = answer.map_err(|error| failed(key_id, "encrypt", Answer::of(error)))?;
        let ciphertext = wrapped.ciphertext_blob.map(Blob::into_inner).unwrap_or_default();
        if ciphertext.is_empty() {
            return Err(KeyHolderError::Tampered { key_id: key_id.to_owned() });
        }
        Ok(WrappedKey::Kms {
            // The ARN, whatever name it was called by: an alias may point elsewhere tomorrow.
            key_id: wrapped.key_id.unwrap_or_else(|| key_id.to_owned()),
            ciphertext,
            context: BTreeMap::from([(BACKUP_ID.to_owned(), backup_id.to_string())]),
        })
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedKey,
        backup_id: BackupId,
    ) -> Result<Option<BackupIdentity>, KeyHolderError> {
        let WrappedKey::Kms { key_id, ciphertext, .. } = wrapped else { return Ok(None) };
        if !self.may_open(key_id) {
            return Ok(None);
        }
        let tampered = || KeyHolderError::Tampered { key_id: key_id.clone() };
        // The context that must be, not the one that the file claims: wrapped keys cannot be swapped.
        let context = HashMap::from([(BACKUP_ID.to_owned(), backup_id.to_string())]);
        let mut last = None;
        for key in self.keys_to_ask(key_id) {
            match self.decrypt(&key, ciphertext, &context).await {
                Ok(Opened::Plaintext(text)) => {
                    let text = std::str::from_utf8(&text).map_err(|_| tampered())?;
                    return BackupIdentity::from_secret(text).map(Some).map_err(|_| tampered());
                }
                Ok(Opened::ByAnotherKey) => return Ok(None),
                Ok(Opened::Tampered) => return Err(tampered()),
                Err(answer) => last = Some(failed(&key, "decrypt", answer)),
            }
        }
        last.map_or(Ok(None), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMARY: &str = "arn:aws:kms:eu-central-1:111122223333:key/mrk-1234";

    #[test]
    fn a_holder_of_one_region_asks_no_key_of_another() {
        let config = aws_config::SdkConfig::builder().region(aws_config::Region::new("eu-central-1")).build();
        let clients = Clients::of(config);
        let replica = "arn:aws:kms:eu-west-1:111122223333:key/mrk-1234";
        let there = KmsKeyHolder::of_region_alone(&clients, "eu-west-1");
        assert_eq!(there.keys_to_ask(PRIMARY), [replica]);
        assert_eq!(there.keys_to_ask("arn:aws:kms:eu-central-1:111122223333:key/1234"), [""; 0]);
        assert_eq!(
            KmsKeyHolder::for_reading(&clients.in_region("eu-west-1")).keys_to_ask(PRIMARY),
            [replica, PRIMARY]
        );
        assert_eq!(KmsKeyHolder::of_region_alone(&clients, "eu-central-1").keys_to_ask(PRIMARY), [PRIMARY]);
    }

    #[test]
    fn a_replica_has_the_same_id_in_another_region() {
        let replica = "arn:aws:kms:eu-west-1:111122223333:key/mrk-1234";
        assert_eq!(replica_in(PRIMARY, Some("eu-west-1")).as_deref(), Some(replica));
        assert_eq!(tail(replica), tail(PRIMARY));
        assert_eq!(replica_in("arn:aws:kms:eu-central-1:111122223333:key/1234", Some("eu-west-1")), None);
        assert_eq!((region_of(PRIMARY), region_of("alias/keepsake")), (Some("eu-central-1"), None));
    }
}
