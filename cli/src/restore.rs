//! `keepsake restore`: the plan first, then the restore, then the proof.

use crate::arguments::{MissingRolesPolicy, RestoreArguments};
use crate::certificate::{can_be_written, keep};
use crate::connection::connection;
use crate::context::Context;
use crate::failure::Failure;
use crate::keys::ReadingKey;
use crate::measures::peak_memory_bytes;
use crate::restore_changes::Changes;
use crate::restore_plan::RestorePlan;
use crate::signals::unless_interrupted;
use crate::standing::certificates;
use crate::terminal::{Progress, note, print, print_json};
use crate::text;
use keepsake_domain::{
    Certificate, Classified, ConnectionUrl, GlobalsOutcome, MissingRoles, RecoveredPoint, RepeatedStatement,
    TableName, Verdict,
};
use keepsake_postgres::{PgBin, PostgresTarget};
use keepsake_steps::ports::{Clock, Repository, Target};
use keepsake_steps::{
    Opener, RecoveryRoute, Restore, RestoreFacts, SchemaPhase, StandingBackup, certify_against, find_layout,
    finish_target_at, plan_recovery, prepare_target, read_back, read_backup, restore_globals, restore_parts,
    take_differential,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const AT_RISK: &str =
    "the backup is untouched; the target is not a complete restore, and the next run goes on in it";

/// JSON shape of the answer. With `--plan` it is the plan alone.
#[derive(Debug, Serialize)]
struct Restored<'a> {
    plan: &'a RestorePlan,
    certificate: &'a Certificate,
    /// With `--roles`, and only when the restore is proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    globals: Option<&'a GlobalsOutcome>,
    seconds: f64,
    megabytes_per_second: f64,
    peak_memory_bytes: Option<u64>,
}

/// Runs `keepsake restore`.
///
/// # Errors
/// [`Failure::not_proven`] when the restored database is not equal; others when it did not come to a comparison.
pub async fn restore(context: &Context, arguments: &RestoreArguments) -> Result<(), Failure> {
    unless_interrupted(planned(context, arguments), AT_RISK).await
}

async fn planned(context: &Context, arguments: &RestoreArguments) -> Result<(), Failure> {
    let began = Instant::now();
    let url = connection("--to", &arguments.to, &context.environment)?;
    let tools = context.client_tools(arguments.pg_bin.as_deref(), "pg_restore")?;
    arguments.certificate.as_deref().map_or(Ok(()), can_be_written)?;
    let place = url.place().to_owned();
    let target = postgres(arguments, url, tools);
    target.has_client().await?;
    let key = ReadingKey::given(&arguments.key, &context.places).await?;
    if key.is_none() && !arguments.plan {
        return Err(Failure::usage(
            "no key was given to open the backup with",
            "give --key-file FILE or --kms; keepsake show --repo <URL> names who can open it",
        ));
    }
    let repository = context.places.repository("--repo", &arguments.repo).await?;
    let (backup, route) = begin_and_route(repository.as_ref(), arguments).await?;
    let target = Arc::new(target);
    let facts = target.facts(&backup.layout.backup_id.to_string()).await?;
    let measured = certificates(repository.as_ref(), &backup).await?;
    let url = repository.url();
    let mut plan = RestorePlan::new(&backup, &url, &place, &facts, &measured, context.clock.now());
    plan.add_recovery(route.as_ref());
    show_plan(&plan, arguments)?;
    route.as_ref().map_or(Ok(()), RecoveryRoute::refuse_older)?;
    plan.refuse_what_cannot_work()?;
    let Some(key) = key.filter(|_| !arguments.plan) else { return Ok(()) };
    let identity = key.open(repository.as_ref(), &backup).await?;
    let changes = Changes::opened(repository.as_ref(), &key, route, target.clone()).await?;
    let restore = Restore { repository, backup: Arc::new(backup), identity, target, jobs: arguments.jobs };
    let target_version = facts.server.server_version;
    let mut proof = Proof { context, arguments, restore: &restore, changes, target_version };
    let progress = Arc::new(Progress::new());
    let certificate = proof.restore_and_compare(&progress).await?;
    // The proof is kept before anything that can still fail, and told whatever does.
    let kept = keep(arguments, restore.repository.as_ref(), &restore.backup, &certificate).await;
    let finished = proof.finish(&certificate, &progress).await;
    drop(progress);
    proof.answer(&plan, &certificate, finished.as_ref().ok().and_then(Option::as_ref), began.elapsed())?;
    verdict(&certificate)?;
    finished?;
    kept
}

/// The full backup that the restore begins with, and the way from there to the point that was asked for.
async fn begin_and_route(
    repository: &dyn Repository,
    arguments: &RestoreArguments,
) -> Result<(StandingBackup, Option<RecoveryRoute>), Failure> {
    let wanted = arguments.backup.as_ref();
    let Some(target) = arguments.point.target() else {
        return Ok((read_backup(repository, find_layout(repository, wanted).await?).await?, None));
    };
    let mut route = plan_recovery(repository, wanted, target).await?;
    if !arguments.point.without_differential {
        route = take_differential(repository, route).await?;
    }
    Ok((route.backup.clone(), Some(route)))
}

