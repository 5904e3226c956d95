//! The ports whose calls borrow nothing but their arguments: one line for each call.

use super::{
    Faulty, FaultyChangeApplier, FaultyChangeStream, FaultyHeldSnapshot, FaultyRowReader, FaultyRowWriter,
    OfScript,
};
use async_trait::async_trait;
use keepsake_archive::{BackupIdentity, Manifest, WrappedKey};
use keepsake_domain::{
    BackupId, ConnectionUrl, ExecutionRowId, FencingToken, InstanceName, Lineage, Notice, SequenceValue,
    TableShape, Timestamp,
};
use keepsake_steps::ports::{
    AlertLog, Boundary, CaptureState, CatalogError, ChangeApplier, ChangeSource, ChangeStream, ChangeTarget,
    ChunkReceiver, ChunkSender, CompletedBackup, Copies, CopyRecord, DatabaseShape, Execution, Executions,
    FailureRecord, HeldSnapshot, Holds, Instance, InstanceSpec, Instances, InstancesError, KeyHolder,
    KeyHolderError, Lease, Leases, LiveHold, LoadedPart, Mark, NewExecution, Notices, NoticesError, Policies,
    Policy, ProtectWishes, Protection, RowReader, RowWriter, RunningTest, SchemaSection, SchemaTarget,
    Secrets, SecretsError, Source, SourceError, SourceFacts, Target, TargetError, TargetFacts, TestOutcome,
    Tests, Unprotected,
};
use std::time::Duration;
use uuid::Uuid;

/// Implements a port by passing each call on with the script's faults around it; `as` wraps what the call hands out.
macro_rules! faulty {
    ($port:ident fails with $error:ty;
     $(fn $call:ident($($argument:ident: $type:ty),*) -> $answer:ty $(as $wrapper:ident)?;)+) => {
        #[async_trait]
        impl $port for Faulty<dyn $port> {
            $(async fn $call(&self, $($argument: $type),*) -> Result<$answer, $error> {
                let operation = concat!(stringify!($port), ".", stringify!($call)).to_owned();
                let act = self.inner.$call($($argument),*);
                let answer = self.faults.around(operation, act, <$error>::of_script).await;
                $(let answer = answer.map(|inner| $wrapper::wrap(inner, &self.faults));)?
                answer
            })+
        }
    };
}

faulty! { Policies fails with CatalogError;
    fn policy(name: &str) -> Policy;
}

faulty! { Leases fails with CatalogError;
    fn acquire(name: &str, holder: &str, ttl: Duration) -> Lease;
    fn renew(lease: &Lease, ttl: Duration) -> ();
    fn release(name: &str, holder: &str, token: FencingToken) -> ();
}

faulty! { Executions fails with CatalogError;
    fn open(new: &NewExecution) -> Execution;
    fn note_lineage(execution: ExecutionRowId, lineage: &Lineage) -> ();
    fn find(execution_id: &str) -> Option<Execution>;
    fn sealed(execution: ExecutionRowId, manifest: &Manifest, manifest_key: &str, manifest_sha256: &str) -> ();
    fn complete(execution: ExecutionRowId, done: &CompletedBackup) -> ();
    fn fail(execution: ExecutionRowId, failure: &FailureRecord) -> ();
    fn count_retry(execution: ExecutionRowId) -> ();
}

faulty! { Holds fails with CatalogError;
    fn publish(
        execution: ExecutionRowId, lane: &str, snapshot_name: &str, backend_pid: i32, ends_at: Timestamp
    ) -> u32;
    fn current(execution: ExecutionRowId) -> Option<LiveHold>;
    fn announced(execution: ExecutionRowId) -> u32;
    fn heartbeat(execution: ExecutionRowId, relay_number: u32) -> bool;
    fn ended(execution: ExecutionRowId, relay_number: u32) -> ();
    fn release_all(execution: ExecutionRowId) -> ();
    fn is_released(execution: ExecutionRowId) -> bool;
}

faulty! { Copies fails with CatalogError;
    fn record_copy(copy: &CopyRecord) -> ();
}

