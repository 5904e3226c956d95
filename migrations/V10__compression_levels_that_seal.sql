-- Sealing takes levels 1 to 19: above, zstd's window is larger than what opening allows. A policy with a level of 20 to
-- 22 could be declared, and every run of it failed at its first object.

update keepsake.backup_policies set compression_level = 19 where compression_level > 19;

alter table keepsake.backup_policies
  drop constraint policies_compression_level_range,
  add constraint policies_compression_level_range check (compression_level between 1 and 19);
