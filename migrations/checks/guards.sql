-- Tries to break each guard of the catalog, as a superuser and as each role, and raises at the first one that holds
-- not. Runs on a migrated database, by psql or by one simple query; everything is rolled back. Whoever runs it must be
-- able to take on the four roles. It is one long file because all claims share one transaction and its rows.
begin;

-- The claim holds when the statement, run as the role, is refused with one of these codes.
create function pg_temp.refused(claim text, as_role text, statement text, variadic codes text[]) returns void
language plpgsql as $$
declare
  answer text := 'was accepted';
begin
  begin
    execute format('set local role %I', as_role);
    execute statement;
    raise exception 'accepted' using errcode = 'KS999';
  exception when others then
    if sqlstate = any (codes) then
      return;
    end if;
    if sqlstate <> 'KS999' then
      answer := format('answered %s: %s', sqlstate, sqlerrm);
    end if;
  end;
  raise exception 'violated: % (%)', claim, answer;
end $$;

-- The claim holds when the statement, run as the role, answers this text; its effects are kept.
create function pg_temp.answers(claim text, as_role text, statement text, expected text) returns void
language plpgsql as $$
declare
  actual text;
  problem text;
begin
  begin
    execute format('set local role %I', as_role);
    execute statement into actual;
    set local role none;
  exception when others then
    problem := format('%s: %s', sqlstate, sqlerrm);
  end;
  if problem is not null or actual is distinct from expected then
    raise exception 'violated: % (expected %, got %)', claim, expected, coalesce(problem, actual, 'null');
  end if;
end $$;

-- The claim is a constraint's name: a copy of some row of the table, so changed, violates that very constraint.
create function pg_temp.violates(constraint_wanted text, table_name text, patch jsonb) returns void
language plpgsql as $$
declare
  columns text;
  found_constraint text := 'nothing';
begin
  select string_agg(quote_ident(attname), ', ') into columns
  from pg_attribute
  where attrelid = ('keepsake.' || table_name)::regclass and attnum > 0 and not attisdropped and attgenerated = '';
  begin
    execute format('insert into keepsake.%I (%s) select %s from (
      select (jsonb_populate_record(original, $1)).* from keepsake.%1$I as original limit 1) as changed',
      table_name, columns, columns) using jsonb_build_object('id', gen_random_uuid()) || patch;
    raise exception 'accepted' using errcode = 'KS999';
  exception
    when check_violation or unique_violation or foreign_key_violation then
      get stacked diagnostics found_constraint = constraint_name;
    when others then
      found_constraint := sqlstate || ': ' || sqlerrm;
  end;
  if found_constraint <> constraint_wanted then
    raise exception 'violated: % of % (%)', constraint_wanted, table_name, found_constraint;
  end if;
end $$;

create temporary table owner_role on commit drop as select current_user::text as name;
create function pg_temp.owner() returns text language sql as 'select name from pg_temp.owner_role';

-- One id per letter, so that the statements below read: pg_temp.id('a').
create function pg_temp.id(letter text) returns uuid language sql immutable
as $$ select md5('keepsake guard ' || letter)::uuid $$;

insert into keepsake.sources (id, name, provider, connection_secret)
values (pg_temp.id('source'), 'guards-source', 'plain', 'env:GUARDS_URL');
insert into keepsake.backup_storage_locations (id, name, storage_type, url)
values (pg_temp.id('location'), 'guards-location', 's3', 's3://guards/prefix');
insert into keepsake.backup_policies (id, name, source_id, schedule_cron, recovery_recipients)
values (pg_temp.id('policy'), 'guards-policy', pg_temp.id('source'), 'cron(0 2 * * ? *)', array['age1guards']);
insert into keepsake.policy_locations (policy_id, location_id, position)
values (pg_temp.id('policy'), pg_temp.id('location'), 0);

create function pg_temp.begin_execution(letter text) returns void language sql as $$
  insert into keepsake.backup_executions
    (id, policy_id, source_id, execution_id, backup_id, backup_type, status, started_at, fencing_token)
  values (pg_temp.id(letter), pg_temp.id('policy'), pg_temp.id('source'), 'cli:guards-' || letter,
    pg_temp.id('backup ' || letter), 'full', 'running', clock_timestamp(), 5)
$$;
create function pg_temp.seal(letter text) returns void language sql as $$
  insert into keepsake.backup_snapshots (id, execution_id, source_id, lineage, snapshot_timestamp, wal_lsn, tables,
    rows, raw_bytes, stored_bytes, encryption_key_id, storage_location, storage_provider, manifest_key,
    manifest_sha256, manifest)
  values (pg_temp.id('backup ' || letter), pg_temp.id(letter), pg_temp.id('source'), 'lineage', clock_timestamp(),
    '0/16B3748', 3, 100, 1000, 200, 'key', 's3://guards/prefix/x', 's3', 'x/manifest.json', repeat('ab', 32),
    '{"format": 1}')
$$;
create function pg_temp.test(letter text, kind text, outcome text) returns void language sql as $$
  insert into keepsake.backup_tests (id, snapshot_id, test_type, test_environment, verdict, certificate)
  values (gen_random_uuid(), pg_temp.id('backup ' || letter), kind, 'guards', outcome,
    case outcome when 'passed' then '{"tables": 3}'::jsonb end)
$$;

-- Credentials and shapes ---------------------------------------------------------------------------------------------
select pg_temp.refused('a connection string is no connection secret', pg_temp.owner(),
  $q$insert into keepsake.sources values (gen_random_uuid(), 'x', 'plain', 'postgres://u:p@h/d')$q$, '23514');
select pg_temp.refused('a provider is one of the known', pg_temp.owner(),
  $q$insert into keepsake.sources values (gen_random_uuid(), 'x', 'oracle', 'env:X')$q$, '23514');
select pg_temp.refused('a source name is safe as a key segment', pg_temp.owner(),
  $q$insert into keepsake.sources values (gen_random_uuid(), '../x', 'plain', 'env:X')$q$, '23514');
select pg_temp.refused('a source name is taken once', pg_temp.owner(),
  $q$insert into keepsake.sources values (gen_random_uuid(), 'guards-source', 'plain', 'env:X')$q$, '23505');
select pg_temp.refused('a location''s url carries no user', pg_temp.owner(),
  $q$update keepsake.backup_storage_locations set url = 's3://key:secret@bucket/x'$q$, '23514');
select pg_temp.refused('a location''s configuration carries no secret', pg_temp.owner(),
  $q$update keepsake.backup_storage_locations set connection_config = '{"secret_access_key": "x"}'$q$, '23514');
select pg_temp.refused('a secret key is no recovery recipient', pg_temp.owner(),
  $q$update keepsake.backup_policies set recovery_recipients = '{age1a,AGE-SECRET-KEY-1X}'$q$, '23514');
select pg_temp.refused('a policy has a recovery recipient', pg_temp.owner(),
  $q$update keepsake.backup_policies set recovery_recipients = '{}'$q$, '23514');
select pg_temp.refused('a five-field cron is no schedule', pg_temp.owner(),
  $q$update keepsake.backup_policies set schedule_cron = 'cron(0 2 * * *)'$q$, '23514');
select pg_temp.refused('a bare cron is no schedule', pg_temp.owner(),
  $q$update keepsake.backup_policies set schedule_cron = '0 2 * * ? *'$q$, '23514');
select pg_temp.refused('priority ends at 10', pg_temp.owner(),
  $q$update keepsake.backup_policies set priority_level = 11$q$, '23514');
select pg_temp.refused('a policy that keeps nothing is refused', pg_temp.owner(),
  $q$update keepsake.backup_policies set retention_daily = 0, retention_weekly = 0, retention_monthly = 0,
     retention_yearly = 0$q$, '23514');
select pg_temp.refused('a holder''s relay ends before its function', pg_temp.owner(),
  $q$update keepsake.backup_policies set relay_seconds = 900$q$, '23514');
