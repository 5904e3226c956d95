use serde::{Deserialize, Serialize};

/// What a run makes. JSON shape: `"full"` or `"incremental"`, as `backup_type` in the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// A full backup.
    Full,
    /// Segments of changes.
    Incremental,
}

impl RunKind {
    /// The name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
        }
    }

    /// Name of the lease that keeps two such runs apart. Fulls of one policy exclude each other, and so do captures of one
    /// source, which has one slot; neither waits for the other kind.
    #[must_use]
    pub fn lease_name(self, policy: &str, source: &str) -> String {
        match self {
            Self::Full => format!("policy/{policy}"),
            Self::Incremental => format!("capture/{source}"),
        }
    }
}
