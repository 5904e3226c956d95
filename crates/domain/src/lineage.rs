//! Positions in the write-ahead log and the unbroken history that they belong to.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A position in the write-ahead log. Text shape: `16/B374D848`, as Postgres prints `pg_lsn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lsn(pub u64);

/// The text is no `pg_lsn`.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("\"{0}\" is not a WAL position like 16/B374D848")]
pub struct InvalidLsn(String);

impl FromStr for Lsn {
    type Err = InvalidLsn;
    fn from_str(text: &str) -> Result<Self, InvalidLsn> {
        let invalid = || InvalidLsn(text.to_owned());
        let (high, low) = text.split_once('/').ok_or_else(invalid)?;
        let half = |digits: &str| {
            let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
            plain.then(|| u32::from_str_radix(digits, 16).ok()).flatten().ok_or_else(invalid)
        };
        Ok(Self(u64::from(half(high)?) << 32 | u64::from(half(low)?)))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl TryFrom<String> for Lsn {
    type Error = InvalidLsn;
    fn try_from(text: String) -> Result<Self, InvalidLsn> {
        text.parse()
    }
}

impl From<Lsn> for String {
    fn from(lsn: Lsn) -> Self {
        lsn.to_string()
    }
}

/// One unbroken history of a source: a restore or a promotion begins a new one.
///
/// Text shape, as in object keys: `<system identifier>-<timeline>-<database oid>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lineage {
    /// From `pg_control_system()`: set once, when the cluster was initialised.
    pub system_identifier: u64,
    /// The one that is written now: grows at each promotion.
    pub timeline: u32,
    /// Object id of the database within its cluster.
    pub database_oid: u32,
}

/// The text is no lineage.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{0}\" is not a lineage like 7298304102934850-1-16384")]
pub struct InvalidLineage(String);

impl FromStr for Lineage {
    type Err = InvalidLineage;
    fn from_str(text: &str) -> Result<Self, InvalidLineage> {
        let invalid = || InvalidLineage(text.to_owned());
        let mut fields = text.split('-');
        let mut next = || fields.next().ok_or_else(invalid);
        let system_identifier = next()?.parse().map_err(|_| invalid())?;
        let timeline = next()?.parse().map_err(|_| invalid())?;
        let database_oid = next()?.parse().map_err(|_| invalid())?;
        if fields.next().is_some() {
            return Err(invalid());
        }
        Ok(Self { system_identifier, timeline, database_oid })
    }
}

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.system_identifier, self.timeline, self.database_oid)
    }
}

impl TryFrom<String> for Lineage {
    type Error = InvalidLineage;
    fn try_from(text: String) -> Result<Self, InvalidLineage> {
        text.parse()
    }
}

impl From<Lineage> for String {
    fn from(lineage: Lineage) -> Self {
        lineage.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_lsn_prints_as_it_was_read() {
        for text in ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF", "0/1"] {
            assert_eq!(text.parse::<Lsn>().map(|lsn| lsn.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn refuses_what_only_looks_like_an_lsn() {
        for text in ["", "16", "/1", "1/", "1/2/3", "1/+2", "G/1", "123456789/1", "0x1/2"] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_lineage_prints_as_it_was_read_and_nothing_longer_is_one() {
        let text = "7298304102934850123-2-16384";
        assert_eq!(text.parse::<Lineage>().map(|l| l.to_string()), Ok(text.to_owned()));
        for text in ["7298304102934850123-2", "1-2-3-4", "a-1-2", ""] {
            assert!(text.parse::<Lineage>().is_err(), "{text}");
        }
    }
}
