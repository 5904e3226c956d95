//! What the restoring role may do, asked from the server before anything is restored.

use crate::error::sql_state;
use crate::inventory;
use crate::session::Session;
use keepsake_domain::{Provider, TargetRights};
use keepsake_steps::ports::TargetError;
use std::collections::BTreeSet;

/// Rights were not enough.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// Rolled back, whatever comes of it: providers differ in whom they allow it, and only the try tells.
const EVENT_TRIGGER: &str = "BEGIN;
    CREATE FUNCTION pg_temp.keepsake_probe() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
    CREATE EVENT TRIGGER keepsake_probe ON ddl_command_end EXECUTE FUNCTION pg_temp.keepsake_probe()";

const EXTENSIONS: &str = "SELECT extname::text FROM pg_extension WHERE NOT pg_has_role(extowner, 'USAGE')";
const PUBLIC: &str =
    "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'public' AND pg_has_role(nspowner, 'USAGE'))";

pub(super) async fn rights(session: &Session) -> Result<TargetRights, TargetError> {
    let act = "read the restoring role's rights";
    // From version 16 on a member may be without the right to act as the role.
    let right = if session.version >= 160_000 { "SET" } else { "MEMBER" };
    let acts_as = format!("SELECT rolname::text FROM pg_roles WHERE pg_has_role(oid, '{right}')");
    let provider = inventory::provider(session).await?;
    Ok(TargetRights {
        provider,
        acts_as: set(session.texts(act, &acts_as).await?),
        may_create_event_triggers: may_create_event_triggers(session).await?,
        owns_public: session.one(act, PUBLIC, &[]).await?.get(0),
        extensions_of_others: set(session.texts(act, EXTENSIONS).await?),
        provided_publications: provided_publications(session, provider).await?,
    })
}

fn set(names: Vec<String>) -> BTreeSet<String> {
    names.into_iter().collect()
}

async fn may_create_event_triggers(session: &Session) -> Result<bool, TargetError> {
    let act = "try to create an event trigger";
    let tried = session.client.batch_execute(EVENT_TRIGGER).await;
    session.run(act, "ROLLBACK").await?;
    match tried {
        Ok(()) => Ok(true),
        Err(error) if sql_state(&error) == Some(INSUFFICIENT_PRIVILEGE) => Ok(false),
        Err(error) => Err(session.failed(act, &error).into()),
    }
}

async fn provided_publications(
    session: &Session,
    provider: Provider,
) -> Result<BTreeSet<String>, TargetError> {
    let there = session.texts("list the publications", "SELECT pubname::text FROM pg_publication").await?;
    Ok(there.into_iter().filter(|name| provider.own_publications().contains(&name.as_str())).collect())
}

/// Whether the restoring role is a superuser.
pub(super) async fn is_superuser(session: &Session) -> Result<bool, TargetError> {
    let sql = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user";
    Ok(session.one("read the restoring role's rights", sql, &[]).await?.get(0))
}

/// What the provider puts into every new database: it is no content of a user's.
pub(super) struct Provided {
    schemas: &'static [&'static str],
    objects: Vec<String>,
}

impl Provided {
    pub async fn read(session: &Session) -> Result<Self, TargetError> {
        let provider = inventory::provider(session).await?;
        let triggers = "SELECT 'event trigger ' || quote_ident(evtname) FROM pg_event_trigger
            WHERE pg_get_userbyid(evtowner) = ANY ($1)";
        let rows = session.all("list the event triggers", triggers, &[&provider.admins()]).await?;
        let publications = provided_publications(session, provider).await?;
        let publications = publications.iter().map(|name| format!("publication {name}"));
        Ok(Self {
            schemas: provider.managed_schemas(),
            objects: rows.iter().map(|row| row.get(0)).chain(publications).collect(),
        })
    }

    /// Whether an object, by kind and identity, is the provider's.
    pub fn holds(&self, object: &str) -> bool {
        self.objects.iter().any(|own| own == object)
            || self
                .schemas
                .iter()
                .any(|schema| object == format!("schema {schema}") || object.contains(&format!(" {schema}.")))
    }

    /// Whether a schema is the provider's.
    pub fn holds_schema(&self, schema: &str) -> bool {
        self.schemas.contains(&schema)
    }
}
