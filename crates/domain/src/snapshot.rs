//! The transaction snapshot that a full backup reads.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Which transactions a full backup sees. Text shape: `xmin:xmax:xip,xip`, as `pg_current_snapshot()` prints it.
///
/// The numbers are 64-bit transaction ids, so they do not wrap around.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TransactionSnapshot {
    /// All transactions below are over, and visible if they committed.
    pub xmin: u64,
    /// This one and all above had not begun.
    pub xmax: u64,
    /// In progress between the two: not visible.
    pub xip: Vec<u64>,
}

/// The text is no `pg_snapshot`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{0}\" is not a transaction snapshot like 100:104:100,102")]
pub struct InvalidSnapshot(String);

impl TransactionSnapshot {
    /// Whether a committed transaction belongs to the full backup.
    #[must_use]
    pub fn sees(&self, xid: u64) -> bool {
        xid < self.xmin || (xid < self.xmax && !self.xip.contains(&xid))
    }
}

impl FromStr for TransactionSnapshot {
    type Err = InvalidSnapshot;
    fn from_str(text: &str) -> Result<Self, InvalidSnapshot> {
        let invalid = || InvalidSnapshot(text.to_owned());
        let fields: Vec<&str> = text.split(':').collect();
        let [xmin, xmax, xip] = fields.as_slice() else { return Err(invalid()) };
        let xid = |digits: &str| digits.parse::<u64>().map_err(|_| invalid());
        let in_progress =
            if xip.is_empty() { Vec::new() } else { xip.split(',').map(xid).collect::<Result<_, _>>()? };
        let snapshot = Self { xmin: xid(xmin)?, xmax: xid(xmax)?, xip: in_progress };
        if snapshot.xmin > snapshot.xmax { Err(invalid()) } else { Ok(snapshot) }
    }
}

impl fmt::Display for TransactionSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let xip: Vec<String> = self.xip.iter().map(u64::to_string).collect();
        write!(f, "{}:{}:{}", self.xmin, self.xmax, xip.join(","))
    }
}

impl TryFrom<String> for TransactionSnapshot {
    type Error = InvalidSnapshot;
    fn try_from(text: String) -> Result<Self, InvalidSnapshot> {
        text.parse()
    }
}

impl From<TransactionSnapshot> for String {
    fn from(snapshot: TransactionSnapshot) -> Self {
        snapshot.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_what_had_committed_and_not_what_ran_or_came_later() {
        let snapshot: TransactionSnapshot = "100:104:100,102".parse().expect("valid");
        let seen: Vec<u64> = (98..106).filter(|xid| snapshot.sees(*xid)).collect();
        assert_eq!(seen, [98, 99, 101, 103]);
    }

    #[test]
    fn prints_as_it_was_read() {
        for text in ["100:104:100,102", "7:7:"] {
            assert_eq!(text.parse::<TransactionSnapshot>().map(|s| s.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn refuses_malformed_text() {
        for text in ["", "1:2", "2:1:", "1:2:a", "1:2:3:4", "1:2:,"] {
            assert!(text.parse::<TransactionSnapshot>().is_err(), "{text}");
        }
    }
}
