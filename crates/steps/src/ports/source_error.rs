//! Why a source could not be read, and what to do about it.

use keepsake_domain::{Classified, Explanation, FailureClass};

/// Why the source could not be read. Never carries a credential.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Host unknown or not reachable, or the connection broke.
    #[error("cannot reach {place}")]
    Unreachable {
        /// Host, port and database.
        place: String,
        /// What was seen.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Host name does not exist.
    #[error("unknown host in {place}")]
    UnknownHost {
        /// Host, port and database.
        place: String,
    },
    /// User or password is wrong, or the server does not let us in.
    #[error("{place} refused the login")]
    LoginRefused {
        /// Host, port and database.
        place: String,
        /// What the server said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server is newer than every pg_dump here, or older than we support.
    #[error("server version {server} does not fit: {reason}")]
    Version {
        /// As the server calls itself.
        server: String,
        /// What does not fit.
        reason: String,
    },
    /// Objects that the role may not read.
    #[error("role {role} may not read {}", .objects.join(", "))]
    NotReadable {
        /// The role.
        role: String,
        /// Kind and name of each; at most 20, then a count.
        objects: Vec<String>,
    },
    /// Row-level security would hide rows from the role.
    #[error("row-level security would hide rows of {} from role {role}", .tables.join(", "))]
    HiddenRows {
        /// The role.
        role: String,
        /// The tables; at most 20, then a count.
        tables: Vec<String>,
    },
    /// The role may not read the WAL position or the system identifier, or not export a snapshot.
    #[error("role {role} may not execute {} on {place}", .functions.join(", "))]
    NoWalAccess {
        /// Host, port and database.
        place: String,
        /// The role.
        role: String,
        /// The functions that it lacks.
        functions: Vec<String>,
    },
    /// The snapshot's last holder is gone; the run must begin again.
    #[error("snapshot {name} is no longer held")]
    SnapshotLost {
        /// The exported name.
        name: String,
    },
    /// Several things stand in the way of a backup; each needs its own remedy.
    #[error("{} problems: {}", .problems.len(), told(.problems))]
    Several {
        /// All of them, at least two.
        problems: Vec<SourceError>,
    },
    /// `pg_dump` is not installed where it was looked for.
    #[error("{program} was not found in {places}")]
    NoClient {
        /// The program.
        program: String,
        /// Folders that were searched.
        places: String,
    },
    /// A child process failed or ended early.
    #[error("{program} failed: {said}")]
    ClientFailed {
        /// `pg_dump` or another.
        program: String,
        /// Its last words, without credentials, at most 2,000 characters.
        said: String,
    },
    /// A table was truncated, rewritten or replaced after the snapshot, so its rows cannot be read in it any more.
    #[error("table {table} was truncated, rewritten or replaced while it was backed up")]
    TableChanged {
        /// Schema and name.
        table: String,
    },
    /// A reading was cancelled or its session ended from outside, most often by the run's own holder because somebody
    /// waited behind its lock for too long.
    #[error("reading {what} was cancelled on {place} so that others could go on")]
    GaveWay {
        /// What was being read.
        what: String,
        /// Host, port and database.
        place: String,
    },
    /// A lock was not granted in time: somebody else holds a stronger one.
    #[error("{what} waited too long for a lock on {place}")]
    LockNotGranted {
        /// What was being read.
        what: String,
        /// Host, port and database.
        place: String,
    },
    /// The source is a standby, and its replay ended our transaction.
    #[error("the standby {place} ended our transaction because it was in the way of its replay")]
    StandbyConflict {
        /// Host, port and database.
        place: String,
    },
    /// The server has too few connections left for the run.
    #[error(
        "{place} has {free} connections left and this run needs {needed} and leaves {kept} free ({bound})"
    )]
    TooFewConnections {
        /// Host, port and database.
        place: String,
        /// How many more could be opened now.
        free: u64,
        /// How many the run opens at most.
        needed: u32,
        /// How many must stay free for others.
        kept: u64,
        /// Which limit is the narrowest, like `max_connections`.
        bound: String,
    },
    /// The server's lock table is too small: `pg_dump` locks all tables in one transaction.
    #[error("the lock table of {place} is too small to lock {tables} tables at once{room}")]
    TooFewLocks {
        /// Host, port and database.
        place: String,
        /// How many tables, as a number or in words.
        tables: String,
        /// How many locks it holds, in words that follow; empty when not known.
        room: String,
    },
    /// A statement failed, or the stream of a copy broke.
    #[error("cannot {act} on {place}")]
    Statement {
        /// What was tried.
        act: String,
        /// Host, port and database.
        place: String,
        /// Whether the server's error code belongs to those that pass (connection loss, shutdown, resources, lock and
        /// statement timeouts, serialization).
        transient: bool,
        /// What the server said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something keeps changes from being captured.
    #[error("changes of {place} cannot be captured: {what}")]
    CannotCapture {
        /// Host, port and database.
        place: String,
        /// What is in the way.
        what: String,
        /// What a person does about it.
        remedy: String,
    },
    /// Somebody streams from our slot now: another capture, or one that died and is not given up by the server yet.
    #[error("replication slot {slot} of {place} is in use")]
    SlotBusy {
        /// Its name.
        slot: String,
        /// Host, port and database.
        place: String,
    },
    /// Our slot is gone or streams nothing more: changes since what was captured last are not captured.
    #[error("replication slot {slot} of {place} is lost: {how}")]
    SlotLost {
        /// Its name.
        slot: String,
        /// Host, port and database.
        place: String,
        /// What the server says about it.
        how: String,
    },
    /// Whoever takes our rows went away.
    #[error("the reader of {what} went away")]
    ReceiverGone {
        /// What was being sent.
        what: String,
    },
}

