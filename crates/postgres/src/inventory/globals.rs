//! What lives beside the database: roles, memberships, settings. Never a password.

use crate::error::ConnectError;
use crate::session::Session;
use keepsake_domain::Provider;
use serde_json::{Value, json};

/// Roles that own something here or are named in rights or policies are marked `referenced`. The bootstrap superuser
/// (object id 10) is never recorded as a dependency, so it always counts as referenced.
const ROLES: &str = "
    SELECT COALESCE(json_agg(json_build_object('name', r.rolname, 'referenced',
        r.oid = 10 OR EXISTS (SELECT FROM pg_shdepend d WHERE d.refclassid = 'pg_authid'::regclass
            AND d.refobjid = r.oid AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())),
        'in_policies', EXISTS (SELECT FROM pg_policy p WHERE r.oid = ANY (p.polroles)),
        'superuser', r.rolsuper, 'inherit', r.rolinherit, 'create_role', r.rolcreaterole, 'create_db', r.rolcreatedb,
        'login', r.rolcanlogin, 'replication', r.rolreplication, 'bypass_rls', r.rolbypassrls,
        'connection_limit', r.rolconnlimit, 'valid_until', r.rolvaliduntil, 'settings', COALESCE(r.rolconfig, '{}'))
        ORDER BY r.rolname), '[]')::text
    FROM pg_roles r WHERE r.rolname !~ '^pg_'";

/// Version 16 brought options of a membership beside the one to grant it on.
fn memberships(version: u32) -> String {
    let options = if version >= 160_000 {
        ", 'inherit_option', a.inherit_option, 'set_option', a.set_option"
    } else {
        ""
    };
    format!(
        "SELECT COALESCE(json_agg(json_build_object('role', g.rolname, 'member', m.rolname,
            'admin_option', a.admin_option{options}) ORDER BY g.rolname, m.rolname), '[]')::text
        FROM pg_auth_members a JOIN pg_roles g ON g.oid = a.roleid JOIN pg_roles m ON m.oid = a.member"
    )
}

const DATABASE: &str = "
    SELECT json_build_object('name', d.datname, 'owner', pg_get_userbyid(d.datdba),
        'settings', (SELECT COALESCE(json_agg(json_build_object('role', r.rolname, 'settings', s.setconfig)
                     ORDER BY r.rolname NULLS FIRST), '[]')
            FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole WHERE s.setdatabase = d.oid))::text
    FROM pg_database d WHERE d.datname = current_database()";

const TABLESPACES: &str = "
    SELECT COALESCE(json_agg(spcname ORDER BY spcname), '[]')::text FROM pg_tablespace WHERE spcname !~ '^pg_'";

const EXTENSIONS: &str =
    "SELECT COALESCE(json_object_agg(extname, extversion ORDER BY extname), '{}')::text FROM pg_extension";

/// See the crate's documentation for the JSON shape.
pub(crate) async fn globals(session: &Session, provider: Provider) -> Result<Value, ConnectError> {
    Ok(json!({
        "provider": provider,
        "database": read(session, DATABASE).await?,
        "roles": read(session, ROLES).await?,
        "memberships": read(session, &memberships(session.version)).await?,
        "tablespaces": read(session, TABLESPACES).await?,
        "extensions": read(session, EXTENSIONS).await?,
    }))
}

async fn read(session: &Session, sql: &str) -> Result<Value, ConnectError> {
    let row = session.one("read roles and settings", sql, &[]).await?;
    serde_json::from_str(row.get(0))
        .map_err(|error| session.strange("read roles and settings", error.to_string()))
}
