//! `keepsake replicate`: captured changes into another repository, from where they restore by themselves.

use crate::arguments::ReplicateArguments;
use crate::backup::check_name;
use crate::context::Context;
use crate::failure::Failure;
use crate::signals::unless_interrupted;
use crate::terminal::{Progress, print, print_json};
use crate::text;
use keepsake_archive::ChangesLayout;
use keepsake_domain::{FailureClass, Lineage, Timestamp};
use keepsake_steps::ports::{Clock, Repository};
use keepsake_steps::{CopiedChanges, copy_changes};
use serde::Serialize;

const AT_RISK: &str = "what was copied stands; the next copy goes on behind it";

/// Manifests of one call of the step: progress is told after each.
const AT_ONCE: u64 = 1_000;

/// JSON shape of the answer: `{"repository", "lineages": […]}`.
#[derive(Debug, Serialize)]
struct Answer {
    repository: String,
    lineages: Vec<CopiedLineage>,
}

#[derive(Debug, Serialize)]
struct CopiedLineage {
    source: String,
    lineage: Lineage,
    #[serde(flatten)]
    copied: CopiedChanges,
}

/// Runs `keepsake replicate`.
///
/// # Errors
/// [`Failure`]; also after everything else was copied, when segments are damaged where they are copied from.
pub async fn replicate(context: &Context, arguments: &ReplicateArguments) -> Result<(), Failure> {
    if let Some(name) = &arguments.name {
        check_name(name)?;
    }
    let from = context.places.repository("--repo", &arguments.repo).await?;
    let to = context.places.repository("--to", &arguments.to).await?;
    let copied = copy_all(from.as_ref(), to.as_ref(), arguments.name.as_deref());
    let lineages = unless_interrupted(copied, AT_RISK).await?;
    let answer = Answer { repository: from.url(), lineages };
    if arguments.json {
        print_json(&answer)?;
    } else {
        print(&for_people(&answer, context.clock.now()));
    }
    let mut left_out = answer.lineages.iter().flat_map(|lineage| &lineage.copied.left_out);
    match left_out.next() {
        None => Ok(()),
        Some(first) => Err(Failure::found(
            FailureClass::Integrity,
            format!("{} segments could not be copied: {first}", left_out.count() + 1),
            "points in time that need them cannot be restored from the copy; everything else was copied",
            "keepsake verify --repo <URL> --deep on both; then keepsake backup, behind which points can be restored again",
        )),
    }
}

async fn copy_all(
    from: &dyn Repository,
    to: &dyn Repository,
    name: Option<&str>,
) -> Result<Vec<CopiedLineage>, Failure> {
    let progress = Progress::new();
    let mut lineages = Vec::new();
    for layout in layouts(from, name).await? {
        progress.step(&format!("copying changes of {} {}", layout.source, layout.lineage));
        let mut copied = copy_changes(from, to, &layout, AT_ONCE).await?;
        // Each call goes on behind the one before it, and ends once it is where the repository was.
        while !copied.is_complete {
            let next = copy_changes(from, to, &layout, AT_ONCE).await?;
            copied = CopiedChanges {
                manifests: copied.manifests + next.manifests,
                bytes: copied.bytes + next.bytes,
                left_out: [copied.left_out, next.left_out.clone()].concat(),
                ..next
            };
        }
        let ChangesLayout { source, lineage } = layout;
        lineages.push(CopiedLineage { source, lineage, copied });
    }
    Ok(lineages)
}

/// Lineages with captured changes: of one source, or of all.
async fn layouts(from: &dyn Repository, name: Option<&str>) -> Result<Vec<ChangesLayout>, Failure> {
    let sources = match name {
        Some(name) => vec![name.to_owned()],
        None => from.folders("").await.map_err(keepsake_steps::StepError::from)?,
    };
    let mut layouts = Vec::new();
    for source in sources {
        for folder in from.folders(&format!("{source}/")).await.map_err(keepsake_steps::StepError::from)? {
            let layout = folder.parse().ok().and_then(|lineage| ChangesLayout::new(&source, lineage).ok());
            layouts.extend(layout);
        }
    }
    Ok(layouts)
}

fn for_people(answer: &Answer, now: Timestamp) -> String {
    let line = |lineage: &CopiedLineage| {
        let copied = &lineage.copied;
        let end = copied.end.map_or_else(
            || "no changes stand there".to_owned(),
            |end| format!("changes stand there to {} ({})", text::instant(end.at, now), end.lsn),
        );
        format!(
            "{} {}: copied {} segments and chains, {}; {end}",
            lineage.source,
            lineage.lineage,
            text::count(copied.manifests),
            text::size(copied.bytes)
        )
    };
    match answer.lineages.as_slice() {
        [] => format!("no changes stand in {}", answer.repository),
        lineages => lineages.iter().map(line).collect::<Vec<_>>().join("\n"),
    }
}
