//! The point that a restore is asked for, and how people write it.

use crate::{InvalidLsn, Lsn, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Whether the target itself still belongs to what is restored. Means what `recovery_target_inclusive` of Postgres means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// A transaction at exactly the target is restored.
    Inclusive,
    /// It is not.
    Exclusive,
}

/// Where a restore ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryTarget {
    /// Behind everything that was captured.
    Latest,
    /// Before the first transaction, in the order of the log, that committed later (exclusive: then or later).
    Time {
        /// The instant.
        at: Timestamp,
        /// Its end.
        bound: Bound,
    },
    /// Behind the last transaction whose commit record begins there or before (exclusive: before).
    Lsn {
        /// The position.
        lsn: Lsn,
        /// Its end.
        bound: Bound,
    },
    /// Behind the commit of this transaction (exclusive: before it).
    Xid {
        /// The transaction's number; one below 2^32 is taken for the nearest to what was captured.
        xid: u64,
        /// Its end.
        bound: Bound,
    },
}

/// The text names no point in time or log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    /// Not a date with time of day.
    #[error("\"{0}\" is not a time like 2026-11-20 14:30:00+01")]
    Time(String),
    /// Every server and every reader would take another one.
    #[error("\"{0}\" names no time zone: add it, like 2026-11-20 14:30:00+01 or 2026-11-20T13:30:00Z")]
    NoZone(String),
    /// Not a position.
    #[error(transparent)]
    Lsn(#[from] InvalidLsn),
    /// Not a transaction's number.
    #[error("\"{0}\" is not a transaction id: a number from 3 on, as pg_current_xact_id() gives it")]
    Xid(String),
}

/// The first number that a transaction can have.
/// Source: `FirstNormalTransactionId` in <https://doxygen.postgresql.org/transam_8h_source.html>, read 2026-11-21.
const FIRST_XID: u64 = 3;

impl RecoveryTarget {
    /// Behind all transactions until then: `2026-11-20 14:30:00+01`, with up to six digits of a second. The zone is
    /// `Z` or an offset and cannot be left out.
    ///
    /// # Errors
    /// [`InvalidTarget`].
    pub fn at(text: &str) -> Result<Self, InvalidTarget> {
        let text = text.trim();
        let invalid = || InvalidTarget::Time(text.to_owned());
        let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        let rest = ["0000-00-00 00:00", "0000-00-00T00:00"].iter().find_map(|day| shape.strip_prefix(day));
        let rest = rest.ok_or_else(invalid)?;
        let rest = rest.strip_prefix(":00").map_or(rest, without_fraction);
        match rest {
            "" => return Err(InvalidTarget::NoZone(text.to_owned())),
            "Z" | "+00" | "-00" | "+00:00" | "-00:00" | "+0000" | "-0000" => {}
            _ => return Err(invalid()),
        }
        // A leap second would be taken for the one before.
        if text.get(16..19) == Some(":60") {
            return Err(invalid());
        }
        let at: Timestamp = text.parse().map_err(|_| invalid())?;
        Ok(Self::Time { at, bound: Bound::Inclusive })
    }

    /// Through the transaction whose commit record begins there: `16/B374D848`.
    ///
    /// # Errors
    /// [`InvalidTarget::Lsn`].
    pub fn lsn(text: &str) -> Result<Self, InvalidTarget> {
        Ok(Self::Lsn { lsn: text.trim().parse()?, bound: Bound::Inclusive })
    }

    /// Through this transaction.
    ///
    /// # Errors
    /// [`InvalidTarget::Xid`].
    pub fn xid(text: &str) -> Result<Self, InvalidTarget> {
        let text = text.trim();
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let xid = digits.then(|| text.parse().ok()).flatten().filter(|xid| *xid >= FIRST_XID);
        let xid = xid.ok_or_else(|| InvalidTarget::Xid(text.to_owned()))?;
        Ok(Self::Xid { xid, bound: Bound::Inclusive })
    }

    /// The same target without what lies exactly at it. Behind everything there is nothing.
    #[must_use]
    pub fn exclusive(self) -> Self {
        let bound = Bound::Exclusive;
        match self {
            Self::Latest => Self::Latest,
            Self::Time { at, .. } => Self::Time { at, bound },
            Self::Lsn { lsn, .. } => Self::Lsn { lsn, bound },
            Self::Xid { xid, .. } => Self::Xid { xid, bound },
        }
    }
}

/// Up to six digits of a second, which is what Postgres keeps.
fn without_fraction(shape: &str) -> &str {
    let Some(digits) = shape.strip_prefix('.') else { return shape };
    let rest = digits.trim_start_matches('0');
    // `+00` begins with no digit, so what was trimmed is the fraction.
    if (1..=6).contains(&(digits.len() - rest.len())) { rest } else { shape }
}

