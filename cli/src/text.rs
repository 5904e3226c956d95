//! Numbers, spans and instants as people read them.

use keepsake_domain::Timestamp;
use std::time::Duration;

/// Bytes with a binary unit: `12.3 MiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = approximate(bytes);
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// A count with its thousands apart: `1,234,567`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A span: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 4 min`, `5 days`.
#[must_use]
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..=9 => format!("{:.1} s", span.as_secs_f64()),
        10..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min {} s", seconds / 60, seconds % 60),
        7_200..=172_799 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// An instant with its zone and its age: `2026-11-21 01:20:00 UTC, 3 min 5 s ago`.
#[must_use]
pub fn instant(instant: Timestamp, now: Timestamp) -> String {
    let time = instant.strftime("%Y-%m-%d %H:%M:%S UTC");
    match age(instant, now) {
        Some(age) => format!("{time}, {} ago", span(age)),
        None => format!("{time}, in the future by this machine's clock"),
    }
}

/// A point in time as `restore --at` takes it, with its age: `2026-11-21 01:20:00.123456+00, 3 min 5 s ago`.
#[must_use]
pub fn point_in_time(instant: Timestamp, now: Timestamp) -> String {
    // Cut off, it would name an earlier point than was meant.
    let time = instant.strftime("%Y-%m-%d %H:%M:%S%.6f+00");
    match age(instant, now) {
        Some(age) => format!("{time}, {} ago", span(age)),
        None => format!("{time}, in the future by this machine's clock"),
    }
}

/// How long ago it was; `None` when it is yet to come by this machine's clock.
#[must_use]
pub fn age(instant: Timestamp, now: Timestamp) -> Option<Duration> {
    Duration::try_from(now.duration_since(instant)).ok()
}

/// Millions of bytes per second; 0 when no time passed.
#[must_use]
pub fn megabytes_per_second(bytes: u64, span: Duration) -> f64 {
    let seconds = span.as_secs_f64();
    if seconds > 0.0 { (approximate(bytes) / 1e6 / seconds * 10.0).round() / 10.0 } else { 0.0 }
}

/// How many times smaller the stored bytes are; 0 when nothing is stored.
#[must_use]
pub fn ratio(raw_bytes: u64, stored_bytes: u64) -> f64 {
    if stored_bytes == 0 {
        0.0
    } else {
        (approximate(raw_bytes) / approximate(stored_bytes) * 100.0).round() / 100.0
    }
}

/// A server version as people write it: 150018 is `15.18`.
#[must_use]
pub fn server_version(number: u32) -> String {
    format!("{}.{}", number / 10_000, number % 10_000)
}

/// For people and ratios only; 52 bits are enough.
#[expect(clippy::cast_precision_loss, reason = "only shown to people")]
fn approximate(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [size(0), size(1023), size(1 << 20), size(u64::MAX)],
            ["0 B", "1023 B", "1.0 MiB", "16.0 EiB"]
        );
        assert_eq!(
            [count(0), count(999), count(1_000), count(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(server_version(150_018), "15.18");
    }

    #[test]
    fn spans_and_ages_read_well() {
        let text = |seconds| span(Duration::from_secs(seconds));
        assert_eq!(
            [text(12), text(185), text(7_440), text(432_000)],
            ["12 s", "3 min 5 s", "2 h 4 min", "5 days"]
        );
        let now: Timestamp = "2026-11-21T01:20:00Z".parse().expect("valid");
        let before = now - Duration::from_secs(185);
        assert_eq!(instant(before, now), "2026-11-21 01:16:55 UTC, 3 min 5 s ago");
        assert!(instant(now, before).contains("in the future"));
    }
}
