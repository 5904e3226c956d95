//! What somebody asks of a random suite by variables of its environment.

use std::time::{SystemTime, UNIX_EPOCH};

/// The number that a variable holds; `None` where it is not set.
///
/// # Panics
/// When it is set to something else than a whole number: a typing error must not be a short sweep.
#[must_use]
pub fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse().map_err(|_| format!("{variable}={text} is not a whole number"));
    Some(number.expect("a number in the environment"))
}

/// The seed that a variable holds, to repeat a run; else another one each second. The caller prints it.
///
/// # Panics
/// As [`number`].
#[must_use]
pub fn seed(variable: &str) -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    number(variable).unwrap_or(since_1970.as_secs())
}
