-- Who may do what. Grants say which tables and columns a role touches, policies say which rows; row-level security is
-- forced, so that the owner is bound as well. Nobody may delete runs, snapshots, tests, leases or audit entries.

grant usage on schema keepsake to keepsake_admin, keepsake_operator, keepsake_viewer, keepsake_function;
revoke execute on all functions in schema keepsake from public;
grant execute on all functions in schema keepsake
  to keepsake_admin, keepsake_operator, keepsake_viewer, keepsake_function;

-- Everybody reads, but a viewer does not see where secrets are kept nor how a repository is reached.
grant select on all tables in schema keepsake to keepsake_admin, keepsake_operator, keepsake_function;
grant select on
  keepsake.backup_policies, keepsake.policy_locations, keepsake.backup_executions, keepsake.backup_snapshots,
  keepsake.backup_copies, keepsake.backup_tests, keepsake.snapshot_holds, keepsake.leases, keepsake.alerts,
  keepsake.audit_log
  to keepsake_viewer;
grant select (id, name, provider, created_at, updated_at) on keepsake.sources to keepsake_viewer;
grant select (
  id, name, description, storage_type, url, primary_region, secondary_regions, kms_key_id, storage_class,
  total_capacity_bytes, used_capacity_bytes, max_throughput_mbps, encryption_at_rest, encryption_in_transit,
  access_controls, data_residency_requirements, compliance_certifications, is_active, last_health_check,
  health_status, created_at, updated_at
) on keepsake.backup_storage_locations to keepsake_viewer;

-- An admin decides, and may mend what went wrong; the guards bind it too.
grant insert, update on
  keepsake.sources, keepsake.backup_storage_locations, keepsake.backup_policies, keepsake.policy_locations,
  keepsake.backup_executions, keepsake.backup_snapshots, keepsake.backup_copies, keepsake.backup_tests,
  keepsake.snapshot_holds, keepsake.leases, keepsake.alerts
  to keepsake_admin;
grant delete on
  keepsake.sources, keepsake.backup_storage_locations, keepsake.backup_policies, keepsake.policy_locations,
  keepsake.alerts
  to keepsake_admin;
grant insert on keepsake.audit_log to keepsake_admin, keepsake_operator, keepsake_function;

-- An operator asks for a run, and says why; what becomes of it is the functions' to write.
grant insert (
  id, policy_id, source_id, backup_type, backup_scope, target_tenant_ids, target_data_types, status, scheduled_at,
  retention_until, requested_by, reason
) on keepsake.backup_executions to keepsake_operator;

-- Functions write what they do, and of policies and locations only when they ran and what they measured.
grant insert, update on
  keepsake.backup_executions, keepsake.backup_snapshots, keepsake.backup_copies, keepsake.backup_tests,
  keepsake.snapshot_holds, keepsake.leases, keepsake.alerts
  to keepsake_function;
grant update (last_execution, next_execution) on keepsake.backup_policies to keepsake_function;
grant update (used_capacity_bytes, last_health_check, health_status) on keepsake.backup_storage_locations
  to keepsake_function;

do $$
declare
  catalog_table text;
begin
  for catalog_table in select tablename from pg_catalog.pg_tables where schemaname = 'keepsake' loop
    execute format('alter table keepsake.%I enable row level security', catalog_table);
    execute format('alter table keepsake.%I force row level security', catalog_table);
    execute format('create policy admin_all on keepsake.%I for all to keepsake_admin using (true) with check (true)',
      catalog_table);
    execute format(
      'create policy everybody_reads on keepsake.%I for select to keepsake_operator, keepsake_viewer, keepsake_function'
      ' using (true)', catalog_table);
  end loop;

  foreach catalog_table in array array[
    'backup_executions', 'backup_snapshots', 'backup_copies', 'backup_tests', 'snapshot_holds', 'leases', 'alerts'
  ] loop
    execute format('create policy function_inserts on keepsake.%I for insert to keepsake_function with check (true)',
      catalog_table);
    execute format(
      'create policy function_updates on keepsake.%I for update to keepsake_function using (true) with check (true)',
      catalog_table);
  end loop;
end
$$;

create policy function_updates on keepsake.backup_policies for update to keepsake_function
  using (true) with check (true);
create policy function_updates on keepsake.backup_storage_locations for update to keepsake_function
  using (true) with check (true);
create policy writers_append on keepsake.audit_log for insert to keepsake_operator, keepsake_function
  with check (true);
create policy operator_requests on keepsake.backup_executions for insert to keepsake_operator
  with check (backup_type in ('manual', 'emergency') and status in ('scheduled', 'pending'));
