//! Leases with fencing tokens. The decisions are the database's, by its clock.

use super::PostgresCatalog;
use super::error::{failed, refused};
use async_trait::async_trait;
use keepsake_domain::{FencingToken, Timestamp};
use keepsake_steps::ports::{CatalogError, Lease, Leases};
use std::time::Duration;
use tokio_postgres::Row;

/// A release between our loss and our look leaves a lease without holder; each further try needs one more such race.
const ACQUIRE_TRIES: u32 = 3;

const ACQUIRE: &str = "\
select acquired, fencing_token, holder, expires_at from keepsake.acquire_lease($1, $2, make_interval(secs => $3))";
const RENEW: &str = "select keepsake.renew_lease($1, $2, $3, make_interval(secs => $4))";
const RELEASE: &str = "select keepsake.release_lease($1, $2, $3)";

#[async_trait]
impl Leases for PostgresCatalog {
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Lease, CatalogError> {
        let act = "take a lease";
        let client = self.lend(act).await?;
        for _ in 0..ACQUIRE_TRIES {
            let row = client
                .query_one(ACQUIRE, &[&name, &holder, &ttl.as_secs_f64()])
                .await
                .map_err(failed(act))?;
            let standing = Standing::read(&row).map_err(failed(act))?;
            match standing {
                Standing { acquired: true, token, expires_at, .. } => {
                    return Ok(Lease { name: name.to_owned(), holder: holder.to_owned(), token, expires_at });
                }
                Standing { holder: Some(holder), expires_at, .. } => {
                    return Err(CatalogError::Held { name: name.to_owned(), holder, expires_at });
                }
                Standing { holder: None, .. } => {}
            }
        }
        let cause = format!("lease {name} passed from hand to hand {ACQUIRE_TRIES} times");
        Err(CatalogError::Unavailable { act: act.to_owned(), cause: cause.into() })
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), CatalogError> {
        let act = "renew a lease";
        let client = self.lend(act).await?;
        let row = client
            .query_one(RENEW, &[&lease.name, &lease.holder, &lease.token.0, &ttl.as_secs_f64()])
            .await
            .map_err(failed(act))?;
        match row.try_get(0).map_err(failed(act))? {
            Some(true) => Ok(()),
            Some(false) => Err(CatalogError::Fenced { name: lease.name.clone(), token: lease.token }),
            None => Err(refused(act, "the catalog gave no answer")),
        }
    }

    async fn release(&self, name: &str, holder: &str, token: FencingToken) -> Result<(), CatalogError> {
        let act = "release a lease";
        let client = self.lend(act).await?;
        // False says that it had gone to another: then there is nothing of ours to give back.
        client.query_one(RELEASE, &[&name, &holder, &token.0]).await.map_err(failed(act))?;
        Ok(())
    }
}

struct Standing {
    acquired: bool,
    token: FencingToken,
    holder: Option<String>,
    expires_at: Timestamp,
}

impl Standing {
    fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            acquired: row.try_get("acquired")?,
            token: FencingToken(row.try_get("fencing_token")?),
            holder: row.try_get("holder")?,
            expires_at: row.try_get("expires_at")?,
        })
    }
}
