-- Captured changes: what a policy wants of them, where chains begin and what was lost before, how far each run captured,
-- where the newest change stands in each repository, and what the slot costs its source.

alter table keepsake.backup_policies
  add column capture_mode text not null default 'off',
  add column capture_schedule_cron text,
  add column capture_segment_seconds integer not null default 10,
  add column wal_budget_bytes bigint not null default 8589934592,
  add column replica_identity_full boolean not null default false,
  add constraint policies_capture_mode_known check (capture_mode in ('off', 'scheduled', 'continuous')),
  add constraint policies_capture_schedule_shape check (
    capture_schedule_cron ~ '^cron\([^[:space:]()]+( [^[:space:]()]+){5}\)$'
    or capture_schedule_cron ~ '^rate\([1-9][0-9]* (minute|hour|day)s?\)$'
  ),
  add constraint policies_capture_segment_range check (capture_segment_seconds between 1 and 300),
  -- Below, the slot would go while nothing is wrong: a server's log grows by files of 16 MiB.
  add constraint policies_wal_budget_range check (wal_budget_bytes between 67108864 and 1099511627776);
comment on column keepsake.backup_policies.capture_mode is
  'off, scheduled (each run drains what is there) or continuous (runs relay, a segment every few seconds).';
comment on column keepsake.backup_policies.capture_schedule_cron is 'When captures start: an EventBridge schedule, cron(..) or rate(..).';
comment on column keepsake.backup_policies.capture_segment_seconds is 'How long one segment may take in a continuous capture.';
comment on column keepsake.backup_policies.wal_budget_bytes is 'WAL that the slot may make its server keep; the governor drops it before.';
comment on column keepsake.backup_policies.replica_identity_full is
  'Whether tables without a usable replica identity get REPLICA IDENTITY FULL; else full backups alone protect their rows.';

create table keepsake.change_chains (
  source_id uuid not null references keepsake.sources (id),
  lineage text not null,
  start_lsn pg_lsn not null,
  started_at timestamptz not null,
  snapshot_xmax bigint not null,
  schema_fingerprint text not null,
  gap text,
  manifest_key text not null,
  published integer not null,
  not_captured integer not null,
  execution_id uuid not null references keepsake.backup_executions (id),
  created_at timestamptz not null default clock_timestamp(),
  constraint change_chains_pkey primary key (source_id, lineage, start_lsn),
  constraint chains_gap_not_empty check (gap <> ''),
  constraint chains_counts_range check (snapshot_xmax >= 0 and published >= 0 and not_captured >= 0)
);
comment on table keepsake.change_chains is 'Where captured changes begin; with a gap, what was lost before. The manifest in the repository decides.';
comment on column keepsake.change_chains.started_at is 'The source''s clock.';
comment on column keepsake.change_chains.execution_id is 'The run that was the first to hear of it.';

create table keepsake.change_captures (
  execution_id uuid not null references keepsake.backup_executions (id),
  source_id uuid not null,
  lineage text not null,
  chain_start_lsn pg_lsn not null,
  start_lsn pg_lsn not null,
  end_lsn pg_lsn not null,
  started_at timestamptz not null,
  ended_at timestamptz not null,
  segments bigint not null,
  transactions bigint not null,
  changes bigint not null,
  raw_bytes bigint not null,
  stored_bytes bigint not null,
  schema_changed_at timestamptz,
  schema_changed_xmax bigint,
  schema_fingerprint text,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  constraint change_captures_pkey primary key (execution_id, chain_start_lsn),
  constraint captures_of_chain foreign key (source_id, lineage, chain_start_lsn)
    references keepsake.change_chains (source_id, lineage, start_lsn),
  constraint captures_lsn_in_order check (chain_start_lsn <= start_lsn and start_lsn <= end_lsn),
  constraint captures_schema_change_whole check (
    (schema_changed_at is null) = (schema_fingerprint is null)
    and (schema_changed_at is null) = (schema_changed_xmax is null)
  ),
  constraint captures_counts_range check (
    segments > 0 and transactions >= 0 and changes >= 0 and raw_bytes >= 0 and stored_bytes >= 0
  )
);
comment on table keepsake.change_captures is
  'What one run captured of one chain: every commit between its positions is a recovery point of kind incremental.';
comment on column keepsake.change_captures.start_lsn is 'Where the capture before ended, or the chain begins.';
comment on column keepsake.change_captures.started_at is 'The source''s clock at start_lsn.';
comment on column keepsake.change_captures.ended_at is 'The source''s clock at end_lsn.';
comment on column keepsake.change_captures.schema_changed_at is
  'The source''s clock where the newest segment ends in which the schema changed; null when it did not.';
comment on column keepsake.change_captures.schema_changed_xmax is
  'Of the snapshot taken there: a full backup with an older xmin does not join the changes behind it.';
comment on column keepsake.change_captures.schema_fingerprint is 'Of the schema there.';
create index change_captures_by_chain on keepsake.change_captures (source_id, lineage, chain_start_lsn, end_lsn);

create table keepsake.change_positions (
  source_id uuid not null references keepsake.sources (id),
  location_id uuid not null references keepsake.backup_storage_locations (id),
  lineage text not null,
  end_lsn pg_lsn not null,
  ended_at timestamptz not null,
  observed_at timestamptz not null default clock_timestamp(),
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  constraint change_positions_pkey primary key (source_id, location_id)
);
comment on table keepsake.change_positions is
  'How far changes stand in one repository. now() - ended_at is the recovery point objective as it is there.';
