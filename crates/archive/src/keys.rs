//! The key pair of a backup.

use age::secrecy::{ExposeSecret, SecretString};
use age::x25519;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{fmt, str::FromStr};

/// The public half of a key pair: it encrypts and cannot decrypt. Text and JSON shape: `age1…`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Recipient(x25519::Recipient);

/// The text is no age X25519 public key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an age public key (age1…)")]
pub struct InvalidRecipient;

impl Recipient {
    /// SHA-256 of the text shape, 64 hexadecimal digits: what people compare.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex::encode(Sha256::digest(self.to_string()))
    }

    pub(crate) fn encryptor(&self) -> Result<age::Encryptor, age::EncryptError> {
        age::Encryptor::with_recipients(std::iter::once(&self.0 as &dyn age::Recipient))
    }

    pub(crate) fn age(&self) -> &x25519::Recipient {
        &self.0
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({})", self.0)
    }
}

impl FromStr for Recipient {
    type Err = InvalidRecipient;
    fn from_str(text: &str) -> Result<Self, InvalidRecipient> {
        text.parse().map(Self).map_err(|_| InvalidRecipient)
    }
}

impl TryFrom<String> for Recipient {
    type Error = InvalidRecipient;
    fn try_from(text: String) -> Result<Self, InvalidRecipient> {
        text.parse()
    }
}

impl From<Recipient> for String {
    fn from(recipient: Recipient) -> Self {
        recipient.to_string()
    }
}

/// The private half of a backup's key pair. Never printed, wiped from memory when dropped.
#[derive(Clone)]
pub struct BackupIdentity(x25519::Identity);

impl BackupIdentity {
    /// A new key pair, from the operating system's randomness.
    #[must_use]
    pub fn generate() -> Self {
        Self(x25519::Identity::generate())
    }

    /// The public half.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        Recipient(self.0.to_public())
    }

    /// The text by which a key holder wraps it: one line `AGE-SECRET-KEY-1…` without its newline.
    #[must_use]
    pub fn expose_secret(&self) -> SecretString {
        self.0.to_string()
    }

    /// Reads what [`BackupIdentity::expose_secret`] gave; white space around it is ignored.
    ///
    /// # Errors
    /// [`KeyError::NotAnIdentity`], which never shows the text.
    pub fn from_secret(text: &str) -> Result<Self, KeyError> {
        text.trim().parse().map(Self).map_err(|_| KeyError::NotAnIdentity)
    }

    /// All identities of a file as `age-keygen` writes it: one per line, `#` begins a comment.
    pub(crate) fn from_file(text: &str) -> Result<Vec<Self>, KeyError> {
        let lines = text.lines().map(str::trim).enumerate();
        let identities = lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(index, line)| {
                line.parse().map(Self).map_err(|_| KeyError::NotAnIdentityFile { line: index + 1 })
            })
            .collect::<Result<Vec<Self>, KeyError>>()?;
        if identities.is_empty() { Err(KeyError::NotAnIdentity) } else { Ok(identities) }
    }

    pub(crate) fn age(&self) -> &x25519::Identity {
        &self.0
    }

    pub(crate) fn line(&self) -> SecretString {
        SecretString::from(format!("{}\n", self.0.to_string().expose_secret()))
    }
}

impl fmt::Debug for BackupIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackupIdentity(private half of {})", self.recipient())
    }
}

/// Why a backup's key cannot be had. No variant ever holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Nothing in the text is an identity.
    #[error("not an age identity (AGE-SECRET-KEY-1…)")]
    NotAnIdentity,
    /// One line of an identity file is none; plugin keys and files under a passphrase are not read.
    #[error("line {line} of the identity file is not an age identity (AGE-SECRET-KEY-1…)")]
    NotAnIdentityFile {
        /// Which line, from 1.
        line: usize,
    },
    /// A key file without holder would be a backup that nobody can read.
    #[error("the key of backup {backup_id} would have no holder")]
    NoHolders {
        /// The backup.
        backup_id: keepsake_domain::BackupId,
    },
    /// The recovery key is another one.
    #[error("this recovery key is not among the holders of the key of backup {backup_id}: holders are {}", holders.join(", "))]
    NotAHolder {
        /// The backup.
        backup_id: keepsake_domain::BackupId,
        /// Who could open it.
        holders: Vec<String>,
    },
    /// Written by a newer or unknown program.
    #[error(
        "key file \"{key}\" has format version {found}; this program reads version {}",
        crate::KEY_FORMAT_VERSION
    )]
    UnknownVersion {
        /// Where it lies.
        key: String,
        /// What it says.
        found: u64,
    },
    /// Not the JSON that a key file is.
    #[error("key file \"{key}\" is damaged")]
    Damaged {
        /// Where it lies.
        key: String,
        /// What was wrong; never shows a value of the file.
        #[source]
        cause: serde_json::Error,
    },
    /// Well formed, and yet it cannot be true.
    #[error("key file \"{key}\" contradicts itself: {reason}")]
    Contradiction {
        /// Where it lies.
        key: String,
        /// What cannot be.
        reason: String,
    },
    /// A holder's wrapped key does not open although it is this holder's.
    #[error("the key of backup {backup_id}, wrapped for {holder}, is damaged")]
    DamagedHolder {
        /// The backup.
        backup_id: keepsake_domain::BackupId,
        /// For whom it was wrapped.
        holder: String,
    },
    /// What came out is the key of something else.
    #[error("the key file of backup {backup_id} holds another key: {found} instead of {expected}")]
    Foreign {
        /// The backup.
        backup_id: keepsake_domain::BackupId,
        /// Public half of what came out.
        found: String,
        /// Public half that the file promises.
        expected: String,
    },
    /// Generations are used up.
    #[error("the key of backup {backup_id} has no generation after {generation}")]
    LastGeneration {
        /// The backup.
        backup_id: keepsake_domain::BackupId,
        /// The one that stands.
        generation: u32,
    },
    /// Encrypting to a recovery recipient failed.
    #[error("wrap the backup's key for {holder}")]
    Wrap {
        /// For whom.
        holder: String,
        /// What age said.
        #[source]
        cause: Box<age::EncryptError>,
    },
}
