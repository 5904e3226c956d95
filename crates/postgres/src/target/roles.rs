//! Roles that a schema names and a server lacks.

use super::RoleWishes;
use super::rights::is_superuser;
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
    let mut created = Vec::new();
    if wishes.missing != MissingRoles::Create {
        return Ok(created);
    }
    let superuser = is_superuser(session).await?;
    for role in missing(session, globals, wishes).await? {
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

async fn missing<'a>(
    session: &Session,
    globals: &'a Globals,
    wishes: RoleWishes,
) -> Result<Vec<&'a GlobalRole>, TargetError> {
    let present = names(session).await?;
    Ok(wanted(globals, wishes).filter(|role| !present.contains(&role.name)).collect())
}

/// Names of all roles.
pub(super) async fn names(session: &Session) -> Result<Vec<String>, TargetError> {
    Ok(session.texts("list the roles", "SELECT rolname::text FROM pg_roles").await?)
}

/// Roles that this restore will create.
///
/// # Errors
/// [`TargetError::MissingRoles`] when some are missing that are not to be created, or that the restoring role may not.
pub(super) async fn to_create(
    session: &Session,
    globals: &Globals,
    wishes: RoleWishes,
) -> Result<Vec<String>, TargetError> {
    let may_create =
        "SELECT current_user::text, rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user";
    let us = session.one("read what we may create", may_create, &[]).await?;
    let powerless = (wishes.missing == MissingRoles::Create && !us.get::<_, bool>(1)).then(|| us.get(0));
    let refused = |role: &GlobalRole| match wishes.missing {
        MissingRoles::Create => powerless.is_some(),
        MissingRoles::Refuse => role.referenced,
        MissingRoles::SkipOwnership => role.in_policies,
    };
    let named = |roles: Vec<&GlobalRole>| roles.iter().map(|role| role.name.clone()).collect();
    let (roles, others): (Vec<_>, Vec<_>) =
        missing(session, globals, wishes).await?.into_iter().partition(|role| refused(role));
    if !roles.is_empty() {
        return Err(TargetError::MissingRoles {
            place: session.place.clone(),
            roles: named(roles),
            powerless,
        });
    }
    Ok(if wishes.missing == MissingRoles::Create { named(others) } else { Vec::new() })
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
