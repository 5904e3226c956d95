//! Documents tell what is there: paths, commands, tests, states and links that they name exist, and what exists is
//! named where a reader looks for it.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "documents/checks.rs"]
mod checks;
#[path = "documents/facts.rs"]
mod facts;
#[path = "documents/markdown.rs"]
mod markdown;

use keepsake_domain::{LeftOutRule, Provider};
use markdown::Document;
use std::path::PathBuf;

const NONE: [String; 0] = [];

fn in_all(check: impl Fn(&Document) -> Vec<String>) -> Vec<String> {
    facts::documents().iter().flat_map(check).collect()
}

fn bad(text: &str) -> Document {
    Document::new("docs/bad.md", text)
}

#[test]
fn every_path_that_is_named_exists() {
    assert_eq!(in_all(checks::missing_paths), NONE);
    let found = checks::missing_paths(&bad("`crates/none.rs` `other.toml` `target/x` `crates/domain/`"));
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn every_cargo_command_that_is_named_exists() {
    let known = facts::xtask_commands();
    assert_eq!(in_all(|document| checks::unknown_cargo_commands(document, &known)), NONE);
    assert_eq!(
        checks::unknown_cargo_commands(&bad("`cargo x frobnicate` and `cargo x sample`"), &known).len(),
        1
    );
}

#[test]
fn every_keepsake_command_and_option_that_is_named_exists() {
    assert_eq!(in_all(checks::unknown_keepsake_commands), NONE);
    for text in [
        "`keepsake dance`",
        "`keepsake catalog rebuild`",
        "`keepsake list --colour`",
        "`X=$(keepsake keys)`",
        "```\nkeepsake \\\n no\n```",
    ] {
        assert_eq!(checks::unknown_keepsake_commands(&bad(text)).len(), 1, "{text}");
    }
}

#[test]
fn every_command_and_exit_code_of_keepsake_is_explained() {
    let page = facts::document("docs/cli.md");
    assert!(facts::exit_codes().len() >= 8 && facts::keepsake_commands("Command").len() >= 7);
    assert_eq!(checks::without_row(&page, facts::keepsake_commands("Command")), NONE);
    assert_eq!(checks::without_row(&page, facts::exit_codes()), NONE);
}

#[test]
fn every_document_that_a_program_names_exists() {
    let named = facts::documents_named_in_code();
    assert!(named.contains("docs/cli.md"), "{named:?}");
    let missing: Vec<String> = named.into_iter().filter(|path| !facts::exists(path.as_ref())).collect();
    assert_eq!(missing, NONE);
}

#[test]
fn every_test_that_is_named_exists() {
    let known = facts::function_names();
    assert_eq!(in_all(|document| checks::missing_tests(document, &known)), NONE);
    assert_eq!(checks::missing_tests(&bad("`a_test_that_nobody_wrote` `part_size_bytes`"), &known).len(), 1);
}

#[test]
fn every_link_within_the_repository_leads_somewhere() {
    assert_eq!(in_all(checks::dead_links), NONE);
    let found =
        checks::dead_links(&bad("[a](none.md) [b](glossary.md#none) [c](#none) [d](glossary.md) # x"));
    assert_eq!(found.len(), 3, "{found:?}");
}

#[test]
fn the_glossary_is_sorted_and_names_each_word_once() {
    assert_eq!(checks::glossary_faults(&facts::document("docs/glossary.md")), NONE);
    for list in
        ["- **b**: x\n- **a**: x", "- **a**: x\n- **a**: y", "- **a**: x\n  more", "- **a**: x\n- b: y"]
    {
        assert_eq!(checks::glossary_faults(&bad(&format!("# G\n\n{list}\n"))).len(), 1, "{list}");
    }
}

#[test]
fn every_decision_has_status_context_decision_and_consequences() {
    let names = facts::names("docs/adr");
    let faults = names
        .iter()
        .zip(1..)
        .flat_map(|(name, number)| checks::adr_faults(&facts::document(&format!("docs/adr/{name}")), number));
    assert_eq!(faults.collect::<Vec<_>>(), NONE);
    let bad =
        Document::new("docs/adr/0003-x.md", "# 3. X\n\nStatus: accepted\n\n## Context\n\n## Decision\n");
    assert_eq!(checks::adr_faults(&bad, 3).len(), 1);
    assert_eq!(checks::adr_faults(&bad, 4).len(), 3);
}

#[test]
fn every_document_is_linked_from_an_entrance() {
    let entrances: Vec<Document> = ["README.md", "ARCHITECTURE.md", "docs/README.md"]
        .into_iter()
        .filter(|path| facts::exists(path.as_ref()))
        .map(facts::document)
        .collect();
    let mut files = facts::files("md");
    files.retain(|file| file.starts_with("docs"));
    assert_eq!(checks::unlinked(&files, &entrances), NONE);
    assert_eq!(checks::unlinked(&[PathBuf::from("docs/nobody.md")], &entrances).len(), 1);
}

#[test]
fn every_crate_folder_and_function_is_described() {
    let architecture = facts::document("ARCHITECTURE.md");
    assert_eq!(checks::without_row(&architecture, facts::folders()), NONE);
    let functions = facts::names("functions/src/bin").into_iter();
    let functions = functions.map(|name| name.trim_end_matches(".rs").to_owned());
    assert_eq!(checks::without_row(&architecture, functions), NONE);
    assert_eq!(checks::without_row(&architecture, ["crates/none".to_owned()]).len(), 1);
}

/// Rules of the table in a provider's section.
fn rules_of(page: &Document, provider: Provider) -> Vec<String> {
    let (_, section) = page.text.split_once(&format!(": `{}`\n", provider.name())).unwrap();
    let section = Document::new("docs/section.md", section.split("\n## ").next().unwrap());
    section.first_cells()
}

#[test]
fn every_provider_has_a_table_with_exactly_the_rules_that_may_be_met_there() {
    let page = facts::document("docs/providers.md");
    for provider in Provider::ALL {
        let rules = LeftOutRule::ALL.into_iter().filter(|rule| rule.met_at().contains(&provider));
        let rules: Vec<String> = rules.map(|rule| rule.name().to_owned()).collect();
        assert_eq!(rules_of(&page, provider), rules, "{}", provider.name());
    }
    let bad = bad("## Plain: `plain`\n\n| Rule |\n|---|\n| `moon` | x |\n\n## RDS: `rds`\n");
    assert_eq!(rules_of(&bad, Provider::Plain), ["moon"]);
}

#[test]
fn every_failure_class_and_every_state_has_its_row_in_the_runbook() {
    let runbook = facts::document("docs/runbooks/failed-backup.md");
    assert!(facts::error_names().len() >= 4 && facts::task_states().len() >= 16);
    assert_eq!(checks::without_row(&runbook, facts::error_names()), NONE);
    assert_eq!(checks::without_row(&runbook, facts::task_states()), NONE);
    assert_eq!(checks::without_row(&runbook, ["Keepsake.None".to_owned()]).len(), 1);
}

#[test]
fn every_parameter_of_the_template_is_explained_and_no_other() {
    let runbook = facts::document("docs/runbooks/deploy.md");
    let parameters = facts::parameters();
    assert!(parameters.len() >= 10, "{parameters:?}");
    assert_eq!(checks::without_row(&runbook, parameters.clone()), NONE);
    let cells = runbook.first_cells().into_iter();
    let unknown: Vec<String> = cells.filter(|name| !parameters.contains(name)).collect();
    assert_eq!(unknown, NONE);
}
