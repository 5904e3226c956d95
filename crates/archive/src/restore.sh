set -euo pipefail
umask 077
: "${ARCHIVE:?the folder that holds manifest.json}" "${TARGET:?connection string of an empty database}"
MANIFEST=$ARCHIVE/manifest.json
ROOT='@ROOT@' # what the keys in the manifest begin with
WORK=$(mktemp -d)
trap 'rm -rf -- "$WORK"' EXIT
export MANIFEST WORK PGCLIENTENCODING=UTF8
export PGOPTIONS=${PGOPTIONS-'-c datestyle=ISO -c intervalstyle=postgres -c statement_timeout=0'}

# unseal KEY: one object of the manifest, decrypted and decompressed, to standard output.
unseal() { age --decrypt --identity "$BACKUP_KEY" "$ARCHIVE/${1#"$ROOT"}" | zstd --decompress --stdout --quiet; }
sql() { psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --dbname="$TARGET" "$@"; }
restore() { pg_restore --exit-on-error ${PG_RESTORE_FLAGS-} --dbname="$TARGET" "$@"; }

echo '1. unwrap the key'
if [ -z "${BACKUP_KEY-}" ]; then
  : "${RECOVERY_KEY:?the file of an offline recovery key}"
  BACKUP_KEY=$WORK/backup.key
  generations=("$ARCHIVE"/keys/*.json)
  newest=${generations[-1]}
  for holder in $(jq '.holders | keys[]' "$newest"); do
    if jq --raw-output ".holders[$holder] | select(.holder == \"age\") | .armored" "$newest" |
      age --decrypt --identity "$RECOVERY_KEY" > "$BACKUP_KEY" 2> "$WORK/refused"; then break; fi
    : > "$BACKUP_KEY"
  done
  if ! grep --quiet '^AGE-SECRET-KEY-1' "$BACKUP_KEY"; then
    echo "this recovery key opens none of: $(jq --compact-output '[.holders[] | .recipient // .key_id]' "$newest")" >&2
    exit 1
  fi
fi

echo '2. compare the manifest with its own digest, and every object with the manifest'
sum=$(head -n -3 "$MANIFEST" | sha256sum)
if [ "${sum%% *}" != "$(jq --raw-output .seal.sha256 "$MANIFEST")" ]; then
  echo 'manifest.json is not what was sealed' >&2
  exit 1
fi
jq --raw-output --arg root "$ROOT" '
  .schema, .globals, .readme, (.blobs // empty), .parts[] | "\(.sha256)  \(.key | ltrimstr($root))"
' "$MANIFEST" | (cd "$ARCHIVE" && sha256sum --check --strict --quiet -)

echo '3. roles that the target lacks (without login and password), then types, tables and functions'
unseal "$(jq --raw-output .globals.key "$MANIFEST")" > "$WORK/globals.json"
unseal "$(jq --raw-output .schema.key "$MANIFEST")" > "$WORK/schema.dump"
sql <<'SQL'
\set globals `cat "$WORK/globals.json"`
SELECT pg_catalog.format('CREATE ROLE %I NOLOGIN', name)
FROM (SELECT COALESCE(role ->> 'name', role ->> 'rolname', role #>> '{}') AS name
      FROM pg_catalog.jsonb_array_elements(COALESCE(:'globals'::jsonb -> 'roles', '[]')) AS role) AS roles
WHERE name NOT LIKE 'pg\_%' AND name NOT IN (SELECT rolname FROM pg_catalog.pg_roles)
\gexec
SQL
restore --section=pre-data "$WORK/schema.dump"

echo '4. rows'
# load KEY ROWS COPY: the rows of one part go straight into the target, never to a disk; their number is compared.
load() {
  copied=$(unseal "$1" | psql --no-psqlrc --set=ON_ERROR_STOP=1 --dbname="$TARGET" --command="$3")
  echo "   $copied of $2: $3"
  [ "$copied" = "COPY $2" ] || { echo "the part $1 has other rows than the manifest says" >&2; exit 1; }
}
jq --raw-output '
  def quoted: "\"" + gsub("\""; "\"\"") + "\"";
  .parts[]
  | (if .columns == [] then "" else " (" + (.columns | map(quoted) | join(", ")) + ")" end) as $columns
  | (.root // .table) as $into
  | "COPY \($into.schema | quoted).\($into.name | quoted)\($columns) FROM STDIN" as $copy
  | "load \(.key | @sh) \(.rows) \($copy | @sh)"
' "$MANIFEST" > "$WORK/rows.sh"
source "$WORK/rows.sh"

echo '5. large objects'
for key in $(jq --raw-output '.blobs.key // empty' "$MANIFEST"); do
  unseal "$key" | { restore && cat > /dev/null; }
done

echo '6. sequences'
# Postgres itself reads the numbers: jq would round those above 2^53.
sql > /dev/null <<'SQL'
\set manifest `cat "$MANIFEST"`
SELECT pg_catalog.setval(pg_catalog.format('%I.%I', s #>> '{sequence,schema}', s #>> '{sequence,name}')::regclass,
                         (s ->> 'last_value')::bigint, (s ->> 'is_called')::boolean)
FROM pg_catalog.jsonb_array_elements(:'manifest'::jsonb -> 'sequences') AS s;
SQL

echo '7. indexes, constraints, triggers, policies'
restore --section=post-data "$WORK/schema.dump"
sql --command=ANALYZE
echo 'restored'
