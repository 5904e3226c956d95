-- What a copy of captured changes is worth: what was read back from it, and why it could last not be made or read.

alter table keepsake.change_positions
  -- A copy that could never be made has no position.
  alter column lineage drop not null,
  alter column end_lsn drop not null,
  alter column ended_at drop not null,
  add column newest_lsn pg_lsn,
  add column newest_at timestamptz,
  add column probed_at timestamptz,
  -- Null where nothing was read back: greatest alone would make that a zero.
  add column rpo_seconds bigint generated always as (
    case when probed_at is not null then greatest(ceil(extract(epoch from probed_at - newest_at)), 0)::bigint end
  ) stored,
  add column failed_at timestamptz,
  add column error_class text,
  add column error_message text,
  add constraint positions_whole check (
    (lineage is null) = (end_lsn is null) and (lineage is null) = (ended_at is null)
  ),
  add constraint positions_probe_whole check (
    (probed_at is null) = (newest_at is null) and (probed_at is null) = (newest_lsn is null)
  ),
  add constraint positions_failure_whole check (
    (failed_at is null) = (error_class is null) and (failed_at is null) = (error_message is null)
  ),
  add constraint positions_error_class_known check (error_class in ('Transient', 'Conflict', 'Permanent', 'Integrity'));
comment on table keepsake.change_positions is
  'How far changes stand in one repository, and of a copy what was read back from it. now() - ended_at is how old the newest is.';
comment on column keepsake.change_positions.newest_at is
  'The newest state that a restore from there reaches, read back with the key of that side alone; the source''s clock.';
comment on column keepsake.change_positions.probed_at is 'When it was read back.';
comment on column keepsake.change_positions.rpo_seconds is
  'The recovery point objective as it was proven then: probed_at - newest_at, rounded up.';
comment on column keepsake.change_positions.failed_at is
  'When changes could last not be copied there or read back; older than probed_at once it was made up for.';

create trigger a_redact before insert or update on keepsake.change_positions
  for each row execute function keepsake.redact_columns('error_message');
