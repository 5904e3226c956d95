//! What a server said, without credentials and without values of rows.

use keepsake_domain::{Classified, Explanation, FailureClass};
use keepsake_steps::ports::{SourceError, TargetError};
use std::error::Error as StdError;
use std::fmt;
use tokio_postgres::error::SqlState;

/// A cause that may be shown: never a credential, never a row's values.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// A server's error: its code and message. Detail, hint and context are left out, since they may quote rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerMessage {
    code: String,
    message: String,
}

impl ServerMessage {
    pub(crate) fn new(code: &str, message: &str) -> Self {
        // Errors about data (class 22) quote the value: value "…" is out of range, or print its bytes: 0xe4.
        let shown = if code.starts_with("22") { before_any_value(message) } else { message };
        Self { code: code.to_owned(), message: shown.to_owned() }
    }
}

/// What a message says before its first quotation mark, in any of the server's languages, or its first byte.
fn before_any_value(message: &str) -> &str {
    const MARKS: [char; 10] = ['"', '«', '»', '„', '“', '”', '‘', '’', '「', '『'];
    let quoted = message.find(MARKS).unwrap_or(message.len());
    let end = message.find(" 0x").map_or(quoted, |bytes| bytes.min(quoted));
    message[..end].trim_end().trim_end_matches(':')
}

impl fmt::Display for ServerMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.code)
    }
}

impl StdError for ServerMessage {}

/// A plain sentence as a cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said(pub String);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Said {}

/// Why a server could not be used. Never carries a credential.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not reachable, not ready, or the connection broke.
    #[error("cannot reach {place}")]
    Unreachable {
        /// Host, port and database.
        place: String,
        /// What was seen.
        #[source]
        cause: Cause,
    },
    /// Host name does not exist.
    #[error("unknown host in {place}")]
    UnknownHost {
        /// Host, port and database.
        place: String,
    },
    /// The server does not let us in.
    #[error("{place} refused the login")]
    LoginRefused {
        /// Host, port and database.
        place: String,
        /// What the server said.
        #[source]
        cause: Cause,
    },
    /// A statement failed, or the settings of the connection cannot be used.
    #[error("cannot {act} on {place}")]
    Statement {
        /// What was tried.
        act: String,
        /// Host, port and database.
        place: String,
        /// Whether it may pass by itself.
        transient: bool,
        /// What was seen.
        #[source]
        cause: Cause,
    },
}

impl ConnectError {
    /// A failed statement that no repetition heals.
    pub(crate) fn permanent(act: &str, place: &str, said: impl Into<String>) -> Self {
        Self::Statement {
            act: act.to_owned(),
            place: place.to_owned(),
            transient: false,
            cause: Box::new(Said(said.into())),
        }
    }

    /// An error of an open connection.
    pub(crate) fn of_statement(act: &str, place: &str, error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(said) => Self::Statement {
                act: act.to_owned(),
                place: place.to_owned(),
                transient: passes(said.code().code()),
                cause: Box::new(message(said)),
            },
            None if error.is_closed() || io_error(error).is_some() => {
                Self::Unreachable { place: place.to_owned(), cause: Box::new(Said(shown(error))) }
            }
            None => Self::permanent(act, place, shown(error)),
        }
    }

    /// An error while the connection was being made.
    pub(crate) fn of_connect(place: &str, error: &tokio_postgres::Error) -> Self {
        let place = place.to_owned();
        if let Some(said) = error.as_db_error() {
            let cause: Cause = Box::new(message(said));
            return if passes(said.code().code()) {
                Self::Unreachable { place, cause }
            } else if refuses_login(said.code()) {
                Self::LoginRefused { place, cause }
            } else {
                Self::Statement { act: "open a session".to_owned(), place, transient: false, cause }
            };
        }
        let cause: Cause = Box::new(Said(shown(error)));
        match io_error(error) {
            Some(io) if io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
                Self::Statement { act: "agree on TLS".to_owned(), place, transient: false, cause }
            }
            Some(_) => Self::Unreachable { place, cause },
            // The driver finds these out itself: no password given, or a server that failed to prove itself.
            None if ["authentication error", "invalid configuration"]
                .iter()
                .any(|kind| error.to_string().starts_with(kind)) =>
            {
                Self::LoginRefused { place, cause }
            }
            None if error.is_closed() => Self::Unreachable { place, cause },
            None => Self::Statement { act: "open a session".to_owned(), place, transient: false, cause },
        }
    }
}

/// The code of a failed statement, if the server gave one.
pub(crate) fn sql_state(error: &tokio_postgres::Error) -> Option<&str> {
    error.code().map(SqlState::code)
}

/// A statement that was cancelled, or a session that was ended, by somebody's wish: statement timeouts are off here.
pub(crate) fn was_ended(error: &tokio_postgres::Error) -> bool {
    sql_state(error).is_some_and(|code| ["57014", "57P01"].contains(&code))
}

/// A lock that was not granted within `lock_timeout`.
pub(crate) fn lock_not_granted(error: &tokio_postgres::Error) -> bool {
    sql_state(error) == Some("55P03")
}

