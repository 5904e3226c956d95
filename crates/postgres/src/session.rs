//! A connection with every setting pinned that could change what is read or how it is printed.

use crate::connect::{Connected, End, connect_with_task};
use crate::error::{ConnectError, Said};
use keepsake_domain::ConnectionUrl;
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

/// Pinned as `pg_dump` pins them, and beyond that whatever changes how a value is printed (bytes, money, time zone),
/// so that two servers print equal rows equally. The timeout for locks is bounded: a lock that is not granted within
/// a minute would hold the source's own statements up behind us.
const PINNED: [(&str, &str); 18] = [
    ("search_path", ""),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("xmloption", "content"),
    ("array_nulls", "on"),
    ("standard_conforming_strings", "on"),
    ("quote_all_identifiers", "off"),
    ("synchronize_seqscans", "off"),
    ("statement_timeout", "0"),
    ("lock_timeout", "1min"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("transaction_timeout", "0"),
    ("row_security", "off"),
];

/// Exists from this version on.
pub(crate) const TRANSACTION_TIMEOUT_SINCE: u32 = 170_000;

/// What every session of ours sets. Bytes of a database without encoding go through as they are; all others as UTF-8,
/// so that digests are comparable between encodings.
pub(crate) fn pinned(version: u32, server_encoding: &str) -> Vec<(&'static str, &'static str)> {
    let encoding = if server_encoding == "SQL_ASCII" { "SQL_ASCII" } else { "UTF8" };
    PINNED
        .into_iter()
        .filter(|(name, _)| *name != "transaction_timeout" || version >= TRANSACTION_TIMEOUT_SINCE)
        .chain([("client_encoding", encoding)])
        .collect()
}

/// Statements that set these. Names and values are ours and hold no quote.
pub(crate) fn set(settings: &[(&str, &str)]) -> String {
    settings.iter().map(|(name, value)| format!("SET {name} = '{value}'")).collect::<Vec<_>>().join("; ")
}

/// A pinned connection.
pub(crate) struct Session {
    pub client: Client,
    pub place: String,
    /// `server_version_num`.
    pub version: u32,
    /// The database's.
    pub encoding: String,
    task: JoinHandle<()>,
    end: End,
    /// While a stream runs: then a drop cuts the connection, or the server would send the whole rest to nobody.
    pub streaming: bool,
}

impl Session {
    pub async fn open(url: &ConnectionUrl) -> Result<Self, ConnectError> {
        let Connected { client, task, end } = connect_with_task(url).await?;
        let place = url.place().to_owned();
        let encoding = String::new();
        let mut session = Self { client, place, version: 0, encoding, task, end, streaming: false };
        let row = session
            .one(
                "read the server's version",
                "SELECT current_setting('server_version_num'), current_setting('server_encoding')",
                &[],
            )
            .await?;
        session.version = row.get::<_, String>(0).parse().unwrap_or(0);
        session.encoding = row.get(1);
        session.pin(&session.encoding).await?;
        Ok(session)
    }

    async fn pin(&self, server_encoding: &str) -> Result<(), ConnectError> {
        let pinned = pinned(self.version, server_encoding);
        self.run("pin the session's settings", &set(&pinned)).await?;
        let names: Vec<&str> = pinned.iter().map(|(name, _)| *name).collect();
        let sql = "SELECT n, pg_catalog.current_setting(n) FROM pg_catalog.unnest($1::text[]) n";
        for row in self.all("read the session's settings", sql, &[&names]).await? {
            let (name, is): (String, String) = (row.get(0), row.get(1));
            let wanted = pinned.iter().find(|(pinned, _)| *pinned == name).map_or("", |(_, value)| value);
            // An empty search_path is printed as two quotes.
            if is != wanted && !(name == "search_path" && is == "\"\"") {
                let said = format!("setting {name} stays at \"{is}\" instead of \"{wanted}\"");
                return Err(ConnectError::permanent("pin the session's settings", &self.place, said));
            }
        }
        Ok(())
    }

    /// How the session is called in the server's views. The text is ours and holds no quote.
    pub async fn label(&self, label: &str) -> Result<(), ConnectError> {
        self.run("name the session", &format!("SET application_name = '{label}'")).await
    }

    pub async fn run(&self, act: &str, sql: &str) -> Result<(), ConnectError> {
        self.client.batch_execute(sql).await.map_err(|error| self.failed(act, &error))
    }

    pub async fn all(
        &self,
        act: &str,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, ConnectError> {
        self.client.query(sql, values).await.map_err(|error| self.failed(act, &error))
    }

    pub async fn one(
        &self,
        act: &str,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, ConnectError> {
        self.client.query_one(sql, values).await.map_err(|error| self.failed(act, &error))
    }

    /// Rows of a single text column, sorted byte by byte: a server's own order depends on its collation.
    pub async fn texts(&self, act: &str, sql: &str) -> Result<Vec<String>, ConnectError> {
        let rows = self.all(act, sql, &[]).await?;
        let mut texts: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        texts.sort_unstable();
        Ok(texts)
    }

    pub fn failed(&self, act: &str, error: &tokio_postgres::Error) -> ConnectError {
        ConnectError::of_statement(act, &self.place, self.cause(error))
    }

    /// Why a statement failed: where the server had ended the session before, what it said then.
    pub fn cause<'a>(&'a self, error: &'a tokio_postgres::Error) -> &'a tokio_postgres::Error {
        self.end.cause(error)
    }

    pub fn strange(&self, act: &str, said: impl Into<String>) -> ConnectError {
        ConnectError::Statement {
            act: act.to_owned(),
            place: self.place.clone(),
            transient: false,
            cause: Box::new(Said(said.into())),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.streaming {
            self.task.abort();
        }
    }
}