select pg_temp.answers('rate and at are schedules', pg_temp.owner(),
  $q$update keepsake.backup_policies set schedule_cron = 'rate(1 hour)' where schedule_cron like 'cron%'
     and 'at(2026-11-20T02:00:00)' ~ '^at' and id = pg_temp.id('policy') returning schedule_cron$q$, 'rate(1 hour)');

-- The life of a run --------------------------------------------------------------------------------------------------
select pg_temp.refused('a run cannot begin completed', pg_temp.owner(),
  $q$insert into keepsake.backup_executions (id, source_id, backup_type, status, started_at, completed_at)
     values (gen_random_uuid(), pg_temp.id('source'), 'full', 'completed', now(), now())$q$, 'KS001');
select pg_temp.refused('a manual run gives its reason', pg_temp.owner(),
  $q$insert into keepsake.backup_executions (id, source_id, backup_type, requested_by)
     values (gen_random_uuid(), pg_temp.id('source'), 'manual', 'ann')$q$, '23514');
select pg_temp.refused('a tenant''s run names tenants', pg_temp.owner(),
  $q$insert into keepsake.backup_executions (id, source_id, backup_type, backup_scope)
     values (gen_random_uuid(), pg_temp.id('source'), 'selective', 'tenant')$q$, '23514');
select pg_temp.refused('a negative count is refused', pg_temp.owner(),
  $q$insert into keepsake.backup_executions (id, source_id, backup_type, raw_bytes)
     values (gen_random_uuid(), pg_temp.id('source'), 'full', -1)$q$, '23514');

insert into keepsake.backup_executions (id, policy_id, source_id, backup_type, status)
values (pg_temp.id('waiting'), pg_temp.id('policy'), pg_temp.id('source'), 'full', 'scheduled');
select pg_temp.refused('scheduled does not jump to running', pg_temp.owner(),
  $q$update keepsake.backup_executions set status = 'running', started_at = now()
     where id = pg_temp.id('waiting')$q$, 'KS001');
update keepsake.backup_executions set status = 'pending' where id = pg_temp.id('waiting');
select pg_temp.refused('pending does not go back', pg_temp.owner(),
  $q$update keepsake.backup_executions set status = 'scheduled' where id = pg_temp.id('waiting')$q$, 'KS001');
select pg_temp.refused('running has a start', pg_temp.owner(),
  $q$update keepsake.backup_executions set status = 'running' where id = pg_temp.id('waiting')$q$, '23514');
update keepsake.backup_executions set status = 'running', started_at = now(), execution_id = 'arn:aws:states:x'
where id = pg_temp.id('waiting');
select pg_temp.refused('a run keeps its execution', pg_temp.owner(),
  $q$update keepsake.backup_executions set execution_id = 'cli:other' where id = pg_temp.id('waiting')$q$, 'KS003');
select pg_temp.refused('a failure has a class', pg_temp.owner(),
  $q$update keepsake.backup_executions set status = 'failed', error_message = 'x'
     where id = pg_temp.id('waiting')$q$, '23514');
select pg_temp.refused('a failure has a message', pg_temp.owner(),
  $q$update keepsake.backup_executions set status = 'failed', error_class = 'Transient', error_message = ''
     where id = pg_temp.id('waiting')$q$, '23514');
select pg_temp.refused('a failure''s class is known', pg_temp.owner(),
  $q$update keepsake.backup_executions set status = 'failed', error_class = 'Oops', error_message = 'x'
     where id = pg_temp.id('waiting')$q$, '23514');
select pg_temp.answers('a failure is recorded, without the credential in it', pg_temp.owner(),
  $q$update keepsake.backup_executions set status = 'failed', error_class = 'Transient',
       error_message = 'dial postgres://u:hunter2@h/d password=hunter2',
       error_details = '{"url": "postgres://u:hunter2@h/d", "password": "hunter2"}'
     where id = pg_temp.id('waiting') returning (completed_at is not null)::text || ' ' || error_message || error_details$q$,
  'true dial postgres://***@h/d password=***{"url": "postgres://***@h/d", "password": "***"}');
select pg_temp.answers('recording the same failure again is no change', pg_temp.owner(),
  $q$update keepsake.backup_executions set status = 'failed', error_class = 'Transient',
       error_message = 'dial postgres://u:hunter2@h/d password=hunter2'
     where id = pg_temp.id('waiting') returning status$q$, 'failed');
select pg_temp.refused('a failed run does not come back', pg_temp.owner(),
  $q$update keepsake.backup_executions set status = 'running', completed_at = null
     where id = pg_temp.id('waiting')$q$, 'KS001');
select pg_temp.refused('a failed run''s cause is final', pg_temp.owner(),
  $q$update keepsake.backup_executions set error_message = 'nothing' where id = pg_temp.id('waiting')$q$, 'KS001');

-- Completion and proof -----------------------------------------------------------------------------------------------
select pg_temp.begin_execution('a');
select pg_temp.refused('an older fencing token does not write', pg_temp.owner(),
  $q$update keepsake.backup_executions set fencing_token = 4 where id = pg_temp.id('a')$q$, 'KS001');
create function pg_temp.complete(letter text) returns text language sql
as $$ select format($q$update keepsake.backup_executions set status = 'completed', integrity_status = 'passed',
  completed_at = clock_timestamp(), raw_bytes = 1000, stored_bytes = 250 where id = pg_temp.id(%L)
  returning compression_ratio::text$q$, letter) $$;
select pg_temp.refused('no completion without a snapshot', pg_temp.owner(), pg_temp.complete('a'), 'KS002');
select pg_temp.refused('a snapshot is of the backup that its run announced', pg_temp.owner(),
  $q$insert into keepsake.backup_executions (id, source_id, execution_id, backup_id, backup_type)
     values (pg_temp.id('c'), pg_temp.id('source'), 'cli:guards-c', pg_temp.id('another'), 'full');
     select pg_temp.seal('c')$q$, '23503');
select pg_temp.refused('a snapshot of no known run is refused', pg_temp.owner(),
  $q$select pg_temp.seal('unknown')$q$, '23503');
select pg_temp.seal('a');
select pg_temp.refused('no completion while the snapshot is pending', pg_temp.owner(), pg_temp.complete('a'), 'KS002');
select pg_temp.refused('valid needs a passed test', pg_temp.owner(),
  $q$update keepsake.backup_snapshots set validation_status = 'valid' where id = pg_temp.id('backup a')$q$, 'KS002');
select pg_temp.refused('verified needs a restore', pg_temp.owner(),
  $q$update keepsake.backup_snapshots set verified_at = now() where id = pg_temp.id('backup a')$q$, 'KS002');
select pg_temp.refused('a snapshot''s digest is a fact', pg_temp.owner(),
  $q$update keepsake.backup_snapshots set manifest_sha256 = repeat('cd', 32) where id = pg_temp.id('backup a')$q$,
  'KS003');
select pg_temp.refused('passed needs a certificate', pg_temp.owner(),
  $q$insert into keepsake.backup_tests (id, snapshot_id, test_type, test_environment, verdict)
     values (gen_random_uuid(), pg_temp.id('backup a'), 'restore_test', 'x', 'passed')$q$, '23514');
select pg_temp.test('a', 'restore_test', 'inconclusive');
select pg_temp.answers('inconclusive is no success and proves nothing', pg_temp.owner(),
  $q$select s.validation_status || ' ' || t.success || ' ' || (s.verified_at is null)
     from keepsake.backup_tests t join keepsake.backup_snapshots s on s.id = t.snapshot_id
     where s.id = pg_temp.id('backup a')$q$, 'pending false true');
select pg_temp.refused('an inconclusive test leaves the run incomplete', pg_temp.owner(), pg_temp.complete('a'), 'KS002');
select pg_temp.test('a', 'integrity_check', 'passed');
select pg_temp.answers('an integrity check makes it valid, and not verified', pg_temp.owner(),
  $q$select validation_status || ' ' || (validation_completed_at is not null) || ' ' || (verified_at is null)
     from keepsake.backup_snapshots where id = pg_temp.id('backup a')$q$, 'valid true true');
