//! What a restore leaves out because the target's provider or rights forbid it: a closed list, and everything else
//! that a target refuses fails the restore.

use crate::{CAPTURE_SCHEMA, Provider, SequenceName, TableName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Why one entry of a schema's archive is not restored. JSON shape: the name in snake case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOutRule {
    /// The role may not create event triggers.
    EventTrigger,
    /// The event trigger belongs to a provider's own role.
    ProviderEventTrigger,
    /// The role may not give schema `public` to the owner that it had.
    PublicSchemaOwner,
    /// The role does not own schema `public`, so the server would ignore its grants there, with a warning only.
    PublicSchemaRights,
    /// The extension was installed by someone else, whose comment it keeps.
    ExtensionComment,
    /// Default privileges of a role that the role may not act as.
    DefaultPrivileges,
    /// The target's provider makes and keeps this schema by itself.
    ProviderSchema,
    /// Rows, or the place of a sequence, that belong to the provider's own machinery.
    ProviderRows,
    /// The target's provider made this publication already.
    ProviderPublication,
    /// It is ours, and watches the schema of the source whose changes are captured.
    SchemaWatch,
    /// Owners and rights were not wanted.
    Ownership,
    /// Rows of a table that is not captured, or rows that it refers to, are of another time than the rest: the key stands,
    /// and not every row obeys it.
    ForeignKeyValidation,
    /// The same of a partitioned table, where the server makes no key without looking at the rows.
    ForeignKey,
}

impl LeftOutRule {
    /// The whole list.
    pub const ALL: [Self; 13] = [
        Self::EventTrigger,
        Self::ProviderEventTrigger,
        Self::PublicSchemaOwner,
        Self::PublicSchemaRights,
        Self::ExtensionComment,
        Self::DefaultPrivileges,
        Self::ProviderSchema,
        Self::ProviderRows,
        Self::ProviderPublication,
        Self::SchemaWatch,
        Self::Ownership,
        Self::ForeignKeyValidation,
        Self::ForeignKey,
    ];

    /// The name that stands in JSON and in documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EventTrigger => "event_trigger",
            Self::ProviderEventTrigger => "provider_event_trigger",
            Self::PublicSchemaOwner => "public_schema_owner",
            Self::PublicSchemaRights => "public_schema_rights",
            Self::ExtensionComment => "extension_comment",
            Self::DefaultPrivileges => "default_privileges",
            Self::ProviderSchema => "provider_schema",
            Self::ProviderRows => "provider_rows",
            Self::ProviderPublication => "provider_publication",
            Self::SchemaWatch => "schema_watch",
            Self::Ownership => "ownership",
            Self::ForeignKeyValidation => "foreign_key_validation",
            Self::ForeignKey => "foreign_key",
        }
    }

    /// Targets at which it may be met. What a role may do is asked from the server, so most may be met anywhere.
    #[must_use]
    pub fn met_at(self) -> &'static [Provider] {
        match self {
            Self::ProviderSchema | Self::ProviderRows | Self::ProviderPublication => &[Provider::Supabase],
            Self::EventTrigger
            | Self::ProviderEventTrigger
            | Self::PublicSchemaOwner
            | Self::PublicSchemaRights
            | Self::ExtensionComment
            | Self::DefaultPrivileges
            | Self::SchemaWatch
            | Self::Ownership
            | Self::ForeignKeyValidation
            | Self::ForeignKey => &Provider::ALL,
        }
    }

    /// The rule of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }

    /// Why, for people.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::EventTrigger => "the restoring role may not create event triggers",
            Self::ProviderEventTrigger => "it is the machinery of the provider that the backup came from",
            Self::PublicSchemaOwner => "the restoring role may not give schema public to that owner",
            Self::PublicSchemaRights => {
                "schema public belongs to another role, so grants there would not count"
            }
            Self::ExtensionComment => "the extension was installed by another role",
            Self::DefaultPrivileges => "the restoring role may not act for that role",
            Self::ProviderSchema => "the target's provider makes and keeps it by itself",
            Self::ProviderRows => "the target's provider keeps its own there, or the backup had none",
            Self::ProviderPublication => "the target's provider made it already",
            Self::SchemaWatch => "by it Keepsake captures the changes of the source, which the target is not",
            Self::Ownership => "owners and rights were not wanted (--missing-roles skip-ownership)",
            Self::ForeignKeyValidation | Self::ForeignKey => {
                "changes of one of its tables are not captured, and rows refer to rows that are not there at this point"
            }
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::EventTrigger => "create it as a superuser, from the backup's schema",
            Self::ProviderEventTrigger => "nothing; a target of that provider has its own",
            Self::PublicSchemaOwner => "ALTER SCHEMA public OWNER TO … as an administrator, if it matters",
            Self::PublicSchemaRights => "GRANT on schema public as its owner",
            Self::ExtensionComment => "nothing; the comment is the extension's own text",
            Self::DefaultPrivileges => "ALTER DEFAULT PRIVILEGES as that role",
            Self::ProviderSchema => "nothing; use the provider's own tools for what is in it",
            Self::ProviderRows => "nothing; they say something about the server that they stand on",
            Self::ProviderPublication => "nothing; its tables are added to the one that is there",
            Self::SchemaWatch => "nothing; keepsake protect makes it where changes are to be captured",
            Self::Ownership => "ALTER … OWNER TO and GRANT, once the roles are there",
            Self::ForeignKeyValidation => {
                "correct or delete the rows that refer to nothing, then ALTER TABLE … VALIDATE CONSTRAINT …"
            }
            Self::ForeignKey => {
                "correct or delete the rows that refer to nothing, then add it as the backup's schema has it"
            }
        }
    }
}