comment on column keepsake.change_positions.ended_at is 'The source''s clock at end_lsn.';
comment on column keepsake.change_positions.observed_at is 'When it was last seen there: written by a capture, or read back.';
create index change_positions_by_location on keepsake.change_positions (location_id);

create table keepsake.source_slots (
  source_id uuid primary key references keepsake.sources (id),
  slot_name text not null,
  retained_bytes bigint,
  wal_budget_bytes bigint not null,
  catalog_age_transactions bigint,
  oldest_transaction_seconds bigint,
  verdict text not null,
  reasons jsonb not null default '[]',
  looked_at timestamptz not null,
  dropped_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  constraint slots_verdict_known check (verdict in ('none', 'keep', 'warn', 'drop')),
  constraint slots_counts_range check (
    retained_bytes >= 0 and wal_budget_bytes > 0 and catalog_age_transactions >= 0 and oldest_transaction_seconds >= 0
  ),
  constraint slots_reasons_array check (jsonb_typeof(reasons) = 'array')
);
comment on table keepsake.source_slots is 'The governor''s newest look at a source''s replication slot.';
comment on column keepsake.source_slots.retained_bytes is 'WAL that the server keeps because of it; null without a slot.';
comment on column keepsake.source_slots.dropped_at is 'When the governor last dropped it to save the source.';

-- What was captured stands; a capture's range only grows.
create function keepsake.guard_capture() returns trigger
language plpgsql
set search_path = pg_catalog
as $$
begin
  if (new.execution_id, new.source_id, new.lineage, new.chain_start_lsn, new.start_lsn, new.started_at)
      is distinct from (old.execution_id, old.source_id, old.lineage, old.chain_start_lsn, old.start_lsn, old.started_at)
  then
    raise exception 'capture of execution %: where it begins cannot change', old.execution_id using errcode = 'KS003';
  end if;
  if new.end_lsn < old.end_lsn then
    raise exception 'capture of execution %: changes to % stand', old.execution_id, old.end_lsn using errcode = 'KS001';
  end if;
  return new;
end
$$;

-- A capture is complete when it captured something, be it that nothing changed; a restore of it is not made.
create or replace function keepsake.refuse_unproven_completion(execution keepsake.backup_executions) returns void
language plpgsql stable
set search_path = pg_catalog
as $$
begin
  if execution.backup_type = 'incremental' then
    if not exists (select from keepsake.change_captures where execution_id = execution.id) then
      raise exception 'complete execution %: it captured nothing', execution.id using errcode = 'KS002';
    end if;
    return;
  end if;
  if execution.integrity_status <> 'passed' then
    raise exception 'complete execution %: its integrity is %', execution.id, execution.integrity_status
      using errcode = 'KS002';
  end if;
  if not exists (
    select from keepsake.backup_snapshots
    where id = execution.backup_id and execution_id = execution.id and validation_status = 'valid'
  ) then
    raise exception 'complete execution %: it has no valid snapshot', execution.id using errcode = 'KS002';
  end if;
end
$$;

create trigger b_guard before update on keepsake.change_captures
  for each row execute function keepsake.guard_capture();
create trigger c_touch before update on keepsake.change_captures for each row execute function keepsake.touch();
create trigger c_touch before update on keepsake.change_positions for each row execute function keepsake.touch();
create trigger c_touch before update on keepsake.source_slots for each row execute function keepsake.touch();

-- A gap that could be removed would be hidden.
create trigger refuse_delete before delete on keepsake.change_chains
  for each row execute function keepsake.refuse_removal();
create trigger refuse_truncate before truncate on keepsake.change_chains
  for each statement execute function keepsake.refuse_removal();
create trigger refuse_delete before delete on keepsake.change_captures
  for each row execute function keepsake.refuse_removal();
create trigger refuse_truncate before truncate on keepsake.change_captures
  for each statement execute function keepsake.refuse_removal();

revoke execute on function keepsake.guard_capture() from public;
grant execute on function keepsake.guard_capture()
  to keepsake_admin, keepsake_operator, keepsake_viewer, keepsake_function;
grant select on keepsake.change_chains, keepsake.change_captures, keepsake.change_positions, keepsake.source_slots
  to keepsake_admin, keepsake_operator, keepsake_viewer, keepsake_function;
-- What is recorded of a chain is never changed, not even by an admin.
grant insert on keepsake.change_chains to keepsake_admin, keepsake_function;
grant insert, update on keepsake.change_captures, keepsake.change_positions, keepsake.source_slots
  to keepsake_admin, keepsake_function;

do $$
declare
  catalog_table text;
begin
  foreach catalog_table in array array['change_chains', 'change_captures', 'change_positions', 'source_slots'] loop
    execute format('alter table keepsake.%I enable row level security', catalog_table);
    execute format('alter table keepsake.%I force row level security', catalog_table);
    execute format('create policy admin_all on keepsake.%I for all to keepsake_admin using (true) with check (true)',
      catalog_table);
    execute format(
      'create policy everybody_reads on keepsake.%I for select to keepsake_operator, keepsake_viewer, keepsake_function'
      ' using (true)', catalog_table);
    execute format('create policy function_inserts on keepsake.%I for insert to keepsake_function with check (true)',
      catalog_table);
  end loop;
  foreach catalog_table in array array['change_captures', 'change_positions', 'source_slots'] loop
    execute format(
      'create policy function_updates on keepsake.%I for update to keepsake_function using (true) with check (true)',
      catalog_table);
  end loop;
end
$$;
