//! What the server hears from us while it streams: how far it may forget, and that we live.

use super::wire::{Pen, message};
use keepsake_domain::{Lsn, Timestamp};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;

/// How often it hears from us, also while nobody asks for the next message: six times within the time after which it
/// gives us up ([`Patience`]).
const EVERY: Duration = Duration::from_secs(10);

/// How long server and we wait for a word of each other while changes are streamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// After so long without a word from us the server ends the session and frees the slot for our successor. Pinned, so
    /// that a server with another setting does the same; 60 s is the default.
    /// Source: <https://www.postgresql.org/docs/current/runtime-config-replication.html>, read 2026-11-21.
    pub server: (&'static str, &'static str),
    /// Each word from us asks for an answer, and whoever streams looks at our words and at that timeout in one loop: a
    /// server that lives was heard of within twice the timeout.
    pub ours: Duration,
}

/// From this version on a server looks at our words also while it decodes what is not streamed, as the rows of a large
/// materialized view that is made anew. Before, it hears and says nothing meanwhile.
/// Source: PostgreSQL's commit 8c58624df46, "Fix the logical replication timeout during processing of DDL".
const LOOKS_UP_SINCE: u32 = 160_000;

pub(super) fn patience(version: u32) -> Patience {
    let (timeout, ours) = if version >= LOOKS_UP_SINCE { ("60s", SILENCE) } else { ("300s", 5 * SILENCE) };
    Patience { server: ("wal_sender_timeout", timeout), ours }
}

/// For an answer at once, and for our own words.
pub(super) const SILENCE: Duration = Duration::from_secs(120);

/// Microseconds from 1970 to 2000, where the server's clock begins.
const SERVER_EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;

/// Tells the server every few seconds what was confirmed. Dropping it ends that.
pub(super) struct Pulse {
    pen: Arc<Mutex<Pen>>,
    confirmed: Arc<AtomicU64>,
    asked: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Pulse {
    pub fn begin(pen: Pen, confirmed: Lsn) -> Self {
        let pen = Arc::new(Mutex::new(pen));
        let confirmed = Arc::new(AtomicU64::new(confirmed.0));
        let asked = Arc::new(Notify::new());
        let task = tokio::spawn(beat(pen.clone(), confirmed.clone(), asked.clone()));
        Self { pen, confirmed, asked, task }
    }

    /// The server wants to hear from us now.
    pub fn answer(&self) {
        self.asked.notify_one();
    }

    pub fn confirmed(&self) -> Lsn {
        Lsn(self.confirmed.load(Ordering::Acquire))
    }

    /// Confirms, and never takes back.
    pub async fn confirm(&self, lsn: Lsn) -> io::Result<()> {
        let mut pen = self.pen.lock().await;
        let confirmed = self.confirmed.fetch_max(lsn.0, Ordering::AcqRel).max(lsn.0);
        pen.write(&status(Lsn(confirmed), Answer::NotNeeded), SILENCE).await
    }

    /// The last word: what was confirmed, and that no more is wanted.
    pub async fn finish(&self) -> io::Result<()> {
        let mut pen = self.pen.lock().await;
        // Only now, so that no word is cut off in its middle.
        self.task.abort();
        let last = [status(self.confirmed(), Answer::NotNeeded), message(b'c', &[])].concat();
        pen.write(&last, SILENCE).await
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Until the pulse is dropped or the connection broke, which whoever reads from it hears too.
async fn beat(pen: Arc<Mutex<Pen>>, confirmed: Arc<AtomicU64>, asked: Arc<Notify>) {
    loop {
        // By time we ask, to hear whether the server lives; when it asks, asking back would never end.
        let answer = tokio::select! {
            () = tokio::time::sleep(EVERY) => Answer::Wanted,
            () = asked.notified() => Answer::NotNeeded,
        };
        let mut pen = pen.lock().await;
        let word = status(Lsn(confirmed.load(Ordering::Acquire)), answer);
        if pen.write(&word, SILENCE).await.is_err() {
            return;
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Wanted,
    NotNeeded,
}

/// A standby status update: written, flushed and applied up to here, our clock, whether to answer. Only what stands in
/// the repository counts as written too, or the server would not tell an idle stream how far it is.
fn status(confirmed: Lsn, answer: Answer) -> Vec<u8> {
    let clock = Timestamp::now().as_microsecond() - SERVER_EPOCH_MICROSECONDS;
    let mut body = vec![b'r'];
    for position in [confirmed.0; 3] {
        body.extend_from_slice(&position.to_be_bytes());
    }
    body.extend_from_slice(&clock.to_be_bytes());
    body.push(u8::from(answer == Answer::Wanted));
    message(b'd', &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_names_the_confirmed_position_three_times() {
        let bytes = status(Lsn(0x16_B374_D848), Answer::Wanted);
        assert_eq!(bytes[..6], [b'd', 0, 0, 0, 38, b'r']);
        for field in bytes[6..30].chunks(8) {
            assert_eq!(field, [0, 0, 0, 0x16, 0xB3, 0x74, 0xD8, 0x48]);
        }
        assert_eq!((bytes.len(), bytes.last()), (39, Some(&1)));
    }
}
