//! The governor's look at a slot, and what it does about it.

use crate::StepError;
use crate::ports::{Clock, GovernedSlot};
use keepsake_domain::{FailureClass, GovernorLimits, GovernorVerdict, SlotLook, TableName, govern};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Between the two looks that tell the pace. A storm of writes shows within seconds; a function that waits for longer is
/// paid for longer, every minute of the year.
pub const PACE_SPAN: Duration = Duration::from_secs(5);

/// What one call of the governor came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Governed {
    /// The slot's name.
    pub slot: String,
    /// What was found; `None` when there is no slot.
    pub look: Option<SlotLook>,
    /// What was decided.
    pub decision: GovernorVerdict,
    /// Whether this call dropped the slot.
    pub dropped: bool,
    /// Tables that this call took out of the publication: they lost their replica identity.
    pub released: Vec<TableName>,
}

impl Governed {
    /// What people must hear of a slot that went.
    ///
    /// # Errors
    /// [`FailureClass::Permanent`] when this call dropped the slot.
    pub fn dropped_is_a_failure(&self) -> Result<(), StepError> {
        let GovernorVerdict::Drop(reasons) = &self.decision else { return Ok(()) };
        let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
        Err(StepError::found(
            FailureClass::Permanent,
            format!("slot {} was dropped to save the source: {}", self.slot, reasons.join("; ")),
            "the source is safe; changes since the newest segment are in no chain until the next full backup",
            "find out why capture stood still, then keepsake capture, which begins a new chain, and keepsake backup",
        ))
    }
}

/// Takes tables out whose users' statements fail because they are published. Then looks twice, decides, and drops the slot
/// if it must go. `free_bytes` is what is free on the source's disk, where
/// somebody could tell. A call that finds no slot does nothing, so a second one after a drop is success.
///
/// # Errors
/// When the source cannot be asked, or the slot had to go and stayed.
pub async fn govern_slot(
    slot: &dyn GovernedSlot,
    clock: &dyn Clock,
    limits: &GovernorLimits,
    free_bytes: Option<u64>,
) -> Result<Governed, StepError> {
    let slot_name = slot.name().to_owned();
    let released = slot.release_tables().await.unwrap_or_else(|error| {
        // The disk comes first; the next call tries again.
        let cause = keepsake_domain::chain(&error);
        tracing::warn!(slot = slot_name, cause, "tables without replica identity may still be published");
        Vec::new()
    });
    let nothing = |slot, released| Governed {
        slot,
        look: None,
        decision: GovernorVerdict::Keep,
        dropped: false,
        released,
    };
    let Some(before) = slot.look().await? else { return Ok(nothing(slot_name, released)) };
    clock.sleep(PACE_SPAN).await;
    let Some(mut look) = slot.look().await? else { return Ok(nothing(slot_name, released)) };
    look.free_bytes = free_bytes;
    let decision = govern(limits, Some((&before, PACE_SPAN)), &look);
    let dropped = matches!(decision, GovernorVerdict::Drop(_)) && slot.drop_slot().await?;
    Ok(Governed { slot: slot_name, look: Some(look), decision, dropped, released })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "govern_slot_tests.rs"]
mod tests;
