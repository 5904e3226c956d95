//! Roles that a schema names and a server lacks.

use super::RoleWishes;
use crate::error::sql_state;
use crate::session::Session;
use keepsake_domain::{GlobalRole, Globals, MissingRoles, Provider, quote_identifier};
use keepsake_steps::ports::TargetError;

/// A role of this name is there already, or becomes at this moment; another restore on this server was faster.
const THERE_ALREADY: [&str; 2] = ["42710", "23505"];

/// Without login and without password, so nobody gets in by a restore.
pub(super) async fn create_missing(
    session: &Session,
    globals: &Globals,
    wishes: RoleWishes,
) -> Result<Vec<String>, TargetError> {
    let act = "list the roles";
    let present = session.texts(act, "SELECT rolname::text FROM pg_roles").await?;
    let superuser = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user";
    let superuser: bool = session.one(act, superuser, &[]).await?.get(0);
    let missing: Vec<&GlobalRole> =
        wanted(globals, wishes).filter(|role| !present.contains(&role.name)).collect();
    refused(session, &missing, wishes.missing)?;
    let mut created = Vec::new();
    for role in missing.iter().filter(|_| wishes.missing == MissingRoles::Create) {
        let (name, quoted) = (&role.name, quote_identifier(&role.name));
        let attributes = if wishes.everything { attributes(role, superuser) } else { String::new() };
        match session.client.batch_execute(&format!("CREATE ROLE {quoted} NOLOGIN{attributes}")).await {
            Ok(()) => created.push(name.to_owned()),
            Err(error) if sql_state(&error).is_some_and(|code| THERE_ALREADY.contains(&code)) => continue,
            Err(error) => return Err(session.failed(&format!("create role {name}"), &error).into()),
        }
        if !superuser {
            // Only a member may give an object to a role.
            session.run("join a restored role", &format!("GRANT {quoted} TO CURRENT_USER")).await?;
        }
    }
    Ok(created)
}

/// Roles that the schema names; with all roles wished for, every one that is not a provider's own.
fn wanted(globals: &Globals, wishes: RoleWishes) -> impl Iterator<Item = &GlobalRole> {
    let of_provider = |name: &str| Provider::ALL.iter().any(|provider| provider.admins().contains(&name));
    globals
        .roles
        .iter()
        .filter(move |role| role.referenced || wishes.everything && !of_provider(&role.name))
        .filter(|role| !role.name.starts_with("pg_"))
}

fn refused(session: &Session, missing: &[&GlobalRole], policy: MissingRoles) -> Result<(), TargetError> {
    let needed = |role: &&&GlobalRole| match policy {
        MissingRoles::Create => false,
        MissingRoles::Refuse => role.referenced,
        MissingRoles::SkipOwnership => role.in_policies,
    };
    let roles: Vec<String> = missing.iter().filter(needed).map(|role| role.name.clone()).collect();
    if roles.is_empty() {
        return Ok(());
    }
    Err(TargetError::MissingRoles { place: session.place.clone(), roles })
}

/// As at the source, but for login and password. What gives power over a whole server stays with its administrators:
/// superuser is never given, replication and bypassing of row-level security only by a superuser.
fn attributes(role: &GlobalRole, by_superuser: bool) -> String {
    let mut attributes = String::new();
    for (has, attribute) in [
        (!role.inherit, "NOINHERIT"),
        (role.create_role, "CREATEROLE"),
        (role.create_db, "CREATEDB"),
        (role.replication && by_superuser, "REPLICATION"),
        (role.bypass_rls && by_superuser, "BYPASSRLS"),
    ] {
        if has {
            attributes.push(' ');
            attributes.push_str(attribute);
        }
    }
    if role.connection_limit >= 0 {
        attributes.push_str(&format!(" CONNECTION LIMIT {}", role.connection_limit));
    }
    if let Some(until) = &role.valid_until {
        attributes.push_str(&format!(" VALID UNTIL '{}'", until.replace('\'', "''")));
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role() -> GlobalRole {
        GlobalRole { name: "r".into(), inherit: true, connection_limit: -1, ..GlobalRole::default() }
    }

    #[test]
    fn a_restored_role_never_logs_in_and_is_never_a_superuser() {
        let all = GlobalRole {
            superuser: true,
            login: true,
            inherit: false,
            create_role: true,
            create_db: true,
            replication: true,
            bypass_rls: true,
            connection_limit: 3,
            valid_until: Some("2030-01-01".into()),
            ..role()
        };
        assert_eq!(
            attributes(&all, true),
            " NOINHERIT CREATEROLE CREATEDB REPLICATION BYPASSRLS CONNECTION LIMIT 3 VALID UNTIL '2030-01-01'"
        );
        let less = " NOINHERIT CREATEROLE CREATEDB CONNECTION LIMIT 3 VALID UNTIL '2030-01-01'";
        assert_eq!(attributes(&all, false), less);
        assert_eq!(attributes(&role(), true), "");
    }
}
