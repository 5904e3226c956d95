-- The order of a run's life, and the rule that success needs evidence. A step may write the same thing twice: only a
-- change is judged.

create function keepsake.is_next_status(old_status text, new_status text) returns boolean
language sql immutable
set search_path = pg_catalog
as $$
  select case old_status
    when 'scheduled' then new_status in ('pending', 'failed', 'cancelled')
    when 'pending' then new_status in ('running', 'failed', 'cancelled')
    when 'running' then new_status in ('completed', 'failed', 'cancelled')
    else false
  end
$$;

-- What may not change after the end of a run. Generated columns are not yet computed in a BEFORE trigger.
create function keepsake.outcome_of(execution keepsake.backup_executions) returns jsonb
language sql stable
set search_path = pg_catalog
as $$
  select to_jsonb(execution) - array[
    'duration', 'compression_ratio', 'retention_until', 'storage_class', 'holds_released_at', 'updated_at'
  ]
$$;

create function keepsake.refuse_unproven_completion(execution keepsake.backup_executions) returns void
language plpgsql stable
set search_path = pg_catalog
as $$
begin
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

create function keepsake.guard_execution() returns trigger
language plpgsql
set search_path = pg_catalog
as $$
begin
  if tg_op = 'INSERT' then
    if new.status not in ('scheduled', 'pending', 'running') then
      raise exception 'an execution cannot begin as %', new.status using errcode = 'KS001';
    end if;
  elsif old.status in ('completed', 'failed', 'cancelled') then
    if keepsake.outcome_of(new) is distinct from keepsake.outcome_of(old) then
      raise exception 'execution % is %, which is final', old.id, old.status using errcode = 'KS001';
    end if;
    return new;
  else
    if new.status <> old.status and not keepsake.is_next_status(old.status, new.status) then
      raise exception 'execution % cannot go from % to %', old.id, old.status, new.status using errcode = 'KS001';
    end if;
    if (new.id, new.source_id, new.backup_type, new.created_at)
        is distinct from (old.id, old.source_id, old.backup_type, old.created_at)
      or (old.policy_id is not null and new.policy_id is distinct from old.policy_id)
      or (old.execution_id is not null and new.execution_id is distinct from old.execution_id)
      or (old.backup_id is not null and new.backup_id is distinct from old.backup_id)
      or (old.holds_released_at is not null and new.holds_released_at is distinct from old.holds_released_at)
    then
      raise exception 'execution %: what it is cannot change', old.id using errcode = 'KS003';
    end if;
    if old.fencing_token is not null and (new.fencing_token is null or new.fencing_token < old.fencing_token) then
      raise exception 'execution %: fencing token % is held by a later holder', old.id, old.fencing_token
        using errcode = 'KS001';
    end if;
  end if;

  if new.status in ('failed', 'cancelled') then
    new.completed_at := coalesce(new.completed_at, greatest(clock_timestamp(), new.started_at));
  end if;
  if new.integrity_status in ('passed', 'failed') then
    new.integrity_completed_at := coalesce(new.integrity_completed_at, clock_timestamp());
  end if;
  if new.status = 'completed' then
    perform keepsake.refuse_unproven_completion(new);
  end if;
  return new;
end
$$;

-- What the newest outcome of each kind of test says together: 'failed', 'passed', or null when nothing is known.
-- A checksum that passes after a restore that failed does not make the archive valid again; a restore does.
create function keepsake.verdict_on(snapshot uuid) returns text
language sql stable
set search_path = pg_catalog
as $$
  select case when bool_or(newest.verdict = 'failed') then 'failed' when bool_or(newest.verdict = 'passed') then 'passed' end
  from (
    select distinct on (test_type) verdict
    from keepsake.backup_tests
    where snapshot_id = snapshot and verdict in ('passed', 'failed')
    order by test_type, completed_at desc, id desc
  ) as newest
$$;

-- When the archive was last restored and found equal; null if never, or if the newest restore failed.
create function keepsake.restored_at(snapshot uuid) returns timestamptz
language sql stable
set search_path = pg_catalog
as $$
  select case when newest.verdict = 'passed' then newest.completed_at end
  from (
    select verdict, completed_at
    from keepsake.backup_tests
    where snapshot_id = snapshot and test_type = 'restore_test' and verdict in ('passed', 'failed')
    order by completed_at desc, id desc
    limit 1
  ) as newest
$$;

create function keepsake.guard_snapshot() returns trigger
language plpgsql
set search_path = pg_catalog
as $$
declare
  judged constant text[] :=
    array['validation_status', 'validation_completed_at', 'verified_at', 'accessible_until', 'updated_at'];
  status_was text;
  verified_was timestamptz;
