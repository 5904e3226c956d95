//! What a backup protects and what it leaves out, decided from what was found on the source.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Objects of one kind that a report names; the rest are counted, so that 10,000 tables do not bury the one that
/// matters.
const NAMED_PER_KIND: usize = 100;

/// A kind of thing that a full backup, or what is built on it, does not protect as a plain table is protected.
///
/// JSON shape: the name in snake case. Unknown names, of newer programs, read as `other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CoverageKind {
    /// Rows that row-level security hides from the role that reads.
    HiddenRows,
    /// An exclusion constraint of a partitioned table with partitions.
    PartitionedExclusion,
    /// Another database of the same server.
    OtherDatabase,
    /// Rows of a foreign table.
    ForeignTable,
    /// Rows of an extension's table that the extension did not mark as configuration.
    ExtensionTable,
    /// An extension whose files are gone from the server.
    ExtensionFiles,
    /// Tables that end with their session.
    TemporaryTables,
    /// A subscription to another server.
    Subscription,
    /// A position in the server's WAL.
    ReplicationSlot,
    /// A place on the server's disks.
    Tablespace,
    /// Passwords of roles.
    RolePasswords,
    /// Labels on roles, databases and tablespaces.
    SharedLabels,
    /// Settings of the whole server.
    ServerSettings,
    /// Rights to set parameters.
    ParameterRights,
    /// A schema that the provider made and keeps.
    ProviderSchema,
    /// A table that is not in the WAL.
    UnloggedTable,
    /// A table whose changed rows cannot be told apart in the WAL.
    NoReplicaIdentity,
    /// Values in `pg_largeobject`.
    LargeObjects,
    /// A materialised view's content.
    MaterializedView,
    /// An extension.
    Extension,
    /// A trigger on DDL.
    EventTrigger,
    /// A label for a security module.
    SecurityLabels,
    /// Roles with their memberships and settings.
    Roles,
    /// Settings of the database, for all roles or for one.
    DatabaseSettings,
    /// Written by a program that knew another kind, or none.
    #[default]
    #[serde(other)]
    Other,
}

impl CoverageKind {
    /// Every kind that a report may name, the gravest first.
    pub const ALL: [Self; 24] = [
        Self::HiddenRows,
        Self::PartitionedExclusion,
        Self::OtherDatabase,
        Self::ForeignTable,
        Self::ExtensionTable,
        Self::ExtensionFiles,
        Self::TemporaryTables,
        Self::Subscription,
        Self::ReplicationSlot,
        Self::Tablespace,
        Self::RolePasswords,
        Self::SharedLabels,
        Self::ServerSettings,
        Self::ParameterRights,
        Self::ProviderSchema,
        Self::UnloggedTable,
        Self::NoReplicaIdentity,
        Self::LargeObjects,
        Self::MaterializedView,
        Self::Extension,
        Self::EventTrigger,
        Self::SecurityLabels,
        Self::Roles,
        Self::DatabaseSettings,
    ];
}

/// Whether something is in the backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// It is not, or only its definition is.
    No,
    /// It is, with a limit that one should know before the restore.
    Limited,
}

/// Something that was found on the source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// What kind it is.
    pub kind: CoverageKind,
    /// Its name; empty when the kind says it all.
    pub object: String,
}

/// Something that the backup does not hold, or not in the way one may think.
///
/// JSON shape: these fields, in snake case; `kind` may be missing in manifests of older programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uncovered {
    /// What kind it is.
    #[serde(default)]
    pub kind: CoverageKind,
    /// What, by kind and name, for people.
    pub what: String,
    /// Why.
    pub why: String,
    /// What the user can do.
    pub advice: String,
}

/// What is protected and what is not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Coverage {
    /// Left out, each with its reason.
    pub not_covered: Vec<Uncovered>,
    /// In the backup, with a limit; older programs did not write it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limited: Vec<Uncovered>,
}

struct Rule {
    protection: Protection,
    /// Stands before the object's name.
    label: &'static str,
    why: &'static str,
    advice: &'static str,
}

