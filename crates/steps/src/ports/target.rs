use super::{ChunkReceiver, RowReader, RowWriter};
use async_trait::async_trait;
use keepsake_archive::ServerFacts;
use keepsake_domain::{
    Classified, Explanation, FailureClass, GlobalsOutcome, LeftOut, Lsn, ProvidedFacts, ProvidedPlan,
    Provider, SequenceValue, TableShape,
};

/// What a target is before anything was changed on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetFacts {
    /// Server, encoding, collation and the extensions that could be installed there.
    pub server: ServerFacts,
    /// Its provider.
    pub provider: Provider,
    /// Objects that a user made and that a restore would clash with; at most 20 named. Empty means empty. A restore
    /// of ours that was begun and not finished does not count when it was of the same backup.
    pub user_objects: Vec<String>,
}

/// Which part of a schema archive to restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaSection {
    /// Before the rows: types, tables, functions.
    PreData,
    /// After the rows: indexes, constraints, triggers, policies, materialised views' content.
    PostData,
}

/// A part that stands in the target, with the rows that were loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadedPart {
    /// The part's number.
    pub number: u32,
    /// Its rows.
    pub rows: u64,
}

/// The database that is restored to.
#[async_trait]
pub trait Target: Send + Sync {
    /// Looks, changes nothing. `backup_id` tells an unfinished restore of the same backup from foreign content.
    ///
    /// # Errors
    /// [`TargetError`].
    async fn facts(&self, backup_id: &str) -> Result<TargetFacts, TargetError>;

    /// Looks, changes nothing: for what would end a restore in its middle, with these globals and this schema archive.
    ///
    /// # Errors
    /// [`TargetError::MissingRoles`] when roles are missing and are not to be, or cannot be, created;
    /// [`TargetError::OwnersOutOfReach`]; [`TargetError::NoClient`].
    async fn check(&self, globals: &serde_json::Value, schema: ChunkReceiver) -> Result<(), TargetError>;

    /// Looks, changes nothing: fills in how the tables and sequences that are asked for stand here, in schemas that the
    /// provider keeps. A table that an unfinished restore of ours loads counts as empty.
    ///
    /// # Errors
    /// [`TargetError`].
    async fn provided(&self, asked: ProvidedFacts) -> Result<ProvidedFacts, TargetError>;

    /// Keeps the plan in mind, after [`Target::begin`]: which of the provider's tables are loaded, so that `tables` lists
    /// them, and what is left out. A second call with the same plan changes nothing.
    ///
    /// # Errors
    /// [`TargetError`].
    async fn take_provided(&self, plan: &ProvidedPlan) -> Result<(), TargetError>;

    /// Begins the restore of a backup: makes the bookkeeping schema `keepsake_restore`. A second call for the same
    /// backup finds it there and is success.
    ///
    /// # Errors
    /// [`TargetError::NotEmpty`] when the target holds anything else.
    async fn begin(&self, backup_id: &str) -> Result<(), TargetError>;

    /// Does what the target was told to do about roles that the schema names and the target lacks: by default creates
    /// them, without login and without password. Returns those it created. Roles that exist stay as they are.
    ///
    /// # Errors
    /// [`TargetError`].
    async fn create_missing_roles(&self, globals: &serde_json::Value) -> Result<Vec<String>, TargetError>;

    /// Runs `pg_restore` on one section of the schema archive that `from` carries; `jobs` at a time for indexes.
    /// Done once per section: a second call finds the section's mark and is success.
    ///
    /// # Errors
    /// [`TargetError::RestoreFailed`] with every error that `pg_restore` reported.
    async fn restore_schema(
        &self,
        section: SchemaSection,
        from: ChunkReceiver,
        jobs: u32,
    ) -> Result<(), TargetError>;

    /// Loads the archive of large objects, once.
    ///
    /// # Errors
    /// As for `restore_schema`.
    async fn restore_large_objects(&self, from: ChunkReceiver) -> Result<(), TargetError>;

    /// Parts that stand already, from this or an earlier, interrupted call.
    ///
    /// # Errors
    /// [`TargetError`].
    async fn loaded_parts(&self) -> Result<Vec<LoadedPart>, TargetError>;

    /// Opens one more connection that loads rows.
    ///
    /// # Errors
    /// [`TargetError`].
    async fn writer(&self) -> Result<Box<dyn RowWriter>, TargetError>;

