-- Who holds what: the exported snapshot of a running dump, and the right to run at all.

create table keepsake.snapshot_holds (
  execution_id uuid not null references keepsake.backup_executions (id),
  relay_number integer not null,
  lane text not null,
  snapshot_name text not null,
  backend_pid integer not null,
  exported_at timestamptz not null default clock_timestamp(),
  heartbeat_at timestamptz not null default clock_timestamp(),
  ends_at timestamptz not null,
  released_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  constraint snapshot_holds_pkey primary key (execution_id, relay_number),
  constraint holds_relay_number_range check (relay_number >= 0),
  constraint holds_texts_not_empty check (lane <> '' and snapshot_name <> ''),
  constraint holds_backend_pid_range check (backend_pid > 0),
  constraint holds_ends_after_export check (ends_at > exported_at)
);
comment on table keepsake.snapshot_holds is 'One holder of a run''s exported snapshot; the next relay imports it before ends_at.';
comment on column keepsake.snapshot_holds.released_at is 'When it was let go or ended; recorded once. The holder reads it and ends.';

create function keepsake.guard_hold() returns trigger
language plpgsql
set search_path = pg_catalog
as $$
declare
  execution keepsake.backup_executions;
begin
  if tg_op = 'INSERT' then
    -- The lock makes this wait for a release_holds that is under way. A holder that takes over just then is no
    -- failure: it finds itself released from the start, is never the current one, and ends.
    select * into execution from keepsake.backup_executions where id = new.execution_id for share;
    if execution.holds_released_at is not null or execution.status in ('completed', 'failed', 'cancelled') then
      new.released_at := coalesce(execution.holds_released_at, clock_timestamp());
    end if;
    return new;
  end if;
  if old.released_at is not null and new.released_at is distinct from old.released_at then
    raise exception 'hold % of execution % was released', old.relay_number, old.execution_id using errcode = 'KS001';
  end if;
  -- A holder that begins again exports under a new name: it is the next relay, and not this one.
  if (new.execution_id, new.relay_number, new.snapshot_name)
    is distinct from (old.execution_id, old.relay_number, old.snapshot_name)
  then
    raise exception 'hold % of execution %: its snapshot cannot change', old.relay_number, old.execution_id
      using errcode = 'KS003';
  end if;
  return new;
end
$$;

create trigger b_guard before insert or update on keepsake.snapshot_holds
  for each row execute function keepsake.guard_hold();
create trigger c_touch before update on keepsake.snapshot_holds for each row execute function keepsake.touch();

-- The newest hold that is neither released nor past its end; no row when there is none.
create function keepsake.current_hold(execution uuid) returns setof keepsake.snapshot_holds
language sql stable
set search_path = pg_catalog
as $$
  select *
  from keepsake.snapshot_holds
  where execution_id = execution and released_at is null and ends_at > clock_timestamp()
  order by relay_number desc
  limit 1
$$;

-- Lets every hold of an execution go, also those that come later. A second call releases nothing more.
-- Returns how many holds it released.
create function keepsake.release_holds(execution uuid) returns integer
language plpgsql
set search_path = pg_catalog
as $$
declare
  released integer;
begin
  perform from keepsake.backup_executions where id = execution for update;
  update keepsake.backup_executions set holds_released_at = clock_timestamp()
  where id = execution and holds_released_at is null;
  update keepsake.snapshot_holds set released_at = clock_timestamp()
  where execution_id = execution and released_at is null;
  get diagnostics released = row_count;
  return released;
end
$$;

create table keepsake.leases (
  name text primary key,
  holder text,
  fencing_token bigint not null,
  acquired_at timestamptz not null,
  expires_at timestamptz not null,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  constraint leases_texts_not_empty check (name <> '' and holder <> ''),
  constraint leases_fencing_token_range check (fencing_token > 0),
  constraint leases_times_in_order check (expires_at >= acquired_at)
);
comment on table keepsake.leases is 'Who may act; rows stay, because the token must only grow. Use the functions.';
comment on column keepsake.leases.holder is 'Null after a release.';

