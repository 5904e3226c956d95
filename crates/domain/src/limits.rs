//! What a run may cost its source.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a worker may be busy with one batch at the bandwidth limit. A function lives for 15 minutes; a third of
/// that leaves room for a slow start and for parts that were estimated too small.
const BATCH_SECONDS: u64 = 300;

/// Connections beside those that read parts: one holder in each of the two lanes, `pg_dump`, and the session of the
/// step that runs it. The last two are done before the first part is read, and are counted all the same: a session
/// that ends is counted by the server for a moment longer.
const BESIDE_READERS: u32 = 4;

/// Megabits per second to bytes per second.
const BYTES_PER_MEGABIT: u64 = 125_000;

/// Bounds of what a run may cost its source. Where one is reached, the run gives way or gives up, and says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceLimits {
    /// Workers that read rows at a time, each with the run's number of connections: the Map's concurrency in
    /// functions, 1 on the command line.
    pub workers: u32,
    /// How long somebody's lock request may wait behind a lock of ours before the reading that holds it is cancelled.
    pub lock_patience_seconds: u32,
    /// The run ends when its snapshot is older.
    pub max_snapshot_age_seconds: u32,
    /// The run ends when more transactions than this began since its snapshot: vacuum keeps what they leave.
    pub max_snapshot_age_transactions: u64,
    /// Megabits (1,000,000 bits) of rows per second that all workers together read; `None` for no limit.
    pub bandwidth_limit_mbps: Option<u32>,
}

impl Default for SourceLimits {
    fn default() -> Self {
        Self {
            workers: 1,
            // A statement that waits for a table makes all others on that table wait. Ten seconds are felt and are
            // shorter than the usual 30 s after which applications give up; most parts are read in less.
            lock_patience_seconds: 10,
            // Twice the six hours that a daily full may take (requirement U3).
            max_snapshot_age_seconds: 12 * 60 * 60,
            // Half of autovacuum_freeze_max_age (200 million): from there on Postgres itself forces vacuums, which
            // our snapshot would make useless.
            max_snapshot_age_transactions: 100_000_000,
            bandwidth_limit_mbps: None,
        }
    }
}

impl SourceLimits {
    /// The most connections that a run with `jobs` readers per worker has open at a time.
    #[must_use]
    pub fn connections(&self, jobs: u32) -> u32 {
        self.workers.max(1).saturating_mul(jobs.max(1)).saturating_add(BESIDE_READERS)
    }

    /// How long somebody may wait behind a lock of ours.
    #[must_use]
    pub fn lock_patience(&self) -> Duration {
        Duration::from_secs(u64::from(self.lock_patience_seconds))
    }

    /// How old the snapshot may become.
    #[must_use]
    pub fn max_snapshot_age(&self) -> Duration {
        Duration::from_secs(u64::from(self.max_snapshot_age_seconds))
    }

    /// One worker's share of the bandwidth, in bytes per second, at least 1.
    #[must_use]
    pub fn worker_bytes_per_second(&self) -> Option<u64> {
        let all = u64::from(self.bandwidth_limit_mbps?) * BYTES_PER_MEGABIT;
        Some((all / u64::from(self.workers.max(1))).max(1))
    }

    /// How many bytes a batch may hold, so that a worker gets through it within five minutes; `most` without a limit.
    #[must_use]
    pub fn batch_bytes(&self, most: u64) -> u64 {
        self.worker_bytes_per_second().map_or(most, |rate| most.min(rate * BATCH_SECONDS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(workers: u32, mbps: u32) -> SourceLimits {
        SourceLimits { workers, bandwidth_limit_mbps: Some(mbps), ..SourceLimits::default() }
    }

    #[test]
    fn the_bandwidth_is_divided_among_the_workers() {
        assert_eq!(limited(1, 8).worker_bytes_per_second(), Some(1_000_000));
        assert_eq!(limited(4, 8).worker_bytes_per_second(), Some(250_000));
        assert_eq!(SourceLimits::default().worker_bytes_per_second(), None);
    }

    #[test]
    fn connections_are_all_readers_and_four_beside_them() {
        assert_eq!(SourceLimits::default().connections(2), 6);
        assert_eq!(limited(4, 8).connections(2), 12);
    }

    #[test]
    fn a_batch_at_the_limit_takes_no_more_than_five_minutes() {
        assert_eq!(limited(4, 100).batch_bytes(4 << 30), 3_125_000 * 300);
        assert_eq!(limited(1, 100_000).batch_bytes(4 << 30), 4 << 30);
        assert_eq!(SourceLimits::default().batch_bytes(4 << 30), 4 << 30);
    }

    #[test]
    fn a_run_written_by_an_older_release_gets_the_defaults() {
        let limits: SourceLimits = serde_json::from_str("{}").expect("defaults");
        assert_eq!(limits, SourceLimits::default());
    }
}
