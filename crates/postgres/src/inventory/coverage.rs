//! What a full backup leaves out or holds with a limit, as found in the catalogs.

use super::FOREIGN_SCHEMAS;
use crate::error::ConnectError;
use crate::session::Session;
use keepsake_domain::{Coverage, CoverageKind, Finding, Provider};

/// Not a member of an extension.
const OWN: &str =
    "NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
    AND d.deptype = 'e')";

/// Without primary key and without another identity, so that the WAL does not say which row was changed. A key that is
/// checked only at the commit identifies no row to Postgres.
const NO_IDENTITY: &str = "c.relkind = 'r' AND c.relpersistence = 'p' AND (c.relreplident = 'n'
    OR c.relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary
        AND i.indimmediate AND i.indisvalid)
    OR c.relreplident = 'i' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisreplident
        AND i.indimmediate AND i.indisvalid))";

fn relations(which: &str) -> String {
    format!(
        "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {FOREIGN_SCHEMAS} AND {which}"
    )
}

/// Partitioned tables may have them from version 17 on. `ALTER INDEX … ATTACH PARTITION` compares no exclusion
/// operators and refuses. Source: `CompareIndexInfo` in PostgreSQL's `catalog/index.c`, read 2026-11-21.
const PARTITIONED_EXCLUSION: &str = "
    SELECT n.nspname || '.' || c.relname || ' ' || k.conname FROM pg_constraint k
    JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE k.contype = 'x' AND k.conparentid = 0 AND EXISTS (SELECT FROM pg_constraint p WHERE p.conparentid = k.oid)";

/// The catalog came with this version.
const PARAMETER_RIGHTS_SINCE: u32 = 150_000;

/// How many, as of [`CoverageKind::Roles`]: who has them is told nowhere in clear.
const PARAMETER_RIGHTS: &str = "SELECT count(*)::text FROM pg_parameter_acl HAVING count(*) > 0";

fn text(kind: CoverageKind, sql: &str) -> (CoverageKind, String) {
    (kind, sql.to_owned())
}

/// Each statement gives the names of one kind; one empty name where the kind says it all.
fn questions(version: u32) -> Vec<(CoverageKind, String)> {
    let mut questions = [of_what_is_left_out(), of_what_is_limited()].concat();
    if version >= PARAMETER_RIGHTS_SINCE {
        questions.push(text(CoverageKind::ParameterRights, PARAMETER_RIGHTS));
    }
    questions
}

fn of_what_is_left_out() -> Vec<(CoverageKind, String)> {
    vec![
        (
            CoverageKind::HiddenRows,
            relations("c.relkind = 'r' AND c.relpersistence <> 't' AND row_security_active(c.oid)"),
        ),
        text(
            CoverageKind::OtherDatabase,
            "SELECT datname::text FROM pg_database WHERE NOT datistemplate
             AND datname <> current_database()",
        ),
        (CoverageKind::ForeignTable, relations("c.relkind = 'f'")),
        (
            CoverageKind::ExtensionTable,
            relations(&format!(
                "c.relkind = 'r' AND NOT {OWN} AND pg_relation_size(c.oid) > 0
                 AND NOT EXISTS (SELECT FROM pg_extension e WHERE c.oid = ANY (e.extconfig))"
            )),
        ),
        text(
            CoverageKind::ExtensionFiles,
            "SELECT extname::text FROM pg_extension WHERE extname NOT IN
             (SELECT name FROM pg_available_extensions)",
        ),
        text(
            CoverageKind::TemporaryTables,
            "SELECT '' WHERE EXISTS (SELECT FROM pg_class WHERE relkind = 'r'
             AND relpersistence = 't')",
        ),
        text(
            CoverageKind::Subscription,
            "SELECT subname::text FROM pg_subscription WHERE subdbid =
             (SELECT oid FROM pg_database WHERE datname = current_database())",
        ),
        text(
            CoverageKind::ReplicationSlot,
            "SELECT slot_name::text FROM pg_replication_slots
             WHERE database = current_database()",
        ),
        (CoverageKind::Tablespace, relations("c.reltablespace <> 0 AND c.relkind IN ('r','p','m','i','I')")),
        text(CoverageKind::RolePasswords, "SELECT '' WHERE EXISTS (SELECT FROM pg_roles WHERE rolcanlogin)"),
        text(CoverageKind::SharedLabels, "SELECT '' WHERE EXISTS (SELECT FROM pg_shseclabel)"),
        text(CoverageKind::ServerSettings, "SELECT ''"),
        text(CoverageKind::PartitionedExclusion, PARTITIONED_EXCLUSION),
    ]
}

fn of_what_is_limited() -> Vec<(CoverageKind, String)> {
    vec![
        (
            CoverageKind::UnloggedTable,
            relations(&format!("c.relkind = 'r' AND c.relpersistence = 'u' AND {OWN}")),
        ),
        (CoverageKind::NoReplicaIdentity, relations(&format!("{NO_IDENTITY} AND {OWN}"))),
        text(
            CoverageKind::LargeObjects,
            "SELECT count(*)::text FROM pg_largeobject_metadata HAVING count(*) > 0",
        ),
        (
            CoverageKind::MaterializedView,
            relations(&format!("c.relkind = 'm' AND c.relispopulated AND {OWN}")),
        ),
        text(
            CoverageKind::Extension,
            "SELECT extname || ' ' || extversion FROM pg_extension
             WHERE extname <> 'plpgsql'",
        ),
        text(
            CoverageKind::EventTrigger,
            "SELECT evtname::text FROM pg_event_trigger WHERE evtname !~ '^keepsake_capture_'",
        ),
        text(
            CoverageKind::SecurityLabels,
            "SELECT count(*) || ' of provider ' || provider FROM pg_seclabel
             GROUP BY provider",
        ),
        // Manifest and README stand in clear: how many roles, never their names. The names are in the globals.
        text(
            CoverageKind::Roles,
            "SELECT count(*)::text FROM pg_roles WHERE rolname !~ '^pg_' AND oid <> 10 HAVING count(*) > 0",
        ),
        text(
            CoverageKind::DatabaseSettings,
            "SELECT count(*) || CASE WHEN setrole = 0 THEN ' for all roles' ELSE ' for single roles' END
             FROM pg_db_role_setting, unnest(setconfig) one
             WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
             GROUP BY setrole = 0 ORDER BY setrole = 0 DESC",
        ),
    ]
}

/// Asks for everything that is not protected as a plain table is; the decision is the domain's.
pub(crate) async fn coverage(session: &Session, provider: Provider) -> Result<Coverage, ConnectError> {
    let act = "read what is not covered";
    let mut findings = Vec::new();
    for (kind, sql) in questions(session.version) {
        let objects = session.texts(act, &sql).await?;
        findings.extend(objects.into_iter().map(|object| Finding { kind, object }));
    }
    let own = provider.own_databases();
    findings
        .retain(|found| found.kind != CoverageKind::OtherDatabase || !own.contains(&found.object.as_str()));
    let schemas = session.texts(act, "SELECT nspname::text FROM pg_namespace").await?;
    let kept = schemas.into_iter().filter(|schema| provider.managed_schemas().contains(&schema.as_str()));
    findings.extend(kept.map(|object| Finding { kind: CoverageKind::ProviderSchema, object }));
    Ok(keepsake_domain::coverage(findings))
}