select pg_temp.refused('a checksum does not verify', pg_temp.owner(),
  $q$update keepsake.backup_snapshots set verified_at = (select max(completed_at) from keepsake.backup_tests)
     where id = pg_temp.id('backup a')$q$, 'KS002');
select pg_temp.test('a', 'restore_test', 'failed');
select pg_temp.test('a', 'restore_test', 'inconclusive');
select pg_temp.test('a', 'integrity_check', 'passed');
select pg_temp.answers('a failed restore outweighs any checksum', pg_temp.owner(),
  $q$select validation_status from keepsake.backup_snapshots where id = pg_temp.id('backup a')$q$, 'corrupted');
select pg_temp.refused('a corrupted snapshot completes nothing', pg_temp.owner(), pg_temp.complete('a'), 'KS002');
select pg_temp.test('a', 'restore_test', 'passed');
select pg_temp.answers('a passed restore verifies, with its age', pg_temp.owner(),
  $q$select validation_status || ' ' || (verified_at = (select max(completed_at) from keepsake.backup_tests
       where snapshot_id = s.id and test_type = 'restore_test'))
     from keepsake.backup_snapshots s where id = pg_temp.id('backup a')$q$, 'valid true');
insert into keepsake.backup_tests (id, snapshot_id, test_type, test_environment, instance_name)
values (pg_temp.id('test'), pg_temp.id('backup a'), 'restore_test', 'guards', 'guards-instance');
select pg_temp.refused('two running tests do not share an instance', pg_temp.owner(),
  $q$insert into keepsake.backup_tests (id, snapshot_id, test_type, test_environment, instance_name)
     values (gen_random_uuid(), pg_temp.id('backup a'), 'restore_test', 'x', 'guards-instance')$q$, '23505');
update keepsake.backup_tests set verdict = 'failed' where id = pg_temp.id('test');
select pg_temp.answers('a failed restore takes the proof away', pg_temp.owner(),
  $q$select validation_status || ' ' || (verified_at is null) from keepsake.backup_snapshots
     where id = pg_temp.id('backup a')$q$, 'corrupted true');
select pg_temp.refused('a verdict is final', pg_temp.owner(),
  $q$update keepsake.backup_tests set verdict = 'passed', certificate = '{"x": 1}' where id = pg_temp.id('test')$q$,
  'KS001');
select pg_temp.refused('a failed test cannot be removed', pg_temp.owner(),
  $q$delete from keepsake.backup_tests where verdict = 'failed'$q$, 'KS003');
select pg_temp.test('a', 'restore_test', 'passed');
select pg_temp.refused('completion needs passed integrity', pg_temp.owner(),
  $q$update keepsake.backup_executions set status = 'completed', completed_at = clock_timestamp()
     where id = pg_temp.id('a')$q$, 'KS002');
select pg_temp.refused('completion needs its time', pg_temp.owner(),
  $q$update keepsake.backup_executions set status = 'completed', integrity_status = 'passed'
     where id = pg_temp.id('a')$q$, '23514');
select pg_temp.answers('a proven run completes', pg_temp.owner(), pg_temp.complete('a'), '4');
select pg_temp.refused('a completed run does not fail afterwards', pg_temp.owner(),
  $q$update keepsake.backup_executions set status = 'failed', error_class = 'Transient', error_message = 'late'
     where id = pg_temp.id('a')$q$, 'KS001');
select pg_temp.answers('a completed run may be kept longer', pg_temp.owner(),
  $q$update keepsake.backup_executions set retention_until = 'infinity' where id = pg_temp.id('a')
     returning status$q$, 'completed');
select pg_temp.refused('a run that announced a backup keeps its id', pg_temp.owner(),
  $q$select pg_temp.begin_execution('b');
     update keepsake.backup_executions set backup_id = gen_random_uuid() where id = pg_temp.id('b')$q$, 'KS003');

-- Copies -------------------------------------------------------------------------------------------------------------
insert into keepsake.backup_copies (snapshot_id, location_id, region)
values (pg_temp.id('backup a'), pg_temp.id('location'), 'eu-west-1');
select pg_temp.refused('a copy is recorded once per location', pg_temp.owner(),
  $q$insert into keepsake.backup_copies (snapshot_id, location_id, region)
     values (pg_temp.id('backup a'), pg_temp.id('location'), 'eu-west-1')$q$, '23505');
select pg_temp.refused('a verified copy has a checksum', pg_temp.owner(),
  $q$update keepsake.backup_copies set status = 'verified', verified_at = now(), progress = 1$q$, '23514');
select pg_temp.refused('a verified copy has a time', pg_temp.owner(),
  $q$update keepsake.backup_copies set status = 'verified', checksum = 'x', progress = 1$q$, '23514');
select pg_temp.refused('progress ends at 1', pg_temp.owner(),
  $q$update keepsake.backup_copies set progress = 1.5$q$, '23514');
select pg_temp.refused('a failed copy says why', pg_temp.owner(),
  $q$update keepsake.backup_copies set status = 'failed'$q$, '23514');

-- Holds --------------------------------------------------------------------------------------------------------------
select pg_temp.begin_execution('h');
create function pg_temp.hold(relay integer, seconds double precision default 60) returns void language sql as $$
  insert into keepsake.snapshot_holds (execution_id, relay_number, lane, snapshot_name, backend_pid, ends_at)
  values (pg_temp.id('h'), relay, 'a', 'snapshot-' || relay, 7, clock_timestamp() + make_interval(secs => seconds))
$$;
select pg_temp.answers('without a hold there is no current one', pg_temp.owner(),
  $q$select count(*)::text from keepsake.current_hold(pg_temp.id('h'))$q$, '0');
select pg_temp.hold(0);
select pg_temp.hold(1);
select pg_temp.hold(2, 0.001);
select pg_sleep(0.002);
select pg_temp.answers('the current hold is the newest that lives', pg_temp.owner(),
  $q$select relay_number::text from keepsake.current_hold(pg_temp.id('h'))$q$, '1');
select pg_temp.refused('a holder''s snapshot cannot be replaced', pg_temp.owner(),
  $q$update keepsake.snapshot_holds set snapshot_name = 'other' where execution_id = pg_temp.id('h')
     and relay_number = 0$q$, 'KS003');
update keepsake.snapshot_holds set released_at = clock_timestamp()
where execution_id = pg_temp.id('h') and relay_number = 0;
select pg_temp.refused('a release is recorded once', pg_temp.owner(),
  $q$update keepsake.snapshot_holds set released_at = '2100-01-01' where execution_id = pg_temp.id('h')
     and relay_number = 0$q$, 'KS001');
select pg_temp.answers('all holds are released together', pg_temp.owner(),
  $q$select keepsake.release_holds(pg_temp.id('h'))::text$q$, '2');
select pg_temp.answers('a second release releases nothing', pg_temp.owner(),
  $q$select keepsake.release_holds(pg_temp.id('h'))::text$q$, '0');
select pg_temp.hold(3);
select pg_temp.answers('a holder that begins after the release is released at once', pg_temp.owner(),
  $q$select (released_at is not null) || ' ' || (select count(*) from keepsake.current_hold(pg_temp.id('h')))
     from keepsake.snapshot_holds where execution_id = pg_temp.id('h') and relay_number = 3$q$, 'true 0');
select pg_temp.answers('a released holder may still show life', pg_temp.owner(),
  $q$update keepsake.snapshot_holds set heartbeat_at = clock_timestamp()
     where execution_id = pg_temp.id('h') and relay_number = 3 returning lane$q$, 'a');

-- Leases -------------------------------------------------------------------------------------------------------------
create function pg_temp.lease(holder text, ttl interval) returns text language sql as $$
  select format('%s %s %s', acquired, fencing_token, holder) from keepsake.acquire_lease('guards', $1, $2)
$$;
select pg_temp.answers('a new lease begins with token 1', pg_temp.owner(),
  $q$select pg_temp.lease('ann', '1 minute')$q$, 't 1 ann');
