//! What kind of server and database it is.

use crate::error::ConnectError;
use crate::session::Session;
use keepsake_archive::ServerFacts;
use std::collections::BTreeMap;

/// Version, encoding, collation and the extensions that are installed.
pub(crate) async fn server_facts(session: &Session) -> Result<ServerFacts, ConnectError> {
    // Version 15 brought the provider as a column; before, only libc could be a database's.
    let provider = if session.version >= 150_000 { "datlocprovider::text" } else { "'c'" };
    // Version 17 renamed the ICU locale and made it the built-in provider's too.
    let locale = match session.version {
        170_000.. => "COALESCE(datlocale, datcollate)",
        150_000.. => "COALESCE(daticulocale, datcollate)",
        _ => "datcollate",
    };
    let sql = format!(
        "SELECT pg_encoding_to_char(encoding)::text, {locale}::text, datctype::text, {provider}
        FROM pg_database WHERE datname = current_database()"
    );
    let row = session.one("read the database's settings", &sql, &[]).await?;
    let locale_provider = match row.get::<_, &str>(3) {
        "i" => "icu",
        "b" => "builtin",
        _ => "libc",
    };
    Ok(ServerFacts {
        server_version: session.version,
        encoding: row.get(0),
        collation: row.get(1),
        ctype: row.get(2),
        locale_provider: locale_provider.to_owned(),
        extensions: extensions(session, "SELECT extname::text, extversion FROM pg_extension").await?,
    })
}

/// Extensions that could be installed, with the version that would be.
pub(crate) async fn available_extensions(
    session: &Session,
) -> Result<BTreeMap<String, String>, ConnectError> {
    extensions(session, "SELECT name::text, COALESCE(default_version, '') FROM pg_available_extensions").await
}

async fn extensions(session: &Session, sql: &str) -> Result<BTreeMap<String, String>, ConnectError> {
    Ok(session
        .all("list the extensions", sql, &[])
        .await?
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect())
}