fn postgres(arguments: &RestoreArguments, url: ConnectionUrl, tools: PgBin) -> PostgresTarget {
    let target = PostgresTarget::new(url, tools).with_missing_roles(match arguments.missing_roles {
        MissingRolesPolicy::Create => MissingRoles::Create,
        MissingRolesPolicy::Refuse => MissingRoles::Refuse,
        MissingRolesPolicy::SkipOwnership => MissingRoles::SkipOwnership,
    });
    if arguments.roles { target.with_all_roles() } else { target }
}

fn show_plan(plan: &RestorePlan, arguments: &RestoreArguments) -> Result<(), Failure> {
    match (arguments.json, arguments.plan) {
        (true, true) => return print_json(plan),
        (true, false) => note(&plan.to_string()),
        (false, _) => print(&plan.to_string()),
    }
    Ok(())
}

struct Proof<'a> {
    context: &'a Context,
    arguments: &'a RestoreArguments,
    restore: &'a Restore,
    changes: Option<Changes>,
    target_version: u32,
}

impl Proof<'_> {
    async fn restore_and_compare(&mut self, progress: &Arc<Progress>) -> Result<Certificate, Failure> {
        let mut phases = BTreeMap::new();
        let (restore, target) = (self.restore, self.restore.target.as_ref());
        let manifest = &restore.backup.manifest;

        if let Some(changes) = &mut self.changes {
            let began = Instant::now();
            changes.check(restore, progress).await?;
            note_phase(&mut phases, "check_changes", began);
        }

        progress.step("restoring types, tables and functions");
        let began = Instant::now();
        prepare_target(restore).await?;
        self.define(SchemaPhase::BeforeRows).await?;
        note_phase(&mut phases, "pre_data", began);

        progress.step_over(&format!("loading {} parts", manifest.parts.len()), manifest.raw_bytes());
        let began = Instant::now();
        let shown = Arc::clone(progress);
        let loaded = move |part: &keepsake_archive::Part| {
            shown.advance(part.content.raw_bytes, part.content.rows);
        };
        restore_parts(restore, manifest.parts.clone(), &loaded).await?;
        note_phase(&mut phases, "rows", began);

        let mut expected = (manifest.expected(), None);
        if let Some(changes) = &self.changes {
            let began = Instant::now();
            expected = changes.replay(restore, progress).await?;
            note_phase(&mut phases, "changes", began);
        }
        let (mut expected, recovered) = expected;

        progress.step("restoring large objects, indexes, constraints and sequences");
        let began = Instant::now();
        finish_target_at(restore, &expected.sequences).await?;
        self.define(SchemaPhase::BehindAll).await?;
        if let Some(changes) = &self.changes {
            changes.raise_sequences(restore, &mut expected).await?;
        }
        note_phase(&mut phases, "post_data", began);

        progress.step("reading everything back and comparing");
        let began = Instant::now();
        let restored = read_back(target, restore.jobs).await?;
        note_phase(&mut phases, "compare", began);
        let facts = RestoreFacts {
            repository: restore.repository.url(),
            target_version: self.target_version,
            phase_milliseconds: phases,
        };
        let clock = self.context.clock.as_ref();
        let certificate = certify_against(&restore.backup, &expected, &restored, facts, clock);
        Ok(Certificate { recovered, ..certificate })
    }

    /// Runs again what changed the schema up to the point.
    async fn define(&self, phase: SchemaPhase) -> Result<(), Failure> {
        match &self.changes {
            Some(changes) => changes.define(phase).await,
            None => Ok(()),
        }
    }

    /// Only a proven restore loses its marks and looks finished.
    async fn finish(
        &self,
        certificate: &Certificate,
        progress: &Progress,
    ) -> Result<Option<GlobalsOutcome>, Failure> {
        if certificate.verdict != Verdict::Passed {
            return Ok(None);
        }
        let mut globals = None;
        if self.arguments.roles {
            // Last: a setting of the database could change what the restore itself does.
            progress.step("restoring memberships and settings");
            let added = restore_globals(self.restore).await;
            globals = Some(added.map_err(|error| proven_but("memberships and settings", &error))?);
        }
        progress.step("gathering statistics");
        let ended = self.restore.target.finish().await;
        ended.map_err(|error| proven_but("statistics for the planner", &error))?;
        Ok(globals)
    }

    fn answer(
        &self,
        plan: &RestorePlan,
        certificate: &Certificate,
        globals: Option<&GlobalsOutcome>,
        spent: Duration,
    ) -> Result<(), Failure> {
        let restore = self.restore;
        let rows_took = certificate.phase_milliseconds.get("rows").copied().unwrap_or_default();
        let raw_bytes = restore.backup.manifest.raw_bytes();
        let restored = Restored {
            plan,
            certificate,
            globals,
            seconds: spent.as_secs_f64(),
            megabytes_per_second: text::megabytes_per_second(raw_bytes, Duration::from_millis(rows_took)),
            peak_memory_bytes: peak_memory_bytes(),
        };
        if self.arguments.json {
            print_json(&restored)?;
        } else {
            print(&for_people(&restored));
        }
        Ok(())
    }
}