select pg_temp.answers('its holder gets the same token again', pg_temp.owner(),
  $q$select pg_temp.lease('ann', '1 second')$q$, 't 1 ann');
select pg_temp.answers('a repeated step does not shorten it', pg_temp.owner(),
  $q$select (expires_at > clock_timestamp() + interval '30 seconds')::text from keepsake.leases
     where name = 'guards'$q$, 'true');
select pg_temp.answers('another is told who holds it', pg_temp.owner(),
  $q$select pg_temp.lease('bob', '1 minute')$q$, 'f 1 ann');
select pg_temp.answers('another cannot renew', pg_temp.owner(),
  $q$select keepsake.renew_lease('guards', 'bob', 1, '1 minute')::text$q$, 'false');
select pg_temp.answers('the holder renews', pg_temp.owner(),
  $q$select keepsake.renew_lease('guards', 'ann', 1, '1 minute')::text$q$, 'true');
select pg_temp.answers('another cannot release', pg_temp.owner(),
  $q$select keepsake.release_lease('guards', 'bob', 1)::text$q$, 'false');
select pg_temp.answers('the holder releases', pg_temp.owner(),
  $q$select keepsake.release_lease('guards', 'ann', 1)::text$q$, 'true');
select pg_temp.answers('a repeated release is success', pg_temp.owner(),
  $q$select keepsake.release_lease('guards', 'ann', 1)::text$q$, 'true');
select pg_temp.answers('a released lease goes on with the next token', pg_temp.owner(),
  $q$select pg_temp.lease('bob', '1 millisecond')$q$, 't 2 bob');
select pg_sleep(0.002);
select pg_temp.answers('an expired lease cannot be renewed', pg_temp.owner(),
  $q$select keepsake.renew_lease('guards', 'bob', 2, '1 minute')::text$q$, 'false');
select pg_temp.answers('an expired lease goes to the next', pg_temp.owner(),
  $q$select pg_temp.lease('ann', '1 minute')$q$, 't 3 ann');
select pg_temp.answers('the one that lost it cannot release it', pg_temp.owner(),
  $q$select keepsake.release_lease('guards', 'bob', 2)::text$q$, 'false');
select pg_temp.refused('a lease without end is refused', pg_temp.owner(),
  $q$select pg_temp.lease('ann', '2 days')$q$, '22023');
select pg_temp.refused('a lease has a holder', pg_temp.owner(), $q$select pg_temp.lease(null, '1 minute')$q$, '22023');
select pg_temp.refused('a token never shrinks', pg_temp.owner(),
  $q$update keepsake.leases set fencing_token = 1 where name = 'guards'$q$, 'KS003');
select pg_temp.refused('a holder does not change under its token', pg_temp.owner(),
  $q$update keepsake.leases set holder = 'eve' where name = 'guards'$q$, 'KS003');
select pg_temp.refused('a lease is not deleted, or its token would begin again', pg_temp.owner(),
  $q$delete from keepsake.leases$q$, 'KS003');

-- Alerts -------------------------------------------------------------------------------------------------------------
insert into keepsake.alerts (id, execution_id, workflow_execution_id, kind, severity, subject, body)
values (pg_temp.id('alert'), pg_temp.id('a'), 'cli:guards-a', 'backup_failed', 'critical', 'x', '{"text": "postgres://u:hunter2@h/d"}');
select pg_temp.answers('an alert carries no credential', pg_temp.owner(),
  $q$select body ->> 'text' from keepsake.alerts where id = pg_temp.id('alert')$q$, 'postgres://***@h/d');
select pg_temp.refused('an alert of one kind is raised once per run', pg_temp.owner(),
  $q$insert into keepsake.alerts (execution_id, kind, severity, subject, body)
     values (pg_temp.id('a'), 'backup_failed', 'info', 'x', '{}')$q$, '23505');
select pg_temp.refused('sent needs its receipt', pg_temp.owner(),
  $q$update keepsake.alerts set status = 'sent', sent_at = now(), topic = 't' where id = pg_temp.id('alert')$q$, '23514');
update keepsake.alerts set status = 'sent', sent_at = now(), topic = 't', message_id = 'm'
where id = pg_temp.id('alert');
select pg_temp.refused('sent is final', pg_temp.owner(),
  $q$update keepsake.alerts set status = 'pending' where id = pg_temp.id('alert')$q$, 'KS001');

-- Audit --------------------------------------------------------------------------------------------------------------
select pg_temp.answers('an entry is appended', pg_temp.owner(),
  $q$select (keepsake.audit('ann', 'backup.start', 'guards', 'trying', '{"n": 1.50, "é": [null]}') > 0)::text$q$, 'true');
select keepsake.audit('bob', 'backup.end', 'postgres://u:hunter2@h/d', details => '{"password": "hunter2"}');
select pg_temp.answers('an entry carries no credential', pg_temp.owner(),
  $q$select subject || details from keepsake.audit_log order by id desc limit 1$q$,
  'postgres://***@h/d{"password": "***"}');
insert into keepsake.audit_log (id, actor, action, subject, previous_hash, hash)
values (1, 'eve', 'forged', 'x', '\x00', '\x00');
select pg_temp.answers('the chain is whole, whatever a writer put into it', pg_temp.owner(),
  $q$select coalesce(keepsake.audit_verify()::text, 'whole')$q$, 'whole');
set local timezone to 'Asia/Tokyo';
set local datestyle to 'German';
select pg_temp.answers('the chain does not depend on the session', pg_temp.owner(),
  $q$select coalesce(keepsake.audit_verify()::text, 'whole')$q$, 'whole');
select pg_temp.refused('an entry is not changed', pg_temp.owner(),
  $q$update keepsake.audit_log set reason = 'other'$q$, 'KS003');
select pg_temp.refused('an entry is not deleted', pg_temp.owner(), $q$delete from keepsake.audit_log$q$, 'KS003');
select pg_temp.refused('the log is not truncated', pg_temp.owner(), $q$truncate keepsake.audit_log$q$, 'KS003');

-- Captured changes ---------------------------------------------------------------------------------------------------
insert into keepsake.backup_executions
  (id, policy_id, source_id, execution_id, backup_id, backup_type, status, started_at, fencing_token)
values (pg_temp.id('capture'), pg_temp.id('policy'), pg_temp.id('source'), 'cli:guards-capture',
  pg_temp.id('backup capture'), 'incremental', 'running', clock_timestamp(), 5);
select pg_temp.refused('a capture that captured nothing does not complete', pg_temp.owner(),
  $q$update keepsake.backup_executions set status = 'completed', integrity_status = 'skipped',
     completed_at = clock_timestamp() where id = pg_temp.id('capture')$q$, 'KS002');
insert into keepsake.change_chains (source_id, lineage, start_lsn, started_at, snapshot_xmax, schema_fingerprint, gap,
  manifest_key, published, not_captured, execution_id)
values (pg_temp.id('source'), 'lineage', '0/100', clock_timestamp(), 7, 'a', 'the replication slot is gone', 'k', 3, 1,
  pg_temp.id('capture'));
insert into keepsake.change_captures (execution_id, source_id, lineage, chain_start_lsn, start_lsn, end_lsn, started_at,
  ended_at, segments, transactions, changes, raw_bytes, stored_bytes)
values (pg_temp.id('capture'), pg_temp.id('source'), 'lineage', '0/100', '0/100', '0/200', clock_timestamp(),
  clock_timestamp(), 1, 0, 0, 10, 10);
insert into keepsake.change_positions (source_id, location_id, lineage, end_lsn, ended_at)
values (pg_temp.id('source'), pg_temp.id('location'), 'lineage', '0/200', clock_timestamp());
insert into keepsake.source_slots (source_id, slot_name, wal_budget_bytes, verdict, looked_at)
values (pg_temp.id('source'), 'keepsake_guards', 67108864, 'none', clock_timestamp());
select pg_temp.refused('what was captured does not shrink', pg_temp.owner(),
  $q$update keepsake.change_captures set end_lsn = '0/1FF'$q$, 'KS001');
