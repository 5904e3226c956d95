//! `keepsake backup`: the steps of the backup state machine, one after the other, in this process.

use crate::arguments::{BackupArguments, ProviderName};
use crate::backup_summary::{BackupSummary, Spent};
use crate::capturing::refuse_mount_point;
use crate::connection::connection;
use crate::context::Context;
use crate::failure::Failure;
use crate::held_snapshot::HeldByUs;
use crate::keys::{key_holder, recipients};
use crate::scratch::Scratch;
use crate::signals::unless_interrupted;
use crate::terminal::{Progress, note, print, print_json};
use crate::without_catalog::{NO_LEASE, NoExecutions, NoLeases, OwnHolds};
use keepsake_archive::{ArchiveLayout, Recipient};
use keepsake_domain::{BackupId, Classified, ExecutionRowId, Lineage, SourceId};
use keepsake_folder::FolderRepository;
use keepsake_postgres::PostgresSource;
use keepsake_steps::ports::{Clock, Provider, Repository, Source, SourceFacts};
use keepsake_steps::{
    Dumper, KeyDrawing, Run, Sealing, VerifiedCopy, Work, copy_backup, dump, joins_changes, read_backup,
    seal_backup, upload_parts, write_key,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// A snapshot without a relay ends after a day: longer, and the source's vacuum would pay for it.
const LONGEST_SNAPSHOT_SECONDS: u32 = 24 * 60 * 60;

/// Uploads of a failed run are removed as far as that is possible in this time; the bucket's rule does the rest.
const SWEEP_PATIENCE: Duration = Duration::from_secs(20);

const AT_RISK: &str = "this run made no backup; older backups stand and the source is untouched";

/// Runs `keepsake backup`.
///
/// # Errors
/// [`Failure`]; then no manifest was written, unless the text says that the backup stands.
pub async fn backup(context: &Context, arguments: &BackupArguments) -> Result<(), Failure> {
    let job = unless_interrupted(Job::prepare(context, arguments), AT_RISK).await?;
    let outcome = unless_interrupted(job.run(), AT_RISK).await;
    if outcome.is_err() {
        job.sweep().await;
    }
    let summary = outcome?;
    job.progress.clear();
    summary.warnings.iter().for_each(|warning| note(&format!("warning: {warning}")));
    if arguments.json {
        return print_json(&summary);
    }
    print(&summary.to_string());
    Ok(())
}

struct Job {
    run: Run,
    dumper: Dumper,
    copies: Vec<Arc<dyn Repository>>,
    relay: Option<u32>,
    progress: Arc<Progress>,
    began: Instant,
    // Dropped last: the work objects lie in it.
    _scratch: Scratch,
}

impl Job {
    /// Everything that can be refused is refused here, before the source holds a snapshot for us.
    async fn prepare(context: &Context, arguments: &BackupArguments) -> Result<Self, Failure> {
        let began = Instant::now();
        let progress = Arc::new(Progress::new());
        let url = connection("--source", &arguments.source, &context.environment)?;
        let recipients = recipients(&arguments.recipient)?;
        if let Some(name) = &arguments.name {
            check_name(name)?;
        }
        let tools = context.client_tools(arguments.pg_bin.as_deref(), "pg_dump")?;
        progress.step("opening the repository");
        let repository = context.places.repository("--repo", &arguments.repo).await?;
        let copies = open_copies(context, arguments, repository.as_ref()).await?;
        for place in copies.iter().chain([&repository]) {
            sweep_dead(place.as_ref()).await;
        }
        progress.step(&format!("looking at {}", url.place()));
        let backup_id = BackupId(Uuid::now_v7());
        let source = PostgresSource::new(url.clone(), provider(arguments.provider), tools).of_run(backup_id);
        let source: Arc<dyn Source> = Arc::new(source);
        let facts = source.preflight(arguments.limits().connections(arguments.jobs)).await?;
        let name = arguments.name.clone().unwrap_or_else(|| safe_name(&facts.database));
        let layout = ArchiveLayout::new(&name, facts.lineage.clone(), backup_id)?;
        refuse_mount_point(repository.as_ref(), url, &layout).await?;
        let scratch = Scratch::new(backup_id)?;
        let work = Work::new(Arc::new(FolderRepository::open(scratch.path())?), backup_id);
        let recipient = wrap(context, arguments, &recipients, repository.as_ref(), &work, &layout).await?;
        let run = run(arguments, &layout, facts, recipient, repository.url(), context.clock.now());
        let holds = Arc::new(OwnHolds::default());
        let dumper = Dumper { source, holds, repository, work, clock: context.clock.clone() };
        let relay = arguments.relay_seconds;
        Ok(Self { run, dumper, copies, relay, progress, began, _scratch: scratch })
    }

    async fn run(&self) -> Result<BackupSummary, Failure> {
        let mut held = HeldByUs::hold(&self.dumper, &self.run, self.relay);
        let spent = held.during(self.read_database()).await?;
        held.release(self.dumper.holds.as_ref(), self.run.execution_row).await?;
        self.progress.step("checking every object");
        let sealing = Sealing {
            repository: self.dumper.repository.as_ref(),
            work: &self.dumper.work,
            leases: &NoLeases,
            executions: &NoExecutions,
            clock: self.dumper.clock.as_ref(),
        };
        let sealed = seal_backup(&sealing, &self.run).await?;
        let backup = read_backup(self.dumper.repository.as_ref(), self.run.layout()?).await?;
        let mut copies = Vec::new();
        for copy in &self.copies {
            self.progress.step(&format!("copying to {}", copy.url()));
            let copied = copy_backup(self.dumper.repository.as_ref(), copy.as_ref(), &backup).await;
            copies.push(copied.map_err(|error| self.copy_failed(error, copy.as_ref(), &copies))?);
        }
        let joins = joins_changes(self.dumper.repository.as_ref(), &backup).await;
        let mut summary =
            BackupSummary::new(&self.run, &backup.manifest, sealed, copies, spent, self.began.elapsed());
        summary.add_join(joins.as_ref().copied().map_err(|error| keepsake_domain::chain(error)));
        Ok(summary)
    }

    /// Schema, then rows.
    async fn read_database(&self) -> Result<Spent, Failure> {
        let began = Instant::now();
        self.progress.step("dumping the schema");
        let plan = dump(&self.dumper, &self.run).await?;
        let schema = began.elapsed();
        let total: u64 = plan.parts.iter().map(|part| part.size_bytes).sum();
        let what = format!("reading {} tables in {} parts", plan.tables, plan.parts.len());
        self.progress.step_over(&what, total);
        let sizes: BTreeMap<u32, u64> =
            plan.parts.iter().map(|part| (part.number, part.size_bytes)).collect();
        let progress = Arc::clone(&self.progress);
        let seen = move |part: &keepsake_archive::Part| {
            progress.advance(sizes.get(&part.number).copied().unwrap_or_default(), part.content.rows);
        };
        upload_parts(&self.dumper, &self.run, &plan.parts, &seen).await?;
        Ok(Spent { schema, rows: began.elapsed().saturating_sub(schema) })
    }

    fn copy_failed(
        &self,
        error: keepsake_steps::StepError,
        copy: &dyn Repository,
        done: &[VerifiedCopy],
    ) -> Failure {
        let at_risk = format!(
            "backup {} stands in {}, and {} copies of it were verified; the one in {} does not count",
            self.run.backup_id,
            self.run.repository,
            done.len(),
            copy.url()
        );
        let next = error.explanation().next;
        Failure::found(error.class(), keepsake_domain::chain(&error), at_risk, next)
    }

    /// Removes what this run had begun to upload; what it finished is no backup without a manifest.
    async fn sweep(&self) {
        let Ok(layout) = self.run.layout() else { return };
        let root = layout.root();
        let swept = self.dumper.repository.sweep_unfinished(&root);
        match tokio::time::timeout(SWEEP_PATIENCE, swept).await {
            Ok(Ok(count)) => tracing::info!(count, "removed unfinished uploads"),
            Ok(Err(error)) => note(&format!("note: unfinished uploads under {root} may be left: {error}")),
            Err(_) => note(&format!("note: unfinished uploads under {root} may be left")),
        }
    }
}

/// Removes what killed runs had begun to write in a folder, where the locks of files tell the dead from the living. A
/// bucket cannot tell them; there a rule of the bucket's does it after days.
pub async fn sweep_dead(repository: &dyn Repository) {
    if repository.url().starts_with("file://")
        && let Err(error) = repository.sweep_unfinished("").await
    {
        note(&format!("note: what killed runs left in {} stays: {error}", repository.url()));
    }
}

async fn open_copies(
    context: &Context,
    arguments: &BackupArguments,
    repository: &dyn Repository,
) -> Result<Vec<Arc<dyn Repository>>, Failure> {
    let mut copies: Vec<Arc<dyn Repository>> = Vec::new();
    for url in &arguments.copy_to {
        let copy = context.places.repository("--copy-to", url).await?;
        if copy.url() == repository.url() || copies.iter().any(|other| other.url() == copy.url()) {
            let what = format!("--copy-to names {} twice", copy.url());
            return Err(Failure::usage(what, "name each place once: two copies in one place are one"));
        }
        copies.push(copy);
    }
    Ok(copies)
}

/// Draws the backup's key pair and wraps it for everyone who was named; the command line requires at least one.
async fn wrap(
    context: &Context,
    arguments: &BackupArguments,
    recipients: &[Recipient],
    repository: &dyn Repository,
    work: &Work,
    layout: &ArchiveLayout,
) -> Result<Recipient, Failure> {
    let holder = key_holder(&context.places, arguments.kms_key.as_deref(), recipients).await?;
    let clock = context.clock.as_ref();
    let drawing = KeyDrawing { repository, work, key_holder: holder.as_ref(), clock };
    Ok(write_key(&drawing, layout, recipients).await?)
}

fn run(
    arguments: &BackupArguments,
    layout: &ArchiveLayout,
    facts: SourceFacts,
    recipient: Recipient,
    repository: String,
    started_at: keepsake_domain::Timestamp,
) -> Run {
    Run {
        execution_id: format!("cli:{}", layout.backup_id),
        execution_row: ExecutionRowId(layout.backup_id.0),
        policy: "command line".to_owned(),
        source: layout.source.clone(),
        source_id: SourceId(Uuid::nil()),
        backup_id: layout.backup_id,
        fencing_token: NO_LEASE,
        started_at,
        repository,
        copies: Vec::new(),
        recipient,
        provider: provider(arguments.provider),
        connection_secret: String::new(),
        kms_key_id: arguments.kms_key.clone().unwrap_or_default(),
        relay_seconds: arguments.relay_seconds.unwrap_or(LONGEST_SNAPSHOT_SECONDS),
        part_size_bytes: arguments.part_size,
        jobs: arguments.jobs,
        limits: arguments.limits(),
        compression: arguments.level,
        test_restore: false,
        notify_success: false,
        facts,
    }
}

/// The provider behind a name of the command line.
#[must_use]
pub fn provider(name: ProviderName) -> Provider {
    match name {
        ProviderName::Plain => Provider::Plain,
        ProviderName::Rds => Provider::Rds,
        ProviderName::Aurora => Provider::Aurora,
        ProviderName::Supabase => Provider::Supabase,
    }
}

/// A name that was given is refused before anything is connected to.
///
/// # Errors
/// When it cannot stand in an object key.
pub fn check_name(name: &str) -> Result<(), Failure> {
    let anywhere = Lineage { system_identifier: 0, timeline: 0, database_oid: 0 };
    ArchiveLayout::new(name, anywhere, BackupId(Uuid::nil()))
        .map(|_| ())
        .map_err(|invalid| Failure::usage(invalid.to_string(), "give another --name"))
}

/// A database's name as a source's name: what cannot stand in an object key becomes a dash.
fn safe_name(database: &str) -> String {
    let safe = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' => c,
        _ => '-',
    };
    let name: String = database.chars().map(safe).collect();
    let name = name.trim_start_matches(['-', '_']);
    let name: String = name.chars().take(63).collect();
    if name.is_empty() { "database".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_database_gets_a_name_that_can_stand_in_a_key() {
        for (database, name) in [
            ("WedSync", "wedsync"),
            ("my db/1", "my-db-1"),
            ("__x", "x"),
            ("äöü", "database"),
            ("", "database"),
        ] {
            assert_eq!(safe_name(database), name);
            assert!(check_name(name).is_ok());
        }
        assert!(check_name(&safe_name(&"x".repeat(80))).is_ok());
        assert!(check_name("../x").is_err());
    }
}
