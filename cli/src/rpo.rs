//! `keepsake rpo`: how much would be lost if one repository were all that is left, read back from it.

use crate::arguments::RpoArguments;
use crate::backup::check_name;
use crate::context::Context;
use crate::failure::Failure;
use crate::keys::ReadingKey;
use crate::terminal::{print, print_json};
use crate::text;
use keepsake_domain::FailureClass;
use keepsake_steps::{ProbedRpo, probe_rpo};

/// Runs `keepsake rpo`.
///
/// # Errors
/// [`Failure`], when nothing could be read back; also after the RPO was shown, when newer changes stand there in vain.
pub async fn rpo(context: &Context, arguments: &RpoArguments) -> Result<(), Failure> {
    check_name(&arguments.name)?;
    let key = ReadingKey::given(&arguments.key, &context.places).await?.ok_or_else(|| {
        Failure::usage("no key was given to open the changes with", "give --key-file FILE or --kms")
    })?;
    let repository = context.places.repository("--repo", &arguments.repo).await?;
    let probed = probe_rpo(repository.as_ref(), &arguments.name, &key, context.clock.as_ref()).await?;
    if arguments.json {
        print_json(&probed)?;
    } else {
        print(&for_people(&probed));
    }
    match &probed.stopped_by {
        None => Ok(()),
        Some(reason) => Err(Failure::found(
            FailureClass::Permanent,
            format!("newer changes stand in {} and cannot be restored from it: {reason}", probed.repository),
            format!("what was written behind {}, if this repository were all that is left", probed.newest_at),
            "keepsake backup --copy-to <URL>, then keepsake capture and keepsake replicate; keepsake window --repo <URL> shows all",
        )),
    }
}

fn for_people(probed: &ProbedRpo) -> String {
    let (at, lsn) = (text::instant(probed.newest_at, probed.probed_at), probed.newest_lsn);
    let newest = match &probed.segment {
        Some(segment) => format!("newest     state of {at} ({lsn}), read back from {segment}"),
        None => format!("snapshot   of the full backup, taken at {at} ({lsn}): nothing newer joins it"),
    };
    format!(
        "RPO of {} in {}: {} s\n  {newest}\n  begins     with full backup {}",
        probed.source, probed.repository, probed.rpo_seconds, probed.backup_id
    )
}