select pg_temp.refused('a capture does not begin elsewhere afterwards', pg_temp.owner(),
  $q$update keepsake.change_captures set start_lsn = '0/180'$q$, 'KS003');
select pg_temp.refused('a gap is not removed', pg_temp.owner(), $q$delete from keepsake.change_chains$q$, 'KS003');
select pg_temp.refused('a gap is not written over, not even by an admin', 'keepsake_admin',
  $q$update keepsake.change_chains set gap = null$q$, '42501');
select pg_temp.refused('a capture is not removed', pg_temp.owner(), $q$delete from keepsake.change_captures$q$, 'KS003');
select pg_temp.refused('a capture of a chain that nobody knows is refused', pg_temp.owner(),
  $q$update keepsake.change_captures set lineage = 'other'$q$, 'KS003');
select pg_temp.answers('a capture that captured something completes without a restore', pg_temp.owner(),
  $q$update keepsake.backup_executions set status = 'completed', integrity_status = 'skipped',
     completed_at = clock_timestamp() where id = pg_temp.id('capture') returning status$q$, 'completed');

-- Every other constraint ---------------------------------------------------------------------------------------------
select pg_temp.violates(constraint_name, table_name, patch::jsonb)
from (values
  ('locations_storage_type_known', 'backup_storage_locations', '{"storage_type": "tape"}'),
  ('locations_health_status_known', 'backup_storage_locations', '{"health_status": "fine"}'),
  ('locations_capacity_range', 'backup_storage_locations', '{"used_capacity_bytes": -1}'),
  ('locations_name_unique', 'backup_storage_locations', '{"url": "s3://other"}'),
  ('locations_url_unique', 'backup_storage_locations', '{"name": "other"}'),
  ('policies_name_not_empty', 'backup_policies', '{"name": ""}'),
  ('policies_resource_type_known', 'backup_policies', '{"resource_type": "disk"}'),
  ('policies_timezone_not_empty', 'backup_policies', '{"timezone": ""}'),
  ('policies_backup_type_known', 'backup_policies', '{"backup_type": "partial"}'),
  ('policies_compression_level_range', 'backup_policies', '{"compression_level": 20}'),
  ('policies_part_size_range', 'backup_policies', '{"part_size_bytes": 1}'),
  ('policies_max_parallel_jobs_range', 'backup_policies', '{"max_parallel_jobs": 0}'),
  ('policies_bandwidth_range', 'backup_policies', '{"bandwidth_limit_mbps": 0}'),
  ('policies_lock_patience_range', 'backup_policies', '{"lock_patience_seconds": 0}'),
  ('policies_max_snapshot_age_range', 'backup_policies', '{"max_snapshot_age_seconds": 86401}'),
  ('policies_max_snapshot_transactions_range', 'backup_policies', '{"max_snapshot_age_transactions": 0}'),
  ('policies_capture_mode_known', 'backup_policies', '{"capture_mode": "sometimes"}'),
  ('policies_capture_schedule_shape', 'backup_policies', '{"capture_schedule_cron": "*/5 * * * *"}'),
  ('policies_capture_segment_range', 'backup_policies', '{"capture_segment_seconds": 0}'),
  ('policies_wal_budget_range', 'backup_policies', '{"wal_budget_bytes": 1}'),
  ('policies_service_class_known', 'backup_policies', '{"service_class": "gold"}'),
  ('policies_objectives_range', 'backup_policies', '{"rpo": "0"}'),
  ('policies_name_unique', 'backup_policies', '{}'),
  ('backup_policies_source_id_fkey', 'backup_policies', '{"name": "other", "source_id": "00000000-0000-0000-0000-000000000000"}'),
  ('policy_locations_position_range', 'policy_locations', '{"position": -1}'),
  ('policy_locations_once', 'policy_locations', '{"position": 1}'),
  ('policy_locations_policy_id_fkey', 'policy_locations', '{"policy_id": "00000000-0000-0000-0000-000000000000"}'),
  ('policy_locations_location_id_fkey', 'policy_locations', '{"position": 1, "location_id": "00000000-0000-0000-0000-000000000000"}'),
  ('executions_execution_id_shape', 'backup_executions', '{"status": "pending", "completed_at": null, "backup_id": null, "execution_id": "host-7"}'),
  ('executions_backup_type_known', 'backup_executions', '{"status": "pending", "completed_at": null, "backup_id": null, "execution_id": "cli:new", "backup_type": "partial"}'),
  ('executions_backup_scope_known', 'backup_executions', '{"status": "pending", "completed_at": null, "backup_id": null, "execution_id": "cli:new", "backup_scope": "half"}'),
  ('executions_integrity_status_known', 'backup_executions', '{"status": "pending", "completed_at": null, "backup_id": null, "execution_id": "cli:new", "integrity_status": "maybe"}'),
  ('executions_backup_location_shape', 'backup_executions', '{"status": "pending", "completed_at": null, "backup_id": null, "execution_id": "cli:new", "backup_location": "s3://u:p@bucket"}'),
  ('executions_error_class_known', 'backup_executions', '{"status": "pending", "completed_at": null, "backup_id": null, "execution_id": "cli:new", "error_class": "Oops"}'),
  ('backup_executions_source_id_fkey', 'backup_executions', '{"status": "pending", "completed_at": null, "backup_id": null, "execution_id": "cli:new", "source_id": "00000000-0000-0000-0000-000000000000"}'),
  ('backup_executions_policy_id_fkey', 'backup_executions', '{"status": "pending", "completed_at": null, "backup_id": null, "execution_id": "cli:new", "policy_id": "00000000-0000-0000-0000-000000000000"}'),
  ('snapshots_counts_range', 'backup_snapshots', '{"tables": -1, "validation_status": "pending", "verified_at": null}'),
  ('snapshots_counts_range', 'backup_snapshots', '{"rows": -1, "validation_status": "pending", "verified_at": null}'),
  ('snapshots_counts_range', 'backup_snapshots', '{"raw_bytes": -1, "validation_status": "pending", "verified_at": null}'),
  ('snapshots_counts_range', 'backup_snapshots', '{"stored_bytes": -1, "validation_status": "pending", "verified_at": null}'),
  ('snapshots_counts_range', 'backup_snapshots', '{"tenant_count": -1, "validation_status": "pending", "verified_at": null}'),
  ('snapshots_xids_in_order', 'backup_snapshots', '{"validation_status": "pending", "verified_at": null, "snapshot_xmin": 2, "snapshot_xmax": 1}'),
  ('snapshots_row_counts_object', 'backup_snapshots', '{"validation_status": "pending", "verified_at": null, "row_counts": []}'),
  ('snapshots_manifest_object', 'backup_snapshots', '{"validation_status": "pending", "verified_at": null, "manifest": {}}'),
  ('snapshots_manifest_sha256_shape', 'backup_snapshots', '{"validation_status": "pending", "verified_at": null, "manifest_sha256": "AB"}'),
  ('snapshots_storage_provider_known', 'backup_snapshots', '{"validation_status": "pending", "verified_at": null, "storage_provider": "tape"}'),
  ('snapshots_storage_location_shape', 'backup_snapshots', '{"validation_status": "pending", "verified_at": null, "storage_location": "s3://u:p@bucket"}'),
  ('snapshots_validation_status_known', 'backup_snapshots', '{"validation_status": "pending", "verified_at": null, "validation_status": "good"}'),
  ('backup_snapshots_source_id_fkey', 'backup_snapshots', '{"validation_status": "pending", "verified_at": null, "execution_id": null, "source_id": "00000000-0000-0000-0000-000000000000"}'),
  ('backup_snapshots_location_id_fkey', 'backup_snapshots', '{"validation_status": "pending", "verified_at": null, "execution_id": null, "location_id": "00000000-0000-0000-0000-000000000000"}'),
  ('backup_snapshots_base_snapshot_id_fkey', 'backup_snapshots', '{"validation_status": "pending", "verified_at": null, "execution_id": null, "base_snapshot_id": "00000000-0000-0000-0000-000000000000"}'),
  ('backup_snapshots_previous_snapshot_id_fkey', 'backup_snapshots', '{"validation_status": "pending", "verified_at": null, "execution_id": null, "previous_snapshot_id": "00000000-0000-0000-0000-000000000000"}'),
  ('snapshots_not_their_own_base', 'backup_snapshots', '{"validation_status": "pending", "verified_at": null, "id": "00000000-0000-0000-0000-000000000000", "base_snapshot_id": "00000000-0000-0000-0000-000000000000"}'),
  ('copies_status_known', 'backup_copies', '{"status": "done"}'),
  ('copies_attempts_range', 'backup_copies', '{"attempts": -1}'),
  ('backup_copies_snapshot_id_fkey', 'backup_copies', '{"snapshot_id": "00000000-0000-0000-0000-000000000000"}'),
  ('backup_copies_location_id_fkey', 'backup_copies', '{"location_id": "00000000-0000-0000-0000-000000000000"}'),
  ('tests_test_type_known', 'backup_tests', '{"test_type": "look"}'),
  ('tests_verdict_known', 'backup_tests', '{"verdict": "fine"}'),
  ('tests_ended', 'backup_tests', '{"verdict": "running", "completed_at": "2100-01-01"}'),
  ('tests_times_in_order', 'backup_tests', '{"verdict": "failed", "started_at": "2026-01-02", "completed_at": "2026-01-01"}'),
  ('tests_json_shapes', 'backup_tests', '{"errors": {}}'),
  ('backup_tests_snapshot_id_fkey', 'backup_tests', '{"verdict": "inconclusive", "snapshot_id": "00000000-0000-0000-0000-000000000000"}'),
  ('alerts_once_per_workflow', 'alerts', '{"status": "pending", "execution_id": null}'),
  ('alerts_workflow_execution_id_shape', 'alerts', '{"status": "pending", "workflow_execution_id": "host-7"}'),
  ('alerts_texts_not_empty', 'alerts', '{"status": "pending", "kind": ""}'),
  ('alerts_severity_known', 'alerts', '{"status": "pending", "severity": "loud"}'),
  ('alerts_status_known', 'alerts', '{"status": "lost"}'),
  ('alerts_body_object', 'alerts', '{"status": "pending", "body": []}'),
  ('alerts_execution_id_fkey', 'alerts', '{"status": "pending", "workflow_execution_id": null, "execution_id": "00000000-0000-0000-0000-000000000000"}'),
  ('leases_texts_not_empty', 'leases', '{"name": ""}'),
  ('leases_fencing_token_range', 'leases', '{"name": "other", "fencing_token": 0}'),
  ('leases_times_in_order', 'leases', '{"name": "other", "expires_at": "2000-01-01"}'),
  ('chains_gap_not_empty', 'change_chains', '{"start_lsn": "0/300", "gap": ""}'),
  ('chains_counts_range', 'change_chains', '{"start_lsn": "0/300", "published": -1}'),
  ('change_chains_source_id_fkey', 'change_chains', '{"source_id": "00000000-0000-0000-0000-000000000000"}'),
  ('change_chains_execution_id_fkey', 'change_chains', '{"start_lsn": "0/300", "execution_id": "00000000-0000-0000-0000-000000000000"}'),
  ('captures_of_chain', 'change_captures', '{"chain_start_lsn": "0/50"}'),
  ('captures_lsn_in_order', 'change_captures', '{"chain_start_lsn": "0/50", "start_lsn": "0/40"}'),
  ('captures_schema_change_whole', 'change_captures', '{"chain_start_lsn": "0/50", "schema_changed_xmax": 7}'),
  ('captures_schema_replayed_array', 'change_captures', '{"chain_start_lsn": "0/50", "schema_replayed": {}}'),
  ('captures_counts_range', 'change_captures', '{"chain_start_lsn": "0/50", "segments": 0}'),
  ('change_captures_execution_id_fkey', 'change_captures', '{"execution_id": "00000000-0000-0000-0000-000000000000"}'),
  ('change_positions_source_id_fkey', 'change_positions', '{"source_id": "00000000-0000-0000-0000-000000000000"}'),
  ('change_positions_location_id_fkey', 'change_positions', '{"location_id": "00000000-0000-0000-0000-000000000000"}'),
  ('positions_whole', 'change_positions', '{"ended_at": null}'),
  ('positions_probe_whole', 'change_positions', '{"probed_at": "2026-01-01"}'),
  ('positions_failure_whole', 'change_positions', '{"error_class": "Transient"}'),
  ('positions_error_class_known', 'change_positions', '{"failed_at": "2026-01-01", "error_class": "Bad", "error_message": "x"}'),
  ('slots_verdict_known', 'source_slots', '{"verdict": "fine"}'),
  ('slots_counts_range', 'source_slots', '{"retained_bytes": -1}'),
  ('slots_reasons_array', 'source_slots', '{"reasons": {}}'),
  ('source_slots_source_id_fkey', 'source_slots', '{"source_id": "00000000-0000-0000-0000-000000000000"}'),
  ('audit_texts_not_empty', 'audit_log', '{"id": 1, "actor": ""}'),
  ('audit_details_object', 'audit_log', '{"id": 1, "details": []}')
) as cases (constraint_name, table_name, patch);
select pg_temp.refused('a run does not end before it began', pg_temp.owner(),
  $q$update keepsake.backup_executions set status = 'cancelled', completed_at = '2026-01-01'
     where id = pg_temp.id('h')$q$, '23514');