/// Decides on everything that was found; the gravest kinds first, within a kind by name. The same findings give the
/// same report, in whatever order they come.
#[must_use]
pub fn coverage(findings: impl IntoIterator<Item = Finding>) -> Coverage {
    let mut by_kind: BTreeMap<CoverageKind, Vec<String>> = BTreeMap::new();
    for finding in findings {
        by_kind.entry(finding.kind).or_default().push(finding.object);
    }
    let mut coverage = Coverage::default();
    for (kind, mut objects) in by_kind {
        objects.sort_unstable();
        objects.dedup();
        let Some(rule) = rule(kind) else { continue };
        let list = match rule.protection {
            Protection::No => &mut coverage.not_covered,
            Protection::Limited => &mut coverage.limited,
        };
        list.extend(named(objects).into_iter().map(|object| uncovered(kind, &rule, &object)));
    }
    coverage
}

fn uncovered(kind: CoverageKind, rule: &Rule, object: &str) -> Uncovered {
    Uncovered {
        kind,
        what: format!("{} {object}", rule.label).trim_end().to_owned(),
        why: rule.why.to_owned(),
        advice: rule.advice.to_owned(),
    }
}

fn named(mut objects: Vec<String>) -> Vec<String> {
    let more = objects.len().saturating_sub(NAMED_PER_KIND);
    objects.truncate(NAMED_PER_KIND);
    if more > 0 {
        objects.push(format!("and {more} more"));
    }
    objects
}

fn rule(kind: CoverageKind) -> Option<Rule> {
    let (protection, (label, why, advice)) = match left_out(kind) {
        Some(texts) => (Protection::No, texts),
        None => (Protection::Limited, limited(kind)?),
    };
    Some(Rule { protection, label, why, advice })
}