impl fmt::Display for RecoveryTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = |bound: &Bound| if *bound == Bound::Exclusive { "before " } else { "" };
        match self {
            Self::Latest => f.write_str("the newest point"),
            Self::Time { at, bound } => write!(f, "{}{at}", before(bound)),
            Self::Lsn { lsn, bound } => write!(f, "{}WAL position {lsn}", before(bound)),
            Self::Xid { xid, bound } => write!(f, "{}transaction {xid}", before(bound)),
        }
    }
}

/// The 64-bit number of a transaction of which 32 bits are known: the one nearest to `near`. Two transactions that are of
/// use at one time are less than 2^31 apart, so `near` may be any of the same time.
#[must_use]
pub fn widen_xid(xid: u32, near: u64) -> u64 {
    // The distance on the circle of 2^32, from -2^31 to 2^31 - 1.
    let ahead = xid.wrapping_sub(near as u32) as i32;
    let wide = near.checked_add_signed(i64::from(ahead));
    // Before the first epoch there is nothing, and behind the last neither.
    wide.unwrap_or_else(
        || if ahead < 0 { u64::from(xid) } else { near & !u64::from(u32::MAX) | u64::from(xid) },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_time_with_its_zone_is_one_instant() {
        let instant: Timestamp = "2026-11-20T13:30:00Z".parse().expect("an instant");
        for text in [
            "2026-11-20 14:30:00+01",
            "2026-11-20 14:30+01",
            "2026-11-20T13:30:00Z",
            " 2026-11-20T13:30Z ",
            "2026-11-20 19:00:00+05:30",
            "2026-11-20 09:00:00.000000-0430",
        ] {
            let at = RecoveryTarget::at(text);
            assert_eq!(at, Ok(RecoveryTarget::Time { at: instant, bound: Bound::Inclusive }), "{text}");
        }
    }

    #[test]
    fn a_time_without_zone_is_refused_and_told_so() {
        for text in ["2026-11-20 14:30:00", "2026-11-20T14:30", "2026-11-20 14:30:00.5"] {
            assert_eq!(RecoveryTarget::at(text), Err(InvalidTarget::NoZone(text.to_owned())));
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_time() {
        for text in [
            "",
            "yesterday",
            "2026-11-20",
            "2026-11-20+01",
            "20.11.2026 14:30+01",
            "11/20/2026 14:30+01",
            "2026-11-20 14:30:00 CET",
            "2026-11-20 14:30:00[Europe/Berlin]",
            "2026-11-20 14:30:00+01[Europe/Berlin]",
            "2026-11-20 2:30:00+01",
            "2026-11-20 14:30:60+01",
            "2026-11-20 25:30:00+01",
            "2026-02-30 14:30:00+01",
            "2026-11-20 14:30:00.1234567+01",
            "2026-11-20 14:30:00.+01",
            "2026-11-20 14:30:00+1",
            "1795190400",
        ] {
            assert!(matches!(RecoveryTarget::at(text), Err(InvalidTarget::Time(_))), "{text}");
        }
    }

    #[test]
    fn positions_and_numbers_are_taken_strictly() {
        assert!(RecoveryTarget::lsn("16/B374D848").is_ok());
        assert!(RecoveryTarget::xid("4294967299").is_ok());
        for text in ["", "16", "x/1", "16/B374D8481"] {
            assert!(RecoveryTarget::lsn(text).is_err(), "{text}");
        }
        for text in ["", "0", "2", "+7", "-7", "7.0", "0x7", "18446744073709551616"] {
            assert!(RecoveryTarget::xid(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_number_that_lost_its_epoch_gets_it_back(near in 1_u64 << 31..u64::MAX - (1 << 32), apart in -(1_i64 << 31)..1 << 31) {
            let xid = near.checked_add_signed(apart).expect("in range");
            prop_assert_eq!(widen_xid(xid as u32, near), xid);
        }

        #[test]
        fn whatever_was_given_the_low_bits_stay_and_nothing_panics(xid: u32, near: u64) {
            prop_assert_eq!(widen_xid(xid, near) as u32, xid);
        }
    }

    #[test]
    fn an_epoch_ends_between_two_neighbours() {
        let turn = 1_u64 << 32;
        assert_eq!(widen_xid(u32::MAX, turn + 5), turn - 1);
        assert_eq!(widen_xid(3, turn - 2), turn + 3);
        assert_eq!(widen_xid(u32::MAX, 5), u64::from(u32::MAX));
    }
}
