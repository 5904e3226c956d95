//! One handler per function. Payload shapes are the documented input and output types.

mod alert;
mod backup;
mod failed_batch;
mod test_restore;

pub use alert::{AlertInput, AlertOutput, FailureInput, RecordFailureOutput, alert, record_failure};
pub use backup::{
    BeginInput, CopyInput, DumpOutput, EncryptUploadInput, EncryptUploadOutput, HoldInput, RecordInput,
    RecordOutput, Released, RunInput, begin, dump_database, encrypt_upload, hold, record, release, replicate,
    seal,
};
pub use test_restore::{
    DropInput, InstanceOutput, RestoreInput, RestoreOutput, RestorePhase, VerifyOutput, drop_instance,
    provision, restore, verify,
};
