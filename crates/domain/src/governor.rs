//! The governor: whether our replication slot may stay on the source.
//!
//! A slot makes its server keep WAL until the changes were confirmed. If capture stands still, that WAL fills the
//! source's disk, and a database without disk is down. So the slot goes before that: the recovery window ends there, a
//! new full backup begins the next one, and the source lives.

use crate::Lsn;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Looks that may be missed in a row, or come late by so much, before the budget can be passed: one function that does
/// not start must not cost the source its disk.
const MISSED_LOOKS: u32 = 1;

/// Parts of a hundred of the budget at which people are told.
const WARN_PERCENT: u64 = 25;

/// Parts of a hundred of the budget at which the slot goes, whatever the pace: what is left is room for a storm of
/// writes that begins just behind a look.
const DROP_PERCENT: u64 = 50;

/// What the source may be made to bear. JSON shape: these fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GovernorLimits {
    /// WAL that the slot may make the server keep, in bytes. Never reached as long as less than half of it is written
    /// during `1 + MISSED_LOOKS` intervals.
    pub wal_budget_bytes: u64,
    /// Time between two looks, in seconds.
    pub interval_seconds: u32,
    /// Age of the slot's `catalog_xmin`, in transactions, at which it goes: until then the server can clean up no row of
    /// its catalogs that died since.
    pub max_catalog_age_transactions: u64,
    /// Age of an open transaction at which people are told, in seconds: the slot keeps all WAL since it began, however
    /// well capture runs.
    pub warn_transaction_seconds: u32,
}

impl Default for GovernorLimits {
    /// 8 GiB: RDS gives no instance less than 20 GiB. A look a minute, as often as EventBridge can. 500 million
    /// transactions: Postgres stops the database at 2,000 million and forces its vacuums at 200 million by default
    /// (`autovacuum_freeze_max_age`). Sources, read 2026-11-21:
    /// <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Storage.html>,
    /// <https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html>,
    /// <https://www.postgresql.org/docs/current/routine-vacuuming.html>.
    fn default() -> Self {
        Self {
            wal_budget_bytes: 8 << 30,
            interval_seconds: 60,
            max_catalog_age_transactions: 500_000_000,
            // Longer than a nightly report takes, shorter than a night.
            warn_transaction_seconds: 60 * 60,
        }
    }
}

/// What one look found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotLook {
    /// Where the server's WAL ended.
    pub wal_lsn: Lsn,
    /// WAL that the slot makes the server keep, in bytes.
    pub retained_bytes: u64,
    /// What is free on the source's disk, in bytes, where somebody could tell.
    pub free_bytes: Option<u64>,
    /// Age of the slot's `catalog_xmin`, in transactions.
    pub catalog_age_transactions: u64,
    /// Age of the oldest open transaction of the database, in seconds; 0 without one.
    pub oldest_transaction_seconds: u64,
    /// How the server lost the slot, if it did: it streams nothing more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
}

/// What is to be done about the slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "reasons")]
pub enum GovernorVerdict {
    /// Nothing.
    Keep,
    /// People are told; the slot stays.
    Warn(Vec<Reason>),
    /// The slot goes now.
    Drop(Vec<Reason>),
}

