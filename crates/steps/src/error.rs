//! What a step can fail with: what its ports can, and what only the step itself can see.

use crate::ports::{
    CatalogError, InstancesError, KeyHolderError, NoticesError, RepositoryError, SecretsError, SourceError,
    TargetError,
};
use keepsake_archive::{KeyError, ManifestError, OpenError, SealError, SegmentError, StrangeMessage};
use keepsake_domain::{Classified, Explanation, FailureClass};

/// A step's failure.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Reading the source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Writing or reading the target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The repository or the work bucket.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Wrapping or opening a backup's key.
    #[error(transparent)]
    KeyHolder(#[from] KeyHolderError),
    /// Telling people.
    #[error(transparent)]
    Notices(#[from] NoticesError),
    /// Throwaway instances.
    #[error(transparent)]
    Instances(#[from] InstancesError),
    /// Connection secrets.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// Compressing and encrypting.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Decrypting, decompressing and checking.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A keys object.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A segment's records.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// A message of the stream of changes.
    #[error(transparent)]
    Message(#[from] StrangeMessage),
    /// The step itself found that something is not as it must be.
    #[error("{what}")]
    Found {
        /// What can be done about it.
        class: FailureClass,
        /// What was found, with the names of the things.
        what: String,
        /// What is at risk and the next command.
        explanation: Explanation,
    },
    /// JSON that we wrote ourselves did not come back.
    #[error("work object \"{key}\" is damaged")]
    Work {
        /// The object.
        key: String,
        /// What was wrong.
        #[source]
        cause: serde_json::Error,
    },
    /// A worker thread died.
    #[error("a worker of {what} died")]
    WorkerDied {
        /// What it was doing.
        what: String,
    },
}

impl StepError {
    /// Something that only the step can see.
    pub(crate) fn found(
        class: FailureClass,
        what: impl Into<String>,
        at_risk: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self::Found {
            class,
            what: what.into(),
            explanation: Explanation { at_risk: at_risk.into(), next: next.into() },
        }
    }

    /// Whether an error is about the one manifest or object that was read, so that others can still be looked at.
    #[must_use]
    pub fn is_of_one_object(&self) -> bool {
        matches!(self, Self::Manifest(_)) || self.class() == FailureClass::Integrity
    }

    fn classified(&self) -> Option<&dyn Classified> {
        Some(match self {
            Self::Source(error) => error,
            Self::Target(error) => error,
            Self::Repository(error) => error,
            Self::Catalog(error) => error,
            Self::KeyHolder(error) => error,
            Self::Notices(error) => error,
            Self::Instances(error) => error,
            Self::Secrets(error) => error,
            Self::Seal(error) => error,
            Self::Open(error) => error,
            Self::Key(error) => error,
            Self::Manifest(error) => error,
            Self::Segment(error) => error,
            Self::Message(error) => error,
            Self::Found { .. } | Self::Work { .. } | Self::WorkerDied { .. } => return None,
        })
    }
}

impl Classified for StepError {
    fn class(&self) -> FailureClass {
        match self {
            Self::Found { class, .. } => *class,
            Self::Work { .. } => FailureClass::Integrity,
            Self::WorkerDied { .. } => FailureClass::Transient,
            _ => self.classified().map_or(FailureClass::Permanent, Classified::class),
        }
    }

    fn explanation(&self) -> Explanation {
        match self {
            Self::Found { explanation, .. } => explanation.clone(),
            _ => self.classified().map_or_else(
                || Explanation {
                    at_risk: "this run made no recovery point; older backups stand".to_owned(),
                    next: "run the backup again".to_owned(),
                },
                Classified::explanation,
            ),
        }
    }
}
