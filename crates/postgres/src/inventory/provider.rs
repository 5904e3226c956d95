//! By which marks a provider is known.

use crate::error::ConnectError;
use crate::session::Session;
use keepsake_domain::{Provider, ProviderMarks};

const SUPERUSERS: &str = "SELECT rolname::text FROM pg_roles WHERE rolsuper";
const SCHEMAS: &str = "SELECT nspname::text FROM pg_namespace";
const AURORA: &str = "SELECT EXISTS (SELECT FROM pg_proc WHERE proname = 'aurora_version'
    AND pronamespace = 'pg_catalog'::regnamespace)";

pub(crate) async fn provider(session: &Session) -> Result<Provider, ConnectError> {
    let act = "recognise the provider";
    let marks = ProviderMarks {
        superusers: session.texts(act, SUPERUSERS).await?.into_iter().collect(),
        schemas: session.texts(act, SCHEMAS).await?.into_iter().collect(),
        has_aurora_version: session.one(act, AURORA, &[]).await?.get(0),
    };
    Ok(Provider::detect(&marks))
}
