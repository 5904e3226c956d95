//! Heartbeats: our marks in the source's write-ahead log, each with the time at which it was left.

use crate::pgoutput::Message;
use keepsake_domain::Timestamp;

/// What our marks are called in the write-ahead log. Each says the source's clock, as RFC 3339 with microseconds.
pub const HEARTBEAT_PREFIX: &str = "keepsake";

/// When a message was left, if it is a heartbeat; `None` for every other message, also for one of our name that says no time.
#[must_use]
pub fn heartbeat_at(message: &Message) -> Option<Timestamp> {
    match message {
        Message::Logical { prefix, content, .. } => heartbeat_said(prefix, content),
        _ => None,
    }
}

/// The same of a message by its prefix and its content.
#[must_use]
pub fn heartbeat_said(prefix: &str, content: &[u8]) -> Option<Timestamp> {
    if prefix == HEARTBEAT_PREFIX { std::str::from_utf8(content).ok()?.parse().ok() } else { None }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use keepsake_domain::Lsn;

    fn said(prefix: &str, content: &str) -> Option<Timestamp> {
        let (prefix, content) = (prefix.to_owned(), Bytes::copy_from_slice(content.as_bytes()));
        heartbeat_at(&Message::Logical { transactional: false, lsn: Lsn(7), prefix, content })
    }

    #[test]
    fn a_heartbeat_says_its_time_and_nothing_else_is_one() {
        let at = "2026-11-21T12:00:00.000007Z";
        assert_eq!(said(HEARTBEAT_PREFIX, at), Some(at.parse().unwrap()));
        for (prefix, content) in [("keepsake", ""), ("keepsake", "{}"), ("keepsake_ddl", at), ("theirs", at)]
        {
            assert_eq!(said(prefix, content), None, "{prefix} {content}");
        }
    }
}
