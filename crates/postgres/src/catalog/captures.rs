//! Captured changes: chains, what each run captured, how far changes stand where, and the slot.

use super::PostgresCatalog;
use super::error::{bigint, failed, not_found, refused};
use async_trait::async_trait;
use keepsake_domain::{
    ExecutionRowId, FULLS_LOOKED_AT, FullFact, FullFacts, FullRunFact, GovernorVerdict, Lineage, LocationId,
    Lsn, MOST_FULLS_AN_HOUR, Position, REPLAYED_LOOKED_AT, SchemaBoundary, SourceId, Timestamp,
};
use keepsake_steps::ports::{
    CaptureFacts, CaptureLog, CapturedRecord, CatalogError, ChainRecord, FailureRecord, ProbeRecord,
    SlotRecord,
};
use tokio_postgres::Row;
use tokio_postgres::types::{Json, ToSql};

const POSITION: &str = "\
select lineage, end_lsn::text as lsn, ended_at as at from keepsake.change_positions
where source_id = $1 and location_id = $2 and end_lsn is not null";

/// A position of the same lineage that lies behind the one that is known says nothing new.
const NOTE_POSITION: &str = "\
insert into keepsake.change_positions as standing (source_id, location_id, lineage, end_lsn, ended_at)
values ($1, $2, $3, $4::text::pg_lsn, $5)
on conflict (source_id, location_id) do update
set lineage = excluded.lineage, end_lsn = excluded.end_lsn, ended_at = excluded.ended_at,
  observed_at = clock_timestamp()
where standing.lineage is distinct from excluded.lineage or standing.end_lsn <= excluded.end_lsn";

const NOTE_PROBE: &str = "\
insert into keepsake.change_positions as standing (source_id, location_id, newest_lsn, newest_at, probed_at)
values ($1, $2, $3::text::pg_lsn, $4, $5)
on conflict (source_id, location_id) do update
set newest_lsn = excluded.newest_lsn, newest_at = excluded.newest_at, probed_at = excluded.probed_at
where standing.probed_at is null or standing.probed_at <= excluded.probed_at";

const PROBED: &str = "\
select newest_lsn::text as lsn, newest_at as at, probed_at from keepsake.change_positions
where source_id = $1 and location_id = $2 and probed_at is not null";

const NOTE_COPY_FAILURE: &str = "\
insert into keepsake.change_positions (source_id, location_id, failed_at, error_class, error_message)
values ($1, $2, $3, $4, $5)
on conflict (source_id, location_id) do update
set failed_at = excluded.failed_at, error_class = excluded.error_class, error_message = excluded.error_message";

const NOTE_CHAIN: &str = "\
insert into keepsake.change_chains (source_id, lineage, start_lsn, started_at, snapshot_xmax, schema_fingerprint, gap,
  manifest_key, published, not_captured, execution_id)
select e.source_id, $2, $3::text::pg_lsn, $4, $5, $6, $7, $8, $9, $10, e.id
from keepsake.backup_executions e where e.id = $1
on conflict (source_id, lineage, start_lsn) do nothing";

/// Of the newest chain that begins before the end; from where the capture before it ended.
const NOTE_CAPTURED: &str = "\
insert into keepsake.change_captures as standing (execution_id, source_id, lineage, chain_start_lsn, start_lsn, end_lsn,
  started_at, ended_at, segments, transactions, changes, raw_bytes, stored_bytes, schema_changed_at,
  schema_changed_xmax, schema_fingerprint, schema_replayed)
select e.id, e.source_id, $2, c.start_lsn, coalesce(b.end_lsn, c.start_lsn), $3::text::pg_lsn,
  coalesce(b.ended_at, c.started_at), $4, $5, $6, $7, $8, $9, $10, $11, $12, $13
from keepsake.backup_executions e
cross join lateral (
  select start_lsn, started_at from keepsake.change_chains
  where source_id = e.source_id and lineage = $2 and start_lsn <= $3::text::pg_lsn
  order by start_lsn desc limit 1) c
left join lateral (
  select end_lsn, ended_at from keepsake.change_captures
  where source_id = e.source_id and lineage = $2 and chain_start_lsn = c.start_lsn and execution_id <> e.id
    and end_lsn <= $3::text::pg_lsn
  order by end_lsn desc limit 1) b on true
