//! The object that holds a backup's private key, wrapped once per key holder.

use crate::{BackupIdentity, KeyError, Recipient};
use age::secrecy::ExposeSecret;
use keepsake_domain::{BackupId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version that this code writes, and the only one that it reads.
pub const KEY_FORMAT_VERSION: u32 = 1;

/// A backup's private key as one holder can open it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "holder", rename_all = "snake_case", deny_unknown_fields)]
pub enum WrappedKey {
    /// Encrypted by a key management service. The plaintext is the identity's text.
    Kms {
        /// The key that encrypted it.
        key_id: String,
        /// What the service gave. JSON shape: base64.
        #[serde(with = "base64_text")]
        ciphertext: Vec<u8>,
        /// The encryption context, needed again to decrypt.
        context: BTreeMap<String, String>,
    },
    /// Encrypted for an offline recovery key.
    Age {
        /// The recovery key's public half.
        recipient: Recipient,
        /// An armored age file of the identity's line: `age -d` makes it a usable identity file.
        armored: String,
    },
}

impl WrappedKey {
    /// Who can open it, as the manifest lists it: `kms <key id>` or `age <recipient>`.
    #[must_use]
    pub fn holder(&self) -> String {
        match self {
            Self::Kms { key_id, .. } => format!("kms {key_id}"),
            Self::Age { recipient, .. } => format!("age {recipient}"),
        }
    }
}

/// Wraps a backup's private key for an offline recovery key.
///
/// Each call gives other bytes, and any of them opens.
///
/// # Errors
/// [`KeyError::Wrap`].
pub fn wrap_for(identity: &BackupIdentity, recipient: &Recipient) -> Result<WrappedKey, KeyError> {
    let line = identity.line();
    let armored = age::encrypt_and_armor(recipient.age(), line.expose_secret().as_bytes())
        .map_err(|cause| KeyError::Wrap { holder: recipient.to_string(), cause: Box::new(cause) })?;
    Ok(WrappedKey::Age { recipient: recipient.clone(), armored })
}

/// One generation of the key object of a backup, or of a run that captures changes, whose id then stands in the backup's
/// place. JSON shape: these fields, in snake case. Immutable once stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    /// [`KEY_FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// The backup, or the run.
    pub backup_id: BackupId,
    /// From 1; the highest one counts.
    pub generation: u32,
    /// The backup's public key.
    pub recipient: Recipient,
    /// [`Recipient::fingerprint`] of it.
    pub fingerprint: String,
    /// When this generation was written.
    pub created_at: Timestamp,
    /// Everyone who can open it; never empty.
    pub holders: Vec<WrappedKey>,
}

impl KeyFile {
    /// The first generation.
    ///
    /// # Errors
    /// [`KeyError::NoHolders`]: there is no backup that nobody can read.
    pub fn new(
        backup_id: BackupId,
        recipient: Recipient,
        holders: Vec<WrappedKey>,
        created_at: Timestamp,
    ) -> Result<Self, KeyError> {
        Self::generation(backup_id, 1, recipient, holders, created_at)
    }

    /// The generation after this one, for other holders. The backup's key pair stays.
    ///
    /// # Errors
    /// [`KeyError::Foreign`] when the identity is not this backup's, [`KeyError::NoHolders`],
    /// [`KeyError::LastGeneration`].
    pub fn next_generation(
        &self,
        identity: &BackupIdentity,
        holders: Vec<WrappedKey>,
        created_at: Timestamp,
    ) -> Result<Self, KeyError> {
        self.check(identity)?;
        let (backup_id, generation) = (self.backup_id, self.generation);
        let next = generation.checked_add(1).ok_or(KeyError::LastGeneration { backup_id, generation })?;
        Self::generation(backup_id, next, self.recipient.clone(), holders, created_at)
    }

    fn generation(
        backup_id: BackupId,
        generation: u32,
        recipient: Recipient,
        holders: Vec<WrappedKey>,
        created_at: Timestamp,
    ) -> Result<Self, KeyError> {
        if holders.is_empty() {
            return Err(KeyError::NoHolders { backup_id });
        }
        let fingerprint = recipient.fingerprint();
        let format_version = KEY_FORMAT_VERSION;
        Ok(Self { format_version, backup_id, generation, recipient, fingerprint, created_at, holders })
    }