/// What fails behind the comparison takes nothing of the proof away.
fn proven_but(what: &str, error: &dyn Classified) -> Failure {
    Failure::found(
        error.class(),
        keepsake_domain::chain(error),
        format!(
            "the restored database is equal to the backup, as its certificate says; {what} are not complete"
        ),
        "correct the cause, then run the same command again (with another file for --certificate): it goes on",
    )
}

fn note_phase(phases: &mut BTreeMap<String, u64>, phase: &str, began: Instant) {
    phases.insert(phase.to_owned(), u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
}

fn verdict(certificate: &Certificate) -> Result<(), Failure> {
    let what = match certificate.verdict {
        Verdict::Passed => return Ok(()),
        Verdict::Failed => {
            format!("the restored database differs in {} places", certificate.differences_total)
        }
        Verdict::Inconclusive => "the backup holds nothing to compare, so nothing is proven".to_owned(),
    };
    Err(Failure::not_proven(
        what,
        "the target must not be used as it is; the backup may be damaged, or something else wrote to the target",
        "keepsake verify --repo <URL> --deep, then restore into a new empty database that nobody else uses",
    ))
}

fn for_people(restored: &Restored<'_>) -> String {
    let certificate = restored.certificate;
    let mut lines = vec![
        format!("certificate for backup {}", certificate.backup_id),
        format!("  verdict    {}", verdict_text(certificate.verdict)),
        format!(
            "  compared   {} tables, {} rows, {} sequences, {} schema objects on PostgreSQL {}",
            text::count(certificate.tables),
            text::count(certificate.rows),
            text::count(certificate.sequences),
            text::count(certificate.objects),
            text::server_version(certificate.target_version)
        ),
        format!("  manifest   sha256 {}", certificate.manifest_sha256),
    ];
    lines.extend(certificate.recovered.iter().flat_map(recovered_text));
    let phase =
        |(name, took): (&String, &u64)| format!("{name} {}", text::span(Duration::from_millis(*took)));
    let phases: Vec<String> = certificate.phase_milliseconds.iter().map(phase).collect();
    let total = text::span(Duration::from_secs_f64(restored.seconds));
    lines.push(format!("  took       {total} ({})", phases.join(", ")));
    lines.push(format!("  rate       rows at {} MB/s", restored.megabytes_per_second));
    if let Some(peak) = restored.peak_memory_bytes {
        lines.push(format!("  memory     {} at most", text::size(peak)));
    }
    let left_out = |one: &keepsake_domain::LeftOut| {
        format!("  left out   {}: {} ({})", one.object, one.rule.reason(), one.rule.advice())
    };
    lines.extend(certificate.left_out.iter().map(left_out));
    lines.extend(restored.globals.into_iter().flat_map(told));
    lines.extend(certificate.differences.iter().map(|difference| format!("  differs    {difference}")));
    lines.join("\n")
}

fn recovered_text(point: &RecoveredPoint) -> Vec<String> {
    let folded = if point.differential.is_some() { "a differential and " } else { "" };
    let reached = format!(
        "  point      {}: {} transactions of {folded}{} segments behind the backup, the last committed at {} (WAL position {})",
        point.target,
        text::count(point.transactions),
        text::count(point.segments),
        point.at,
        point.lsn
    );
    let old = |table: &TableName| format!("  NOT CAPTURED {table}: its rows are those of the backup");
    let missing = |table: &TableName| {
        format!("  NOT CAPTURED {table}: the backup does not hold it, so it did not come back")
    };
    let repeated = |one: &RepeatedStatement| format!("  schema     {one} was run again");
    let mut lines = vec![reached];
    lines.extend(point.schema_statements.iter().map(repeated));
    lines.extend(point.not_captured.iter().map(old));
    lines.extend(point.not_held.iter().map(missing));
    if !point.not_captured_known {
        lines.push(
            "  NOT KNOWN  which other tables were not captured: a manifest before the point is not there"
                .to_owned(),
        );
    }
    lines
}

/// What came of `--roles`.
fn told(globals: &GlobalsOutcome) -> Vec<String> {
    let lines = |title: &str, all: &[String]| -> Vec<String> {
        all.iter().map(|one| format!("  {title:<10} {one}")).collect()
    };
    [
        lines("roles", &globals.added),
        lines("REFUSED", &globals.refused),
        lines("differs", &globals.differs),
        lines("next", &["ALTER ROLE … LOGIN PASSWORD …, for each role that is to log in".to_owned()]),
    ]
    .concat()
}

fn verdict_text(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed: every row and sequence is equal, and no schema object is missing",
        Verdict::Failed => "FAILED",
        Verdict::Inconclusive => "inconclusive",
    }
}
