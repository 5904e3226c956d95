//! How a command ends when it does not end well: one exit code, one line, what is at risk, what to do next.

use crate::secret_text::redact;
use keepsake_domain::{Classified, Explanation, FailureClass, chain};

/// The command line is wrong.
pub const USAGE: u8 = 2;
/// Damage was found, nothing was there to verify, or a restored database is not equal.
pub const NOT_PROVEN: u8 = 14;

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    exit_code: u8,
    text: String,
    explanation: Option<Explanation>,
}

impl Failure {
    /// The command line, or something that it names, is wrong. Nothing was touched.
    #[must_use]
    pub fn usage(text: impl Into<String>, next: impl Into<String>) -> Self {
        let explanation = Explanation { at_risk: "nothing was touched".to_owned(), next: next.into() };
        Self { exit_code: USAGE, text: text.into(), explanation: Some(explanation) }
    }

    /// A comparison was made, and it did not prove what it should.
    #[must_use]
    pub fn not_proven(text: impl Into<String>, at_risk: impl Into<String>, next: impl Into<String>) -> Self {
        let explanation = Explanation { at_risk: at_risk.into(), next: next.into() };
        Self { exit_code: NOT_PROVEN, text: text.into(), explanation: Some(explanation) }
    }

    /// A failure of a class that only the command itself can see.
    #[must_use]
    pub fn found(
        class: FailureClass,
        text: impl Into<String>,
        at_risk: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        let explanation = Explanation { at_risk: at_risk.into(), next: next.into() };
        Self { exit_code: exit_code(class), text: text.into(), explanation: Some(explanation) }
    }

    /// The same, and what ended the command later: a schedule looks at the exit code alone, and must not miss this one.
    #[must_use]
    pub fn before(mut self, later: &Self) -> Self {
        self.text = format!("{}; and then: {}", self.text, later.text);
        if let (Some(own), Some(later)) = (&mut self.explanation, &later.explanation) {
            own.next = format!("{}; for what came then: {}", own.next, later.next);
        }
        self
    }

    /// Stopped by a signal: 128 and the signal's number.
    #[must_use]
    pub fn interrupted(signal: u8, at_risk: &str) -> Self {
        let explanation =
            Explanation { at_risk: at_risk.to_owned(), next: "run the same command again".to_owned() };
        Self { exit_code: 128 + signal, text: "interrupted".to_owned(), explanation: Some(explanation) }
    }

    /// The exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// `error: …`, `at risk: …` and `next: …`, each on its line, without credentials.
    #[must_use]
    pub fn report(&self) -> String {
        let mut report = format!("error: {}\n", one_line(&self.text));
        if let Some(explanation) = &self.explanation {
            report.push_str(&format!("at risk: {}\n", one_line(&explanation.at_risk)));
            report.push_str(&format!("next: {}\n", one_line(&explanation.next)));
        }
        redact(&report)
    }
}

/// The exit code of a class.
#[must_use]
pub fn exit_code(class: FailureClass) -> u8 {
    match class {
        FailureClass::Transient => 10,
        FailureClass::Conflict => 11,
        FailureClass::Permanent => 12,
        FailureClass::Integrity => 13,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl<E: Classified> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            exit_code: exit_code(error.class()),
            text: chain(&error),
            explanation: Some(error.explanation()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keepsake_steps::ports::SourceError;

    #[test]
    fn a_failure_is_three_lines_and_shows_no_credential() {
        let said = "connection to postgres://a:s3cret@h/d\n  failed".to_owned();
        let failure = Failure::from(SourceError::ClientFailed { program: "pg_dump".to_owned(), said });
        assert_eq!(failure.exit_code(), 12);
        let report = failure.report();
        let lines: Vec<&str> = report.lines().collect();
        assert_eq!(lines[0], "error: pg_dump failed: connection to postgres://…@h/d failed");
        assert!(lines[1].starts_with("at risk: ") && lines[2].starts_with("next: "), "{report}");
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn of_two_failures_the_first_gives_the_exit_code_and_both_are_told() {
        let lost = Failure::found(FailureClass::Permanent, "changes are lost", "points", "keepsake backup");
        let both = lost.before(&Failure::interrupted(2, "nothing more"));
        assert_eq!(both.exit_code(), 12);
        let report = both.report();
        assert!(report.starts_with("error: changes are lost; and then: interrupted\n"), "{report}");
        assert!(report.contains("next: keepsake backup; for what came then: run the same"), "{report}");
    }
}
