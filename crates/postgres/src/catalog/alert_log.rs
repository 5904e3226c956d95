//! Which notices were sent.

use super::PostgresCatalog;
use super::error::{failed, not_found, refused};
use async_trait::async_trait;
use keepsake_domain::Notice;
use keepsake_steps::ports::{AlertLog, CatalogError};
use serde_json::Value;
use tokio_postgres::types::ToSql;

/// Two that announce one notice at once wait for each other: a run that never opened has no row to wait at.
const LOCK: &str = "select pg_advisory_xact_lock(hashtextextended('keepsake.alert ' || $1 || ' ' || $2, 0))";

/// A run that failed before it opened has no row in `backup_executions`; its notice is found by its own text.
const FIND: &str = "\
select a.id, a.status from keepsake.alerts a left join keepsake.backup_executions e on e.id = a.execution_id
where a.kind = $2 and (e.execution_id = $1 or (a.execution_id is null and a.body ->> 'execution_id' = $1))
order by a.status = 'sent' desc limit 1";

const ANNOUNCE: &str = "\
insert into keepsake.alerts (execution_id, kind, severity, subject, body, topic)
values ((select id from keepsake.backup_executions where execution_id = $1), $2, $3, $4, $5, $6)";

const AGAIN: &str = "update keepsake.alerts set status = 'pending', severity = $2, subject = $3, body = $4, topic = $5 where id = $1";

const DELIVERED: &str =
    "update keepsake.alerts set status = 'sent', sent_at = clock_timestamp(), message_id = $2 where id = $1";

#[async_trait]
impl AlertLog for PostgresCatalog {
    /// A notice that was announced and not delivered is announced again: rather told twice than never.
    async fn announce(&self, execution_id: &str, notice: &Notice, topic: &str) -> Result<bool, CatalogError> {
        let act = "announce a notice";
        let (kind, body) = wording(act, notice)?;
        let (severity, subject) = (notice.severity.name(), notice.subject());
        let mut client = self.lend(act).await?;
        let transaction = client.transaction().await.map_err(failed(act))?;
        transaction.execute(LOCK, &[&execution_id, &kind]).await.map_err(failed(act))?;
        let found = transaction.query_opt(FIND, &[&execution_id, &kind]).await.map_err(failed(act))?;
        let written = match found {
            Some(row) if row.try_get::<_, &str>("status").map_err(failed(act))? == "sent" => {
                return Ok(false);
            }
            Some(row) => {
                let id: uuid::Uuid = row.try_get("id").map_err(failed(act))?;
                transaction.execute(AGAIN, &[&id, &severity, &subject, &body, &topic]).await
            }
            None => {
                let parameters: [&(dyn ToSql + Sync); 6] =
                    [&execution_id, &kind, &severity, &subject, &body, &topic];
                transaction.execute(ANNOUNCE, &parameters).await
            }
        };
        written.map_err(failed(act))?;
        transaction.commit().await.map_err(failed(act))?;
        Ok(true)
    }

    /// A second call keeps the first message id.
    async fn delivered(
        &self,
        execution_id: &str,
        notice: &Notice,
        message_id: &str,
    ) -> Result<(), CatalogError> {
        let act = "note a notice's delivery";
        let (kind, _) = wording(act, notice)?;
        let client = self.lend(act).await?;
        let found = client.query_opt(FIND, &[&execution_id, &kind]).await.map_err(failed(act))?;
        let row = found.ok_or_else(|| not_found("notice", format!("{kind} of {execution_id}")))?;
        if row.try_get::<_, &str>("status").map_err(failed(act))? == "sent" {
            return Ok(());
        }
        let id: uuid::Uuid = row.try_get("id").map_err(failed(act))?;
        client.execute(DELIVERED, &[&id, &message_id]).await.map_err(failed(act))?;
        Ok(())
    }
}

/// The kind's name and the notice as JSON.
fn wording(act: &str, notice: &Notice) -> Result<(String, Value), CatalogError> {
    let body = serde_json::to_value(notice).map_err(|error| refused(act, error))?;
    let kind = body["kind"].as_str().unwrap_or_default().to_owned();
    Ok((kind, body))
}
