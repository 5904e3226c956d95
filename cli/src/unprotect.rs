//! `keepsake unprotect`: takes every trace of capturing changes off a source. The repository is not touched.

use crate::arguments::UnprotectArguments;
use crate::backup::check_name;
use crate::connection::connection;
use crate::context::Context;
use crate::failure::Failure;
use crate::terminal::{print, print_json};
use keepsake_postgres::PostgresChanges;
use keepsake_steps::ports::ChangeSource;
use serde::Serialize;

/// JSON shape of the answer.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    source: &'a str,
    database: &'a str,
    /// Kind and name of each object that was removed or set back.
    removed: &'a [String],
}

/// Runs `keepsake unprotect`.
///
/// # Errors
/// [`Failure`]; what was removed until then is gone, and the same command goes on.
pub async fn unprotect(context: &Context, arguments: &UnprotectArguments) -> Result<(), Failure> {
    let url = connection("--source", &arguments.source, &context.environment)?;
    check_name(&arguments.name)?;
    let database = url.place().to_owned();
    let removed = PostgresChanges::new(url, &arguments.name).unprotect().await?.removed;
    let answer = Answer { source: &arguments.name, database: &database, removed: &removed };
    if arguments.json {
        return print_json(&answer);
    }
    print(&for_people(&answer));
    Ok(())
}

fn for_people(answer: &Answer<'_>) -> String {
    let Answer { source, database, removed } = answer;
    if removed.is_empty() {
        return format!("{database} holds nothing of {source}: no slot, no publication");
    }
    let mut lines = vec![format!("changes of {source} are not captured any more; removed from {database}:")];
    lines.extend(removed.iter().map(|one| format!("  {one}")));
    lines.join("\n")
}
