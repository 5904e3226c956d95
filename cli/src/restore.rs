//! `keepsake restore`: the plan first, then the restore, then the proof.

use crate::arguments::{MissingRolesPolicy, RestoreArguments};
use crate::connection::connection;
use crate::context::Context;
use crate::failure::Failure;
use crate::keys::ReadingKey;
use crate::measures::peak_memory_bytes;
use crate::private_file::write_new;
use crate::restore_plan::RestorePlan;
use crate::signals::unless_interrupted;
use crate::standing::certificates;
use crate::terminal::{Progress, note, print, print_json};
use crate::text;
use keepsake_domain::{
    Certificate, Classified, ConnectionUrl, FailureClass, GlobalsOutcome, MissingRoles, Verdict,
};
use keepsake_postgres::{PgBin, PostgresTarget};
use keepsake_steps::ports::{Clock, Repository, Target};
use keepsake_steps::{
    Restore, RestoreFacts, StandingBackup, certify, find_layout, finish_target, prepare_target, read_back,
    read_backup, restore_globals, restore_parts, store_certificate,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

const AT_RISK: &str =
    "the backup is untouched; the target is not a complete restore, and the next run goes on in it";

/// JSON shape of the answer. With `--plan` it is the plan alone.
#[derive(Debug, Serialize)]
struct Restored<'a> {
    plan: &'a RestorePlan,
    certificate: &'a Certificate,
    /// With `--roles`, and only when the restore is proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    globals: Option<GlobalsOutcome>,
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
    let key = ReadingKey::given(&arguments.key, &context.places).await?;
    if key.is_none() && !arguments.plan {
        return Err(Failure::usage(
            "no key was given to open the backup with",
            "give --key-file FILE or --kms; keepsake show --repo <URL> names who can open it",
        ));
    }
    let repository = context.places.repository("--repo", &arguments.repo).await?;
    let layout = find_layout(repository.as_ref(), arguments.backup.as_ref()).await?;
    let backup = read_backup(repository.as_ref(), layout).await?;
    let place = url.place().to_owned();
    let target: Arc<dyn Target> = Arc::new(postgres(arguments, url, tools));
    let facts = target.facts(&backup.layout.backup_id.to_string()).await?;
    let measured = certificates(repository.as_ref(), &backup).await?;
    let url = repository.url();
    let plan = RestorePlan::new(&backup, &url, &place, &facts, &measured, context.clock.now());
    show_plan(&plan, arguments)?;
    plan.refuse_what_cannot_work()?;
    let Some(key) = key.filter(|_| !arguments.plan) else { return Ok(()) };
    let identity = key.open(repository.as_ref(), &backup).await?;
    let restore = Restore { repository, backup: Arc::new(backup), identity, target, jobs: arguments.jobs };
    let proof = Proof { context, arguments, restore: &restore, target_version: facts.server.server_version };
    let (certificate, globals) = proof.restore_and_compare().await?;
    proof.answer(&plan, &certificate, globals, began.elapsed()).await
}

fn postgres(arguments: &RestoreArguments, url: ConnectionUrl, tools: PgBin) -> PostgresTarget {
    let target = PostgresTarget::new(url, tools).with_missing_roles(match arguments.missing_roles {
        MissingRolesPolicy::Create => MissingRoles::Create,
        MissingRolesPolicy::Refuse => MissingRoles::Refuse,
        MissingRolesPolicy::SkipOwnership => MissingRoles::SkipOwnership,
    });
    if arguments.roles { target.with_all_roles() } else { target }
}

/// Before anything else: a long restore must not end with a certificate that has no place.
fn can_be_written(certificate: &Path) -> Result<(), Failure> {
    let problem = if certificate.symlink_metadata().is_ok() {
        "exists"
    } else if certificate.parent().is_some_and(|folder| folder.as_os_str().is_empty() || folder.is_dir()) {
        return Ok(());
    } else {
        "lies in a folder that does not exist"
    };
    Err(Failure::usage(
        format!("--certificate: {} {problem}", certificate.display()),
        "name a file that does not exist yet, in a folder that does; no certificate is ever overwritten",
    ))
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
    target_version: u32,
}

impl Proof<'_> {
    async fn restore_and_compare(&self) -> Result<(Certificate, Option<GlobalsOutcome>), Failure> {
        let progress = Arc::new(Progress::new());
        let mut phases = BTreeMap::new();
        let (restore, target) = (self.restore, self.restore.target.as_ref());
        let manifest = &restore.backup.manifest;

        progress.step("restoring types, tables and functions");
        let began = Instant::now();
        prepare_target(restore).await?;
        note_phase(&mut phases, "pre_data", began);

        progress.step_over(&format!("loading {} parts", manifest.parts.len()), manifest.raw_bytes());
        let began = Instant::now();
        let shown = Arc::clone(&progress);
        let loaded = move |part: &keepsake_archive::Part| {
            shown.advance(part.content.raw_bytes, part.content.rows);
        };
        restore_parts(restore, manifest.parts.clone(), &loaded).await?;
        note_phase(&mut phases, "rows", began);

        progress.step("restoring large objects, indexes, constraints and sequences");
        let began = Instant::now();
        finish_target(restore).await?;
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
        let certificate = certify(&restore.backup, &restored, facts, self.context.clock.as_ref());
        let mut globals = None;
        if certificate.verdict == Verdict::Passed {
            if self.arguments.roles {
                // Last: a setting of the database could change what the restore itself does.
                progress.step("restoring memberships and settings");
                globals = Some(restore_globals(restore).await?);
            }
            // Only a proven restore loses its marks and looks finished.
            progress.step("gathering statistics");
            target.finish().await?;
        }
        Ok((certificate, globals))
    }

    async fn answer(
        &self,
        plan: &RestorePlan,
        certificate: &Certificate,
        globals: Option<GlobalsOutcome>,
        spent: Duration,
    ) -> Result<(), Failure> {
        let restore = self.restore;
        keep(self.arguments, restore.repository.as_ref(), &restore.backup, certificate).await?;
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
        verdict(certificate)
    }
}

fn note_phase(phases: &mut BTreeMap<String, u64>, phase: &str, began: Instant) {
    phases.insert(phase.to_owned(), u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
}

/// Writes the certificate where it was asked for.
async fn keep(
    arguments: &RestoreArguments,
    repository: &dyn Repository,
    backup: &StandingBackup,
    certificate: &Certificate,
) -> Result<(), Failure> {
    let at_risk = "the restore is done; only its certificate was not kept";
    if let Some(path) = &arguments.certificate {
        let lost = |cause: String| {
            let what = format!("cannot write certificate {}: {cause}", path.display());
            Failure::found(FailureClass::Permanent, what, at_risk, "copy the certificate from --json")
        };
        let json = serde_json::to_vec_pretty(certificate).map_err(|cause| lost(cause.to_string()))?;
        write_new(path, &json).map_err(|cause| lost(cause.to_string()))?;
    }
    if arguments.record {
        let stored = store_certificate(repository, backup, Uuid::now_v7(), certificate).await;
        stored.map_err(|error| {
            let next = error.explanation().next;
            Failure::found(error.class(), keepsake_domain::chain(&error), at_risk, next)
        })?;
    }
    Ok(())
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
    lines.extend(restored.globals.iter().flat_map(told));
    lines.extend(certificate.differences.iter().map(|difference| format!("  differs    {difference}")));
    lines.join("\n")
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
        Verdict::Passed => "passed: every row, sequence and schema object is equal",
        Verdict::Failed => "FAILED",
        Verdict::Inconclusive => "inconclusive",
    }
}