    /// Opens one more connection that reads rows back, for the proof.
    ///
    /// # Errors
    /// [`TargetError`].
    async fn reader(&self) -> Result<Box<dyn RowReader>, TargetError>;

    /// Tables with rows of their own, to compare.
    ///
    /// # Errors
    /// [`TargetError`].
    async fn tables(&self) -> Result<Vec<TableShape>, TargetError>;

    /// Kind and identity of every schema object, named as [`super::DatabaseShape::objects`] names them.
    ///
    /// # Errors
    /// [`TargetError`].
    async fn objects(&self) -> Result<Vec<String>, TargetError>;

    /// Number of large objects.
    ///
    /// # Errors
    /// [`TargetError`].
    async fn large_objects(&self) -> Result<u64, TargetError>;

    /// Sets sequences to where they stood.
    ///
    /// # Errors
    /// [`TargetError`].
    async fn set_sequences(&self, values: &[SequenceValue]) -> Result<(), TargetError>;

    /// What was left out so far because the target's provider or rights forbid it.
    ///
    /// # Errors
    /// [`TargetError`].
    async fn left_out(&self) -> Result<Vec<LeftOut>, TargetError>;

    /// Adds memberships and settings of the globals to roles and database. Changes nothing that stands, so a second
    /// call adds nothing.
    ///
    /// # Errors
    /// [`TargetError`]; what the role may not do is in the outcome.
    async fn restore_globals(&self, globals: &serde_json::Value) -> Result<GlobalsOutcome, TargetError>;

    /// Removes the bookkeeping and gathers statistics. The restore is over.
    ///
    /// # Errors
    /// [`TargetError`].
    async fn finish(&self) -> Result<(), TargetError>;
}

