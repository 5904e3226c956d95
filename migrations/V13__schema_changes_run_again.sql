-- Changes of the schema that a restore runs again: a full backup joins the changes at any of them.

alter table keepsake.change_captures
  add column schema_replayed jsonb not null default '[]',
  add constraint captures_schema_replayed_array check (jsonb_typeof(schema_replayed) = 'array');
comment on column keepsake.change_captures.schema_replayed is
  'The ends of segments behind schema_changed_at in which the schema changed so that a restore runs that again: '
  '[{"at": …, "xmax": …, "schema_fingerprint": …}].';
comment on column keepsake.change_captures.schema_changed_at is
  'The source''s clock where the newest segment ends in which the schema changed so that no restore runs that again; null when it did not.';