create function keepsake.guard_lease() returns trigger
language plpgsql
set search_path = pg_catalog
as $$
begin
  if new.name <> old.name or new.fencing_token < old.fencing_token
    or (new.holder is distinct from old.holder and new.holder is not null and new.fencing_token = old.fencing_token)
  then
    raise exception 'lease %: a new holder needs a greater fencing token', old.name using errcode = 'KS003';
  end if;
  return new;
end
$$;

create trigger b_guard before update on keepsake.leases for each row execute function keepsake.guard_lease();
create trigger c_touch before update on keepsake.leases for each row execute function keepsake.touch();
create trigger refuse_delete before delete on keepsake.leases
  for each row execute function keepsake.refuse_removal();
create trigger refuse_truncate before truncate on keepsake.leases
  for each statement execute function keepsake.refuse_removal();

-- Takes a lease that is free or has expired, with the next fencing token. The holder itself gets its own token again
-- while it holds (a repeated step), and never a shorter time. A loser gets acquired = false and the row as it is.
-- The clock is read before waiting for the row, so waiting can only make the answer more careful.
create function keepsake.acquire_lease(lease_name text, lease_holder text, ttl interval)
returns table (acquired boolean, fencing_token bigint, holder text, expires_at timestamptz)
language plpgsql
set search_path = pg_catalog
as $$
#variable_conflict use_column
declare
  started constant timestamptz := clock_timestamp();
begin
  if lease_holder is null or ttl is null or ttl <= interval '0' or ttl > interval '1 day' then
    raise exception 'lease %: a holder and a time of at most one day are needed', lease_name using errcode = '22023';
  end if;
  return query
    insert into keepsake.leases as held (name, holder, fencing_token, acquired_at, expires_at)
    values (lease_name, lease_holder, 1, started, started + ttl)
    on conflict (name) do update set
      holder = excluded.holder,
      fencing_token = case when held.holder = excluded.holder and held.expires_at > started
        then held.fencing_token else held.fencing_token + 1 end,
      acquired_at = case when held.holder = excluded.holder and held.expires_at > started
        then held.acquired_at else started end,
      expires_at = case when held.holder = excluded.holder
        then greatest(held.expires_at, excluded.expires_at) else excluded.expires_at end
    where held.holder is null or held.holder = excluded.holder or held.expires_at <= started
    returning true, held.fencing_token, held.holder, held.expires_at;
  if not found then
    return query
      select false, lease.fencing_token, lease.holder, lease.expires_at
      from keepsake.leases as lease
      where lease.name = lease_name;
  end if;
end
$$;

-- Prolongs a lease that is still held with this token; never shortens it. False means that it is lost: stop.
create function keepsake.renew_lease(lease_name text, lease_holder text, token bigint, ttl interval) returns boolean
language plpgsql
set search_path = pg_catalog
as $$
begin
  if ttl is null or ttl <= interval '0' or ttl > interval '1 day' then
    raise exception 'lease %: a time of at most one day is needed', lease_name using errcode = '22023';
  end if;
  update keepsake.leases set expires_at = greatest(expires_at, clock_timestamp() + ttl)
  where name = lease_name and holder = lease_holder and fencing_token = token and expires_at > clock_timestamp();
  return found;
end
$$;

-- Gives a lease back. True when nobody holds it with this token any more and nobody else took it: also on a second
-- call. False when it has passed to another, or never was this caller's.
create function keepsake.release_lease(lease_name text, lease_holder text, token bigint) returns boolean
language plpgsql
set search_path = pg_catalog
as $$
begin
  update keepsake.leases set holder = null, expires_at = greatest(acquired_at, least(expires_at, clock_timestamp()))
  where name = lease_name and fencing_token = token and (holder = lease_holder or holder is null);
  return found;
end
$$;