    /// Reads a key file and checks that it belongs where it was found.
    ///
    /// # Errors
    /// [`KeyError::UnknownVersion`] is told apart from [`KeyError::Damaged`] and [`KeyError::Contradiction`].
    pub fn parse(key: &str, bytes: &[u8]) -> Result<Self, KeyError> {
        let damaged = |cause| KeyError::Damaged { key: key.to_owned(), cause };
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(damaged)?;
        if let Some(found) = value.get("format_version").and_then(serde_json::Value::as_u64)
            && found != u64::from(KEY_FORMAT_VERSION)
        {
            return Err(KeyError::UnknownVersion { key: key.to_owned(), found });
        }
        let file: Self = serde_json::from_value(value).map_err(damaged)?;
        match file.contradiction(key) {
            Some(reason) => Err(KeyError::Contradiction { key: key.to_owned(), reason }),
            None => Ok(file),
        }
    }

    /// As it is stored.
    ///
    /// # Errors
    /// Never in practice: all fields are plain data.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec_pretty(self)
    }

    /// Opens it with an offline recovery key.
    ///
    /// Takes the text of a file as `age-keygen` writes it, with comments and any number of identities.
    ///
    /// # Errors
    /// [`KeyError::NotAHolder`] when none of the identities is among the holders, told apart from
    /// [`KeyError::DamagedHolder`]; [`KeyError::Foreign`] when the file was swapped for another backup's.
    pub fn unwrap_with_age(&self, identity_file_text: &str) -> Result<BackupIdentity, KeyError> {
        let identities = BackupIdentity::from_file(identity_file_text)?;
        let fitting = self.holders.iter().find_map(|holder| match holder {
            WrappedKey::Kms { .. } => None,
            WrappedKey::Age { recipient, armored } => {
                let mine = identities.iter().find(|identity| identity.recipient() == *recipient)?;
                Some((mine, holder, armored))
            }
        });
        let Some((mine, holder, armored)) = fitting else {
            let holders = self.holders.iter().map(WrappedKey::holder).collect();
            return Err(KeyError::NotAHolder { backup_id: self.backup_id, holders });
        };
        let damaged = || KeyError::DamagedHolder { backup_id: self.backup_id, holder: holder.holder() };
        let secret = age::decrypt(mine.age(), armored.as_bytes()).map_err(|_| damaged())?;
        self.recovered(&zeroize::Zeroizing::new(secret))
    }

    /// Takes what a holder unwrapped, for example the plaintext that KMS gave, and checks that it is this backup's.
    ///
    /// # Errors
    /// [`KeyError::NotAnIdentity`], [`KeyError::Foreign`].
    pub fn recovered(&self, secret: &[u8]) -> Result<BackupIdentity, KeyError> {
        let text = std::str::from_utf8(secret).map_err(|_| KeyError::NotAnIdentity)?;
        let identity = BackupIdentity::from_secret(text)?;
        self.check(&identity)?;
        Ok(identity)
    }

    fn check(&self, identity: &BackupIdentity) -> Result<(), KeyError> {
        let found = identity.recipient();
        if found == self.recipient {
            return Ok(());
        }
        Err(KeyError::Foreign {
            backup_id: self.backup_id,
            found: found.to_string(),
            expected: self.recipient.to_string(),
        })
    }

    fn contradiction(&self, key: &str) -> Option<String> {
        let name = format!("{}/keys/{:06}.json", self.backup_id, self.generation);
        let places = ["full", "changes", "differential"].map(|folder| format!("{folder}/{name}"));
        if !places.iter().any(|place| key == place || key.ends_with(&format!("/{place}"))) {
            return Some(format!("it belongs at one of \"{}\"", places.join("\", \"")));
        }
        if self.generation == 0 {
            return Some("generations count from 1".to_owned());
        }
        if self.fingerprint != self.recipient.fingerprint() {
            return Some(format!("the fingerprint of {} is another", self.recipient));
        }
        self.holders.is_empty().then(|| "it has no holder".to_owned())
    }
}

mod base64_text {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map_err(|_| D::Error::custom("not base64"))
    }
}
