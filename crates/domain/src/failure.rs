//! Failure classes: what a caller can do about an error, the same names in Rust, in ASL and in the catalog.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a caller can do about a failure.
///
/// In ASL and in logs the names carry the product's prefix: `Keepsake.Transient` and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureClass {
    /// It may pass by itself: retry with a bounded backoff.
    Transient,
    /// Someone else holds it: wait, read again, decide.
    Conflict,
    /// It will fail again until a person changes something.
    Permanent,
    /// Bytes or rows are not what they must be: stop, keep the evidence, wake someone.
    Integrity,
}

impl FailureClass {
    /// The name that state machines match, for example `Keepsake.Transient`.
    #[must_use]
    pub fn error_name(self) -> &'static str {
        match self {
            Self::Transient => "Keepsake.Transient",
            Self::Conflict => "Keepsake.Conflict",
            Self::Permanent => "Keepsake.Permanent",
            Self::Integrity => "Keepsake.Integrity",
        }
    }

    /// The class behind a state machine's error name. Anything else, also a timeout or a crash, is `Transient`
    /// when AWS may have lost the call, and `Permanent` otherwise.
    #[must_use]
    pub fn from_error_name(name: &str) -> Self {
        match name {
            "Keepsake.Conflict" => Self::Conflict,
            "Keepsake.Integrity" => Self::Integrity,
            "Keepsake.Transient" | "States.Timeout" | "States.HeartbeatTimeout" | "TIMED_OUT" => {
                Self::Transient
            }
            _ => Self::Permanent,
        }
    }

    /// The plain name, as the catalog stores it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Transient => "Transient",
            Self::Conflict => "Conflict",
            Self::Permanent => "Permanent",
            Self::Integrity => "Integrity",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a person at night needs beside the error itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// What is at risk now, and what is not.
    pub at_risk: String,
    /// The next command or act.
    pub next: String,
}

/// An error that knows its class and can explain itself.
pub trait Classified: std::error::Error {
    /// What a caller can do.
    fn class(&self) -> FailureClass;
    /// What is at risk, and the next command.
    fn explanation(&self) -> Explanation;
}

/// The error and all its causes, outermost first, joined by `: `. A cause that its parent already shows is not repeated.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_found_again_by_its_error_name() {
        for class in [
            FailureClass::Transient,
            FailureClass::Conflict,
            FailureClass::Permanent,
            FailureClass::Integrity,
        ] {
            assert_eq!(FailureClass::from_error_name(class.error_name()), class);
        }
    }

    #[test]
    fn an_unknown_error_name_is_never_taken_for_transient() {
        assert_eq!(FailureClass::from_error_name("States.Runtime"), FailureClass::Permanent);
    }
}