begin
  if tg_op = 'UPDATE' then
    status_was := old.validation_status;
    verified_was := old.verified_at;
    if to_jsonb(new) - judged is distinct from to_jsonb(old) - judged then
      raise exception 'snapshot % is a recorded fact', old.id using errcode = 'KS003';
    end if;
    if new.validation_status = 'pending' and status_was <> 'pending' then
      raise exception 'snapshot % was judged %', old.id, status_was using errcode = 'KS001';
    end if;
  end if;
  if new.validation_status = 'valid' and status_was is distinct from 'valid'
    and keepsake.verdict_on(new.id) is distinct from 'passed'
  then
    raise exception 'snapshot % cannot be called valid: no passed test says so', new.id using errcode = 'KS002';
  end if;
  if new.verified_at is distinct from verified_was and new.verified_at is distinct from keepsake.restored_at(new.id) then
    raise exception 'snapshot % cannot be called verified: only a passed restore_test does that', new.id
      using errcode = 'KS002';
  end if;
  if new.validation_status <> 'pending' then
    new.validation_completed_at := coalesce(new.validation_completed_at, clock_timestamp());
  end if;
  return new;
end
$$;

create function keepsake.guard_test() returns trigger
language plpgsql
set search_path = pg_catalog
as $$
begin
  if tg_op = 'UPDATE' then
    if old.verdict <> 'running'
      and to_jsonb(new) - array['success', 'notes', 'updated_at']
        is distinct from to_jsonb(old) - array['success', 'notes', 'updated_at']
    then
      raise exception 'test % is %, which is final', old.id, old.verdict using errcode = 'KS001';
    end if;
    if (new.id, new.snapshot_id, new.test_type) is distinct from (old.id, old.snapshot_id, old.test_type) then
      raise exception 'test %: what it tests cannot change', old.id using errcode = 'KS003';
    end if;
  end if;
  if new.verdict <> 'running' then
    new.completed_at := coalesce(new.completed_at, greatest(clock_timestamp(), new.started_at));
  end if;
  return new;
end
$$;

-- Carries a verdict to its snapshot.
create function keepsake.apply_verdict() returns trigger
language plpgsql
set search_path = pg_catalog
as $$
begin
  -- The lock comes first: two tests that end together must each see the other's row, whichever is second.
  perform from keepsake.backup_snapshots where id = new.snapshot_id for update;
  update keepsake.backup_snapshots
  set verified_at = keepsake.restored_at(id),
    validation_status = case keepsake.verdict_on(id)
      when 'passed' then 'valid' when 'failed' then 'corrupted' else validation_status end,
    validation_completed_at = new.completed_at
  where id = new.snapshot_id;
  return null;
end
$$;

create trigger a_redact before insert or update on keepsake.backup_executions
  for each row execute function keepsake.redact_columns('error_message', 'error_details');
create trigger b_guard before insert or update on keepsake.backup_executions
  for each row execute function keepsake.guard_execution();
create trigger c_touch before update on keepsake.backup_executions for each row execute function keepsake.touch();

create trigger b_guard before insert or update on keepsake.backup_snapshots
  for each row execute function keepsake.guard_snapshot();
create trigger c_touch before update on keepsake.backup_snapshots for each row execute function keepsake.touch();

create trigger a_redact before insert or update on keepsake.backup_copies
  for each row execute function keepsake.redact_columns('error');
create trigger c_touch before update on keepsake.backup_copies for each row execute function keepsake.touch();

create trigger a_redact before insert or update on keepsake.backup_tests
  for each row execute function keepsake.redact_columns('errors', 'notes');
create trigger b_guard before insert or update on keepsake.backup_tests
  for each row execute function keepsake.guard_test();
create trigger c_touch before update on keepsake.backup_tests for each row execute function keepsake.touch();
create trigger d_apply_on_insert after insert on keepsake.backup_tests
  for each row when (new.verdict in ('passed', 'failed')) execute function keepsake.apply_verdict();
create trigger d_apply_on_update after update of verdict on keepsake.backup_tests
  for each row when (old.verdict = 'running' and new.verdict in ('passed', 'failed'))
  execute function keepsake.apply_verdict();

create trigger refuse_delete before delete on keepsake.backup_executions
  for each row execute function keepsake.refuse_removal();
create trigger refuse_truncate before truncate on keepsake.backup_executions
  for each statement execute function keepsake.refuse_removal();
create trigger refuse_delete before delete on keepsake.backup_snapshots
  for each row execute function keepsake.refuse_removal();
create trigger refuse_truncate before truncate on keepsake.backup_snapshots
  for each statement execute function keepsake.refuse_removal();
-- A failed test that could be removed would let its archive be called valid.
create trigger refuse_delete before delete on keepsake.backup_tests
  for each row execute function keepsake.refuse_removal();
create trigger refuse_truncate before truncate on keepsake.backup_tests
  for each statement execute function keepsake.refuse_removal();
