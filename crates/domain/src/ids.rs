//! Identifiers. Each is its own type, so that none can be passed in another's place.

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

/// Grows with every new holder of a lease; a writer with an older token has been replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FencingToken(pub i64);

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