/// A read-only transaction fails to serialize, or dies in a deadlock, only by a conflict with a standby's replay.
/// Source: <https://www.postgresql.org/docs/current/hot-standby.html>, read 2026-11-21.
const STANDBY_CONFLICT: [&str; 2] = ["40001", "40P01"];

pub(crate) fn is_standby_conflict(error: &tokio_postgres::Error) -> bool {
    sql_state(error).is_some_and(|code| STANDBY_CONFLICT.contains(&code))
}

/// Errors that pass by themselves: connection loss, resources, shutdown, conflicts, lock and statement timeouts.
/// Source: <https://www.postgresql.org/docs/current/errcodes-appendix.html>, read 2026-11-21.
pub(crate) fn passes(code: &str) -> bool {
    ["08", "53", "57P", "40"].iter().any(|class| code.starts_with(class))
        || ["55P03", "57014"].contains(&code)
}

/// A foreign key whose other row is not there.
const MISSING_REFERENCE: &str = "23503";

fn has_code(cause: &Cause, codes: &[&str]) -> bool {
    cause.downcast_ref::<ServerMessage>().is_some_and(|said| codes.contains(&said.code.as_str()))
}

/// Class 28 is the login itself, 3D000 a database that does not exist, 42501 a database without right to connect.
fn refuses_login(code: &SqlState) -> bool {
    let code = code.code();
    code.starts_with("28") || code == "3D000" || code == "42501"
}

fn message(said: &tokio_postgres::error::DbError) -> ServerMessage {
    ServerMessage::new(said.code().code(), said.message())
}

fn shown(error: &tokio_postgres::Error) -> String {
    keepsake_domain::chain(error)
}

fn io_error(error: &tokio_postgres::Error) -> Option<&std::io::Error> {
    error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>())
}

impl Classified for ConnectError {
    fn class(&self) -> FailureClass {
        match self {
            Self::Unreachable { .. } => FailureClass::Transient,
            Self::Statement { transient, .. } if *transient => FailureClass::Transient,
            Self::UnknownHost { .. } | Self::LoginRefused { .. } | Self::Statement { .. } => {
                FailureClass::Permanent
            }
        }
    }

    fn explanation(&self) -> Explanation {
        let next = match self {
            Self::Unreachable { .. } => "check network, security group and server, then run again",
            Self::UnknownHost { .. } => "correct the host in the connection URL, then run again",
            Self::LoginRefused { .. } => {
                "correct user, password and database name in the secret, then run again"
            }
            Self::Statement { .. } => "read the cause, correct it, then run again",
        };
        Explanation { at_risk: "nothing was changed on the server".to_owned(), next: next.to_owned() }
    }
}

impl From<ConnectError> for SourceError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Unreachable { place, cause } => Self::Unreachable { place, cause },
            ConnectError::UnknownHost { place } => Self::UnknownHost { place },
            ConnectError::LoginRefused { place, cause } => Self::LoginRefused { place, cause },
            ConnectError::Statement { place, cause, .. } if has_code(&cause, &STANDBY_CONFLICT) => {
                Self::StandbyConflict { place }
            }
            ConnectError::Statement { act, place, transient, cause } => {
                Self::Statement { act, place, transient, cause }
            }
        }
    }
}

impl From<ConnectError> for TargetError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Unreachable { place, cause } => Self::Unreachable { place, cause },
            ConnectError::UnknownHost { place } => Self::Statement {
                act: "find the host".to_owned(),
                place,
                transient: false,
                cause: Box::new(Said("the host name does not exist".to_owned())),
            },
            ConnectError::LoginRefused { place, cause } => Self::LoginRefused { place, cause },
            ConnectError::Statement { act, place, cause, .. } if has_code(&cause, &[MISSING_REFERENCE]) => {
                Self::MissingReference { act, place, cause }
            }
            ConnectError::Statement { act, place, transient, cause } => {
                Self::Statement { act, place, transient, cause }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_of_a_row_shows_in_what_a_server_says_about_data() {
        for (code, said, shown) in [
            (
                "22P02",
                "invalid input syntax for type integer: \"secret\"",
                "invalid input syntax for type integer",
            ),
            ("22003", "value \"12345678901\" is out of range for type integer", "value"),
            (
                "22P02",
                "ungültige Eingabesyntax für Typ integer: „secret“",
                "ungültige Eingabesyntax für Typ integer",
            ),
            (
                "22P02",
                "syntaxe en entrée invalide pour le type integer : « secret »",
                "syntaxe en entrée invalide pour le type integer ",
            ),
            (
                "22021",
                "invalid byte sequence for encoding \"UTF8\": 0xe4",
                "invalid byte sequence for encoding",
            ),
            (
                "22P05",
                "character with byte sequence 0xe4 in encoding \"UTF8\"",
                "character with byte sequence",
            ),
            (
                "22001",
                "value too long for type character varying(5)",
                "value too long for type character varying(5)",
            ),
            ("42P01", "relation \"guests\" does not exist", "relation \"guests\" does not exist"),
        ] {
            assert_eq!(ServerMessage::new(code, said).message, shown);
        }
    }
}
