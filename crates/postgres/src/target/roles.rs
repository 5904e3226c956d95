//! Roles that a schema names and a server lacks.

use crate::error::sql_state;
use crate::session::Session;
use keepsake_domain::quote_identifier;
use keepsake_steps::ports::TargetError;

/// A role of this name is there already; another restore on this server was faster.
const DUPLICATE_OBJECT: &str = "42710";

/// Without login and without password, so nobody gets in by a restore.
pub(super) async fn create_missing(
    session: &Session,
    globals: &serde_json::Value,
) -> Result<Vec<String>, TargetError> {
    let act = "list the roles";
    let present = session.texts(act, "SELECT rolname::text FROM pg_roles").await?;
    let superuser = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user";
    let superuser: bool = session.one(act, superuser, &[]).await?.get(0);
    let mut created = Vec::new();
    for name in referenced(globals).filter(|name| !present.iter().any(|there| there == name)) {
        let quoted = quote_identifier(name);
        match session.client.batch_execute(&format!("CREATE ROLE {quoted} NOLOGIN")).await {
            Ok(()) => created.push(name.to_owned()),
            Err(error) if sql_state(&error) == Some(DUPLICATE_OBJECT) => continue,
            Err(error) => return Err(session.failed(&format!("create role {name}"), &error).into()),
        }
        if !superuser {
            // Only a member may give an object to a role.
            session.run("join a restored role", &format!("GRANT {quoted} TO CURRENT_USER")).await?;
        }
    }
    Ok(created)
}

fn referenced(globals: &serde_json::Value) -> impl Iterator<Item = &str> {
    let roles = globals.get("roles").and_then(serde_json::Value::as_array).into_iter().flatten();
    roles
        .filter(|role| role.get("referenced").and_then(serde_json::Value::as_bool) == Some(true))
        .filter_map(|role| role.get("name").and_then(serde_json::Value::as_str))
        .filter(|name| !name.starts_with("pg_"))
}
