//! Identifiers. Each is its own type, so that none can be passed in another's place.

use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// One backup, and the recovery point that it becomes when its manifest stands. UUIDv7: ids sort by start.
    BackupId
);
uuid_id!(
    /// A source in the catalog.
    SourceId
);
uuid_id!(
    /// A policy in the catalog.
    PolicyId
);
uuid_id!(
    /// A storage location in the catalog.
    LocationId
);
uuid_id!(
    /// The catalog row of one execution (not the state machine's own id, which is a text).
    ExecutionRowId
);

impl BackupId {
    /// When it was drawn, by the clock of the machine that began the backup; `None` of an id that is no UUIDv7.
    #[must_use]
    pub fn drawn_at(self) -> Option<Timestamp> {
        let (seconds, nanoseconds) = self.0.get_timestamp()?.to_unix();
        Timestamp::new(seconds.try_into().ok()?, nanoseconds.try_into().ok()?).ok()
    }
}

/// Grows with every new holder of a lease; a writer with an older token has been replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FencingToken(pub i64);

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A backup's id or its first characters, as people type them: 1 to 36 of 0-9, a-f and `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupIdPrefix(String);

/// The text begins no backup's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a backup's id is 36 of 0-9, a-f and -, as keepsake list shows it; its first characters are enough")]
pub struct InvalidBackupIdPrefix;

impl BackupIdPrefix {
    /// Whether an id begins so.
    #[must_use]
    pub fn begins(&self, id: BackupId) -> bool {
        id.to_string().starts_with(&self.0)
    }
}

impl From<BackupId> for BackupIdPrefix {
    fn from(id: BackupId) -> Self {
        Self(id.to_string())
    }
}

impl FromStr for BackupIdPrefix {
    type Err = InvalidBackupIdPrefix;
    fn from_str(text: &str) -> Result<Self, InvalidBackupIdPrefix> {
        let text = text.to_ascii_lowercase();
        let is_dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
        let fits = |(at, c): (usize, char)| if is_dash(at) { c == '-' } else { c.is_ascii_hexdigit() };
        let is_prefix = (1..=36).contains(&text.len()) && text.chars().enumerate().all(fits);
        is_prefix.then_some(Self(text)).ok_or(InvalidBackupIdPrefix)
    }
}

impl fmt::Display for BackupIdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_when_it_was_drawn_and_one_of_another_kind_does_not() {
        let id: BackupId = "01a1fe04-6324-76c5-8668-09bd4c5e8f27".parse().expect("an id");
        assert_eq!(id.drawn_at().expect("a time").to_string(), "2026-11-21T12:11:02.82Z");
        assert_eq!(BackupId(Uuid::from_u128(1)).drawn_at(), None);
    }

    #[test]
    fn the_first_characters_of_an_id_begin_it_and_nothing_else_does() {
        let id: BackupId = "0193a5b2-7c31-7000-8000-0123456789ab".parse().expect("an id");
        for text in ["0", "0193A5B2", "0193a5b2-", "0193a5b2-7c31-7000-8000-0123456789ab"] {
            let prefix: BackupIdPrefix = text.parse().expect(text);
            assert!(prefix.begins(id), "{text}");
        }
        assert!(!"0193a5b3".parse::<BackupIdPrefix>().expect("a prefix").begins(id));
        let longer = format!("{id}0");
        for text in ["", "-", "0193a5b27c31", "wedsync", "0193-", "ä", &longer] {
            assert_eq!(text.parse::<BackupIdPrefix>(), Err(InvalidBackupIdPrefix), "{text}");
        }
    }
}