impl Classified for SourceError {
    fn class(&self) -> FailureClass {
        match self {
            Self::Unreachable { .. }
            | Self::ReceiverGone { .. }
            | Self::GaveWay { .. }
            | Self::LockNotGranted { .. }
            | Self::StandbyConflict { .. }
            | Self::SlotBusy { .. }
            | Self::TooFewConnections { .. } => FailureClass::Transient,
            Self::Statement { transient, .. } if *transient => FailureClass::Transient,
            Self::UnknownHost { .. }
            | Self::LoginRefused { .. }
            | Self::Version { .. }
            | Self::NotReadable { .. }
            | Self::HiddenRows { .. }
            | Self::NoWalAccess { .. }
            | Self::SnapshotLost { .. }
            | Self::Several { .. }
            | Self::NoClient { .. }
            | Self::ClientFailed { .. }
            | Self::TableChanged { .. }
            | Self::TooFewLocks { .. }
            | Self::CannotCapture { .. }
            | Self::SlotLost { .. }
            | Self::Statement { .. } => FailureClass::Permanent,
        }
    }

    fn explanation(&self) -> Explanation {
        let next = match self {
            Self::Unreachable { .. } => "check network, security group and server, then run again".to_owned(),
            Self::UnknownHost { .. } => {
                "correct the host in the source's connection URL, then run again".to_owned()
            }
            Self::LoginRefused { .. } => {
                "correct user, password and database name in the source's URL or secret, then run again"
                    .to_owned()
            }
            Self::Version { .. } => {
                "install PostgreSQL client tools of the server's major version or newer (layer \
                                     or --pg-bin), then run again"
                    .to_owned()
            }
            Self::NotReadable { role, .. } => format!(
                "GRANT pg_read_all_data TO {role}, or SELECT on each; large objects need \
                     GRANT SELECT ON LARGE OBJECT <id> TO {role}"
            ),
            Self::HiddenRows { role, .. } => {
                format!("back up as the tables' owner, or ALTER ROLE {role} BYPASSRLS as an administrator")
            }
            Self::NoWalAccess { role, functions, .. } => {
                format!("GRANT EXECUTE ON FUNCTION {} TO {role}", functions.join(", "))
            }
            Self::Several { problems } => {
                let each: Vec<String> = problems.iter().map(|problem| problem.explanation().next).collect();
                each.join("; ")
            }
            Self::NoClient { .. } => super::INSTALL_CLIENTS.to_owned(),
            Self::SnapshotLost { .. } => "run the backup again; the source ended our transaction".to_owned(),
            Self::TableChanged { .. } => {
                "run the backup again, at a time at which nothing truncates or rewrites this table".to_owned()
            }
            Self::ClientFailed { .. } | Self::Statement { .. } => {
                "read the cause, correct it, then run again".to_owned()
            }
            Self::ReceiverGone { .. } => "run again".to_owned(),
            Self::GaveWay { .. } => {
                "run again when nothing changes the table's definition; smaller part_size_bytes \
                 shorten the locks, a longer lock_patience_seconds keeps them"
                    .to_owned()
            }
            Self::LockNotGranted { .. } => {
                "run again when nothing holds an exclusive lock on the table (pg_locks shows who)".to_owned()
            }
            Self::StandbyConflict { .. } => {
                "set hot_standby_feedback = on or a longer max_standby_streaming_delay on \
                 the standby, or back up from the primary; then run again"
                    .to_owned()
            }
            Self::TooFewConnections { .. } => {
                "run again when fewer connections are open, or lower max_parallel_jobs (--jobs)".to_owned()
            }
            Self::TooFewLocks { .. } => {
                "raise it: ALTER SYSTEM SET max_locks_per_transaction = 256, or the same in the parameter group, \
                 and restart the server; then run again"
                    .to_owned()
            }
            Self::CannotCapture { remedy, .. } => format!("{remedy}; then run again"),
            Self::SlotBusy { .. } => {
                "wait until the other capture ended (pg_replication_slots shows its process; the server gives up a dead \
                 one after a minute), then run again"
                    .to_owned()
            }
            Self::SlotLost { .. } => {
                "keepsake protect makes a new slot, then keepsake backup a full backup from which on points in time can \
                 be restored again"
                    .to_owned()
            }
        };
        let at_risk = match self {
            Self::SlotLost { .. } => {
                "points in time after the last segment cannot be restored; all before, and all full backups, stand"
            }
            _ => "no new recovery point was made; the source is untouched and older backups stand",
        };
        Explanation { at_risk: at_risk.to_owned(), next }
    }
}

fn told(problems: &[SourceError]) -> String {
    problems.iter().map(|problem| keepsake_domain::chain(problem)).collect::<Vec<_>>().join("; ")
}
