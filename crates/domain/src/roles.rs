//! Roles, memberships and settings beside a database, and what a restore adds of them. Never a password.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a restore does about roles that the schema names and the target lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingRoles {
    /// Creates them, without login and without password.
    #[default]
    Create,
    /// Refuses before anything is changed, and names them.
    Refuse,
    /// Gives everything to the restoring role and restores no rights.
    SkipOwnership,
}

/// What lives beside a database, as the archive's globals hold it. Fields that older archives lack have defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Globals {
    /// Roles but the server's own.
    #[serde(default)]
    pub roles: Vec<GlobalRole>,
    /// Who is a member of which role.
    #[serde(default)]
    pub memberships: Vec<Membership>,
    /// The database's own settings.
    #[serde(default)]
    pub database: GlobalDatabase,
}

/// A role without its password.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct GlobalRole {
    /// Its name.
    pub name: String,
    /// Whether something in the database belongs to it or names it.
    pub referenced: bool,
    /// Whether a row-level security policy names it.
    pub in_policies: bool,
    /// `SUPERUSER`.
    pub superuser: bool,
    /// `INHERIT`.
    pub inherit: bool,
    /// `CREATEROLE`.
    pub create_role: bool,
    /// `CREATEDB`.
    pub create_db: bool,
    /// `LOGIN`; never restored.
    pub login: bool,
    /// `REPLICATION`.
    pub replication: bool,
    /// `BYPASSRLS`.
    pub bypass_rls: bool,
    /// `CONNECTION LIMIT`; -1 for none.
    pub connection_limit: i64,
    /// `VALID UNTIL`, of the password.
    pub valid_until: Option<String>,
    /// `name=value` of `ALTER ROLE … SET`.
    pub settings: Vec<String>,
}

/// One membership. Options that came with version 16 are `None` before it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Membership {
    /// The role.
    pub role: String,
    /// Its member.
    pub member: String,
    /// Whether the member may grant it on.
    #[serde(default)]
    pub admin_option: bool,
    /// Whether the member has its rights without `SET ROLE`.
    #[serde(default)]
    pub inherit_option: Option<bool>,
    /// Whether the member may `SET ROLE` to it.
    #[serde(default)]
    pub set_option: Option<bool>,
}

/// The database's owner and settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct GlobalDatabase {
    /// Settings for all roles (`role` is `None`) and for one in this database.
    pub settings: Vec<RoleSettings>,
}

/// Settings of one role in the database.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct RoleSettings {
    /// `None` for all roles.
    pub role: Option<String>,
    /// `name=value`.
    pub settings: Vec<String>,
}

/// Whom a setting is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SettingScope {
    /// `ALTER ROLE … SET`.
    Role(String),
    /// `ALTER DATABASE … SET`.
    Database,
    /// `ALTER ROLE … IN DATABASE … SET`.
    RoleInDatabase(String),
}

/// One thing that a restore of globals adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GlobalChange {
    /// `GRANT role TO member`, with options.
    Grant(Membership),
    /// `… SET name TO value`.
    Set {
        /// For whom.
        scope: SettingScope,
        /// Its name.
        name: String,
        /// Its value, as the catalog keeps it.
        value: String,
    },
}

/// What a restore of globals did. JSON shape: sentences, per list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct GlobalsOutcome {
    /// What was added.
    pub added: Vec<String>,
    /// What the target's role may not do, each with what the server said. Nothing but missing rights is tolerated.
    pub refused: Vec<String>,
    /// What stands there with another value, and was left as it is.
    pub differs: Vec<String>,
}

/// What is to be added, so that `present` holds what `wanted` holds, and what differs and stays. Roles must be there
/// already; what names another is not planned. A second plan after the first was carried out is empty.
#[must_use]
pub fn plan_globals(wanted: &Globals, present: &Globals) -> (Vec<GlobalChange>, Vec<String>) {
    let has_role = |name: &str| name.starts_with("pg_") || present.roles.iter().any(|role| role.name == name);
    let mut changes = Vec::new();
    for (pair, membership) in merged(&wanted.memberships) {
        if has_role(&pair.0) && has_role(&pair.1) && !merged(&present.memberships).contains_key(&pair) {
            changes.push(GlobalChange::Grant(membership));
        }
    }
    let (wanted, present) = (settings(wanted), settings(present));
    let mut differs = Vec::new();
    for ((scope, name), value) in wanted {
        match present.get(&(scope.clone(), name.clone())) {
            Some(there) if *there == value => {}
            Some(_) => differs.push(format!("{} keeps its own {name}", scope_name(&scope))),
            None if role_of(&scope).is_none_or(has_role) => {
                changes.push(GlobalChange::Set { scope, name, value });
            }
            None => {}
        }
    }
    (changes, differs)
}

