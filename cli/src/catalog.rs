//! `keepsake catalog`: the database of policies and runs.

use crate::arguments::{CatalogArguments, CatalogCommand};
use crate::connection::connection;
use crate::context::Context;
use crate::failure::Failure;
use crate::terminal::{print, print_json};
use crate::text;
use keepsake_domain::{ConnectionUrl, RunKind, Timestamp};
use keepsake_postgres::catalog::{ChangeAction, Declaration, ExecutionSummary, PostgresCatalog};
use keepsake_steps::ports::Clock;
use serde_json::json;
use std::path::Path;

/// Runs `keepsake catalog`.
///
/// # Errors
/// [`Failure`].
pub async fn catalog(context: &Context, command: &CatalogCommand) -> Result<(), Failure> {
    match command {
        CatalogCommand::Migrate(catalog) => migrate(&url(context, catalog)?, catalog.json).await,
        CatalogCommand::Apply { file, catalog } => {
            let url = url(context, catalog)?;
            let actor = format!("cli:{}", context.environment.get("USER").unwrap_or("unknown"));
            apply(url, file, &actor, catalog.json).await
        }
        CatalogCommand::Show { limit, catalog } => {
            show(context, url(context, catalog)?, *limit, catalog.json).await
        }
    }
}

fn url(context: &Context, arguments: &CatalogArguments) -> Result<ConnectionUrl, Failure> {
    connection("--catalog", &arguments.catalog, &context.environment)
}

async fn migrate(url: &ConnectionUrl, json: bool) -> Result<(), Failure> {
    let applied = PostgresCatalog::migrate(url).await?;
    if json {
        return print_json(&json!({ "applied": applied }));
    }
    match applied.as_slice() {
        [] => print("the catalog is up to date"),
        names => print(&format!("applied {}", names.join(", "))),
    }
    Ok(())
}

async fn apply(url: ConnectionUrl, file: &Path, actor: &str, json: bool) -> Result<(), Failure> {
    let text = std::fs::read_to_string(file).map_err(|cause| {
        Failure::usage(format!("cannot read {}: {cause}", file.display()), "name a file that can be read")
    })?;
    let declaration = Declaration::parse(&text)?;
    let changes = PostgresCatalog::connect(url).await?.apply(&declaration, actor).await?;
    if json {
        return print_json(&json!({ "changes": changes }));
    }
    if changes.is_empty() {
        print("nothing to change");
    }
    for change in &changes {
        let action = match change.action {
            ChangeAction::Created => "created",
            ChangeAction::Updated => "updated",
        };
        print(&format!("{action} {} {}", change.kind, change.name));
    }
    Ok(())
}

async fn show(context: &Context, url: ConnectionUrl, limit: u32, json: bool) -> Result<(), Failure> {
    let executions = PostgresCatalog::connect(url).await?.recent_executions(limit).await?;
    if json {
        return print_json(&json!({ "executions": executions }));
    }
    if executions.is_empty() {
        print("no run is recorded");
    }
    for execution in &executions {
        print(&for_people(execution, context.clock.now()));
    }
    Ok(())
}

fn for_people(execution: &ExecutionSummary, now: Timestamp) -> String {
    let began = execution.started_at.map_or_else(|| "not yet".to_owned(), |at| text::instant(at, now));
    let is_capture = execution.backup_type == RunKind::Incremental.name();
    let what = if is_capture { " capture" } else { "" };
    let mut lines = format!("{}{what} {}, begun {began}", execution.source, execution.status);
    if let Some(backup_id) = execution.backup_id.filter(|_| !is_capture) {
        lines.push_str(&format!("\n  backup {backup_id}"));
    }
    if let (Some(raw), Some(stored)) = (execution.raw_bytes, execution.stored_bytes) {
        lines.push_str(&format!(", {} raw, {} stored", text::size(raw), text::size(stored)));
    }
    if let Some(message) = &execution.error_message {
        lines.push_str(&format!("\n  {}: {message}", execution.error_class.as_deref().unwrap_or("failed")));
    }
    lines
}