select pg_temp.refused('a run''s status is one of the known', pg_temp.owner(),
  $q$update keepsake.backup_executions set status = 'paused' where id = pg_temp.id('h')$q$, 'KS001');
select pg_temp.refused('a run announces a backup of its own', pg_temp.owner(),
  $q$insert into keepsake.backup_executions (id, source_id, backup_type, backup_id)
     values (gen_random_uuid(), pg_temp.id('source'), 'full', pg_temp.id('backup a'))$q$, '23505');
select pg_temp.refused('a state-machine execution has one run', pg_temp.owner(),
  $q$insert into keepsake.backup_executions (id, source_id, backup_type, execution_id)
     values (gen_random_uuid(), pg_temp.id('source'), 'full', 'cli:guards-a')$q$, '23505');
select pg_temp.refused('a hold ends after it began', pg_temp.owner(),
  $q$select pg_temp.begin_execution('i'); insert into keepsake.snapshot_holds
     (execution_id, relay_number, lane, snapshot_name, backend_pid, exported_at, ends_at)
     values (pg_temp.id('i'), 0, 'a', 's', 7, now(), now())$q$, '23514');
select pg_temp.refused('relays are counted from 0', pg_temp.owner(),
  $q$select pg_temp.begin_execution('i'); insert into keepsake.snapshot_holds
     (execution_id, relay_number, lane, snapshot_name, backend_pid, ends_at)
     values (pg_temp.id('i'), -1, 'a', 's', 7, now() + interval '1 day')$q$, '23514');
select pg_temp.refused('a hold names its snapshot', pg_temp.owner(),
  $q$select pg_temp.begin_execution('i'); insert into keepsake.snapshot_holds
     (execution_id, relay_number, lane, snapshot_name, backend_pid, ends_at)
     values (pg_temp.id('i'), 0, 'a', '', 7, now() + interval '1 day')$q$, '23514');
select pg_temp.refused('a hold is a backend''s', pg_temp.owner(),
  $q$select pg_temp.begin_execution('i'); insert into keepsake.snapshot_holds
     (execution_id, relay_number, lane, snapshot_name, backend_pid, ends_at)
     values (pg_temp.id('i'), 0, 'a', 's', 0, now() + interval '1 day')$q$, '23514');
