-- What a run may cost its source, beside max_parallel_jobs and bandwidth_limit_mbps.

alter table keepsake.backup_policies
  add column lock_patience_seconds integer not null default 10,
  add column max_snapshot_age_seconds integer not null default 43200,
  add column max_snapshot_age_transactions bigint not null default 100000000,
  add constraint policies_lock_patience_range check (lock_patience_seconds between 1 and 3600),
  -- A machine's execution ends after 24 hours.
  add constraint policies_max_snapshot_age_range check (max_snapshot_age_seconds between 1 and 86400),
  -- Beyond, a server is halfway to refusing writes.
  add constraint policies_max_snapshot_transactions_range check (
    max_snapshot_age_transactions between 1 and 1000000000
  );
comment on column keepsake.backup_policies.max_parallel_jobs is 'Connections per worker that read rows.';
comment on column keepsake.backup_policies.bandwidth_limit_mbps is
  'Megabits of rows per second that all workers together read from the source.';
comment on column keepsake.backup_policies.lock_patience_seconds is
  'How long somebody''s statement may wait behind a lock of a run before the run gives way.';
comment on column keepsake.backup_policies.max_snapshot_age_seconds is 'A run is given up when its snapshot is older.';
comment on column keepsake.backup_policies.max_snapshot_age_transactions is
  'A run is given up when more transactions than this began since its snapshot.';