/// One entry of a schema archive's table of contents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SchemaEntry {
    /// What it is or hangs on, as `pg_restore --list` names it: `TABLE`, `EVENT TRIGGER`. Empty when not recognised.
    pub kind: String,
    /// Whether it is a comment, a label or a list of rights on that object rather than the object itself.
    pub is_attached: bool,
    /// `None` for what stands outside of schemas.
    pub schema: Option<String>,
    /// Its name; for default privileges whatever the list says.
    pub name: String,
    /// Its owner, if the target knows a role of that name.
    pub owner: Option<String>,
}

/// What the restoring role may do at the target, as asked from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetRights {
    /// The target's provider.
    pub provider: Provider,
    /// Roles that it may give objects to and act for; itself among them.
    pub acts_as: BTreeSet<String>,
    /// Whether creating an event trigger worked, in a transaction that was rolled back.
    pub may_create_event_triggers: bool,
    /// Whether schema `public` is its own.
    pub owns_public: bool,
    /// Extensions that stand there already and belong to others.
    pub extensions_of_others: BTreeSet<String>,
    /// Publications that the provider made.
    pub provided_publications: BTreeSet<String>,
}

impl TargetRights {
    fn acts_as_owner_of(&self, entry: &SchemaEntry) -> bool {
        entry.owner.as_ref().is_none_or(|owner| self.acts_as.contains(owner))
    }

    /// Owners whom the restoring role may not give their objects to. A restore that meets one would end in its middle.
    #[must_use]
    pub fn owners_out_of_reach<'a>(&self, entries: impl Iterator<Item = &'a SchemaEntry>) -> Vec<String> {
        let owned = entries.filter(|entry| !entry.is_attached && entry.kind != "DEFAULT ACL");
        let beyond =
            owned.filter(|entry| !self.acts_as_owner_of(entry)).filter_map(|entry| entry.owner.clone());
        beyond.collect::<BTreeSet<String>>().into_iter().collect()
    }
}

/// Event triggers by which we watch a source's schema.
const WATCHES: [&str; 3] = ["keepsake_capture_start", "keepsake_capture_ddl", "keepsake_capture_drop"];