faulty! { Tests fails with CatalogError;
    fn begin_test(backup_id: BackupId, instance: &InstanceName, started_at: Timestamp) -> RunningTest;
    fn finish_test(test_id: Uuid, outcome: &TestOutcome) -> ();
    fn verdict(backup_id: BackupId) -> Option<keepsake_domain::Verdict>;
}

faulty! { AlertLog fails with CatalogError;
    fn announce(execution_id: &str, notice: &Notice, topic: &str) -> bool;
    fn delivered(execution_id: &str, notice: &Notice, message_id: &str) -> ();
}

faulty! { KeyHolder fails with KeyHolderError;
    fn wrap(identity: &BackupIdentity, backup_id: BackupId) -> WrappedKey;
    fn unwrap(wrapped: &WrappedKey, backup_id: BackupId) -> Option<BackupIdentity>;
}

faulty! { Secrets fails with SecretsError;
    fn connection(reference: &str) -> ConnectionUrl;
}

faulty! { Instances fails with InstancesError;
    fn create(spec: &InstanceSpec) -> ();
    fn describe(name: &InstanceName) -> Option<Instance>;
    fn delete(name: &InstanceName) -> ();
}

faulty! { Notices fails with NoticesError;
    fn publish(notice: &Notice) -> String;
}

faulty! { Source fails with SourceError;
    fn preflight(connections: u32) -> SourceFacts;
    fn take_snapshot() -> Box<dyn HeldSnapshot> as FaultyHeldSnapshot;
    fn take_over_snapshot(name: &str) -> Box<dyn HeldSnapshot> as FaultyHeldSnapshot;
    fn shape(snapshot_name: &str) -> DatabaseShape;
    fn dump_schema(snapshot_name: &str, to: &ChunkSender) -> ();
    fn dump_large_objects(snapshot_name: &str, to: &ChunkSender) -> ();
    fn reader(snapshot_name: &str) -> Box<dyn RowReader> as FaultyRowReader;
}

faulty! { Target fails with TargetError;
    fn facts(backup_id: &str) -> TargetFacts;
    fn check(globals: &serde_json::Value, schema: ChunkReceiver) -> ();
    fn provided(asked: keepsake_domain::ProvidedFacts) -> keepsake_domain::ProvidedFacts;
    fn take_provided(plan: &keepsake_domain::ProvidedPlan) -> ();
    fn begin(backup_id: &str) -> ();
    fn create_missing_roles(globals: &serde_json::Value) -> Vec<String>;
    fn restore_schema(section: SchemaSection, from: ChunkReceiver, jobs: u32) -> ();
    fn restore_large_objects(from: ChunkReceiver) -> ();
    fn loaded_parts() -> Vec<LoadedPart>;
    fn writer() -> Box<dyn RowWriter> as FaultyRowWriter;
    fn reader() -> Box<dyn RowReader> as FaultyRowReader;
    fn tables() -> Vec<TableShape>;
    fn objects() -> Vec<String>;
    fn large_objects() -> u64;
    fn set_sequences(values: &[SequenceValue]) -> ();
    fn left_out() -> Vec<keepsake_domain::LeftOut>;
    fn restore_globals(globals: &serde_json::Value) -> keepsake_domain::GlobalsOutcome;
    fn finish() -> ();
}

faulty! { ChangeSource fails with SourceError;
    fn capture_state() -> CaptureState;
    fn protect(wishes: &ProtectWishes) -> Protection;
    fn unprotect() -> Unprotected;
    fn stream(from: keepsake_domain::Lsn) -> Box<dyn ChangeStream> as FaultyChangeStream;
    fn mark() -> Mark;
    fn boundary() -> Boundary;
}

faulty! { ChangeTarget fails with TargetError;
    fn change_applier() -> Box<dyn ChangeApplier> as FaultyChangeApplier;
    fn end_changes(as_of_backup: &[keepsake_domain::TableName]) -> ();
    fn numbers_in_use() -> Vec<keepsake_steps::ports::NumberInUse>;
}

faulty! { SchemaTarget fails with TargetError;
    fn out_of_reach(roles: &[String]) -> Vec<String>;
    fn defined() -> u64;
    fn define(number: u64, statement: &keepsake_domain::SchemaStatement) -> ();
}
