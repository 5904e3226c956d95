//! Values and decisions of Keepsake.
//!
//! Everything here is pure and synchronous: no clock, no environment, no randomness, no disk, no network, no SQL.
//! A decision is handed `now` and all that it needs, and returns a complete value that others carry out.

mod capture;
mod capture_policy;
mod connection;
mod coverage;
mod cron;
mod digest;
mod failure;
mod full_wanted;
mod governor;
mod ids;
mod instance;
mod left_out;
mod limits;
mod lineage;
mod notice;
mod parts;
mod plain_statement;
mod proof;
mod provided;
mod provider;
mod recovery_target;
mod roles;
mod run_kind;
mod schema_replay;
mod snapshot;
mod table;
mod window;

pub use capture::{
    CAPTURE_SCHEMA, DDL_MESSAGE_FORMAT, DDL_MESSAGE_PREFIX, NotCaptured, NotCapturedReason, SchemaChange,
};
pub use capture_policy::{CaptureMode, CapturePolicy};
pub use connection::{ConnectionUrl, InvalidConnectionUrl};
pub use coverage::{Coverage, CoverageKind, Finding, Protection, Uncovered, coverage};
pub use cron::{InvalidSchedule, Schedule};
pub use digest::{InvalidRowsDigest, RowsDigest};
pub use failure::{Classified, Explanation, FailureClass, chain};
pub use full_wanted::{
    FULLS_LOOKED_AT, FullFact, FullFacts, FullRunFact, MOST_FULLS_AN_HOUR, REPLAYED_LOOKED_AT,
    SchemaBoundary, full_wanted,
};
pub use governor::{GovernorLimits, GovernorVerdict, Reason, SlotLook, govern};
pub use ids::{
    BackupId, BackupIdPrefix, ExecutionRowId, FencingToken, InvalidBackupIdPrefix, LocationId, PolicyId,
    SourceId,
};
pub use instance::{INSTANCE_PREFIX, InstanceName, NotOurs};
pub use left_out::{LeftOut, LeftOutRule, SchemaEntry, TargetRights, left_out};
pub use limits::SourceLimits;
pub use lineage::{InvalidLineage, InvalidLsn, Lineage, Lsn};
pub use notice::{Notice, NoticeKind, Severity};
pub use parts::{Batch, BlockRange, CutLimits, PartPlan, batches, cut};
pub use plain_statement::{
    NewColumn, NotPlain, ParseStatement, PlainStatement, SchemaEffect, WrittenColumn, WrittenName,
    no_plain_statement,
};
pub use proof::{Certificate, RecoveredPoint, RestoredDatabase, RestoredTable, Verdict, compare};
pub use provided::{HeldTable, ProvidedFacts, ProvidedPlan, ProvidedTable, provided_rows};
pub use provider::{Provider, ProviderMarks};
pub use recovery_target::{Bound, InvalidTarget, RecoveryTarget, widen_xid};
pub use roles::{
    GlobalChange, GlobalDatabase, GlobalRole, Globals, GlobalsOutcome, Membership, MissingRoles,
    RoleSettings, SettingScope, plan_globals, scope_name,
};
pub use run_kind::RunKind;
pub use schema_replay::{DdlMessage, RepeatedStatement, SchemaStatement, is_all_told, without_undone};
pub use snapshot::{InvalidSnapshot, TransactionSnapshot};
pub use table::{SequenceName, SequenceValue, TableName, TableShape, quote_identifier};
pub use window::{
    BaseFacts, BoundaryFacts, ChainFacts, ChangeHistory, Follows, Gap, GapReason, Position, RecoveryPlan,
    SegmentFacts, Span, Unreachable, UnreadableFacts, Window,
};

/// An instant, always in UTC. JSON shape: RFC 3339 text.
pub type Timestamp = jiff::Timestamp;