/// Why the target could not be restored to. Never carries a credential.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Host unknown or not reachable, or the connection broke.
    #[error("cannot reach {place}")]
    Unreachable {
        /// Host, port and database.
        place: String,
        /// What was seen.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server does not let us in.
    #[error("{place} refused the login")]
    LoginRefused {
        /// Host, port and database.
        place: String,
        /// What the server said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It holds something that nobody asked us to touch.
    #[error("target {place} is not empty: {}", few(.objects))]
    NotEmpty {
        /// Host, port and database.
        place: String,
        /// What it holds; at most 20 named.
        objects: Vec<String>,
    },
    /// Server too old, other encoding, or an extension that it does not offer.
    #[error("target {place} does not fit: {reason}")]
    Unsuitable {
        /// Host, port and database.
        place: String,
        /// What does not fit.
        reason: String,
        /// What a person can do.
        advice: String,
    },
    /// Roles that the schema names are missing, and are not to be created, or the restoring role may create none.
    #[error("target {place} lacks roles that the schema names: {}", .roles.join(", "))]
    MissingRoles {
        /// Host, port and database.
        place: String,
        /// Their names.
        roles: Vec<String>,
        /// The restoring role, if it was to create them and may not.
        powerless: Option<String>,
    },
    /// Objects belong to roles that the restoring role may not act for.
    #[error("on target {place} role {role} may not give objects to {}", .owners.join(", "))]
    OwnersOutOfReach {
        /// Host, port and database.
        place: String,
        /// The restoring role.
        role: String,
        /// The owners.
        owners: Vec<String>,
    },
    /// `pg_restore` or another is not installed where it was looked for.
    #[error("{program} was not found in {places}")]
    NoClient {
        /// The program.
        program: String,
        /// Folders that were searched.
        places: String,
    },
    /// `pg_restore` failed, or reported errors.
    #[error("{program} failed: {said}")]
    RestoreFailed {
        /// The program.
        program: String,
        /// Its last words, without credentials, at most 2,000 characters.
        said: String,
    },
    /// The rows or the archive did not arrive whole; nothing of them was kept.
    #[error("{what} did not arrive whole")]
    CutOff {
        /// What was being sent.
        what: String,
    },
    /// A statement failed.
    #[error("cannot {act} on {place}")]
    Statement {
        /// What was tried.
        act: String,
        /// Host, port and database.
        place: String,
        /// Whether it may pass by itself.
        transient: bool,
        /// What the server said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A row that a change names is not there, or is there more often than it must be.
    #[error(
        "table {table} on {place} holds {found} rows instead of {wanted} with the {key} that the change at {lsn} names"
    )]
    RowsDiffer {
        /// Host, port and database.
        place: String,
        /// The table.
        table: String,
        /// Names of the key's columns; its values are rows, and stay unsaid.
        key: String,
        /// The first change that names it.
        lsn: Lsn,
        /// Rows that were there.
        found: u64,
        /// Rows that must be there.
        wanted: u64,
    },
    /// Another restore applied changes here, or this one was ended.
    #[error("the changes on {place} stand at {stands}, and not at {wanted}")]
    ChangesElsewhere {
        /// Host, port and database.
        place: String,
        /// Where they stand.
        stands: String,
        /// Where they must.
        wanted: String,
    },
    /// Rows refer to rows that the target does not hold. Tables of extensions have their foreign keys before their rows,
    /// so that another part may bring them.
    #[error("cannot {act} on {place}: rows refer to rows that are not there")]
    MissingReference {
        /// What was tried.
        act: String,
        /// Host, port and database.
        place: String,
        /// What the server said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Classified for TargetError {
    fn class(&self) -> FailureClass {
        match self {
            Self::Unreachable { .. } => FailureClass::Transient,
            Self::Statement { transient, .. } if *transient => FailureClass::Transient,
            Self::CutOff { .. } | Self::RowsDiffer { .. } => FailureClass::Integrity,
            Self::ChangesElsewhere { .. } => FailureClass::Conflict,
            Self::LoginRefused { .. }
            | Self::NotEmpty { .. }
            | Self::Unsuitable { .. }
            | Self::NoClient { .. }
            | Self::MissingRoles { .. }
            | Self::OwnersOutOfReach { .. }
            | Self::RestoreFailed { .. }
            | Self::MissingReference { .. }
            | Self::Statement { .. } => FailureClass::Permanent,
        }
    }

    fn explanation(&self) -> Explanation {
        let next = match self {
            Self::NotEmpty { .. } => "create an empty database and restore into that".to_owned(),
            Self::MissingRoles { powerless: Some(role), .. } => format!(
                "as an administrator create them and GRANT each of them TO {role}, or run again with \
                 --missing-roles skip-ownership where no policy names them"
            ),
            Self::MissingRoles { .. } => {
                "create them, or run again with --missing-roles create, or with skip-ownership where no \
                 policy names them"
                    .to_owned()
            }
            Self::OwnersOutOfReach { role, .. } => format!(
                "as an administrator GRANT each of them TO {role}, or run again with --missing-roles \
                 skip-ownership"
            ),
            Self::Unsuitable { advice, .. } => advice.clone(),
            Self::NoClient { .. } => super::INSTALL_CLIENTS.to_owned(),
            Self::Unreachable { .. } => {
                "check network and server, then run the same command again".to_owned()
            }
            Self::LoginRefused { .. } => "correct user, password and database name of the target (createdb, if it is missing), then run again".to_owned(),
            Self::CutOff { .. } => {
                "keepsake verify --repo <URL> --deep, and restore from a copy if it fails".to_owned()
            }
            Self::RowsDiffer { .. } => {
                "keepsake verify --repo <URL> --deep, then restore into a new empty database; if it happens again, \
                 restore to a point before this position"
                    .to_owned()
            }
            Self::ChangesElsewhere { .. } => {
                "let one restore at a time work on a target; else restore into a new empty database".to_owned()
            }
            Self::MissingReference { .. } => {
                "read which foreign key the cause names, correct its rows in the source, then back up again".to_owned()
            }
            Self::RestoreFailed { .. } | Self::Statement { .. } => {
                "read the cause, correct it, and restore into a new empty database".to_owned()
            }
        };
        let at_risk = match self {
            // All of these are found before anything is begun.
            Self::NotEmpty { .. }
            | Self::Unsuitable { .. }
            | Self::MissingRoles { .. }
            | Self::OwnersOutOfReach { .. }
            | Self::NoClient { .. } => "nothing: backup and target are untouched",
            _ => "the backup is untouched; the target is not a complete restore",
        };
        Explanation { at_risk: at_risk.to_owned(), next }
    }
}

/// More names than these do not tell more in one line.
const FEW: usize = 3;

fn few(objects: &[String]) -> String {
    let named = objects.iter().take(FEW).cloned().collect::<Vec<_>>().join(", ");
    if objects.len() > FEW { format!("{named} and more") } else { named }
}