/// A membership may stand there once per grantor; together they give all that any of them gives.
fn merged(memberships: &[Membership]) -> BTreeMap<(String, String), Membership> {
    let mut merged: BTreeMap<(String, String), Membership> = BTreeMap::new();
    for one in memberships {
        let both = merged.entry((one.role.clone(), one.member.clone())).or_insert_with(|| one.clone());
        both.admin_option |= one.admin_option;
        both.inherit_option = both.inherit_option.max(one.inherit_option);
        both.set_option = both.set_option.max(one.set_option);
    }
    merged
}

fn settings(globals: &Globals) -> BTreeMap<(SettingScope, String), String> {
    let of_roles = globals.roles.iter().map(|role| (SettingScope::Role(role.name.clone()), &role.settings));
    let of_database = globals.database.settings.iter().map(|one| {
        let scope = one.role.clone().map_or(SettingScope::Database, SettingScope::RoleInDatabase);
        (scope, &one.settings)
    });
    of_roles
        .chain(of_database)
        .flat_map(|(scope, all)| all.iter().map(move |one| (scope.clone(), one)))
        .filter_map(|(scope, one)| {
            let (name, value) = one.split_once('=')?;
            Some(((scope, name.to_owned()), value.to_owned()))
        })
        .collect()
}

fn role_of(scope: &SettingScope) -> Option<&str> {
    match scope {
        SettingScope::Role(role) | SettingScope::RoleInDatabase(role) => Some(role),
        SettingScope::Database => None,
    }
}

/// For people.
#[must_use]
pub fn scope_name(scope: &SettingScope) -> String {
    match scope {
        SettingScope::Role(role) => format!("role {role}"),
        SettingScope::Database => "the database".to_owned(),
        SettingScope::RoleInDatabase(role) => format!("role {role} in the database"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globals(json: &str) -> Globals {
        serde_json::from_str(json).expect("globals")
    }

    const WANTED: &str = r#"{
        "roles": [{"name": "app", "settings": ["work_mem=5MB", "search_path=\"$user\", sales"]}, {"name": "web"}],
        "memberships": [
            {"role": "app", "member": "web", "admin_option": false, "inherit_option": false, "set_option": true},
            {"role": "app", "member": "web", "admin_option": true, "inherit_option": true, "set_option": false},
            {"role": "pg_monitor", "member": "web"}, {"role": "app", "member": "gone"}],
        "database": {"settings": [{"role": null, "settings": ["work_mem=6MB"]},
            {"role": "web", "settings": ["work_mem=7MB"]}, {"role": "gone", "settings": ["work_mem=8MB"]}]}}"#;

    #[test]
    fn everything_that_is_missing_is_planned_and_what_is_there_is_not() {
        let bare = globals(r#"{"roles": [{"name": "app"}, {"name": "web"}]}"#);
        let (changes, differs) = plan_globals(&globals(WANTED), &bare);
        let membership = Membership {
            role: "app".into(),
            member: "web".into(),
            admin_option: true,
            inherit_option: Some(true),
            set_option: Some(true),
        };
        assert_eq!(changes[0], GlobalChange::Grant(membership), "both grants together");
        assert_eq!(changes.len(), 2 + 2 + 2, "{changes:?}");
        assert!(differs.is_empty());
        assert_eq!(plan_globals(&globals(WANTED), &globals(WANTED)), (vec![], vec![]));
    }

    #[test]
    fn a_setting_that_differs_stays_as_it_is_and_is_told() {
        let mut present = globals(WANTED);
        present.roles[0].settings[0] = "work_mem=9MB".to_owned();
        let (changes, differs) = plan_globals(&globals(WANTED), &present);
        assert_eq!((changes, differs), (vec![], vec!["role app keeps its own work_mem".to_owned()]));
    }

    #[test]
    fn globals_of_another_shape_are_an_empty_wish() {
        assert_eq!(globals("{}"), Globals::default());
    }
}
