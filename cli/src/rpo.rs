//! `keepsake rpo`: how much would be lost if one repository were all that is left, read back from it.

use crate::arguments::RpoArguments;
use crate::backup::check_name;
use crate::context::Context;
use crate::failure::Failure;
use crate::keys::ReadingKey;
use crate::terminal::{print, print_json};
use crate::text;
use keepsake_steps::probe_rpo;

/// Runs `keepsake rpo`.
///
/// # Errors
/// [`Failure`], when no heartbeat could be read back.
pub async fn rpo(context: &Context, arguments: &RpoArguments) -> Result<(), Failure> {
    check_name(&arguments.name)?;
    let key = ReadingKey::given(&arguments.key, &context.places).await?.ok_or_else(|| {
        Failure::usage("no key was given to open the changes with", "give --key-file FILE or --kms")
    })?;
    let repository = context.places.repository("--repo", &arguments.repo).await?;
    let probed = probe_rpo(repository.as_ref(), &arguments.name, &key, context.clock.as_ref()).await?;
    if arguments.json {
        return print_json(&probed);
    }
    print(&format!(
        "RPO of {} in {}: {} s\n  heartbeat  left at {} ({}), read back from {}",
        probed.source,
        probed.repository,
        probed.rpo_seconds,
        text::instant(probed.heartbeat_at, probed.probed_at),
        probed.heartbeat_lsn,
        probed.segment
    ));
    Ok(())
}
