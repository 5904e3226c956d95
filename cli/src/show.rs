//! `keepsake show`: everything about one backup.

use crate::arguments::ShowArguments;
use crate::context::Context;
use crate::coverage;
use crate::failure::Failure;
use crate::list::proof;
use crate::standing::certificates;
use crate::terminal::{print, print_json};
use crate::text;
use keepsake_archive::Manifest;
use keepsake_domain::{Certificate, Timestamp};
use keepsake_steps::ports::Clock;
use keepsake_steps::{StandingBackup, find_layout, read_backup};
use serde::Serialize;

/// JSON shape of the answer; the manifest as it stands.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    repository: String,
    manifest_key: String,
    manifest_sha256: &'a str,
    manifest: &'a Manifest,
    certificates: &'a [Certificate],
}

/// Runs `keepsake show`.
///
/// # Errors
/// [`Failure`].
pub async fn show(context: &Context, arguments: &ShowArguments) -> Result<(), Failure> {
    let repository = context.places.repository("--repo", &arguments.repo).await?;
    let layout = find_layout(repository.as_ref(), arguments.backup.as_ref()).await?;
    let backup = read_backup(repository.as_ref(), layout).await?;
    let certificates = certificates(repository.as_ref(), &backup).await?;
    if !arguments.json {
        print(&for_people(&backup, &certificates, &repository.url(), context.clock.now()));
        return Ok(());
    }
    print_json(&Shown {
        repository: repository.url(),
        manifest_key: backup.layout.manifest(),
        manifest_sha256: &backup.manifest_sha256,
        manifest: &backup.manifest,
        certificates: &certificates,
    })
}

fn for_people(
    backup: &StandingBackup,
    certificates: &[Certificate],
    repository: &str,
    now: Timestamp,
) -> String {
    let manifest = &backup.manifest;
    let newest = certificates.last();
    let mut lines = vec![
        format!("backup {} of {}", manifest.backup_id, manifest.source),
        format!("  lies in    {repository}, {}", backup.layout.root()),
        format!("  database   {}, lineage {}", manifest.database, manifest.lineage),
        format!("  snapshot   {}", text::instant(manifest.snapshot_at, now)),
        format!(
            "  position   LSN {}, transactions {}",
            manifest.lsn,
            String::from(manifest.snapshot.clone())
        ),
        format!("  sealed     {}", text::instant(manifest.sealed_at, now)),
        format!("  manifest   sha256 {}", backup.manifest_sha256),
        format!("  proof      {}", proof(newest.map(|c| c.verdict), newest.map(|c| c.compared_at), now)),
    ];
    lines.extend(server(manifest));
    lines.extend(sizes(manifest));
    lines.extend(manifest.key_holders.iter().map(|holder| format!("  opens by   {holder}")));
    lines.extend(tables(manifest));
    lines.extend(coverage::lines(&manifest.coverage));
    lines.join("\n")
}

fn server(manifest: &Manifest) -> Vec<String> {
    let server = &manifest.server;
    let extensions: Vec<String> =
        server.extensions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    vec![
        format!(
            "  server     PostgreSQL {}, {}, collation {} ({})",
            text::server_version(server.server_version),
            server.encoding,
            server.collation,
            server.locale_provider
        ),
        format!(
            "  extensions {}",
            if extensions.is_empty() { "none".to_owned() } else { extensions.join(", ") }
        ),
        format!("  tools      keepsake {}, {}", manifest.tools.keepsake, manifest.tools.pg_dump),
    ]
}

fn sizes(manifest: &Manifest) -> Vec<String> {
    let large_objects = manifest.blobs.as_ref().map_or(0, |blobs| blobs.count);
    vec![
        format!(
            "  holds      {} rows in {} parts, {} sequences, {} large objects, {} schema objects",
            text::count(manifest.rows()),
            text::count(manifest.parts.len() as u64),
            text::count(manifest.sequences.len() as u64),
            text::count(large_objects),
            text::count(manifest.schema_objects.len() as u64)
        ),
        format!(
            "  size       {} raw, {} stored, ratio {}",
            text::size(manifest.raw_bytes()),
            text::size(manifest.stored_bytes()),
            text::ratio(manifest.raw_bytes(), manifest.stored_bytes())
        ),
    ]
}

fn tables(manifest: &Manifest) -> Vec<String> {
    let expected = manifest.expected();
    let mut lines = vec![format!("tables ({}):", text::count(expected.tables.len() as u64))];
    let line = |table: &keepsake_domain::RestoredTable| {
        format!("  {}: {} rows, digest {}", table.table, text::count(table.rows), table.rows_digest)
    };
    lines.extend(expected.tables.iter().map(line));
    lines
}
