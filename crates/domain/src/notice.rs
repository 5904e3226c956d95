//! What people and machines are told about a run.

use crate::{Explanation, FailureClass};
use serde::{Deserialize, Serialize};

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing to do.
    Info,
    /// Look at it in working hours.
    Warning,
    /// Look at it now.
    Critical,
}

impl Severity {
    /// A run that failed: integrity wakes someone, a conflict can wait, the rest is critical because a recovery
    /// point is missing.
    #[must_use]
    pub fn of_failure(class: FailureClass) -> Self {
        match class {
            FailureClass::Conflict => Self::Warning,
            FailureClass::Transient | FailureClass::Permanent | FailureClass::Integrity => Self::Critical,
        }
    }

    /// The name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Why a notice is sent; one execution sends each kind at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// The backup stands, its copies are verified and it was restored.
    BackupCompleted,
    /// The run failed.
    BackupFailed,
    /// A capture of changes failed.
    CaptureFailed,
    /// Changes are lost: a gap.
    ChangesLost,
    /// The schema changed, so what follows can be restored to only from a new full backup on.
    SchemaChanged,
    /// Our replication slot went, to save its source.
    SlotDropped,
}

/// One notice, before it is put into words for a protocol. JSON shape: these fields in snake case; machines get it as is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Why it is sent.
    pub kind: NoticeKind,
    /// How much it matters.
    pub severity: Severity,
    /// The source's name.
    pub source: String,
    /// The state machine's execution, or the command line's run.
    pub execution_id: String,
    /// The backup, if it got that far.
    pub backup_id: Option<String>,
    /// What happened, one sentence.
    pub happened: String,
    /// What is at risk, and the next command.
    #[serde(flatten)]
    pub explanation: Explanation,
}

impl Notice {
    /// At most 100 characters, as SNS takes an e-mail subject; ASCII, no line breaks.
    #[must_use]
    pub fn subject(&self) -> String {
        let what = match self.kind {
            NoticeKind::BackupCompleted => "backup completed",
            NoticeKind::BackupFailed => "BACKUP FAILED",
            NoticeKind::CaptureFailed => "CAPTURE OF CHANGES FAILED",
            NoticeKind::ChangesLost => "CHANGES ARE LOST",
            NoticeKind::SchemaChanged => "schema changed",
            NoticeKind::SlotDropped => "REPLICATION SLOT DROPPED",
        };
        let text = format!("[keepsake {}] {what}: {}", self.severity.name(), self.source);
        text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).take(100).collect()
    }

    /// The notice as a person reads it.
    #[must_use]
    pub fn text(&self) -> String {
        let backup = self.backup_id.as_deref().unwrap_or("none");
        format!(
            "{}\n\nWhat happened: {}\nAt risk:       {}\nNext:          {}\n\nSource:    {}\nBackup:    {backup}\nExecution: {}\nSeverity:  {}\n",
            self.subject(),
            self.happened,
            self.explanation.at_risk,
            self.explanation.next,
            self.source,
            self.execution_id,
            self.severity.name(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(source: &str) -> Notice {
        Notice {
            kind: NoticeKind::BackupFailed,
            severity: Severity::Critical,
            source: source.into(),
            execution_id: "arn:aws:states:eu-central-1:1:execution:backup:x".into(),
            backup_id: None,
            happened: "the source refused the password".into(),
            explanation: Explanation {
                at_risk: "no new recovery point".into(),
                next: "keepsake show".into(),
            },
        }
    }

    #[test]
    fn a_subject_is_short_ascii_on_one_line() {
        let subject = notice(&"Gäste\n".repeat(50)).subject();
        assert!(subject.len() <= 100 && subject.is_ascii() && !subject.contains('\n'), "{subject}");
    }

    #[test]
    fn a_person_is_told_what_happened_what_is_at_risk_and_what_to_do() {
        let text = notice("wedsync").text();
        for part in ["refused the password", "no new recovery point", "keepsake show"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
