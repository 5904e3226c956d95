//! Why the catalog did not do it.

use keepsake_domain::{Classified, Explanation, FailureClass, FencingToken, Timestamp};

/// Why the catalog did not do it. Never carries a credential.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Not reachable, or the connection broke, or it is overloaded.
    #[error("catalog did not {act}")]
    Unavailable {
        /// What was tried.
        act: String,
        /// What was seen.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No such row.
    #[error("{what} is not in the catalog")]
    NotFound {
        /// Kind and name.
        what: String,
    },
    /// Someone else holds the lease.
    #[error("lease {name} is held by {holder} until {expires_at}")]
    Held {
        /// The lease.
        name: String,
        /// Who.
        holder: String,
        /// Until when.
        expires_at: Timestamp,
    },
    /// Our lease went to someone else.
    #[error("lease {name} with token {token} is no longer ours")]
    Fenced {
        /// The lease.
        name: String,
        /// Our token.
        token: FencingToken,
    },
    /// The row's state does not allow it.
    #[error("catalog refused to {act}: {reason}")]
    Transition {
        /// What was tried.
        act: String,
        /// The guard's words.
        reason: String,
    },
    /// Rights, schema or data that will not do.
    #[error("catalog cannot {act}")]
    Refused {
        /// What was tried.
        act: String,
        /// What was said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Classified for CatalogError {
    fn class(&self) -> FailureClass {
        match self {
            Self::Unavailable { .. } => FailureClass::Transient,
            Self::Held { .. } | Self::Fenced { .. } => FailureClass::Conflict,
            Self::NotFound { .. } | Self::Transition { .. } | Self::Refused { .. } => FailureClass::Permanent,
        }
    }

    fn explanation(&self) -> Explanation {
        let next = match self {
            Self::Unavailable { .. } => "check the catalog database, then run again".to_owned(),
            Self::NotFound { .. } => "keepsake catalog apply <FILE> to declare it, then run again".to_owned(),
            Self::Held { holder, .. } => {
                format!("nothing to do: {holder} is running; the next schedule runs after it")
            }
            Self::Fenced { .. } => "nothing to do: a newer run took over".to_owned(),
            Self::Transition { .. } => {
                "start the policy again if its run is over; what a guard refuses is refused at every repeat"
                    .to_owned()
            }
            Self::Refused { .. } => {
                "keepsake catalog migrate, and check the function's database role".to_owned()
            }
        };
        Explanation { at_risk: "backups in the repository stand whatever the catalog says".to_owned(), next }
    }
}
