//! Memberships and settings, added on request.

use crate::error::sql_state;
use crate::inventory;
use crate::session::Session;
use keepsake_domain::{
    Classified, FailureClass, GlobalChange, Globals, GlobalsOutcome, Membership, Provider, SettingScope,
    plan_globals, quote_identifier, scope_name,
};
use keepsake_steps::ports::TargetError;

/// Settings whose value is a list of quoted names: each stands in a statement of its own.
/// Source: `variable_is_guc_list_quote` in PostgreSQL 18's `dumputils.c`, read 2026-11-21.
const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

pub(super) async fn restore(session: &Session, wanted: &Globals) -> Result<GlobalsOutcome, TargetError> {
    let present = inventory::globals(session, Provider::Plain).await?;
    let present: Globals = serde_json::from_value(present)
        .map_err(|cause| session.strange("read roles and settings", cause.to_string()))?;
    let (changes, differs) = plan_globals(wanted, &present);
    let row = session.one("read the database's name", "SELECT current_database()::text", &[]).await?;
    let database: String = row.get(0);
    let mut outcome = GlobalsOutcome { differs, ..GlobalsOutcome::default() };
    for change in changes {
        let what = described(&change);
        let statement = statement(&change, &database, session.version);
        match session.client.batch_execute(&statement).await {
            Ok(()) => outcome.added.push(what),
            Err(error) => {
                let said = session.failed(&what, &error);
                // What the server refuses for good is told; only what may pass by itself ends the restore.
                if sql_state(&error).is_none() || said.class() == FailureClass::Transient {
                    return Err(said.into());
                }
                outcome.refused.push(keepsake_domain::chain(&said));
            }
        }
    }
    Ok(outcome)
}

fn described(change: &GlobalChange) -> String {
    match change {
        GlobalChange::Grant(one) => format!("grant {} to {}", one.role, one.member),
        // A value may hold a secret of the application.
        GlobalChange::Set { scope, name, .. } => format!("set {name} for {}", scope_name(scope)),
    }
}

fn statement(change: &GlobalChange, database: &str, version: u32) -> String {
    match change {
        GlobalChange::Grant(one) => grant(one, version),
        GlobalChange::Set { scope, name, value } => {
            let database = quote_identifier(database);
            let whose = match scope {
                SettingScope::Role(role) => format!("ROLE {}", quote_identifier(role)),
                SettingScope::Database => format!("DATABASE {database}"),
                SettingScope::RoleInDatabase(role) => {
                    format!("ROLE {} IN DATABASE {database}", quote_identifier(role))
                }
            };
            // A name with a dot is two names: `app.tenant`.
            let name_quoted = name.split('.').map(quote_identifier).collect::<Vec<_>>().join(".");
            format!("ALTER {whose} SET {name_quoted} TO {}", literals(name, value))
        }
    }
}

fn grant(one: &Membership, version: u32) -> String {
    let mut options = Vec::new();
    if version >= 160_000 {
        let word = |value: bool| if value { "TRUE" } else { "FALSE" };
        options.extend(one.admin_option.then(|| "ADMIN TRUE".to_owned()));
        options.extend(one.inherit_option.map(|value| format!("INHERIT {}", word(value))));
        options.extend(one.set_option.map(|value| format!("SET {}", word(value))));
    } else if one.admin_option {
        options.push("ADMIN OPTION".to_owned());
    }
    let with = if options.is_empty() { String::new() } else { format!(" WITH {}", options.join(", ")) };
    format!("GRANT {} TO {}{with}", quote_identifier(&one.role), quote_identifier(&one.member))
}

fn literals(name: &str, value: &str) -> String {
    let literal = |text: &str| {
        let escaped = text.replace('\'', "''");
        // The session reads backslashes as they are: standard_conforming_strings is pinned.
        format!("'{escaped}'")
    };
    if LISTS.contains(&name) && !value.is_empty() {
        split_names(value).iter().map(|one| literal(one)).collect::<Vec<_>>().join(", ")
    } else {
        literal(value)
    }
}

/// `"$user", public, "a ""b"""` as its names.
fn split_names(list: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut inside = false;
    let mut rest = list.chars().peekable();
    while let Some(c) = rest.next() {
        let last = names.len() - 1;
        match c {
            '"' if inside && rest.peek() == Some(&'"') => {
                rest.next();
                names[last].push('"');
            }
            '"' => inside = !inside,
            ',' if !inside => names.push(String::new()),
            c if c.is_whitespace() && !inside => {}
            c => names[last].push(c),
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_set_name_by_name_and_other_values_as_they_are() {
        assert_eq!(literals("search_path", "\"$user\", public, \"a, \"\"b\""), "'$user', 'public', 'a, \"b'");
        assert_eq!(literals("search_path", ""), "''");
        assert_eq!(literals("DateStyle", "ISO, DMY"), "'ISO, DMY'");
        assert_eq!(literals("app.motto", "it's"), "'it''s'");
    }

    #[test]
    fn a_setting_is_written_for_its_scope_with_every_name_quoted() {
        let set = |scope| GlobalChange::Set { scope, name: "app.x".into(), value: "1".into() };
        let text = |scope| statement(&set(scope), "my \"db", 150_000);
        assert_eq!(text(SettingScope::Database), "ALTER DATABASE \"my \"\"db\" SET \"app\".\"x\" TO '1'");
        assert_eq!(text(SettingScope::Role("a b".into())), "ALTER ROLE \"a b\" SET \"app\".\"x\" TO '1'");
        let both = "ALTER ROLE \"r\" IN DATABASE \"my \"\"db\" SET \"app\".\"x\" TO '1'";
        assert_eq!(text(SettingScope::RoleInDatabase("r".into())), both);
    }

    #[test]
    fn a_membership_keeps_the_options_that_the_target_knows() {
        let one = Membership {
            role: "r".into(),
            member: "m".into(),
            admin_option: true,
            inherit_option: Some(false),
            set_option: Some(true),
        };
        assert_eq!(grant(&one, 160_000), "GRANT \"r\" TO \"m\" WITH ADMIN TRUE, INHERIT FALSE, SET TRUE");
        assert_eq!(grant(&one, 150_000), "GRANT \"r\" TO \"m\" WITH ADMIN OPTION");
        let older = Membership { admin_option: false, inherit_option: None, set_option: None, ..one };
        assert_eq!(grant(&older, 180_000), "GRANT \"r\" TO \"m\"");
    }
}
