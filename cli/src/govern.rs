//! `keepsake govern`: one look at a source's replication slot, which goes before it harms the source.

use crate::arguments::GovernArguments;
use crate::backup::check_name;
use crate::connection::connection;
use crate::context::Context;
use crate::failure::Failure;
use crate::signals::unless_interrupted;
use crate::terminal::{note, print, print_json};
use crate::text;
use keepsake_domain::{GovernorLimits, GovernorVerdict, Reason};
use keepsake_postgres::PostgresChanges;
use keepsake_steps::{Governed, govern_slot};

/// Runs `keepsake govern`.
///
/// # Errors
/// That the slot had to go, so that whoever called this hears of it; or that the source could not be asked.
pub async fn govern(context: &Context, arguments: &GovernArguments) -> Result<(), Failure> {
    let url = connection("--source", &arguments.source, &context.environment)?;
    check_name(&arguments.name)?;
    let slot = PostgresChanges::new(url, &arguments.name);
    let limits = GovernorLimits { wal_budget_bytes: arguments.wal_budget, ..GovernorLimits::default() };
    let governed =
        async { Ok(govern_slot(&slot, context.clock.as_ref(), &limits, arguments.free_bytes).await?) };
    let governed = unless_interrupted(governed, "the slot may or may not have been dropped").await?;
    if arguments.json {
        print_json(&governed)?;
    } else {
        print(&for_people(&governed));
    }
    for table in &governed.released {
        note(&format!("warning: {table} lost its replica identity and is not captured any more"));
    }
    if let GovernorVerdict::Warn(reasons) = &governed.decision {
        reasons.iter().for_each(warn);
    }
    Ok(governed.dropped_is_a_failure()?)
}

fn warn(reason: &Reason) {
    note(&format!("warning: {reason}"));
}

fn for_people(governed: &Governed) -> String {
    let Some(look) = &governed.look else { return format!("no slot {}: nothing is kept", governed.slot) };
    let what = match governed.decision {
        GovernorVerdict::Keep | GovernorVerdict::Warn(_) if look.lost.is_some() => "is lost",
        GovernorVerdict::Keep | GovernorVerdict::Warn(_) => "stays",
        GovernorVerdict::Drop(_) => "was dropped",
    };
    format!("slot {} {what}: it keeps {} of WAL", governed.slot, text::size(look.retained_bytes))
}