where e.id = $1
on conflict (execution_id, chain_start_lsn) do update
set end_lsn = greatest(standing.end_lsn, excluded.end_lsn), ended_at = greatest(standing.ended_at, excluded.ended_at),
  segments = standing.segments + excluded.segments, transactions = standing.transactions + excluded.transactions,
  changes = standing.changes + excluded.changes, raw_bytes = standing.raw_bytes + excluded.raw_bytes,
  stored_bytes = standing.stored_bytes + excluded.stored_bytes,
  schema_changed_at = coalesce(excluded.schema_changed_at, standing.schema_changed_at),
  schema_changed_xmax = coalesce(excluded.schema_changed_xmax, standing.schema_changed_xmax),
  schema_fingerprint = coalesce(excluded.schema_fingerprint, standing.schema_fingerprint),
  schema_replayed = case when excluded.schema_changed_at is null then standing.schema_replayed else '[]' end
    || excluded.schema_replayed";

const NOTE_LINEAGE: &str =
    "update keepsake.backup_executions set lineage = $2 where id = $1 and lineage is distinct from $2";

/// What nobody was told of is news: a gap until some run that captured behind it has completed, and so a change of the schema,
/// because a run completes only once people were told. Fulls that a capture may still join: the newest $3 that nobody found
/// damaged.
const FACTS: &str = "\
select case when not exists (
    select from keepsake.change_captures o join keepsake.backup_executions told on told.id = o.execution_id
    where o.source_id = e.source_id and o.lineage = $2 and o.chain_start_lsn = c.start_lsn and o.execution_id <> e.id
      and told.status = 'completed') then c.gap end as gap,
  exists (
    select from keepsake.change_captures o
    where o.source_id = e.source_id and o.lineage = $2 and o.chain_start_lsn = c.start_lsn
      and o.schema_changed_at is not null
      and (o.execution_id = e.id or not exists (
        select from keepsake.change_captures later
        join keepsake.backup_executions told on told.id = later.execution_id
        where later.source_id = e.source_id and later.lineage = $2 and later.chain_start_lsn = c.start_lsn
          and later.end_lsn >= o.end_lsn and later.execution_id <> e.id and told.status = 'completed')))
    as schema_changed,
  coalesce(x.schema_changed_at, c.started_at) as since_at, coalesce(x.schema_changed_xmax, c.snapshot_xmax) as since_xmax,
  coalesce(x.schema_fingerprint, c.schema_fingerprint) as since_fingerprint,
  p.boundaries as replayed, f.xmins as full_xmins, f.fingerprints as full_fingerprints,
  r.started_at as run_started_at, r.status as run_status, b.begun
from keepsake.backup_executions e
cross join lateral (
  select * from keepsake.change_chains where source_id = e.source_id and lineage = $2
  order by start_lsn desc limit 1) c
left join lateral (
  select schema_changed_at, schema_changed_xmax, schema_fingerprint, end_lsn from keepsake.change_captures
  where source_id = e.source_id and lineage = $2 and chain_start_lsn = c.start_lsn and schema_changed_at is not null
  order by end_lsn desc limit 1) x on true
cross join lateral (
  select coalesce(jsonb_agg(boundary), '[]') as boundaries from (
    select again.boundary from keepsake.change_captures o
    cross join lateral jsonb_array_elements(o.schema_replayed) as again (boundary)
    where o.source_id = e.source_id and o.lineage = $2 and o.chain_start_lsn = c.start_lsn
      and (x.end_lsn is null or o.end_lsn >= x.end_lsn)
    order by (again.boundary ->> 'xmax')::bigint desc limit $5) newest) p
cross join lateral (
  select coalesce(array_agg(snapshot_xmin), '{}') as xmins, coalesce(array_agg(fingerprint), '{}') as fingerprints from (
    select snapshot_xmin, manifest ->> 'schema_fingerprint' as fingerprint from keepsake.backup_snapshots
    where source_id = e.source_id and lineage = $2 and snapshot_xmin is not null
      and validation_status not in ('corrupted', 'incomplete')
    order by snapshot_timestamp desc limit $3) newest) f
left join lateral (
  select coalesce(started_at, scheduled_at) as started_at, status from keepsake.backup_executions
  where policy_id = e.policy_id and backup_type = 'full'
  order by started_at desc nulls last limit 1) r on true
cross join lateral (
  select coalesce(array_agg(started_at), '{}') as begun from (
    select started_at from keepsake.backup_executions
    where policy_id = e.policy_id and backup_type = 'full' and requested_by = 'capture' and started_at is not null
    order by started_at desc limit $4) newest) b
where e.id = $1";

const NOTE_SLOT: &str = "\
insert into keepsake.source_slots as standing (source_id, slot_name, retained_bytes, wal_budget_bytes,
  catalog_age_transactions, oldest_transaction_seconds, verdict, reasons, looked_at, dropped_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
