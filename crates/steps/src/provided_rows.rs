//! Rows of a backup in tables that the target's provider has made already, as `auth.users` of another project.

use crate::StepError;
use crate::restore_backup::Restore;
use keepsake_archive::Part;
use keepsake_domain::{
    FailureClass, HeldTable, LeftOut, ProvidedFacts, ProvidedPlan, Provider, SequenceValue, provided_rows,
};

/// A reason names one table; a project has about 80 of them.
const REASONS_TOLD: usize = 20;

/// Schemas that a provider keeps by itself stand in its databases already, with its own definitions: a restore leaves
/// those alone. Decides what becomes of the rows. Changes nothing.
///
/// # Errors
/// When rows would be lost: each table with its reason.
pub(crate) async fn plan_provided(restore: &Restore, provider: Provider) -> Result<ProvidedPlan, StepError> {
    let asked = held(restore, provider);
    if asked == ProvidedFacts::default() {
        return Ok(ProvidedPlan::default());
    }
    let facts = restore.target.provided(asked).await?;
    provided_rows(provider, &facts).map_err(|mut reasons| {
        let more = reasons.len().saturating_sub(REASONS_TOLD);
        reasons.truncate(REASONS_TOLD);
        reasons.extend((more > 0).then(|| format!("and {more} more")));
        StepError::found(
            FailureClass::Permanent,
            format!("the target does not fit: {}", reasons.join("; ")),
            "the backup is untouched; nothing was changed on the target",
            "restore into a project in which nothing was done yet, or into a plain Postgres; see docs/providers.md",
        )
    })
}

fn held(restore: &Restore, provider: Provider) -> ProvidedFacts {
    let kept = |schema: &str| provider.managed_schemas().contains(&schema);
    let manifest = &restore.backup.manifest;
    let mut asked = ProvidedFacts::default();
    for part in &manifest.parts {
        let table = part.root.as_ref().unwrap_or(&part.table);
        if kept(&table.schema) {
            let none = || HeldTable { columns: part.columns.clone(), rows: 0 };
            asked.held.entry(table.clone()).or_insert_with(none).rows += part.content.rows;
        }
    }
    let sequences = manifest.sequences.iter().map(|value| &value.sequence);
    asked.sequences = sequences.filter(|one| kept(&one.schema)).map(|one| (one.clone(), false)).collect();
    asked
}

/// What this restore does not bring, as the target keeps it in mind.
pub(crate) struct StaysAway(Vec<LeftOut>);

impl StaysAway {
    pub async fn read(restore: &Restore) -> Result<Self, StepError> {
        Ok(Self(restore.target.left_out().await?))
    }

    pub fn has_part(&self, part: &Part) -> bool {
        self.0.contains(&LeftOut::rows_of_provider(part.root.as_ref().unwrap_or(&part.table)))
    }

    pub fn has_sequence(&self, value: &SequenceValue) -> bool {
        self.0.contains(&LeftOut::place_of_provider(&value.sequence))
    }
}
