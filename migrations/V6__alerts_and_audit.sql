-- What was told to people, and what people and functions did.

create table keepsake.alerts (
  id uuid primary key default gen_random_uuid(),
  execution_id uuid references keepsake.backup_executions (id),
  workflow_execution_id text,
  kind text not null,
  severity text not null,
  subject text not null,
  body jsonb not null,
  topic text,
  message_id text,
  status text not null default 'pending',
  error text,
  sent_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  -- A repeated Alert step finds its row here instead of telling people twice.
  constraint alerts_once_per_kind unique (execution_id, kind),
  -- The same for a run that failed before it had a row.
  constraint alerts_once_per_workflow unique (workflow_execution_id, kind),
  constraint alerts_workflow_execution_id_shape check (workflow_execution_id ~ '^(arn:|cli:)[^[:space:]]+$'),
  constraint alerts_texts_not_empty check (kind <> '' and subject <> ''),
  constraint alerts_severity_known check (severity in ('info', 'warning', 'critical')),
  constraint alerts_status_known check (status in ('pending', 'sent', 'failed')),
  constraint alerts_sent_has_receipt check (
    status <> 'sent' or (sent_at is not null and coalesce(message_id, '') <> '' and coalesce(topic, '') <> '')
  ),
  constraint alerts_body_object check (jsonb_typeof(body) = 'object')
);
comment on table keepsake.alerts is 'One notice; sent is final, failed may be tried again.';
comment on column keepsake.alerts.workflow_execution_id is
  'The state machine''s execution or cli:<uuid>, as in backup_executions.execution_id; known also when no row is.';
comment on column keepsake.alerts.kind is 'What the notice is about, like backup_failed; once per execution.';
create index alerts_by_status on keepsake.alerts (status, created_at) where status <> 'sent';

create function keepsake.guard_alert() returns trigger
language plpgsql
set search_path = pg_catalog
as $$
begin
  if old.status = 'sent' and to_jsonb(new) - 'updated_at' is distinct from to_jsonb(old) - 'updated_at' then
    raise exception 'alert % was sent', old.id using errcode = 'KS001';
  end if;
  return new;
end
$$;

create trigger a_redact before insert or update on keepsake.alerts
  for each row execute function keepsake.redact_columns('subject', 'body', 'error');
create trigger b_guard before update on keepsake.alerts for each row execute function keepsake.guard_alert();
create trigger c_touch before update on keepsake.alerts for each row execute function keepsake.touch();

create table keepsake.audit_log (
  id bigint primary key,
  created_at timestamptz not null,
  database_user text not null,
  actor text not null,
  action text not null,
  subject text not null,
  reason text,
  details jsonb not null default '{}',
  previous_hash bytea not null,
  hash bytea not null,
  constraint audit_texts_not_empty check (actor <> '' and action <> '' and subject <> ''),
  constraint audit_details_object check (jsonb_typeof(details) = 'object'),
  constraint audit_hash_size check (octet_length(hash) = 32 and octet_length(previous_hash) = 32)
);
comment on table keepsake.audit_log is
  'Who did what and why. Append-only; each row carries the hash of the one before it. Ids have no gaps.';
comment on column keepsake.audit_log.actor is 'The principal, as the caller states it; database_user is what Postgres knows.';
create index audit_by_subject on keepsake.audit_log (subject, id);

-- The hash of a row: over the one before it and a text that does not depend on any session setting.
create function keepsake.audit_hash(entry keepsake.audit_log) returns bytea
language sql stable
set search_path = pg_catalog
as $$
  select sha256(entry.previous_hash || convert_to(jsonb_build_array(
    entry.id,
    to_char(entry.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    entry.database_user, entry.actor, entry.action, entry.subject, entry.reason, entry.details
  )::text, 'UTF8'))
$$;

-- Trigger: gives a new row its place in the chain, whatever the caller wrote there.
create function keepsake.chain_audit() returns trigger
language plpgsql
set search_path = pg_catalog
as $$
declare
  last_entry keepsake.audit_log;
begin
  -- One writer at a time, until it commits: the row before this one must stand before this one is made.
  perform pg_advisory_xact_lock(hashtextextended('keepsake.audit_log', 0));
  select * into last_entry from keepsake.audit_log order by id desc limit 1;
  new.id := coalesce(last_entry.id, 0) + 1;
  new.created_at := clock_timestamp();
  new.database_user := session_user;
  new.previous_hash := coalesce(last_entry.hash, decode(repeat('00', 32), 'hex'));
  new.hash := keepsake.audit_hash(new);
  return new;
end
$$;

create function keepsake.refuse_audit_change() returns trigger
language plpgsql
set search_path = pg_catalog
as $$
begin
  raise exception '% of keepsake.audit_log is refused: it is append-only', lower(tg_op) using errcode = 'KS003';
end
$$;

create trigger a_redact before insert on keepsake.audit_log
  for each row execute function keepsake.redact_columns('subject', 'reason', 'details');
create trigger b_chain before insert on keepsake.audit_log for each row execute function keepsake.chain_audit();
create trigger refuse_change before update or delete on keepsake.audit_log
  for each row execute function keepsake.refuse_audit_change();
create trigger refuse_truncate before truncate on keepsake.audit_log
  for each statement execute function keepsake.refuse_audit_change();

-- Appends one entry and returns its id. A second call appends a second entry.
create function keepsake.audit(
  actor text, action text, subject text, reason text default null, details jsonb default '{}'
) returns bigint
language sql
set search_path = pg_catalog
as $$
  insert into keepsake.audit_log (actor, action, subject, reason, details)
  values ($1, $2, $3, $4, coalesce($5, '{}'))
  returning id
$$;

-- The first entry that is missing or not as it was written; null when the chain is whole. That the newest entries were
-- cut off shows only against a head that was kept elsewhere: see audit_head.
create function keepsake.audit_verify() returns bigint
language sql stable
set search_path = pg_catalog
as $$
  select min(checked.expected_id)
  from (
    select
      row_number() over by_id as expected_id,
      entry.id,
      entry.hash,
      entry.previous_hash,
      keepsake.audit_hash(entry) as true_hash,
      lag(entry.hash, 1, decode(repeat('00', 32), 'hex')) over by_id as hash_before
    from keepsake.audit_log as entry
    window by_id as (order by entry.id)
  ) as checked
  where checked.id <> checked.expected_id
    or checked.hash <> checked.true_hash
    or checked.previous_hash <> checked.hash_before
$$;

-- The newest entry's id and hash, to be kept outside the catalog; no row when the log is empty.
create function keepsake.audit_head() returns table (id bigint, hash bytea)
language sql stable
set search_path = pg_catalog
as $$
  select entry.id, entry.hash from keepsake.audit_log as entry order by entry.id desc limit 1
$$;
