//! The offline recovery key: what still opens every backup when the cloud account is gone.

use crate::{BackupIdentity, Recipient};
use age::secrecy::{ExposeSecret, SecretString};
use keepsake_domain::Timestamp;

/// A new recovery key, to be kept offline.
#[derive(Debug)]
pub struct RecoveryKey {
    /// The key file, as `age-keygen` writes it: `age -d -i` and `unwrap_with_age` read it.
    pub file_text: SecretString,
    /// The public half, which goes into the configuration.
    pub recipient: Recipient,
}

impl RecoveryKey {
    /// Draws a key pair from the operating system's randomness.
    #[must_use]
    pub fn generate(now: Timestamp) -> Self {
        let identity = BackupIdentity::generate();
        let recipient = identity.recipient();
        let file_text = SecretString::from(format!(
            "# created: {now:.0}\n# public key: {recipient}\n{}\n",
            identity.expose_secret().expose_secret()
        ));
        Self { file_text, recipient }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_looks_like_one_of_age_keygen() {
        let key = RecoveryKey::generate(Timestamp::UNIX_EPOCH);
        let lines: Vec<&str> = key.file_text.expose_secret().lines().collect();
        assert_eq!(lines[0], "# created: 1970-01-01T00:00:00Z");
        assert_eq!(lines[1], format!("# public key: {}", key.recipient));
        assert!(lines[2].starts_with("AGE-SECRET-KEY-1"));
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = RecoveryKey::generate(Timestamp::UNIX_EPOCH);
        assert!(!format!("{key:?}").contains("AGE-SECRET-KEY"));
    }
}