select pg_temp.refused('a hold is of a known run', pg_temp.owner(),
  $q$insert into keepsake.snapshot_holds
     (execution_id, relay_number, lane, snapshot_name, backend_pid, ends_at)
     values (gen_random_uuid(), 0, 'a', 's', 7, now() + interval '1 day')$q$, '23503');
select pg_temp.answers('a copy''s error carries no credential', pg_temp.owner(),
  $q$update keepsake.backup_copies set status = 'failed', error = 'get https://u:hunter2@h/x'
     where snapshot_id = pg_temp.id('backup a') returning error$q$, 'get https://***@h/x');
select pg_temp.answers('a test''s errors carry no credential', pg_temp.owner(),
  $q$insert into keepsake.backup_tests (id, snapshot_id, test_type, test_environment, errors)
     values (gen_random_uuid(), pg_temp.id('backup a'), 'spot_check', 'x', '["postgres://u:hunter2@h/d"]')
     returning errors::text$q$, '["postgres://***@h/d"]');

-- Nothing is removed -------------------------------------------------------------------------------------------------
select pg_temp.refused('a run is not deleted', pg_temp.owner(),
  $q$delete from keepsake.backup_executions where id = pg_temp.id('h')$q$, 'KS003');
select pg_temp.refused('a snapshot is not deleted', pg_temp.owner(), $q$delete from keepsake.backup_snapshots$q$, 'KS003');
-- Without CASCADE the reference of another table would refuse it already.
set local client_min_messages to warning;
select pg_temp.answers('each kept table refuses to be truncated by itself', pg_temp.owner(),
  $q$select string_agg(tgrelid::regclass::text, ' ' order by tgrelid::regclass::text) from pg_trigger
     where tgname = 'refuse_truncate' and tgenabled = 'O'$q$,
  'keepsake.audit_log keepsake.backup_executions keepsake.backup_snapshots keepsake.backup_tests'
  ' keepsake.change_captures keepsake.change_chains keepsake.leases');
select pg_temp.refused('runs are not truncated', pg_temp.owner(),
  $q$truncate keepsake.backup_executions cascade$q$, 'KS003');
select pg_temp.refused('a source with a policy is not deleted', pg_temp.owner(),
  $q$delete from keepsake.sources where id = pg_temp.id('source')$q$, '23503');

-- Roles --------------------------------------------------------------------------------------------------------------
select pg_temp.answers('row-level security is on and forced everywhere', pg_temp.owner(),
  $q$select count(*)::text from pg_class where relnamespace = 'keepsake'::regnamespace and relkind in ('r', 'p')
     and not (relrowsecurity and relforcerowsecurity)$q$, '0');
-- What a role may do needs both a grant and a policy. Column grants count as the whole table, marked with a star.
create function pg_temp.powers(role_name text, command text) returns text language sql as $$
  select coalesce(string_agg(relname || case when has_table_privilege(role_name, oid, command) then '' else '*' end,
    ' ' order by relname), 'nothing')
  from pg_class
  where relnamespace = 'keepsake'::regnamespace and relkind = 'r'
    and (has_table_privilege(role_name, oid, command)
      or (command <> 'DELETE' and has_any_column_privilege(role_name, oid, command)))
    and exists (select from pg_policies where schemaname = 'keepsake' and tablename = relname
      and permissive = 'PERMISSIVE' and role_name = any (roles) and cmd in (command, 'ALL'))
$$;
select pg_temp.answers('keepsake_admin: delete', pg_temp.owner(),
  $q$select pg_temp.powers('keepsake_admin', 'DELETE')$q$,
  'alerts backup_policies backup_storage_locations policy_locations sources');
select pg_temp.answers('keepsake_admin: insert', pg_temp.owner(),
  $q$select pg_temp.powers('keepsake_admin', 'INSERT')$q$,
  'alerts audit_log backup_copies backup_executions backup_policies backup_snapshots'
  ' backup_storage_locations backup_tests change_captures change_chains change_positions leases policy_locations'
  ' snapshot_holds source_slots sources');
select pg_temp.answers('keepsake_admin: select', pg_temp.owner(),
  $q$select pg_temp.powers('keepsake_admin', 'SELECT')$q$,
  'alerts audit_log backup_copies backup_executions backup_policies backup_snapshots'
  ' backup_storage_locations backup_tests change_captures change_chains change_positions leases policy_locations'
  ' snapshot_holds source_slots sources');
select pg_temp.answers('keepsake_admin: update', pg_temp.owner(),
  $q$select pg_temp.powers('keepsake_admin', 'UPDATE')$q$,
  'alerts backup_copies backup_executions backup_policies backup_snapshots backup_storage_locations'
  ' backup_tests change_captures change_positions leases policy_locations snapshot_holds source_slots sources');
select pg_temp.answers('keepsake_function: delete', pg_temp.owner(),
  $q$select pg_temp.powers('keepsake_function', 'DELETE')$q$,
  'nothing');
select pg_temp.answers('keepsake_function: insert', pg_temp.owner(),
  $q$select pg_temp.powers('keepsake_function', 'INSERT')$q$,
  'alerts audit_log backup_copies backup_executions backup_snapshots backup_tests change_captures change_chains'
  ' change_positions leases snapshot_holds source_slots');
select pg_temp.answers('keepsake_function: select', pg_temp.owner(),
  $q$select pg_temp.powers('keepsake_function', 'SELECT')$q$,
  'alerts audit_log backup_copies backup_executions backup_policies backup_snapshots'
  ' backup_storage_locations backup_tests change_captures change_chains change_positions leases policy_locations'
  ' snapshot_holds source_slots sources');
select pg_temp.answers('keepsake_function: update', pg_temp.owner(),
  $q$select pg_temp.powers('keepsake_function', 'UPDATE')$q$,
  'alerts backup_copies backup_executions backup_policies* backup_snapshots backup_storage_locations*'
  ' backup_tests change_captures change_positions leases snapshot_holds source_slots');
select pg_temp.answers('keepsake_operator: delete', pg_temp.owner(),
  $q$select pg_temp.powers('keepsake_operator', 'DELETE')$q$,
  'nothing');
select pg_temp.answers('keepsake_operator: insert', pg_temp.owner(),
  $q$select pg_temp.powers('keepsake_operator', 'INSERT')$q$,
  'audit_log backup_executions*');
select pg_temp.answers('keepsake_operator: select', pg_temp.owner(),
  $q$select pg_temp.powers('keepsake_operator', 'SELECT')$q$,
  'alerts audit_log backup_copies backup_executions backup_policies backup_snapshots'
  ' backup_storage_locations backup_tests change_captures change_chains change_positions leases policy_locations'
  ' snapshot_holds source_slots sources');
select pg_temp.answers('keepsake_operator: update', pg_temp.owner(),
  $q$select pg_temp.powers('keepsake_operator', 'UPDATE')$q$,
  'nothing');
select pg_temp.answers('keepsake_viewer: delete', pg_temp.owner(),
  $q$select pg_temp.powers('keepsake_viewer', 'DELETE')$q$,
  'nothing');
select pg_temp.answers('keepsake_viewer: insert', pg_temp.owner(),
  $q$select pg_temp.powers('keepsake_viewer', 'INSERT')$q$,
  'nothing');
select pg_temp.answers('keepsake_viewer: select', pg_temp.owner(),
  $q$select pg_temp.powers('keepsake_viewer', 'SELECT')$q$,
  'alerts audit_log backup_copies backup_executions backup_policies backup_snapshots'
  ' backup_storage_locations* backup_tests change_captures change_chains change_positions leases policy_locations'
  ' snapshot_holds source_slots sources*');
select pg_temp.answers('keepsake_viewer: update', pg_temp.owner(),
  $q$select pg_temp.powers('keepsake_viewer', 'UPDATE')$q$,
  'nothing');
-- A role without privileges on temporary functions needs literal ids.
create function pg_temp.with_ids(statement text) returns text language plpgsql as $$
declare
  letter text;
