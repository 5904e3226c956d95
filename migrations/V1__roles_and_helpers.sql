-- The catalog's schema, its four group roles, and the small functions that every table uses.
-- Guards raise one of three codes, so that a caller can tell them apart without reading the text:
--   KS001  the change comes too late or out of order (class Conflict)
--   KS002  the evidence for what is claimed is missing (class Integrity)
--   KS003  the row is append-only or a recorded fact (class Permanent)

create schema keepsake;
comment on schema keepsake is 'Policies and state of backups. A cache of the repositories, plus what only people decide.';

-- Roles belong to the cluster, not to the database: another catalog may have made them, also at this very moment,
-- and whoever migrates may lack CREATEROLE, which is fine as long as somebody created them.
do $$
declare
  wanted text;
begin
  foreach wanted in array array['keepsake_admin', 'keepsake_operator', 'keepsake_viewer', 'keepsake_function'] loop
    if exists (select from pg_catalog.pg_roles where rolname = wanted) then
      continue;
    end if;
    begin
      execute format('create role %I nologin', wanted);
    exception
      when duplicate_object or unique_violation then
        null;
      when insufficient_privilege then
        raise exception 'role % is missing, and this user may not create it', wanted
          using errcode = '42501', hint = format('let a user with CREATEROLE run: create role %I nologin', wanted);
    end;
  end loop;

  -- Row-level security is forced, so it binds the owner too. On a managed server the owner is no superuser and would
  -- see no rows in later migrations unless it is an admin.
  if not pg_catalog.pg_has_role(current_user, 'keepsake_admin', 'usage') then
    begin
      execute format('grant keepsake_admin to %I', current_user);
    exception when insufficient_privilege then
      raise warning 'grant keepsake_admin to % by hand: without it the owner sees no catalog rows', current_user;
    end;
  end if;
end
$$;

-- Takes credentials out of a text or of a JSON value's text. The caller sanitises first; this is the last line, and it
-- rewrites instead of refusing, because a failure that cannot be recorded would be worse than a shortened message.
create function keepsake.redact(value text) returns text
language sql immutable parallel safe
set search_path = pg_catalog
as $$
  select regexp_replace(regexp_replace(regexp_replace(regexp_replace(value,
    '://[^\s"]*@', '://***@', 'g'),
    '("(?:password|passwd|pwd|secret|secret_access_key|token)"\s*:\s*)"(?:[^"\\]|\\.)*"', '\1"***"', 'gi'),
    '\m(password|passwd|pwd|secret_access_key)(\s*=\s*)(?:''[^'']*''|[^\s"''&;,\\]+)', '\1\2***', 'gi'),
    'AGE-SECRET-KEY-[0-9A-Z-]+', 'AGE-SECRET-KEY-***', 'gi')
$$;

-- Trigger: redacts the columns named as its arguments, text or jsonb.
create function keepsake.redact_columns() returns trigger
language plpgsql
set search_path = pg_catalog
as $$
declare
  old_values jsonb := to_jsonb(new);
  redacted jsonb := '{}';
  column_name text;
begin
  foreach column_name in array tg_argv loop
    redacted := redacted
      || jsonb_build_object(column_name, keepsake.redact((old_values -> column_name)::text)::jsonb);
  end loop;
  return jsonb_populate_record(new, redacted);
end
$$;

-- Trigger: keeps updated_at.
create function keepsake.touch() returns trigger
language plpgsql
set search_path = pg_catalog
as $$
begin
  new.updated_at := clock_timestamp();
  return new;
end
$$;

-- Trigger: refuses DELETE and TRUNCATE, also to the owner and to a superuser.
create function keepsake.refuse_removal() returns trigger
language plpgsql
set search_path = pg_catalog
as $$
begin
  raise exception '% of keepsake.% is refused: its rows are kept for good', lower(tg_op), tg_table_name
    using errcode = 'KS003';
end
$$;

-- Whether every entry is a public age recipient; a secret key never is.
create function keepsake.are_age_recipients(recipients text[]) returns boolean
language sql immutable parallel safe
set search_path = pg_catalog
as $$
  select coalesce(bool_and(coalesce(recipient ~ '^age1[0-9a-z+-]+$', false)), true)
  from unnest(recipients) as recipient
$$;
