//! What the server said, sorted by what a caller can do about it.

use crate::error::ConnectError;
use keepsake_domain::{Classified, FailureClass};
use keepsake_steps::ports::CatalogError;
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

/// The server's words without its DETAIL and HINT, which may repeat a row.
#[derive(Debug, thiserror::Error)]
#[error("the catalog database answered {code}: {message}")]
struct Answer {
    code: String,
    message: String,
}

/// A statement that failed while doing this.
pub(super) fn failed(act: &str) -> impl Fn(Error) -> CatalogError {
    let act = act.to_owned();
    move |error| match error.as_db_error() {
        Some(answer) => answered(&act, answer),
        None if is_connection_trouble(&error) => unavailable(&act, error),
        None => CatalogError::Refused { act: act.clone(), cause: Box::new(error) },
    }
}

/// A connection that could not be opened. The cause names the place, never a credential.
pub(super) fn connect_failed(act: &str, error: ConnectError) -> CatalogError {
    match error.class() {
        FailureClass::Transient => CatalogError::Unavailable { act: act.to_owned(), cause: Box::new(error) },
        _ => refused(act, error),
    }
}

/// A row that is not there.
pub(super) fn not_found(kind: &str, name: impl std::fmt::Display) -> CatalogError {
    CatalogError::NotFound { what: format!("{kind} {name}") }
}

/// A state that does not allow it, in our own words.
pub(super) fn transition(act: &str, reason: impl Into<String>) -> CatalogError {
    CatalogError::Transition { act: act.to_owned(), reason: reason.into() }
}

/// Data that will not do.
pub(super) fn refused(act: &str, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CatalogError {
    CatalogError::Refused { act: act.to_owned(), cause: cause.into() }
}

/// A count for a `bigint` column.
pub(super) fn bigint(act: &str, number: u64) -> Result<i64, CatalogError> {
    i64::try_from(number).map_err(|error| refused(act, error))
}

fn unavailable(act: &str, error: Error) -> CatalogError {
    CatalogError::Unavailable { act: act.to_owned(), cause: Box::new(error) }
}

fn answered(act: &str, answer: &DbError) -> CatalogError {
    let cause = Answer { code: answer.code().code().to_owned(), message: answer.message().to_owned() };
    if may_pass(answer.code()) {
        CatalogError::Unavailable { act: act.to_owned(), cause: Box::new(cause) }
    } else if is_guard(answer.code()) {
        transition(act, cause.message)
    } else {
        CatalogError::Refused { act: act.to_owned(), cause: Box::new(cause) }
    }
}

/// Guards raise KS001 to KS003; a check is a guard without code of its own.
fn is_guard(code: &SqlState) -> bool {
    matches!(code.code(), "KS001" | "KS002" | "KS003")
        || *code == SqlState::RAISE_EXCEPTION
        || *code == SqlState::CHECK_VIOLATION
}

/// Classes 08 (connection), 40 (rollback), 53 (resources), 57 (operator), 58 (system), a lock that was not got, and a
/// server that is still or again a standby in a failover.
fn may_pass(code: &SqlState) -> bool {
    ["08", "40", "53", "57", "58"].iter().any(|class| code.code().starts_with(class))
        || *code == SqlState::LOCK_NOT_AVAILABLE
        || *code == SqlState::READ_ONLY_SQL_TRANSACTION
}

fn is_connection_trouble(error: &Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if inner.is::<std::io::Error>() {
            return true;
        }
        cause = inner.source();
    }
    error.is_closed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        for code in ["08006", "40001", "40P01", "53300", "57014", "57P01", "57P03", "55P03", "25006"] {
            assert!(may_pass(&SqlState::from_code(code)), "{code}");
        }
        for code in ["23505", "28P01", "3D000", "42501", "42P01", "KS001", "23514"] {
            assert!(!may_pass(&SqlState::from_code(code)), "{code}");
        }
    }

    #[test]
    fn every_guard_is_a_transition() {
        for code in ["KS001", "KS002", "KS003", "P0001", "23514"] {
            assert!(is_guard(&SqlState::from_code(code)), "{code}");
        }
        assert!(!is_guard(&SqlState::from_code("42501")));
    }
}