begin
  for letter in select distinct m[1] from regexp_matches(statement, '<([a-z ]+)>', 'g') as m loop
    statement := replace(statement, '<' || letter || '>', quote_literal(pg_temp.id(letter)));
  end loop;
  return statement;
end $$;

select pg_temp.answers('a viewer reads runs, snapshots, and the log', 'keepsake_viewer', pg_temp.with_ids(
  $q$select ((select count(*) from keepsake.backup_executions where id = <a>)
     + (select count(*) from keepsake.backup_snapshots where id = <backup a>)
     + (select count(*) from keepsake.sources where id = <source>)
     + (select least(count(*), 1) from keepsake.audit_log))::text$q$), '4');
select pg_temp.refused('a viewer does not read where secrets are', 'keepsake_viewer',
  'select connection_secret from keepsake.sources', '42501');
select pg_temp.refused('a viewer does not read how a repository is reached', 'keepsake_viewer',
  'select connection_config from keepsake.backup_storage_locations', '42501');
select pg_temp.refused('a viewer starts nothing', 'keepsake_viewer',
  $q$insert into keepsake.backup_executions (id, source_id, backup_type) values (gen_random_uuid(), gen_random_uuid(), 'full')$q$,
  '42501');
select pg_temp.refused('a viewer takes no lease', 'keepsake_viewer',
  $q$select * from keepsake.acquire_lease('viewer', 'eve', '1 minute')$q$, '42501');
select pg_temp.refused('a viewer writes no audit', 'keepsake_viewer', $q$select keepsake.audit('eve', 'x', 'x')$q$, '42501');

select pg_temp.answers('an operator asks for a manual run', 'keepsake_operator', pg_temp.with_ids(
  $q$insert into keepsake.backup_executions (id, policy_id, source_id, backup_type, status, requested_by, reason)
     values (<manual>, <policy>, <source>, 'manual', 'pending', 'ann', 'before the release') returning status$q$), 'pending');
select pg_temp.refused('an operator does not play the schedule', 'keepsake_operator', pg_temp.with_ids(
  $q$insert into keepsake.backup_executions (id, source_id, backup_type) values (gen_random_uuid(), <source>, 'full')$q$),
  '42501');
select pg_temp.refused('an operator''s run does not begin running', 'keepsake_operator', pg_temp.with_ids(
  $q$insert into keepsake.backup_executions (id, source_id, backup_type, status, requested_by, reason)
     values (gen_random_uuid(), <source>, 'manual', 'running', 'ann', 'x')$q$), '42501', '23514');
select pg_temp.refused('an operator writes no outcome', 'keepsake_operator', pg_temp.with_ids(
  $q$update keepsake.backup_executions set status = 'cancelled' where id = <manual>$q$), '42501');
select pg_temp.refused('an operator changes no policy', 'keepsake_operator',
  'update keepsake.backup_policies set is_active = false', '42501');
select pg_temp.answers('an operator is audited', 'keepsake_operator',
  $q$select (keepsake.audit('ann', 'backup.request', 'x') > 0)::text$q$, 'true');

select pg_temp.answers('a function begins the run that was asked for', 'keepsake_function', pg_temp.with_ids(
  $q$update keepsake.backup_executions set status = 'running', started_at = clock_timestamp(),
     execution_id = 'arn:aws:states:manual', backup_id = <backup manual> where id = <manual> returning status$q$), 'running');
select pg_temp.answers('a function takes a lease', 'keepsake_function',
  $q$select acquired::text from keepsake.acquire_lease('function', 'f', '1 minute')$q$, 'true');
select pg_temp.answers('a function holds a snapshot', 'keepsake_function', pg_temp.with_ids(
  $q$insert into keepsake.snapshot_holds (execution_id, relay_number, lane, snapshot_name, backend_pid, ends_at)
     values (<manual>, 0, 'a', 's', 7, clock_timestamp() + interval '1 minute') returning lane$q$), 'a');
select pg_temp.answers('a function releases it', 'keepsake_function', pg_temp.with_ids(
  'select keepsake.release_holds(<manual>)::text'), '1');
select pg_temp.answers('a function records a test, and its snapshot follows', 'keepsake_function', pg_temp.with_ids(
  $q$insert into keepsake.backup_tests (id, snapshot_id, test_type, test_environment, verdict, certificate)
     values (gen_random_uuid(), <backup a>, 'restore_test', 'x', 'passed', '{"tables": 3}') returning success::text$q$),
  'true');
select pg_temp.answers('a function notes when a policy ran', 'keepsake_function', pg_temp.with_ids(
  $q$update keepsake.backup_policies set last_execution = now() where id = <policy> returning name$q$), 'guards-policy');
select pg_temp.refused('a function changes nothing else of a policy', 'keepsake_function',
  'update keepsake.backup_policies set retention_daily = 1', '42501');
select pg_temp.refused('a function deletes no policy', 'keepsake_function', 'delete from keepsake.backup_policies', '42501');
select pg_temp.refused('a function changes no source', 'keepsake_function',
  $q$update keepsake.sources set connection_secret = 'env:X'$q$, '42501');
select pg_temp.refused('a function deletes no run', 'keepsake_function', 'delete from keepsake.backup_executions', '42501');
select pg_temp.refused('a function changes no audit entry', 'keepsake_function',
  $q$update keepsake.audit_log set reason = 'x'$q$, '42501');
select pg_temp.refused('a function deletes no audit entry', 'keepsake_function', 'delete from keepsake.audit_log', '42501');
select pg_temp.refused('a function declares nothing verified', 'keepsake_function', pg_temp.with_ids(
  $q$update keepsake.backup_snapshots set verified_at = '2100-01-01' where id = <backup a>$q$), 'KS002');

select pg_temp.answers('an admin decides about policies', 'keepsake_admin', pg_temp.with_ids(
  $q$update keepsake.backup_policies set priority_level = 1 where id = <policy> returning priority_level::text$q$), '1');
select pg_temp.refused('an admin deletes no run', 'keepsake_admin', 'delete from keepsake.backup_executions', '42501');
select pg_temp.refused('an admin deletes no snapshot', 'keepsake_admin', 'delete from keepsake.backup_snapshots', '42501');
select pg_temp.refused('an admin changes no audit entry', 'keepsake_admin',
  $q$update keepsake.audit_log set reason = 'x'$q$, '42501');
select pg_temp.refused('an admin deletes no audit entry', 'keepsake_admin', 'delete from keepsake.audit_log', '42501');
select pg_temp.refused('a guard binds an admin', 'keepsake_admin', pg_temp.with_ids(
  $q$update keepsake.backup_executions set status = 'running', completed_at = null where id = <a>$q$), 'KS001');

-- A chain that was tampered with, by someone who may switch triggers off.
alter table keepsake.audit_log disable trigger refuse_change;
create temporary table forged on commit drop as
select * from keepsake.audit_log where actor = 'bob' and action = 'backup.end' order by id desc limit 1;
update keepsake.audit_log as entry set reason = 'forged' from forged where entry.id = forged.id;
update keepsake.audit_log as entry set hash = keepsake.audit_hash(entry) from forged where entry.id = forged.id;
update keepsake.audit_log as entry set previous_hash = before.hash
from forged, keepsake.audit_log as before
where before.id = forged.id and entry.id = forged.id + 1;
select pg_temp.answers('an entry rewritten with its hash and its link is found at the next one', pg_temp.owner(),
  $q$select (keepsake.audit_verify() = (select id + 1 from pg_temp.forged))::text$q$, 'true');
update keepsake.audit_log set reason = 'rewritten' where actor = 'bob' and action = 'backup.end';
select pg_temp.answers('a rewritten entry is found', pg_temp.owner(),
  $q$select (keepsake.audit_verify() = (select min(id) from keepsake.audit_log where reason = 'rewritten'))::text$q$, 'true');
delete from keepsake.audit_log where reason = 'rewritten';
select pg_temp.answers('a missing entry is found', pg_temp.owner(),
  $q$select (keepsake.audit_verify() is not null)::text$q$, 'true');

rollback;
