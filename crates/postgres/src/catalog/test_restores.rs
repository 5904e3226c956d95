//! Test restores and their verdicts.

use super::PostgresCatalog;
use super::error::{failed, not_found, refused, transition};
use async_trait::async_trait;
use keepsake_domain::{BackupId, Certificate, InstanceName, Timestamp, Verdict};
use keepsake_steps::ports::{CatalogError, RunningTest, TestOutcome, Tests};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

const BEGIN: &str = "\
insert into keepsake.backup_tests
  (id, snapshot_id, test_type, test_environment, instance_name, started_at, tested_by)
select $1, b.id, 'restore_test', 'throwaway instance', $3, $4, 'test-restore'
from keepsake.backup_snapshots b where b.id = $2
on conflict (instance_name) where verdict = 'running' do nothing";

const RUNNING: &str = "\
select id, snapshot_id, started_at from keepsake.backup_tests where instance_name = $1 and verdict = 'running'";

const FINISH: &str = "\
update keepsake.backup_tests
set verdict = $2, certificate = $3, errors = $4, data_verified = $5, recovery_time_by_phase = $6,
  completed_at = greatest($7, started_at)
where id = $1 and verdict = 'running'";

const OUTCOME: &str = "select verdict from keepsake.backup_tests where id = $1";

const NEWEST: &str = "\
select verdict from keepsake.backup_tests
where snapshot_id = $1 and test_type = 'restore_test' and verdict <> 'running'
order by completed_at desc, id desc limit 1";

#[async_trait]
impl Tests for PostgresCatalog {
    async fn begin_test(
        &self,
        backup_id: BackupId,
        instance: &InstanceName,
        started_at: Timestamp,
    ) -> Result<RunningTest, CatalogError> {
        let act = "open a test restore";
        let client = self.lend(act).await?;
        client
            .execute(BEGIN, &[&Uuid::now_v7(), &backup_id.0, &instance.as_str(), &started_at])
            .await
            .map_err(failed(act))?;
        let running = client.query_opt(RUNNING, &[&instance.as_str()]).await.map_err(failed(act))?;
        let row = running.ok_or_else(|| not_found("backup", backup_id))?;
        if row.try_get::<_, Uuid>("snapshot_id").map_err(failed(act))? != backup_id.0 {
            return Err(transition(
                act,
                format!("instance {instance} is in use by the test of another backup"),
            ));
        }
        Ok(RunningTest {
            test_id: row.try_get("id").map_err(failed(act))?,
            started_at: row.try_get("started_at").map_err(failed(act))?,
        })
    }

    async fn finish_test(&self, test_id: Uuid, outcome: &TestOutcome) -> Result<(), CatalogError> {
        let act = "end a test restore";
        let client = self.lend(act).await?;
        let certificate = outcome.certificate.as_ref().map(serde_json::to_value).transpose();
        let certificate = certificate.map_err(|error| refused(act, error))?;
        let verdict = name(outcome.verdict);
        let parameters: [&(dyn ToSql + Sync); 7] = [
            &test_id,
            &verdict,
            &certificate,
            &json!(outcome.errors),
            &outcome.certificate.as_ref().map_or_else(|| json!({}), counts),
            &outcome.certificate.as_ref().map_or_else(|| json!({}), seconds),
            &outcome.completed_at,
        ];
        if client.execute(FINISH, &parameters).await.map_err(failed(act))? == 1 {
            return Ok(());
        }
        let ended = client.query_opt(OUTCOME, &[&test_id]).await.map_err(failed(act))?;
        let ended: String =
            ended.ok_or_else(|| not_found("test", test_id))?.try_get(0).map_err(failed(act))?;
        if ended == verdict {
            return Ok(());
        }
        Err(transition(act, format!("test {test_id} is {ended}, which is final; it cannot become {verdict}")))
    }

    async fn verdict(&self, backup_id: BackupId) -> Result<Option<Verdict>, CatalogError> {
        let act = "read the verdict on a backup";
        let client = self.lend(act).await?;
        let newest = client.query_opt(NEWEST, &[&backup_id.0]).await.map_err(failed(act))?;
        let Some(row) = newest else { return Ok(None) };
        let verdict = Value::String(row.try_get(0).map_err(failed(act))?);
        serde_json::from_value(verdict).map(Some).map_err(|error| refused(act, error))
    }
}

fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::Inconclusive => "inconclusive",
    }
}

fn counts(certificate: &Certificate) -> Value {
    json!({
        "tables": certificate.tables,
        "rows": certificate.rows,
        "sequences": certificate.sequences,
        "objects": certificate.objects,
        "differences": certificate.differences_total,
    })
}

/// The column counts in seconds; a phase is far shorter than the 2^53 ms that a float holds exactly.
#[allow(clippy::cast_precision_loss, reason = "no phase lasts 285,000 years")]
fn seconds(certificate: &Certificate) -> Value {
    let phases = certificate.phase_milliseconds.iter();
    json!(phases.map(|(phase, &ms)| (phase, ms as f64 / 1000.0)).collect::<BTreeMap<_, _>>())
}
