//! One connection that is opened again when it died: a warm function lives for hours, its connection need not.

use super::error::{connect_failed, failed};
use keepsake_domain::ConnectionUrl;
use keepsake_steps::ports::CatalogError;
use std::time::Duration;
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};
use tokio_postgres::Client;

/// A frozen function's peer may be gone without a word; an answer within one region takes milliseconds.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// A failover or a restarted proxy refuses the first try at once; the second one is a second later.
const CONNECT_TRIES: u32 = 2;
const CONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Pinned for each session. Every statement touches few rows; the only long wait is for the lock of another
/// holder's row, and 30 s of that is less than the retry interval of a state machine's step.
const SESSION_SETTINGS: &str = "set application_name = 'keepsake-catalog'; set statement_timeout = '30s'; \
     set idle_in_transaction_session_timeout = '60s'; set timezone = 'UTC'; set datestyle = 'ISO'";

/// A client that is locked for one call.
pub(super) type Lent<'a> = MappedMutexGuard<'a, Client>;

/// Holds at most one connection.
#[derive(Debug)]
pub(super) struct Session {
    url: ConnectionUrl,
    client: Mutex<Option<Client>>,
}

impl Session {
    pub(super) fn new(url: ConnectionUrl) -> Self {
        Self { url, client: Mutex::new(None) }
    }

    /// A connection that has just answered, for one call.
    ///
    /// # Errors
    /// [`CatalogError`] when it could not be opened within two tries.
    pub(super) async fn lend(&self, act: &str) -> Result<Lent<'_>, CatalogError> {
        let mut slot = self.client.lock().await;
        if !answers(slot.as_ref()).await {
            *slot = None;
            *slot = Some(connect_again(&self.url, act).await?);
        }
        Ok(MutexGuard::map(slot, |slot| slot.as_mut().expect("filled above, under the same lock")))
    }
}

async fn answers(client: Option<&Client>) -> bool {
    let Some(client) = client.filter(|client| !client.is_closed()) else { return false };
    matches!(tokio::time::timeout(PING_TIMEOUT, client.batch_execute("")).await, Ok(Ok(())))
}

async fn connect_again(url: &ConnectionUrl, act: &str) -> Result<Client, CatalogError> {
    let mut tries = 1;
    loop {
        match connect(url, act).await {
            Err(CatalogError::Unavailable { .. }) if tries < CONNECT_TRIES => {
                tries += 1;
                tokio::time::sleep(CONNECT_PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

/// Opens one connection with the session's settings.
pub(super) async fn connect(url: &ConnectionUrl, act: &str) -> Result<Client, CatalogError> {
    let client = crate::connect::connect(url).await.map_err(|error| connect_failed(act, error))?;
    client.batch_execute(SESSION_SETTINGS).await.map_err(failed(act))?;
    Ok(client)
}
