-- What happened: runs, the recovery points that they made, the copies, and the tests that prove them.

create table keepsake.backup_executions (
  id uuid primary key,
  policy_id uuid references keepsake.backup_policies (id),
  source_id uuid not null references keepsake.sources (id),
  lineage text,
  execution_id text,
  backup_id uuid,
  backup_type text not null,
  backup_scope text not null default 'complete',
  target_tenant_ids uuid[] not null default '{}',
  target_data_types text[] not null default '{}',
  status text not null default 'pending',
  scheduled_at timestamptz not null default clock_timestamp(),
  started_at timestamptz,
  completed_at timestamptz,
  duration interval generated always as (completed_at - started_at) stored,
  raw_bytes bigint,
  stored_bytes bigint,
  compression_ratio double precision generated always as (
    raw_bytes::double precision / nullif(stored_bytes, 0)::double precision
  ) stored,
  files_backed_up bigint,
  transfer_rate_bytes_per_second bigint,
  backup_location text,
  storage_class text,
  retention_until timestamptz,
  integrity_status text not null default 'pending',
  integrity_completed_at timestamptz,
  requested_by text,
  reason text,
  fencing_token bigint,
  holds_released_at timestamptz,
  error_class text,
  error_message text,
  error_details jsonb,
  retry_count integer not null default 0,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  constraint executions_execution_id_unique unique (execution_id),
  constraint executions_backup_id_unique unique (backup_id),
  -- Referenced by snapshots: a snapshot belongs to the run that announced it, and to the same source.
  constraint executions_backup_of_source unique (id, backup_id, source_id),
  constraint executions_execution_id_shape check (execution_id ~ '^(arn:|cli:)[^[:space:]]+$'),
  constraint executions_backup_type_known check (
    backup_type in ('full', 'incremental', 'differential', 'snapshot', 'emergency', 'selective', 'archive', 'manual')
  ),
  constraint executions_backup_scope_known check (backup_scope in ('complete', 'tenant', 'data_type')),
  constraint executions_scope_has_targets check (
    (backup_scope <> 'tenant' or cardinality(target_tenant_ids) > 0)
    and (backup_scope <> 'data_type' or cardinality(target_data_types) > 0)
  ),
  constraint executions_status_known check (
    status in ('scheduled', 'pending', 'running', 'completed', 'failed', 'cancelled')
  ),
  constraint executions_started check (status not in ('running', 'completed') or started_at is not null),
  constraint executions_ended check (
    (status in ('completed', 'failed', 'cancelled')) = (completed_at is not null)
  ),
  constraint executions_times_in_order check (completed_at >= started_at),
  constraint executions_failure_has_cause check (
    status <> 'failed' or (error_class is not null and coalesce(error_message, '') <> '')
  ),
  constraint executions_error_class_known check (error_class in ('Transient', 'Conflict', 'Permanent', 'Integrity')),
  constraint executions_integrity_status_known check (integrity_status in ('pending', 'passed', 'failed', 'skipped')),
  constraint executions_integrity_time check (
    integrity_status not in ('passed', 'failed') or integrity_completed_at is not null
  ),
  constraint executions_unplanned_has_reason check (
    backup_type not in ('manual', 'emergency')
    or (coalesce(requested_by, '') <> '' and coalesce(reason, '') <> '')
  ),
  constraint executions_counts_range check (
    raw_bytes >= 0 and stored_bytes >= 0 and files_backed_up >= 0 and transfer_rate_bytes_per_second >= 0
    and retry_count >= 0 and fencing_token > 0
  ),
  constraint executions_backup_location_shape check (backup_location !~ '://[^/]*@')
);
comment on table keepsake.backup_executions is 'One run, from its schedule or request to its end. The end is final.';
comment on column keepsake.backup_executions.execution_id is
  'The state machine''s execution ARN, or cli:<uuid>. Null until the run of a requested backup begins.';
