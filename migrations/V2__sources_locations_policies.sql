-- What people decide: which database, where to, how often, and for how long.

create table keepsake.sources (
  id uuid primary key,
  name text not null,
  provider text not null,
  connection_secret text not null,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  constraint sources_name_unique unique (name),
  -- The name is a segment of every object key.
  constraint sources_name_shape check (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$'),
  constraint sources_provider_known check (provider in ('plain', 'rds', 'aurora', 'supabase')),
  constraint sources_connection_secret_is_reference check (
    connection_secret ~ '^(arn:aws[a-z-]*:secretsmanager:[^[:space:]]+|env:[A-Za-z_][A-Za-z0-9_]*)$'
    and connection_secret !~ '://'
  )
);
comment on table keepsake.sources is 'One Postgres database under protection.';
comment on column keepsake.sources.connection_secret is
  'Where the connection string is found: a Secrets Manager ARN or env:NAME. Never the connection string.';

create table keepsake.backup_storage_locations (
  id uuid primary key,
  name text not null,
  description text,
  storage_type text not null,
  url text not null,
  primary_region text,
  secondary_regions text[] not null default '{}',
  connection_config jsonb not null default '{}',
  kms_key_id text,
  storage_class text not null default 'STANDARD',
  total_capacity_bytes bigint,
  used_capacity_bytes bigint,
  max_throughput_mbps integer,
  encryption_at_rest boolean not null default true,
  encryption_in_transit boolean not null default true,
  access_controls jsonb not null default '{}',
  data_residency_requirements text[] not null default '{}',
  compliance_certifications text[] not null default '{}',
  is_active boolean not null default true,
  last_health_check timestamptz,
  health_status text not null default 'unknown',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  constraint locations_name_unique unique (name),
  constraint locations_url_unique unique (url),
  constraint locations_storage_type_known check (
    storage_type in ('s3', 'azure_blob', 'gcp_storage', 'on_premise', 'supabase')
  ),
  constraint locations_url_shape check (url ~ '^(s3|gs|azure|https|file)://[^[:space:]]+$' and url !~ '@'),
  constraint locations_connection_config_holds_no_secret check (
    jsonb_typeof(connection_config) = 'object'
    and connection_config::text !~* '"(password|passwd|pwd|secret|secret_access_key|access_key|token)"\s*:'
    and connection_config::text !~ '://[^\s"]*@'
  ),
  constraint locations_health_status_known check (health_status in ('healthy', 'warning', 'critical', 'unknown')),
  constraint locations_capacity_range check (
    total_capacity_bytes > 0 and used_capacity_bytes >= 0 and max_throughput_mbps > 0
  )
);
comment on table keepsake.backup_storage_locations is 'A repository: where archives are kept.';
comment on column keepsake.backup_storage_locations.url is 'Like s3://bucket/prefix or file:///folder; no user info.';
comment on column keepsake.backup_storage_locations.connection_config is 'Endpoint and the like; secrets by reference only.';

create table keepsake.backup_policies (
  id uuid primary key,
  name text not null,
  description text,
  source_id uuid not null references keepsake.sources (id),
  resource_type text not null default 'database',
  resource_filters jsonb not null default '{}',
  schedule_cron text,
  timezone text not null default 'UTC',
  retention_daily integer not null default 7,
  retention_weekly integer not null default 4,
  retention_monthly integer not null default 12,
  retention_yearly integer not null default 7,
  backup_type text not null default 'full',
  compression_level integer not null default 3,
  recovery_recipients text[] not null,
  kms_key_id text,
  relay_seconds integer not null default 780,
  part_size_bytes bigint not null default 268435456,
  max_parallel_jobs integer not null default 2,
  bandwidth_limit_mbps integer,
  priority_level integer not null default 5,
  service_class text not null default 'standard',
  rpo interval not null default interval '15 minutes',
  rto interval not null default interval '4 hours',
  notify_success boolean not null default false,
  test_restore boolean not null default true,
  is_active boolean not null default true,
  last_execution timestamptz,
  next_execution timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  constraint policies_name_unique unique (name),
  constraint policies_name_not_empty check (name <> ''),
  constraint policies_resource_type_known check (
    resource_type in ('database', 'files', 'configuration', 'application', 'full_system')
  ),
  constraint policies_schedule_shape check (
    schedule_cron ~ '^cron\([^[:space:]()]+( [^[:space:]()]+){5}\)$'
    or schedule_cron ~ '^rate\([1-9][0-9]* (minute|hour|day)s?\)$'
    or schedule_cron ~ '^at\([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\)$'
  ),
  constraint policies_timezone_not_empty check (timezone <> ''),
  constraint policies_retention_range check (
    retention_daily >= 0 and retention_weekly >= 0 and retention_monthly >= 0 and retention_yearly >= 0
    and retention_daily + retention_weekly + retention_monthly + retention_yearly > 0
  ),
  constraint policies_backup_type_known check (
    backup_type in ('full', 'incremental', 'differential', 'snapshot', 'emergency', 'selective', 'archive', 'manual')
  ),
  constraint policies_compression_level_range check (compression_level between 1 and 22),
  -- There is no plaintext mode, and an archive must open when the cloud account is gone.
  constraint policies_recovery_recipients_public check (
    cardinality(recovery_recipients) > 0 and keepsake.are_age_recipients(recovery_recipients)
  ),
  -- A holder is a function of at most 15 minutes; the next one needs time to take over.
  constraint policies_relay_range check (relay_seconds between 1 and 780),
  constraint policies_part_size_range check (part_size_bytes between 8192 and 17179869184),
  constraint policies_max_parallel_jobs_range check (max_parallel_jobs between 1 and 256),
  constraint policies_bandwidth_range check (bandwidth_limit_mbps > 0),
  constraint policies_priority_range check (priority_level between 1 and 10),
  constraint policies_service_class_known check (
    service_class in ('critical', 'standard', 'non_critical', 'financial', 'user_data', 'analytics')
  ),
  constraint policies_objectives_range check (rpo > interval '0' and rto > interval '0')
);
comment on table keepsake.backup_policies is 'What to back up of one source, when, and for how long it is kept.';
comment on column keepsake.backup_policies.schedule_cron is 'An EventBridge schedule: cron(six fields), rate(..) or at(..).';
comment on column keepsake.backup_policies.recovery_recipients is 'Public age recipients of the offline recovery keys.';
comment on column keepsake.backup_policies.relay_seconds is 'How long one snapshot holder holds before the next takes over.';
comment on column keepsake.backup_policies.compression_level is 'The zstd level.';
create index policies_by_source on keepsake.backup_policies (source_id);

create table keepsake.policy_locations (
  policy_id uuid not null references keepsake.backup_policies (id) on delete cascade,
  location_id uuid not null references keepsake.backup_storage_locations (id),
  position integer not null,
  created_at timestamptz not null default clock_timestamp(),
  constraint policy_locations_pkey primary key (policy_id, position),
  constraint policy_locations_once unique (policy_id, location_id),
  constraint policy_locations_position_range check (position between 0 and 15)
);
comment on column keepsake.policy_locations.position is '0 is the primary repository; 1 and on are its copies, in order.';
create index policy_locations_by_location on keepsake.policy_locations (location_id);

create trigger c_touch before update on keepsake.sources for each row execute function keepsake.touch();
create trigger c_touch before update on keepsake.backup_storage_locations for each row execute function keepsake.touch();
create trigger c_touch before update on keepsake.backup_policies for each row execute function keepsake.touch();