/// Whether an entry is left out, and why. The first rule that fits counts.
#[must_use]
pub fn left_out(entry: &SchemaEntry, rights: &TargetRights) -> Option<LeftOutRule> {
    let managed = |name: &str| rights.provider.managed_schemas().contains(&name);
    let of_provider =
        |owner: &String| Provider::ALL.iter().any(|provider| provider.admins().contains(&owner.as_str()));
    let is_public = entry.kind == "SCHEMA" && entry.name == "public";
    let is_watch = entry.schema.as_deref() == Some(CAPTURE_SCHEMA)
        || entry.kind == "SCHEMA" && entry.name == CAPTURE_SCHEMA
        || entry.kind == "EVENT TRIGGER" && WATCHES.contains(&entry.name.as_str());
    let rule = match entry.kind.as_str() {
        _ if is_watch => LeftOutRule::SchemaWatch,
        _ if entry.schema.as_deref().is_some_and(managed) => LeftOutRule::ProviderSchema,
        "SCHEMA" if managed(&entry.name) => LeftOutRule::ProviderSchema,
        "EVENT TRIGGER" if entry.owner.as_ref().is_some_and(of_provider) => LeftOutRule::ProviderEventTrigger,
        "EVENT TRIGGER" if !rights.may_create_event_triggers => LeftOutRule::EventTrigger,
        _ if is_public && entry.is_attached && !rights.owns_public => LeftOutRule::PublicSchemaRights,
        _ if is_public && !entry.is_attached && !(rights.owns_public && rights.acts_as_owner_of(entry)) => {
            LeftOutRule::PublicSchemaOwner
        }
        "EXTENSION" if entry.is_attached && rights.extensions_of_others.contains(&entry.name) => {
            LeftOutRule::ExtensionComment
        }
        "DEFAULT ACL" if !rights.acts_as_owner_of(entry) => LeftOutRule::DefaultPrivileges,
        "PUBLICATION" if rights.provided_publications.contains(&entry.name) => {
            LeftOutRule::ProviderPublication
        }
        _ => return None,
    };
    Some(rule)
}

/// Something that a restore left out. Kept in the certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeftOut {
    /// Why.
    pub rule: LeftOutRule,
    /// What: kind and name.
    pub object: String,
}

impl LeftOut {
    /// An entry that a rule left out; of a provider's schema and of ours the schema as a whole.
    #[must_use]
    pub fn of(rule: LeftOutRule, entry: &SchemaEntry) -> Self {
        if rule == LeftOutRule::ProviderSchema {
            let schema = entry.schema.as_ref().unwrap_or(&entry.name);
            return Self { rule, object: format!("schema {schema}") };
        }
        if rule == LeftOutRule::SchemaWatch {
            return Self { rule, object: format!("schema {CAPTURE_SCHEMA}") };
        }
        let attached = if entry.is_attached { "comment, label or rights of " } else { "" };
        let kind = entry.kind.to_lowercase();
        let schema = entry.schema.as_ref().map(|schema| format!("{schema}.")).unwrap_or_default();
        Self { rule, object: format!("{attached}{kind} {schema}{}", entry.name) }
    }

    /// Rows that stay the provider's own.
    #[must_use]
    pub fn rows_of_provider(table: &TableName) -> Self {
        Self { rule: LeftOutRule::ProviderRows, object: format!("rows of table {table}") }
    }

    /// A sequence that stays where the provider has it.
    #[must_use]
    pub fn place_of_provider(sequence: &SequenceName) -> Self {
        Self { rule: LeftOutRule::ProviderRows, object: format!("place of sequence {sequence}") }
    }

    /// Whether this is why a schema object, as a manifest names it, is not in the target.
    #[must_use]
    pub fn explains(&self, object: &str) -> bool {
        let quoted =
            self.object.split_once("trigger ").map(|(kind, name)| format!("{kind}trigger \"{name}\""));
        match self.rule {
            LeftOutRule::EventTrigger | LeftOutRule::ProviderEventTrigger => {
                object == self.object || quoted.as_deref() == Some(object)
            }
            LeftOutRule::ForeignKey => {
                let names =
                    object.strip_prefix("table constraint ").zip(self.object.strip_prefix("foreign key "));
                names.is_some_and(|(one, other)| one == other)
            }
            LeftOutRule::ProviderSchema => self.schema().is_some_and(|schema| {
                object == format!("schema {schema}") || object.contains(&format!(" {schema}."))
            }),
            _ => false,
        }
    }

    /// The schema that was left out whole.
    fn schema(&self) -> Option<&str> {
        (self.rule == LeftOutRule::ProviderSchema).then(|| self.object.strip_prefix("schema ")).flatten()
    }
}

#[cfg(test)]
#[path = "left_out_tests.rs"]
mod tests;
