//! The checks. Each answers with everything that is not true, one sentence each.

use crate::facts;
use crate::markdown::Document;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a path in a document begins with when it is one of this repository.
const TOP: [&str; 11] = [
    ".cargo",
    ".ci",
    "cli",
    "crates",
    "docs",
    "functions",
    "infra",
    "migrations",
    "statemachines",
    "tests",
    "xtask",
];

/// Paths in code that look like ours and do not stand.
pub fn missing_paths(document: &Document) -> Vec<String> {
    let code = document.code();
    let words = code.iter().flat_map(|code| code.split_whitespace());
    let words =
        words.map(|word| word.trim_matches(|c| matches!(c, '"' | '\'' | ',' | '.' | ':' | ';' | ')' | '(')));
    let paths: BTreeSet<&str> = words.filter(|word| is_path(word)).collect();
    let missing = paths.into_iter().filter(|path| !facts::exists(Path::new(path)));
    missing.map(|path| format!("{}: {path} does not exist", document.name())).collect()
}

fn is_path(word: &str) -> bool {
    let plain = word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/' | b'-'));
    let at_root =
        [".toml", ".md", ".yaml"].iter().any(|ending| word.ends_with(ending)) && !word.contains('/');
    plain && (at_root || word.split_once('/').is_some_and(|(top, _)| TOP.contains(&top)))
}

/// `cargo x` commands that its `main` does not know.
pub fn unknown_cargo_commands(document: &Document, known: &BTreeSet<String>) -> Vec<String> {
    let named = document.text.split("cargo x ").skip(1).map(first_word).filter(|word| !word.is_empty());
    let unknown = named.filter(|word| !known.contains(*word));
    unknown.map(|word| format!("{}: cargo x {word} is no command", document.name())).collect()
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !(c.is_ascii_lowercase() || c == '-')).next().unwrap_or_default()
}

/// Commands and options of `keepsake` that it does not have.
pub fn unknown_keepsake_commands(document: &Document) -> Vec<String> {
    let (commands, catalog) =
        (facts::keepsake_commands("Command"), facts::keepsake_commands("CatalogCommand"));
    let options = facts::keepsake_options();
    let mut unknown = Vec::new();
    for line in document.code() {
        let at_start = line.trim_start_matches("$ ").strip_prefix("keepsake ");
        let inside = line.split_once("$(keepsake ").map(|(_, rest)| rest);
        let Some(rest) = at_start.or(inside) else { continue };
        let mut words = rest.split_whitespace().map(|word| word.trim_end_matches([',', ';', ')']));
        let given: Vec<&str> = words.clone().filter_map(|word| word.strip_prefix("--")).collect();
        let (command, below) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let fits = commands.contains(command) || command.starts_with('-');
        let fits_below = command != "catalog" || below.is_empty() || catalog.contains(below);
        let wrong = given.iter().map(|option| option.split('=').next().unwrap_or(option));
        let wrong: Vec<&str> = wrong.filter(|option| !options.contains(*option)).collect();
        if !fits || !fits_below || !wrong.is_empty() {
            unknown.push(format!("{}: \"{line}\" is no command of keepsake {wrong:?}", document.name()));
        }
    }
    unknown
}

/// Links that lead nowhere, to a missing file or a missing heading.
pub fn dead_links(document: &Document) -> Vec<String> {
    let links = document.links().into_iter();
    let dead = links.filter(|link| !leads_somewhere(document, link));
    dead.map(|link| format!("{}: the link to {link} leads nowhere", document.name())).collect()
}

fn leads_somewhere(document: &Document, link: &str) -> bool {
    let file = document.file_of(link);
    let Some((_, wanted)) = link.split_once('#') else {
        return file.is_some_and(|file| facts::exists(&file));
    };
    let anchors = match &file {
        None => document.anchors(),
        Some(file) if facts::exists(file) => facts::document(&file.display().to_string()).anchors(),
        Some(_) => return false,
    };
    anchors.iter().any(|anchor| anchor == wanted)
}

/// Tests that are named and not there. A name with three underscores is taken for one.
pub fn missing_tests(document: &Document, known: &BTreeSet<String>) -> Vec<String> {
    let like_a_test = |span: &String| {
        span.matches('_').count() > 2
            && span.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let named = document.spans().into_iter().filter(like_a_test);
    let missing = named.filter(|name| !known.contains(name));
    missing.map(|name| format!("{}: there is no test {name}", document.name())).collect()
}

/// What is wrong with the glossary's form: one line per word, unique, sorted.
pub fn glossary_faults(glossary: &Document) -> Vec<String> {
    let (_, list) = glossary.text.split_once("\n- ").unwrap_or_default();
    let mut faults = Vec::new();
    let mut before = String::new();
    for line in list.lines().map(|line| line.trim_start_matches("- ")) {
        let Some((word, _)) = line.strip_prefix("**").and_then(|rest| rest.split_once("**: ")) else {
            faults.push(format!("\"{line}\" is no word with its meaning on one line"));
            continue;
        };
        if word.to_lowercase() <= before {
            faults.push(format!("\"{word}\" stands after \"{before}\""));
        }
        before = word.to_lowercase();
    }
    faults
}

/// What an ADR lacks.
pub fn adr_faults(adr: &Document, number: usize) -> Vec<String> {
    let file = adr.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let needs = [format!("# {number}. "), "\nStatus: ".into(), "\n## Context\n".into()];
    let needs = needs.into_iter().chain(["\n## Decision\n".into(), "\n## Consequences\n".into()]);
    let lacks = needs.filter(|need| !adr.text.contains(need)).map(|need| format!("{file} lacks {need:?}"));
    let named = file.starts_with(&format!("{number:04}-"));
    lacks.chain((!named).then(|| format!("{file} is number {number} in the list"))).collect()
}

/// Files that no entrance links to.
pub fn unlinked(files: &[PathBuf], entrances: &[Document]) -> Vec<String> {
    let linked: BTreeSet<PathBuf> = entrances.iter().flat_map(Document::linked_files).collect();
    let unlinked = files.iter().filter(|file| !linked.contains(*file));
    unlinked.map(|file| format!("nothing links to {}", file.display())).collect()
}

/// Names that a document does not hold in the first column of a table.
pub fn without_row(document: &Document, names: impl IntoIterator<Item = String>) -> Vec<String> {
    let cells = document.first_cells();
    let without = names.into_iter().filter(|name| !cells.contains(name));
    without.map(|name| format!("{} has no row for {name}", document.name())).collect()
}
