//! `keepsake coverage`: what a backup of this database would protect, and what not. Only looks.

use crate::arguments::CoverageArguments;
use crate::backup::provider;
use crate::connection::connection;
use crate::context::Context;
use crate::failure::Failure;
use crate::terminal::{print, print_json};
use crate::text;
use keepsake_domain::{Coverage, SourceLimits, Uncovered};
use keepsake_postgres::PostgresSource;
use keepsake_steps::ports::{DatabaseShape, Source};
use serde::Serialize;
use std::fmt;

/// JSON shape of the answer.
#[derive(Debug, Serialize)]
struct CoverageReport {
    source: String,
    provider: String,
    protected: Protected,
    #[serde(flatten)]
    coverage: Coverage,
}

/// What a backup of this moment would hold.
#[derive(Debug, Serialize)]
struct Protected {
    tables: u64,
    /// On the source's disk, with TOAST and without indexes.
    table_bytes: u64,
    large_objects: u64,
    /// Tables, indexes, views, functions, policies and so on.
    schema_objects: u64,
}

/// Runs `keepsake coverage`. The report is printed also when a backup would be refused.
///
/// # Errors
/// What would refuse a backup, or that the source cannot be read.
pub async fn coverage(context: &Context, arguments: &CoverageArguments) -> Result<(), Failure> {
    let url = connection("--source", &arguments.source, &context.environment)?;
    let place = url.place().to_owned();
    let tools = context.client_tools(arguments.pg_bin.as_deref(), "pg_dump")?;
    let source = PostgresSource::new(url, provider(arguments.provider), tools);
    // As a backup with its defaults would ask.
    let preflight = source.preflight(SourceLimits::default().connections(2)).await;
    let shape = match (shape(&source).await, &preflight) {
        (Ok(shape), _) => shape,
        (Err(failure), Ok(_)) => return Err(failure),
        (Err(_), Err(_)) => return Ok(preflight.map(drop)?),
    };
    let report = CoverageReport::new(place, shape);
    if arguments.json {
        print_json(&report)?;
    } else {
        print(&report.to_string());
    }
    Ok(preflight.map(drop)?)
}

async fn shape(source: &dyn Source) -> Result<DatabaseShape, Failure> {
    let held = source.take_snapshot().await?;
    let shape = source.shape(held.name()).await?;
    held.end().await?;
    Ok(shape)
}

impl CoverageReport {
    fn new(source: String, shape: DatabaseShape) -> Self {
        let provider = shape.globals.get("provider").and_then(serde_json::Value::as_str);
        Self {
            source,
            provider: provider.unwrap_or_default().to_owned(),
            protected: Protected {
                tables: shape.tables.len() as u64,
                table_bytes: shape.tables.iter().map(|table| table.size_bytes).sum(),
                large_objects: shape.large_objects,
                schema_objects: shape.objects.len() as u64,
            },
            coverage: shape.coverage,
        }
    }
}

impl fmt::Display for CoverageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "coverage of {}, provider {}", self.source, self.provider)?;
        let protected = &self.protected;
        writeln!(
            f,
            "  protected  {} tables ({}), {} large objects, {} schema objects",
            text::count(protected.tables),
            text::size(protected.table_bytes),
            text::count(protected.large_objects),
            text::count(protected.schema_objects)
        )?;
        lines(&self.coverage).iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Both lists of a report, each with its title.
#[must_use]
pub fn lines(coverage: &Coverage) -> Vec<String> {
    let line = |one: &Uncovered| format!("  {}: {} ({})", one.what, one.why, one.advice);
    let mut lines = vec!["not covered:".to_owned()];
    if coverage.not_covered.is_empty() {
        lines.push("  nothing is left out".to_owned());
    }
    lines.extend(coverage.not_covered.iter().map(line));
    if !coverage.limited.is_empty() {
        lines.push("covered with a limit:".to_owned());
        lines.extend(coverage.limited.iter().map(line));
    }
    lines
}
