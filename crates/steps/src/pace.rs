//! The bandwidth limit: rows are taken from the source no faster than the policy allows.
//!
//! A server sends as fast as it is read from, so holding back what is read holds back the source: its session waits
//! with a full socket and uses neither disk nor CPU.

use crate::Run;
use crate::ports::{Chunk, ChunkSender, Clock, SourceError, chunks};
use keepsake_domain::Timestamp;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The largest piece of rows; a stream may be this far ahead of the limit.
const LARGEST_PIECE_BYTES: u64 = 8 << 20;

/// One worker's share of the limit, shared by its connections.
pub(crate) struct Pace {
    bytes_per_second: u64,
    /// More than this is never owed: each connection waits for one piece. A clock that was set back would otherwise
    /// stop the run for as long.
    longest_wait: Duration,
    /// When all that was taken so far has been paid for.
    paid_at: Mutex<Timestamp>,
}

impl Pace {
    /// The run's pace, if it has a limit.
    pub fn of(run: &Run, now: Timestamp) -> Option<Self> {
        let bytes_per_second = run.limits.worker_bytes_per_second()?;
        let longest_wait = time_of(LARGEST_PIECE_BYTES * u64::from(run.jobs.max(1)), bytes_per_second);
        Some(Self { bytes_per_second, longest_wait, paid_at: Mutex::new(now) })
    }

    /// Books some bytes, and answers how long to wait before the next are taken. Time in which nothing was taken is
    /// not saved up.
    fn book(&self, bytes: u64, now: Timestamp) -> Duration {
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        let owed = Duration::try_from(paid_at.duration_since(now)).unwrap_or_default();
        let wait = (owed + time_of(bytes, self.bytes_per_second)).min(self.longest_wait);
        *paid_at = now.checked_add(wait).unwrap_or(now);
        wait
    }

    /// Hands on what `read` sends, no faster than the limit. The end is handed on as it comes, and only if it comes.
    ///
    /// # Errors
    /// As `read`; [`SourceError::ReceiverGone`] when nobody takes it.
    pub async fn hold_back<R, F>(
        &self,
        clock: &dyn Clock,
        read: R,
        to: ChunkSender,
    ) -> Result<(), SourceError>
    where
        R: FnOnce(ChunkSender) -> F,
        F: Future<Output = Result<(), SourceError>>,
    {
        let (sender, mut pieces) = chunks();
        let hand_on = async move {
            while let Some(piece) = pieces.recv().await {
                let bytes = if let Chunk::Data(bytes) = &piece { bytes.len() as u64 } else { 0 };
                let gone = to.send(piece).await.is_err();
                if gone {
                    // The reader sees that its own receiver went away.
                    return;
                }
                let wait = self.book(bytes, clock.now());
                if !wait.is_zero() {
                    clock.sleep(wait).await;
                }
            }
        };
        let (outcome, ()) = tokio::join!(read(sender), hand_on);
        outcome
    }
}

/// Reads at the pace, if there is one.
///
/// # Errors
/// As [`Pace::hold_back`].
pub(crate) async fn paced<R, F>(
    pace: Option<(&Pace, &dyn Clock)>,
    read: R,
    to: ChunkSender,
) -> Result<(), SourceError>
where
    R: FnOnce(ChunkSender) -> F,
    F: Future<Output = Result<(), SourceError>>,
{
    match pace {
        Some((pace, clock)) => pace.hold_back(clock, read, to).await,
        None => read(to).await,
    }
}

fn time_of(bytes: u64, bytes_per_second: u64) -> Duration {
    #[allow(clippy::cast_precision_loss)] // Nanoseconds of a wait may be off.
    Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use bytes::Bytes;
    use tokio::time::Instant;

    const MEGABYTE: u64 = 1_000_000;

    /// Time goes on only while all tasks wait.
    struct Paused(Instant);

    #[async_trait]
    impl Clock for Paused {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH + self.0.elapsed()
        }
        async fn sleep(&self, span: Duration) {
            tokio::time::sleep(span).await;
        }
    }

    fn pace(bytes_per_second: u64) -> Pace {
        let longest_wait = Duration::from_secs(60);
        Pace { bytes_per_second, longest_wait, paid_at: Mutex::new(Timestamp::UNIX_EPOCH) }
    }

    async fn send(pieces: u64, to: ChunkSender) -> Result<(), SourceError> {
        let gone = || SourceError::ReceiverGone { what: "pieces".to_owned() };
        for _ in 0..pieces {
            let piece = Bytes::from(vec![0; usize::try_from(MEGABYTE).expect("fits")]);
            to.send(Chunk::Data(piece)).await.map_err(|_| gone())?;
        }
        to.send(Chunk::End).await.map_err(|_| gone())
    }

    /// Bytes and whether the end came.
    async fn take_all(pace: &Pace, clock: &Paused, pieces: u64) -> (u64, bool) {
        let (to, mut from) = chunks();
        let taken = async {
            let (mut bytes, mut is_whole) = (0, false);
            while let Some(piece) = from.recv().await {
                match piece {
                    Chunk::Data(piece) => bytes += piece.len() as u64,
                    Chunk::End => is_whole = true,
                }
            }
            (bytes, is_whole)
        };
        let (sent, taken) = tokio::join!(pace.hold_back(clock, |to| send(pieces, to), to), taken);
        sent.expect("sent");
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn connections_share_one_limit_and_use_it() {
        let (pace, clock) = (pace(2 * MEGABYTE), Paused(Instant::now()));
        let streams = (0..4).map(|_| take_all(&pace, &clock, 50));
        let taken = futures::future::join_all(streams).await;
        assert_eq!(taken, [(50 * MEGABYTE, true); 4]);
        // 200 MB at 2 MB/s, of which each connection was one piece ahead at most.
        let spent = clock.0.elapsed().as_secs_f64();
        assert!((98.0..=100.1).contains(&spent), "{spent} s");
    }

    #[tokio::test(start_paused = true)]
    async fn time_without_reading_is_not_saved_up() {
        let (pace, clock) = (pace(MEGABYTE), Paused(Instant::now()));
        clock.sleep(Duration::from_secs(3600)).await;
        let before = clock.0.elapsed();
        take_all(&pace, &clock, 20).await;
        assert!((clock.0.elapsed() - before).as_secs_f64() >= 19.9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_cut_off_stays_cut_off() {
        let (pace, clock) = (pace(MEGABYTE), Paused(Instant::now()));
        let (to, mut from) = chunks();
        let cut = |to: ChunkSender| async move {
            to.send(Chunk::Data(Bytes::from_static(b"x"))).await.expect("sent");
            Err(SourceError::GaveWay { what: "it".to_owned(), place: "there".to_owned() })
        };
        let outcome = pace.hold_back(&clock, cut, to).await;
        assert!(matches!(outcome, Err(SourceError::GaveWay { .. })));
        assert!(matches!(from.recv().await, Some(Chunk::Data(_))));
        assert!(from.recv().await.is_none());
    }

    #[test]
    fn a_clock_that_was_set_back_stops_nobody_for_long() {
        let pace = pace(MEGABYTE);
        let late = Timestamp::UNIX_EPOCH + Duration::from_secs(100_000);
        pace.book(MEGABYTE, late);
        assert_eq!(pace.book(MEGABYTE, Timestamp::UNIX_EPOCH), Duration::from_secs(60));
        assert_eq!(
            pace.book(MEGABYTE, Timestamp::UNIX_EPOCH + Duration::from_secs(60)),
            Duration::from_secs(1)
        );
    }
}
