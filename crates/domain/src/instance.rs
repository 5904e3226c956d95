//! Throwaway instances, and the guard that nothing else is ever deleted.

use crate::BackupId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Every throwaway instance's name begins so; the IAM policy of the deleting function has the same prefix.
pub const INSTANCE_PREFIX: &str = "keepsake-test-";

/// The name of a throwaway instance that we created. There is no other way to name one for deletion.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceName(String);

/// The name is not one that we give.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("instance \"{0}\" does not carry a name of ours ({INSTANCE_PREFIX}<backup id>)")]
pub struct NotOurs(String);

impl InstanceName {
    /// The one name for the test restore of this backup: a repeated step finds what it made before.
    /// 50 characters; RDS allows 63.
    #[must_use]
    pub fn for_backup(backup_id: BackupId) -> Self {
        Self(format!("{INSTANCE_PREFIX}{backup_id}"))
    }

    /// The name as RDS takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for InstanceName {
    type Error = NotOurs;
    fn try_from(name: String) -> Result<Self, NotOurs> {
        let ours = name.strip_prefix(INSTANCE_PREFIX).is_some_and(|id| id.parse::<BackupId>().is_ok());
        if ours { Ok(Self(name)) } else { Err(NotOurs(name)) }
    }
}

impl From<InstanceName> for String {
    fn from(name: InstanceName) -> Self {
        name.0
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_become_instance_names() {
        let ours = "keepsake-test-01890a5d-ac96-774b-bcce-b302099a8057".to_owned();
        assert!(InstanceName::try_from(ours).is_ok());
        for name in ["production", "keepsake-test-", "keepsake-test-production", "keepsake-prod", ""] {
            assert_eq!(InstanceName::try_from(name.to_owned()), Err(NotOurs(name.to_owned())));
        }
    }

    #[test]
    fn json_cannot_smuggle_a_foreign_name_in() {
        assert!(serde_json::from_str::<InstanceName>("\"production\"").is_err());
    }
}