on conflict (source_id) do update
set slot_name = excluded.slot_name, retained_bytes = excluded.retained_bytes,
  wal_budget_bytes = excluded.wal_budget_bytes, catalog_age_transactions = excluded.catalog_age_transactions,
  oldest_transaction_seconds = excluded.oldest_transaction_seconds, verdict = excluded.verdict,
  reasons = excluded.reasons, looked_at = excluded.looked_at,
  dropped_at = coalesce(excluded.dropped_at, standing.dropped_at)
where standing.looked_at <= excluded.looked_at";

impl PostgresCatalog {
    /// Writes one row.
    async fn note(
        &self,
        act: &'static str,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<(), CatalogError> {
        self.lend(act).await?.execute(sql, values).await.map_err(failed(act))?;
        Ok(())
    }

    /// The row of one source in one repository, if there is one.
    async fn of_place(
        &self,
        act: &'static str,
        sql: &str,
        source: SourceId,
        location: LocationId,
    ) -> Result<Option<Row>, CatalogError> {
        let client = self.lend(act).await?;
        client.query_opt(sql, &[&source.0, &location.0]).await.map_err(failed(act))
    }
}

#[async_trait]
impl CaptureLog for PostgresCatalog {
    async fn position(
        &self,
        source: SourceId,
        location: LocationId,
    ) -> Result<Option<(Lineage, Position)>, CatalogError> {
        let act = "read how far changes stand";
        let Some(row) = self.of_place(act, POSITION, source, location).await? else { return Ok(None) };
        let lineage: String = row.try_get("lineage").map_err(failed(act))?;
        let lsn: String = row.try_get("lsn").map_err(failed(act))?;
        let at: Timestamp = row.try_get("at").map_err(failed(act))?;
        let lineage = lineage.parse().map_err(|error| refused(act, error))?;
        let lsn: Lsn = lsn.parse().map_err(|error| refused(act, error))?;
        Ok(Some((lineage, Position { lsn, at })))
    }

    async fn note_position(
        &self,
        source: SourceId,
        location: LocationId,
        lineage: &Lineage,
        position: Position,
    ) -> Result<(), CatalogError> {
        let (lineage, lsn) = (lineage.to_string(), position.lsn.to_string());
        let values: [&(dyn ToSql + Sync); 5] = [&source.0, &location.0, &lineage, &lsn, &position.at];
        self.note("note how far changes stand", NOTE_POSITION, &values).await
    }

    async fn note_chain(&self, execution: ExecutionRowId, chain: &ChainRecord) -> Result<(), CatalogError> {
        let act = "note a chain of changes";
        let count = |number: u64| i32::try_from(number).map_err(|error| refused(act, error));
        let values: [&(dyn ToSql + Sync); 10] = [
            &execution.0,
            &chain.lineage.to_string(),
            &chain.begins.lsn.to_string(),
            &chain.begins.at,
            &bigint(act, chain.snapshot_xmax)?,
            &chain.schema_fingerprint,
            &chain.gap,
            &chain.manifest_key,
            &count(chain.published)?,
            &count(chain.not_captured)?,
        ];
        self.note(act, NOTE_CHAIN, &values).await
    }

    async fn note_captured(&self, captured: &CapturedRecord) -> Result<(), CatalogError> {
        let act = "note captured changes";
        let mut client = self.lend(act).await?;
        let transaction = client.transaction().await.map_err(failed(act))?;
        let lineage = captured.lineage.to_string();
        transaction.execute(NOTE_LINEAGE, &[&captured.execution.0, &lineage]).await.map_err(failed(act))?;
        let changed = captured.schema_changed.as_ref();
        let noted = transaction
            .execute(
                NOTE_CAPTURED,
                &[
                    &captured.execution.0,
                    &lineage,
                    &captured.end.lsn.to_string(),
                    &captured.end.at,
                    &bigint(act, captured.segments)?,
                    &bigint(act, captured.transactions)?,
                    &bigint(act, captured.changes)?,
                    &bigint(act, captured.raw_bytes)?,
                    &bigint(act, captured.stored_bytes)?,
                    &changed.map(|change| change.at),
                    &changed.map(|change| bigint(act, change.xmax)).transpose()?,
                    &changed.map(|change| &change.schema_fingerprint),
                    &Json(&captured.schema_replayed),
                ],
            )
            .await
            .map_err(failed(act))?;
        if noted == 0 {
            return Err(not_found("a chain that leads to", captured.end.lsn));
        }
        transaction.commit().await.map_err(failed(act))
    }

