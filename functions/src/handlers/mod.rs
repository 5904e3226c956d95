//! One handler per function. Payload shapes are the documented input and output types.

mod alert;
mod backup;
mod capture;
mod copy_changes;
mod failed_batch;
mod govern;
mod record_capture;
mod record_failure;
mod replicate;
mod test_restore;
mod verify;

pub use alert::{AlertInput, AlertOutput, AlertedCapture, StateFailure, alert};
pub use backup::{
    BeginInput, DumpOutput, EncryptUploadInput, EncryptUploadOutput, HoldInput, RecordInput, RecordOutput,
    Released, RunInput, begin, dump_database, encrypt_upload, hold, record, release, seal,
};
pub use capture::{CaptureInput, CaptureOutput, ProtectOutput, capture, protect};
pub use copy_changes::{CopyChangesInput, CopyChangesOutput, ProbeRpoOutput, copy_changes, probe_rpo};
pub use govern::{GovernInput, govern};
pub use record_capture::{
    CompletedCapture, FailedCopy, RecordCaptureInput, RecordCaptureOutput, record_capture,
};
pub use record_failure::{FailureInput, RECORD_FAILURE_TIME, RecordFailureOutput, record_failure};
pub use replicate::{CopyInput, CopyOutput, replicate};
pub use test_restore::{
    DropInput, InstanceOutput, ProvisionOutput, RestoreInput, RestoreOutput, TestReference, drop_instance,
    provision, restore,
};
pub use verify::{VerifyInput, VerifyOutput, verify};

use serde::{Deserialize, Serialize};

/// Work that is longer than a function may run is done in three phases: before the batches, each batch, after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// What every batch needs.
    Prepare,
    /// The rows of one batch.
    Rows,
    /// What needs every batch.
    Finish,
}

/// Says that an event lacks what its phase needs.
fn lacking(what: &str) -> crate::FunctionError {
    crate::FunctionError::Event(serde::de::Error::custom(format!("{what} is missing")))
}
