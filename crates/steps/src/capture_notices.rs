//! What people are told of captured changes.

use crate::govern_slot::Governed;
use crate::ports::FailureRecord;
use keepsake_domain::{Explanation, FailureClass, GovernorVerdict, Notice, NoticeKind, Severity};

/// The notice of a capture that failed. `source` is `None` when it failed before that was known.
#[must_use]
pub fn capture_failure_notice(
    policy: &str,
    execution_id: &str,
    source: Option<&str>,
    failure: &FailureRecord,
) -> Notice {
    let state = failure.state.as_deref().map_or_else(String::new, |state| format!(" in state {state}"));
    let look = format!("aws stepfunctions get-execution-history --execution-arn {execution_id}");
    let next = match failure.class {
        FailureClass::Transient | FailureClass::Conflict => {
            format!("nothing, if the next capture succeeds; if it does not: {look}")
        }
        FailureClass::Permanent => format!("correct the cause, the next capture goes on; details: {look}"),
        FailureClass::Integrity => format!("keepsake verify --repo <URL> --deep; details: {look}"),
    };
    Notice {
        kind: NoticeKind::CaptureFailed,
        severity: Severity::of_failure(failure.class),
        source: source.map_or_else(|| format!("policy {policy}"), str::to_owned),
        execution_id: execution_id.to_owned(),
        backup_id: None,
        happened: format!("the capture failed{state} ({}): {}", failure.class, failure.message),
        explanation: Explanation {
            at_risk: "segments that stand are safe; the source keeps the changes since, until its slot costs too much"
                .to_owned(),
            next,
        },
    }
}

/// The notice of changes that are lost.
#[must_use]
pub fn changes_lost_notice(source: &str, execution_id: &str, gap: &str, full_begins: bool) -> Notice {
    let next = if full_begins {
        "nothing, if the full backup that was started now succeeds: it begins the next span; docs/runbooks/gap.md"
    } else {
        "see that a full backup is made: it begins the next span; one that runs is waited for, and of those that changes \
         begin there are four an hour; docs/runbooks/gap.md"
    };
    Notice {
        kind: NoticeKind::ChangesLost,
        severity: Severity::Critical,
        source: source.to_owned(),
        execution_id: execution_id.to_owned(),
        backup_id: None,
        happened: format!("changes of the source are lost: {gap}"),
        explanation: Explanation {
            at_risk:
                "no point between the last segment before the gap and the next full backup can be restored to"
                    .to_owned(),
            next: next.to_owned(),
        },
    }
}

/// The notice of a schema that changed.
#[must_use]
pub fn schema_changed_notice(source: &str, execution_id: &str, full_begins: bool) -> Notice {
    let next = if full_begins {
        "nothing, if the full backup that was started now succeeds"
    } else {
        "nothing at once: a full backup that runs is waited for, and of those that changes begin there are four an hour; \
         see that one succeeds; docs/runbooks/gap.md"
    };
    Notice {
        kind: NoticeKind::SchemaChanged,
        severity: Severity::Warning,
        source: source.to_owned(),
        execution_id: execution_id.to_owned(),
        backup_id: None,
        happened: "the schema of the source changed".to_owned(),
        explanation: Explanation {
            at_risk: "no point behind the last segment before the change can be restored to until the next full backup"
                .to_owned(),
            next: next.to_owned(),
        },
    }
}

/// The notice of a slot that went, to save its source; `None` when this look dropped none.
#[must_use]
pub fn slot_dropped_notice(source: &str, execution_id: &str, governed: &Governed) -> Option<Notice> {
    let GovernorVerdict::Drop(reasons) = &governed.decision else { return None };
    if !governed.dropped {
        return None;
    }
    let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    Some(Notice {
        kind: NoticeKind::SlotDropped,
        severity: Severity::Critical,
        source: source.to_owned(),
        execution_id: execution_id.to_owned(),
        backup_id: None,
        happened: format!("slot {} was dropped to save the source: {}", governed.slot, reasons.join("; ")),
        explanation: Explanation {
            at_risk: "the source is safe; changes since the newest segment are in no chain until the next full backup"
                .to_owned(),
            next: "find out why captures stood still; the next one begins a new chain and starts a full backup; \
                   docs/runbooks/gap.md"
                .to_owned(),
        },
    })
}