/// What the verdict rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The slot keeps a large share of the budget.
    Retained {
        /// WAL kept, in bytes.
        bytes: u64,
        /// Of this.
        budget_bytes: u64,
    },
    /// At the pace since the last look, the budget would be passed before the look after the next.
    Pace {
        /// WAL expected by then, in bytes.
        expected_bytes: u64,
        /// Of this.
        budget_bytes: u64,
    },
    /// The server's catalogs cannot be cleaned up.
    CatalogAge {
        /// In transactions.
        transactions: u64,
    },
    /// Somebody's transaction is open since long, and WAL is kept because of it.
    OldTransaction {
        /// For so long.
        seconds: u64,
    },
    /// The server gave the slot up. It costs nothing more, and streams nothing more.
    Lost {
        /// How.
        how: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retained { bytes, budget_bytes } => {
                write!(f, "the slot keeps {bytes} bytes of WAL of at most {budget_bytes}")
            }
            Self::Pace { expected_bytes, budget_bytes } => {
                write!(
                    f,
                    "at this pace the slot will keep {expected_bytes} bytes of WAL of at most {budget_bytes}"
                )
            }
            Self::CatalogAge { transactions } => {
                write!(
                    f,
                    "the slot keeps the server from cleaning up catalogs since {transactions} transactions"
                )
            }
            Self::OldTransaction { seconds } => {
                write!(
                    f,
                    "a transaction is open since {seconds} seconds, and the slot keeps all WAL since it began"
                )
            }
            Self::Lost { how } => {
                write!(
                    f,
                    "the slot is lost: {how}; changes since the newest segment are in no chain until the next full backup; \
                     next: keepsake capture, which begins a new chain, then keepsake backup"
                )
            }
        }
    }
}

/// Decides by this look and the one before, if there was one.
///
/// `elapsed` is the time between the two. Free disk, where it is known, lowers the budget: half of what is free and kept
/// together is the most that the slot may take.
#[must_use]
pub fn govern(
    limits: &GovernorLimits,
    before: Option<(&SlotLook, Duration)>,
    now: &SlotLook,
) -> GovernorVerdict {
    let budget_bytes = budget(limits, now);
    let share = |percent: u64| budget_bytes / 100 * percent;
    let retained = Reason::Retained { bytes: now.retained_bytes, budget_bytes };
    let expected_bytes = now.retained_bytes.saturating_add(expected(limits, before, now));
    let age = Reason::CatalogAge { transactions: now.catalog_age_transactions };
    let mut drop = Vec::new();
    if now.retained_bytes >= share(DROP_PERCENT) {
        drop.push(retained.clone());
    } else if now.retained_bytes >= share(WARN_PERCENT) && expected_bytes >= budget_bytes {
        drop.push(Reason::Pace { expected_bytes, budget_bytes });
    }
    if now.catalog_age_transactions >= limits.max_catalog_age_transactions {
        drop.push(age.clone());
    }
    if !drop.is_empty() {
        return GovernorVerdict::Drop(drop);
    }
    let mut warn: Vec<Reason> = now.lost.iter().map(|how| Reason::Lost { how: how.clone() }).collect();
    if now.retained_bytes >= share(WARN_PERCENT) {
        warn.push(retained);
    }
    if now.catalog_age_transactions >= limits.max_catalog_age_transactions / 2 {
        warn.push(age);
    }
    if now.oldest_transaction_seconds >= u64::from(limits.warn_transaction_seconds) {
        warn.push(Reason::OldTransaction { seconds: now.oldest_transaction_seconds });
    }
    if warn.is_empty() { GovernorVerdict::Keep } else { GovernorVerdict::Warn(warn) }
}

/// The slot's WAL would be free without it.
fn budget(limits: &GovernorLimits, now: &SlotLook) -> u64 {
    let of_disk = now.free_bytes.map(|free| free.saturating_add(now.retained_bytes) / 2);
    limits.wal_budget_bytes.min(of_disk.unwrap_or(u64::MAX))
}

/// WAL that will be written until the next look that surely takes place, at the pace since the last one.
fn expected(limits: &GovernorLimits, before: Option<(&SlotLook, Duration)>, now: &SlotLook) -> u64 {
    let Some((before, elapsed)) = before else { return 0 };
    let written = now.wal_lsn.0.saturating_sub(before.wal_lsn.0);
    let ahead = u64::from(limits.interval_seconds) * u64::from(1 + MISSED_LOOKS);
    // Less than a second between two looks says nothing about a minute.
    written / elapsed.as_secs().max(1) * ahead
}

#[cfg(test)]
#[path = "governor_tests.rs"]
mod tests;
