//! Why a batch failed. A Distributed Map ends as `States.ExceedToleratedFailureThreshold`, whatever its children's
//! errors were, so a failing batch leaves word in the work bucket, and whoever records the failure reads it there.

use super::alert::StateFailure;
use crate::{App, FunctionError};
use keepsake_domain::BackupId;
use keepsake_steps::Work;
use keepsake_steps::ports::FailureRecord;

/// What Step Functions calls a Map whose children failed.
const TOO_MANY_FAILED: &str = "States.ExceedToleratedFailureThreshold";

/// Leaves word of a batch's failure and hands the failure on. Transient ones leave none: the batch is tried again.
pub(super) async fn leave_word(
    app: &App,
    work: &Work,
    state: &str,
    batch: u32,
    error: FunctionError,
) -> FunctionError {
    let class = error.class();
    if class == keepsake_domain::FailureClass::Transient {
        return error;
    }
    let state = Some(state.to_owned());
    let failure = FailureRecord { class, message: error.text(), state, failed_at: app.clock.now() };
    if let Err(second) = work.put_batch_failure(batch, &failure).await {
        tracing::error!(error = %second, "cannot leave word of the failed batch");
    }
    error
}

/// The failure as its batch told it, where the state machine knows only that a Map failed.
pub(super) async fn told_by_batches(app: &App, backup_id: BackupId, failure: &StateFailure) -> FailureRecord {
    let known = failure.record(app.clock.now());
    let names_a_map = failure.error == TOO_MANY_FAILED || known.message.contains(TOO_MANY_FAILED);
    if !names_a_map {
        return known;
    }
    let told = async { Ok::<_, FunctionError>(app.work_of(backup_id).await?.batch_failure().await?) };
    match told.await {
        Ok(Some(told)) => told,
        Ok(None) => known,
        Err(error) => {
            tracing::error!(error = error.text(), "cannot read why the batch failed");
            known
        }
    }
}