comment on column keepsake.backup_executions.backup_id is 'The recovery point that this run makes; backup_snapshots.id once it exists.';
comment on column keepsake.backup_executions.transfer_rate_bytes_per_second is 'Raw bytes read per second of dumping, without the test restore.';
comment on column keepsake.backup_executions.holds_released_at is 'When the dump needed its snapshot no longer; a holder that begins later is released at once.';
create index executions_by_status on keepsake.backup_executions (status, scheduled_at);
create index executions_by_start on keepsake.backup_executions (started_at);
create index executions_by_policy on keepsake.backup_executions (policy_id, started_at);
create index executions_by_source on keepsake.backup_executions (source_id, lineage);
create index executions_by_tenants on keepsake.backup_executions using gin (target_tenant_ids);

create table keepsake.backup_snapshots (
  id uuid primary key,
  execution_id uuid,
  source_id uuid not null references keepsake.sources (id),
  location_id uuid references keepsake.backup_storage_locations (id),
  lineage text not null,
  snapshot_timestamp timestamptz not null,
  snapshot_xmin bigint,
  snapshot_xmax bigint,
  snapshot_xip bigint[] not null default '{}',
  wal_lsn pg_lsn,
  tables integer not null,
  rows bigint not null,
  raw_bytes bigint not null,
  stored_bytes bigint not null,
  tenant_count integer,
  row_counts jsonb not null default '{}',
  data_integrity_hash text,
  encryption_key_id text not null,
  storage_location text not null,
  storage_provider text not null,
  manifest_key text not null,
  manifest_sha256 text not null,
  manifest jsonb not null,
  base_snapshot_id uuid references keepsake.backup_snapshots (id),
  previous_snapshot_id uuid references keepsake.backup_snapshots (id),
  validation_status text not null default 'pending',
  validation_completed_at timestamptz,
  verified_at timestamptz,
  accessible_until timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  -- Null execution_id: the row was rebuilt from the repository, and its run is not known any more.
  constraint snapshots_of_execution foreign key (execution_id, id, source_id)
    references keepsake.backup_executions (id, backup_id, source_id),
  constraint snapshots_counts_range check (
    tables >= 0 and rows >= 0 and raw_bytes >= 0 and stored_bytes >= 0 and tenant_count >= 0
  ),
  constraint snapshots_xids_in_order check (snapshot_xmin <= snapshot_xmax),
  constraint snapshots_row_counts_object check (jsonb_typeof(row_counts) = 'object'),
  constraint snapshots_manifest_object check (jsonb_typeof(manifest) = 'object' and manifest <> '{}'),
  constraint snapshots_manifest_sha256_shape check (manifest_sha256 ~ '^[0-9a-f]{64}$'),
  constraint snapshots_storage_provider_known check (
    storage_provider in ('s3', 'azure_blob', 'gcp_storage', 'on_premise', 'supabase')
  ),
  constraint snapshots_storage_location_shape check (storage_location !~ '://[^/]*@'),
  constraint snapshots_validation_status_known check (
    validation_status in ('pending', 'valid', 'corrupted', 'incomplete')
  ),
  constraint snapshots_validation_time check (validation_status = 'pending' or validation_completed_at is not null),
  constraint snapshots_not_their_own_base check (base_snapshot_id <> id and previous_snapshot_id <> id)
);
comment on table keepsake.backup_snapshots is 'A recovery point whose manifest stands. id is the backup id.';
comment on column keepsake.backup_snapshots.row_counts is 'Rows per data type, like {"guests": 120}.';
comment on column keepsake.backup_snapshots.manifest is 'A copy of the manifest; the one in the repository decides.';
comment on column keepsake.backup_snapshots.data_integrity_hash is 'The rows digest over all tables.';
comment on column keepsake.backup_snapshots.validation_status is
  'Follows the tests: valid needs one that passed, and none whose newest outcome is a failure.';
