//! What the steps need from the outside, by the name of the need.
//!
//! Each port has one contract, written here, and one suite in the test kit that runs on its twin and on its real
//! adapter. Errors are named by what a caller can do about them.

mod catalog;
mod change_target;
mod changes;
mod clock;
mod governed_slot;
mod instances;
mod keys;
mod notices;
mod repository;
mod rows;
mod secrets;
mod source;
mod source_error;
mod target;

pub use catalog::{
    AlertLog, CaptureFacts, CaptureLog, CapturedRecord, CatalogError, ChainRecord, CompletedBackup, Copies,
    CopyRecord, CopyState, Execution, Executions, FailureRecord, Holds, Lease, Leases, LiveHold,
    NewExecution, Policies, Policy, PolicyCopy, PolicySource, ProbeRecord, RunningTest, SlotRecord,
    TestOutcome, Tests,
};
pub use change_target::{
    AppliedChanges, ChangeApplier, ChangeBatch, ChangePosition, ChangeTarget, ChangedTable, Deletion,
    Insertion, NumberInUse, SchemaTarget, TableChange, Update,
};
pub use changes::{
    Boundary, CaptureState, ChangeMessage, ChangeSource, ChangeStream, Mark, ProtectWishes, Protection,
    SlotState, Unprotected,
};
pub use clock::Clock;
pub use governed_slot::GovernedSlot;
pub use instances::{Instance, InstanceSpec, InstanceStatus, Instances, InstancesError};
pub use keepsake_domain::Provider;
pub use keys::{KeyHolder, KeyHolderError};
pub use notices::{Notices, NoticesError};
pub use repository::{Chunk, ChunkReceiver, ChunkSender, ObjectInfo, Repository, RepositoryError, chunks};
pub use rows::{RowReader, RowWriter};
pub use secrets::{Secrets, SecretsError};
pub use source::{DatabaseShape, GiveWay, HeldSnapshot, Source, SourceFacts, Strain, Waiting};
pub use source_error::SourceError;
pub use target::{LoadedPart, SchemaSection, Target, TargetError, TargetFacts};

/// What to do when PostgreSQL's own programs are missing.
const INSTALL_CLIENTS: &str = "install PostgreSQL client tools of the server's major version or newer (Debian: \
    postgresql-client), or let --pg-bin name the folder that holds pg_dump and pg_restore, then run again";
