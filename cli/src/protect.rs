//! `keepsake protect`: publication, slot, and where the chain of captured changes begins.

use crate::arguments::ProtectArguments;
use crate::capturing::{CaptureOptions, Capturing};
use crate::context::Context;
use crate::failure::Failure;
use crate::signals::unless_interrupted;
use crate::terminal::{print, print_json};
use keepsake_domain::{Lineage, Lsn, NotCaptured, TableName};
use keepsake_steps::ports::ProtectWishes;
use keepsake_steps::{ProtectedSource, begin_anew, protect_source};
use serde::Serialize;

const AT_RISK: &str =
    "what was made on the source stays; the same command goes on, and keepsake unprotect removes it";

/// JSON shape of the answer.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    source: &'a str,
    lineage: &'a Lineage,
    slot: &'a str,
    publication: &'a str,
    /// Whether this call began the chain.
    is_new: bool,
    /// Changes behind this position are captured.
    lsn: Lsn,
    published: &'a [TableName],
    not_captured: &'a [NotCaptured],
    /// Why new tables join only at the end of a segment; left out where they join in the transaction that makes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_watched: Option<&'a str>,
}

/// Runs `keepsake protect`.
///
/// # Errors
/// [`Failure`] with everything that stands in the way.
pub async fn protect(context: &Context, arguments: &ProtectArguments) -> Result<(), Failure> {
    let options = CaptureOptions {
        source: &arguments.source,
        repo: &arguments.repo,
        name: &arguments.name,
        recipient: &arguments.recipient,
        kms_key: arguments.kms_key.as_deref(),
    };
    let capturing = Capturing::open(context, options).await?;
    let wishes = ProtectWishes { identity_full: arguments.replica_identity_full, ..ProtectWishes::default() };
    let capture = capturing.capture(context, wishes, keepsake_archive::ZSTD_LEVEL);
    let protected = async {
        Ok(match &arguments.begin_anew {
            Some(reason) => begin_anew(&capture, reason).await?,
            None => protect_source(&capture).await?,
        })
    };
    let protected = unless_interrupted(protected, AT_RISK).await?;
    let answer = answer(&protected);
    if arguments.json {
        return print_json(&answer);
    }
    print(&for_people(&answer));
    Ok(())
}

fn answer(protected: &ProtectedSource) -> Answer<'_> {
    let (layout, protection) = (&protected.chain.layout, &protected.protection);
    Answer {
        source: &layout.source,
        lineage: &layout.lineage,
        slot: &protection.slot,
        publication: &protection.publication,
        is_new: protected.is_new,
        lsn: protected.chain.boundary().position.lsn,
        published: &protection.published,
        not_captured: &protection.not_captured,
        not_watched: protection.not_watched.as_deref(),
    }
}

fn for_people(answer: &Answer<'_>) -> String {
    let state = if answer.is_new { "is protected from" } else { "was protected already, captured to" };
    let mut lines = vec![
        format!("{} {} {state} {}", answer.source, answer.lineage, answer.lsn),
        format!("  slot and publication {}; {} tables", answer.slot, answer.published.len()),
    ];
    lines.extend(answer.not_captured.iter().map(|one| {
        format!("  changes of {} are not captured: {}; {}", one.table, one.reason, one.reason.advice())
    }));
    lines.extend(answer.not_watched.map(|why| {
        format!(
            "  a table that is new is captured from the end of a segment on, not from its first row: {why}; a superuser's \
             protect mends that"
        )
    }));
    lines.join("\n")
}