comment on column keepsake.backup_snapshots.verified_at is
  'When this very archive was last restored and found equal. Set by a passed restore_test, cleared by a failed one.';
create unique index snapshots_by_execution on keepsake.backup_snapshots (execution_id);
create index snapshots_by_time on keepsake.backup_snapshots (snapshot_timestamp);
create index snapshots_by_lineage on keepsake.backup_snapshots (source_id, lineage, snapshot_timestamp);
create index snapshots_by_base on keepsake.backup_snapshots (base_snapshot_id);

create table keepsake.backup_copies (
  id uuid primary key default gen_random_uuid(),
  snapshot_id uuid not null references keepsake.backup_snapshots (id),
  location_id uuid not null references keepsake.backup_storage_locations (id),
  region text not null,
  status text not null default 'pending',
  progress double precision not null default 0,
  verified_at timestamptz,
  checksum text,
  attempts integer not null default 0,
  error text,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  constraint copies_once_per_location unique (snapshot_id, location_id),
  constraint copies_status_known check (status in ('pending', 'copying', 'verified', 'failed')),
  constraint copies_progress_range check (progress between 0 and 1),
  constraint copies_attempts_range check (attempts >= 0),
  constraint copies_verified_has_proof check (
    status <> 'verified' or (verified_at is not null and coalesce(checksum, '') <> '' and progress = 1)
  ),
  constraint copies_failure_has_cause check (status <> 'failed' or coalesce(error, '') <> '')
);
comment on table keepsake.backup_copies is 'The same archive in another repository.';
comment on column keepsake.backup_copies.checksum is 'What was compared at the copy, like the SHA-256 of its manifest.';
create index copies_by_location on keepsake.backup_copies (location_id);
create index copies_by_status on keepsake.backup_copies (status) where status <> 'verified';

create table keepsake.backup_tests (
  id uuid primary key,
  snapshot_id uuid not null references keepsake.backup_snapshots (id),
  test_type text not null,
  test_environment text not null,
  instance_name text,
  verdict text not null default 'running',
  success boolean generated always as (case when verdict <> 'running' then verdict = 'passed' end) stored,
  certificate jsonb,
  errors jsonb not null default '[]',
  data_verified jsonb not null default '{}',
  recovery_time_by_phase jsonb not null default '{}',
  tested_by text,
  notes text,
  started_at timestamptz not null default clock_timestamp(),
  completed_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  constraint tests_test_type_known check (test_type in ('restore_test', 'integrity_check', 'spot_check', 'checksum')),
  constraint tests_verdict_known check (verdict in ('running', 'passed', 'failed', 'inconclusive')),
  constraint tests_ended check ((verdict = 'running') = (completed_at is null)),
  constraint tests_times_in_order check (completed_at >= started_at),
  -- Not null first: a comparison with null would let the row through.
  constraint tests_passed_has_certificate check (
    verdict <> 'passed'
    or (certificate is not null and jsonb_typeof(certificate) = 'object' and certificate <> '{}')
  ),
  constraint tests_json_shapes check (
    jsonb_typeof(errors) = 'array' and jsonb_typeof(data_verified) = 'object'
    and jsonb_typeof(recovery_time_by_phase) = 'object'
  )
);
comment on table keepsake.backup_tests is 'An attempt to prove a recovery point. A verdict is final.';
comment on column keepsake.backup_tests.verdict is 'inconclusive says that nothing was learned; it never counts as passed.';
comment on column keepsake.backup_tests.success is 'Null while running; true for passed alone.';
comment on column keepsake.backup_tests.recovery_time_by_phase is 'Seconds per phase, like {"pre_data": 1.2}.';
create index tests_by_snapshot on keepsake.backup_tests (snapshot_id, test_type, completed_at);
-- Two tests that run must never share an instance: the first to end would delete it under the other.
create unique index tests_instance_while_running on keepsake.backup_tests (instance_name) where verdict = 'running';