type Texts = (&'static str, &'static str, &'static str);

fn left_out(kind: CoverageKind) -> Option<Texts> {
    Some(match kind {
        CoverageKind::HiddenRows => (
            "rows of",
            "row-level security hides rows from this role, so a backup refuses to begin",
            "back up as the tables' owner, or with a role that has BYPASSRLS",
        ),
        CoverageKind::PartitionedExclusion => (
            "exclusion constraint of a partitioned table:",
            "no tool can attach its indexes again: pg_restore fails on it, and so does a restore of ours, at its end",
            "drop it and make the same constraint on each partition, before you need this backup",
        ),
        CoverageKind::OtherDatabase => (
            "database",
            "a backup holds one database of the server",
            "give it a source, and a policy, of its own; one repository may hold both",
        ),
        CoverageKind::ForeignTable => (
            "rows of foreign table",
            "its rows live on another server; its definition is in the backup",
            "back up that server as a source of its own",
        ),
        CoverageKind::ExtensionTable => (
            "rows of extension table",
            "the extension makes the table and did not mark its rows as configuration",
            "copy the rows into a table of your own, if they matter",
        ),
        CoverageKind::ExtensionFiles => (
            "extension",
            "it is installed and its files are gone from the server, so its objects may not work",
            "install the extension's package again, or drop the extension",
        ),
        CoverageKind::TemporaryTables => (
            "temporary tables",
            "they end with their session",
            "nothing; a table that must last is not temporary",
        ),
        CoverageKind::Subscription => (
            "subscription",
            "its connection holds a password, and two subscribers of one slot would lose changes",
            "create the subscription again after the restore",
        ),
        CoverageKind::ReplicationSlot => (
            "replication slot",
            "a slot is a position in this server's WAL",
            "let the consumer begin anew after the restore",
        ),
        CoverageKind::Tablespace => (
            "tablespace of",
            "another server has other disks",
            "move it after the restore by ALTER … SET TABLESPACE",
        ),
        CoverageKind::RolePasswords => (
            "passwords of roles",
            "passwords are never read; roles are restored without login",
            "set passwords and LOGIN after the restore, from your secrets",
        ),
        CoverageKind::SharedLabels => (
            "security labels of roles, databases and tablespaces",
            "they belong to the server, not to a database",
            "label them again after the restore",
        ),
        CoverageKind::ServerSettings => (
            "settings of the server",
            "configuration, parameter groups, certificates and access rules belong to the server, not to a database",
            "keep them as code beside your infrastructure",
        ),
        CoverageKind::ParameterRights => (
            "rights to set parameters:",
            "they belong to the server, not to a database, and only a superuser gives them",
            "keep each GRANT … ON PARAMETER with your roles, and run it again on another server",
        ),
        _ => return None,
    })
}

fn limited(kind: CoverageKind) -> Option<Texts> {
    Some(match kind {
        CoverageKind::ProviderSchema => (
            "schema",
            "the provider made it and keeps it: it is in the backup, and comes back on other servers only",
            "see docs/providers.md before you restore to the same provider",
        ),
        CoverageKind::UnloggedTable => (
            "unlogged table",
            "its rows are in each full backup and never in the WAL, so no incremental can hold them",
            "ALTER TABLE … SET LOGGED, if changes between full backups matter",
        ),
        CoverageKind::NoReplicaIdentity => (
            "table without replica identity",
            "its rows are in each full backup; its updates and deletes cannot be told from the WAL",
            "add a primary key, or wait for full backups",
        ),
        CoverageKind::LargeObjects => (
            "large objects:",
            "they are in each full backup, and logical decoding does not carry them",
            "keep large values in bytea columns, if changes between full backups matter",
        ),
        CoverageKind::MaterializedView => (
            "rows of materialised view",
            "its query is kept and run again at the restore",
            "nothing, if the query gives the same rows at any time",
        ),
        CoverageKind::Extension => (
            "extension",
            "its name is kept, and the target installs its own default version",
            "check before the restore that the target offers it: pg_available_extensions",
        ),
        CoverageKind::EventTrigger => (
            "event trigger",
            "only a role that may create event triggers brings it back",
            "restore as a superuser, or create it again after the restore",
        ),
        CoverageKind::SecurityLabels => (
            "security labels:",
            "they come back only where the label's provider is loaded",
            "load the same label provider at the target before the restore",
        ),
        CoverageKind::Roles => (
            "roles with memberships and settings:",
            "roles that the schema names come back without login; the others are kept as globals",
            "keepsake restore --roles restores all of them, without passwords",
        ),
        CoverageKind::DatabaseSettings => (
            "settings of the database:",
            "they are kept as globals, and set by a restore on request only",
            "keepsake restore --roles sets them after the proof",
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: CoverageKind, object: &str) -> Finding {
        Finding { kind, object: object.to_owned() }
    }

    #[test]
    fn every_kind_has_a_reason_and_an_advice() {
        for kind in CoverageKind::ALL {
            let coverage = coverage([finding(kind, "x")]);
            let all = [coverage.not_covered, coverage.limited].concat();
            assert_eq!(all.len(), 1, "{kind:?}");
            assert_eq!(all[0].kind, kind);
            assert!(!all[0].why.is_empty() && !all[0].advice.is_empty(), "{kind:?}");
        }
        assert_eq!(coverage([finding(CoverageKind::Other, "x")]), Coverage::default());
    }

    #[test]
    fn the_report_does_not_depend_on_the_order_of_the_findings() {
        let all = CoverageKind::ALL.map(|kind| finding(kind, "x"));
        let mut turned = all.to_vec();
        turned.reverse();
        assert_eq!(coverage(all.to_vec()), coverage([turned, all.to_vec()].concat()));
        let first = &coverage(all).not_covered[0];
        assert_eq!(first.kind, CoverageKind::HiddenRows, "the gravest stands first");
    }

    #[test]
    fn ten_thousand_of_a_kind_are_a_hundred_names_and_a_count() {
        let many = (0..10_000).map(|n| finding(CoverageKind::UnloggedTable, &format!("public.t{n}")));
        let limited = coverage(many).limited;
        assert_eq!(limited.len(), 101);
        assert_eq!(limited[100].what, "unlogged table and 9900 more");
    }

    #[test]
    fn reports_of_older_and_newer_programs_are_read() {
        let older = r#"{"not_covered": [{"what": "w", "why": "y", "advice": "a"}]}"#;
        let newer =
            r#"{"not_covered": [{"kind": "moon", "what": "w", "why": "y", "advice": "a", "n": 1}], "x": 2}"#;
        for text in [older, newer] {
            let coverage: Coverage = serde_json::from_str(text).expect("readable");
            assert_eq!(coverage.not_covered[0].kind, CoverageKind::Other, "{text}");
        }
    }
}
