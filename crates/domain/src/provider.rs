//! Kinds of managed Postgres: by what they are known, and what they keep for themselves.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What kind of managed Postgres a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// Any server.
    #[default]
    Plain,
    /// Amazon RDS.
    Rds,
    /// Amazon Aurora.
    Aurora,
    /// Supabase.
    Supabase,
}

/// What tells a provider, as read from a server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProviderMarks {
    /// Roles that are superusers. A restore makes roles of the same names and never makes them superusers, so a plain
    /// server that holds a restored database is not taken for the provider's.
    pub superusers: BTreeSet<String>,
    /// Schemas of the database.
    pub schemas: BTreeSet<String>,
    /// Whether `aurora_version()` is there.
    pub has_aurora_version: bool,
}

impl Provider {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Rds, Self::Aurora, Self::Supabase];

    /// Decides by marks that only the provider itself can set.
    #[must_use]
    pub fn detect(marks: &ProviderMarks) -> Self {
        let superuser = |name: &str| marks.superusers.contains(name);
        if marks.has_aurora_version {
            Self::Aurora
        } else if superuser("supabase_admin") && marks.schemas.contains("auth") {
            Self::Supabase
        } else if superuser("rdsadmin") {
            Self::Rds
        } else {
            Self::Plain
        }
    }

    /// The name that stands in JSON, on the command line and in documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Rds => "rds",
            Self::Aurora => "aurora",
            Self::Supabase => "supabase",
        }
    }

    /// Schemas that the provider makes in each new database and changes by itself. Whoever restores there finds them
    /// filled, and may not replace what is in them.
    ///
    /// Source: the schemas that `supabase db dump` leaves out, <https://github.com/supabase/cli>, read 2026-11-21.
    #[must_use]
    pub fn managed_schemas(self) -> &'static [&'static str] {
        match self {
            Self::Plain | Self::Rds | Self::Aurora => &[],
            Self::Supabase => &[
                "_analytics",
                "_realtime",
                "_supavisor",
                "auth",
                "extensions",
                "graphql",
                "graphql_public",
                "net",
                "pgbouncer",
                "pgsodium",
                "pgsodium_masks",
                "realtime",
                "storage",
                "supabase_functions",
                "supabase_migrations",
                "vault",
            ],
        }
    }

    /// Roles that the provider works with and nobody else can be. What they own is the provider's machinery.
    #[must_use]
    pub fn admins(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &[],
            Self::Rds | Self::Aurora => &["rdsadmin"],
            Self::Supabase => &["supabase_admin"],
        }
    }

    /// Publications that the provider makes in each new database, for the user to add tables to.
    #[must_use]
    pub fn own_publications(self) -> &'static [&'static str] {
        match self {
            Self::Plain | Self::Rds | Self::Aurora => &[],
            Self::Supabase => &["supabase_realtime", "supabase_realtime_messages_publication"],
        }
    }

    /// Databases of the server that hold nothing of the user.
    #[must_use]
    pub fn own_databases(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &[],
            Self::Rds | Self::Aurora => &["rdsadmin"],
            Self::Supabase => &["_supabase"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(superusers: &[&str], schemas: &[&str], has_aurora_version: bool) -> ProviderMarks {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        ProviderMarks { superusers: set(superusers), schemas: set(schemas), has_aurora_version }
    }

    #[test]
    fn each_provider_is_known_by_what_only_it_can_set() {
        for (marks, provider) in [
            (marks(&["postgres"], &["public"], false), Provider::Plain),
            (marks(&["rdsadmin"], &["public"], false), Provider::Rds),
            (marks(&["rdsadmin"], &["public"], true), Provider::Aurora),
            (marks(&["supabase_admin"], &["auth", "public"], false), Provider::Supabase),
        ] {
            assert_eq!(Provider::detect(&marks), provider, "{marks:?}");
        }
    }

    #[test]
    fn a_plain_server_with_a_database_restored_from_a_provider_is_plain() {
        let restored = marks(&["postgres"], &["auth", "extensions", "storage", "public"], false);
        assert_eq!(Provider::detect(&restored), Provider::Plain);
    }

    #[test]
    fn names_are_those_of_the_json() {
        for provider in Provider::ALL {
            assert_eq!(serde_json::to_value(provider).expect("plain data"), provider.name());
        }
    }
}