    async fn capture_facts(
        &self,
        execution: ExecutionRowId,
        lineage: &Lineage,
    ) -> Result<CaptureFacts, CatalogError> {
        let act = "read what follows from a capture";
        let client = self.lend(act).await?;
        let lineage = lineage.to_string();
        let most = |count: usize| bigint(act, count as u64);
        let (fulls, begun, replayed) =
            (most(FULLS_LOOKED_AT)?, most(MOST_FULLS_AN_HOUR)?, most(REPLAYED_LOOKED_AT)?);
        let values: [&(dyn ToSql + Sync); 5] = [&execution.0, &lineage, &fulls, &begun, &replayed];
        let found = client.query_opt(FACTS, &values).await.map_err(failed(act))?;
        let row = found.ok_or_else(|| not_found("a chain of lineage", &lineage))?;
        read_facts(&row).map_err(failed(act))
    }

    async fn note_slot(&self, source: SourceId, slot: &SlotRecord) -> Result<(), CatalogError> {
        let act = "note a look at a slot";
        let look = slot.look.as_ref();
        let number = |of: Option<u64>| of.map(|number| bigint(act, number)).transpose();
        let (verdict, reasons) = match (&slot.look, &slot.decision) {
            (_, GovernorVerdict::Drop(reasons)) => ("drop", reasons.as_slice()),
            (None, _) => ("none", [].as_slice()),
            (Some(_), GovernorVerdict::Keep) => ("keep", [].as_slice()),
            (Some(_), GovernorVerdict::Warn(reasons)) => ("warn", reasons.as_slice()),
        };
        let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
        let values: [&(dyn ToSql + Sync); 10] = [
            &source.0,
            &slot.slot,
            &number(look.map(|look| look.retained_bytes))?,
            &bigint(act, slot.wal_budget_bytes)?,
            &number(look.map(|look| look.catalog_age_transactions))?,
            &number(look.map(|look| look.oldest_transaction_seconds))?,
            &verdict,
            &serde_json::json!(reasons),
            &slot.looked_at,
            &slot.dropped.then_some(slot.looked_at),
        ];
        self.note(act, NOTE_SLOT, &values).await
    }

    async fn note_probe(
        &self,
        source: SourceId,
        location: LocationId,
        probe: &ProbeRecord,
    ) -> Result<(), CatalogError> {
        let lsn = probe.newest_lsn.to_string();
        let values: [&(dyn ToSql + Sync); 5] =
            [&source.0, &location.0, &lsn, &probe.newest_at, &probe.probed_at];
        self.note("note what was read back", NOTE_PROBE, &values).await
    }

    async fn probed(
        &self,
        source: SourceId,
        location: LocationId,
    ) -> Result<Option<ProbeRecord>, CatalogError> {
        let act = "read what was read back";
        let Some(row) = self.of_place(act, PROBED, source, location).await? else { return Ok(None) };
        let lsn: String = row.try_get("lsn").map_err(failed(act))?;
        Ok(Some(ProbeRecord {
            newest_lsn: lsn.parse().map_err(|error| refused(act, error))?,
            newest_at: row.try_get("at").map_err(failed(act))?,
            probed_at: row.try_get("probed_at").map_err(failed(act))?,
        }))
    }

    async fn note_copy_failure(
        &self,
        source: SourceId,
        location: LocationId,
        failure: &FailureRecord,
    ) -> Result<(), CatalogError> {
        let class = failure.class.name();
        let values: [&(dyn ToSql + Sync); 5] =
            [&source.0, &location.0, &failure.failed_at, &class, &failure.message];
        self.note("note a copy that failed", NOTE_COPY_FAILURE, &values).await
    }
}

fn read_facts(row: &Row) -> Result<CaptureFacts, tokio_postgres::Error> {
    let xmins: Vec<i64> = row.try_get("full_xmins")?;
    let fingerprints: Vec<Option<String>> = row.try_get("full_fingerprints")?;
    let run_started_at: Option<Timestamp> = row.try_get("run_started_at")?;
    let run_status: Option<String> = row.try_get("run_status")?;
    let Json(replayed) = row.try_get("replayed")?;
    let fulls = xmins.into_iter().zip(fingerprints);
    let fulls =
        fulls.map(|(xmin, schema_fingerprint)| FullFact { xmin: xmin.unsigned_abs(), schema_fingerprint });
    let run = |(started_at, status): (Timestamp, String)| FullRunFact {
        started_at,
        is_running: matches!(status.as_str(), "scheduled" | "pending" | "running"),
    };
    Ok(CaptureFacts {
        gap: row.try_get("gap")?,
        schema_changed: row.try_get("schema_changed")?,
        full: FullFacts {
            since: SchemaBoundary {
                at: row.try_get("since_at")?,
                xmax: row.try_get::<_, i64>("since_xmax")?.unsigned_abs(),
                schema_fingerprint: row.try_get("since_fingerprint")?,
            },
            replayed,
            fulls: fulls.collect(),
            newest_run: run_started_at.zip(run_status).map(run),
            begun_for_changes: row.try_get("begun")?,
        },
    })
}
