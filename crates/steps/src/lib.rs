//! The steps of a backup, each repeatable, acting only through [`ports`].

pub mod ports;

mod begin_backup;
mod capture_changes;
mod capture_notices;
mod capture_record;
mod capture_run;
mod capture_segment;
mod chain;
mod change_reader;
mod check_segments;
mod copy_changes;
mod copy_object;
mod copy_run;
mod differential;
mod dump;
mod error;
mod govern_slot;
mod hold_snapshot;
mod joins_changes;
mod known_history;
mod list_backups;
mod list_changes;
mod make_differential;
mod net_changes;
mod newest_changes;
mod open_backup;
mod pace;
mod passed_over;
mod plan_recovery;
mod probe_rpo;
mod provided_rows;
mod raise_sequences;
mod read_back;
mod rechunk;
mod record_failure;
mod record_outcome;
mod relations;
mod replay_changes;
mod replicate_backup;
mod restore_backup;
mod row_layout;
mod run;
mod schema_replay;
mod seal_backup;
mod streams;
mod target_fit;
mod test_instance;
mod told_schema;
mod upload_parts;
mod verify_archive;
mod verify_changes;
mod verify_restore;
mod work;

pub use begin_backup::{
    BeginCatalog, BeginRequest, KeyDrawing, LEASE_TTL, Preparation, open_run, prepare_run, read_policy,
    recovery_recipients, write_key,
};
pub use capture_changes::{CaptureSeen, Captured, SegmentBounds, Until, capture_changes};
pub use capture_notices::{
    capture_failure_notice, changes_lost_notice, schema_changed_notice, slot_dropped_notice,
};
pub use capture_run::{
    CAPTURE_LEASE_TTL, CaptureCatalog, CaptureRun, CaptureStart, CaptureStep, EndedBy, FailedCapture,
    begin_capture, capture_for_run, complete_capture, fail_capture, protect_for_run,
};
pub use chain::{Capture, ProtectedSource, begin_anew, protect_source, refuse_where_gone};
pub use change_reader::{BATCH_BYTES, ChangeReader, LastTransaction, ReplayRules};
pub use check_segments::check_segments;
pub use copy_changes::{CopiedChanges, copy_changes};
pub use copy_run::{CopyStep, copy_for_run, probe_for_run};
pub use differential::{
    OpenedDifferential, StandingDifferential, differential_keys, read_differential, take_differential,
    verify_differential,
};
pub use dump::{Dumper, dump};
pub use error::StepError;
pub use govern_slot::{Governed, PACE_SPAN, govern_slot};
pub use hold_snapshot::{GRACE, Holder, Lane, hold_snapshot, release_snapshot, renew_lease};
pub use joins_changes::joins_changes;
pub use list_backups::{StandingBackup, find_backup, find_layout, manifest_keys, read_backup};
pub use list_changes::{
    ChangesManifest, LineageChanges, StandingChanges, UnreadableManifest, change_history, changes_keys,
    changes_of, lineage_changes, not_captured_at, read_all_changes, read_changes,
};
pub use make_differential::{FOLD_BYTES, MadeDifferential, Making, make_differential};
pub use open_backup::{Lock, Locked, newest_keys, open_backup, open_backup_with_recovery_key};
pub use plan_recovery::{RecoveryRoute, not_held, plan_recovery};
pub use probe_rpo::{Holders, Opener, ProbedRpo, probe_rpo};
pub use raise_sequences::raise_sequences;
pub use read_back::{Comparison, read_back};
pub use record_failure::{
    CleanUp, FailedRun, OpenRepository, end_unopened, record_failure, release_unopened,
};
pub use record_outcome::{completion_notice, failure_notice, record_completion, send_alert};
pub use replay_changes::{OpenedSegment, Replay, Replayed, SegmentRead, replay_changes};
pub use replicate_backup::{Replication, VerifiedCopy, copy_backup};
pub use restore_backup::{
    PartLoaded, Restore, finish_target, finish_target_at, parts_of, prepare_target, restore_globals,
    restore_parts,
};
pub use row_layout::Destinations;
pub use run::Run;
pub use schema_replay::{SchemaPhase, define_schema, refuse_roles};
pub use seal_backup::{SealedBackup, Sealing, seal_backup};
pub use target_fit::{Misfit, misfits, refuse_misfits};
pub use test_instance::{
    InstanceProgress, LATE_CREATION, available_instance, drop_instance, drop_instance_patiently,
    drop_late_instance, provision_instance, storage_gib,
};
pub use upload_parts::{PartSeen, upload_parts};
pub use verify_archive::{Damage, Depth, verify_archive, verify_link};
pub use verify_changes::{verify_links, verify_segment};
pub use verify_restore::{RestoreFacts, certify, certify_against, store_certificate};
pub use work::{DumpPlan, TakenSnapshot, Work};
