//! The catalog, cut by need. It is a cache of the repository plus what only people decide.

mod alert_log;
mod captures;
mod copies;
mod error;
mod executions;
mod holds;
mod leases;
mod policies;
mod tests;

pub use alert_log::AlertLog;
pub use captures::{CaptureFacts, CaptureLog, CapturedRecord, ChainRecord, ProbeRecord, SlotRecord};
pub use copies::{Copies, CopyRecord, CopyState};
pub use error::CatalogError;
pub use executions::{CompletedBackup, Execution, Executions, FailureRecord, NewExecution};
pub use holds::{Holds, LiveHold};
pub use leases::{Lease, Leases};
pub use policies::{Policies, Policy, PolicyCopy, PolicySource};
pub use tests::{RunningTest, TestOutcome, Tests};
