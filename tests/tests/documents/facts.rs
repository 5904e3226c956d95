//! What the repository really holds.

use crate::markdown::Document;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whether a path of a document stands.
pub fn exists(path: &Path) -> bool {
    root().join(path).exists()
}

/// All files with one ending, relative to the root, but for what is built, installed or hidden.
pub fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(Path::new(""), &mut found);
    found.retain(|file| file.extension().is_some_and(|extension| extension == ending));
    found.sort();
    found
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for name in names(&folder.display().to_string()) {
        let path = folder.join(&name);
        if name.starts_with('.') || matches!(name.as_str(), "target" | "node_modules") {
            continue;
        }
        if root().join(&path).is_dir() {
            walk(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// Names in a folder, sorted.
pub fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Every document of the repository.
pub fn documents() -> Vec<Document> {
    files("md").into_iter().map(|path| Document::new(&path, read(&path.display().to_string()))).collect()
}

pub fn document(path: &str) -> Document {
    Document::new(path, read(path))
}

/// What stands between `before` and the next quote, each time.
fn quoted(text: &str, before: &str) -> BTreeSet<String> {
    let found = text.split(before).skip(1).filter_map(|rest| rest.split_once('"'));
    found.map(|(name, _)| name.to_owned()).collect()
}

/// Subcommands of `cargo x`, as its `main` matches them.
pub fn xtask_commands() -> BTreeSet<String> {
    quoted(&read("xtask/src/main.rs"), "Some(\"")
}

/// Subcommands of `keepsake`, or of `keepsake catalog`.
pub fn keepsake_commands(of: &str) -> BTreeSet<String> {
    let text = read("cli/src/arguments.rs");
    let (_, body) = text.split_once(&format!("pub enum {of} {{\n")).expect(of);
    let body = body.split("\n}").next().unwrap_or_default();
    let variants = body.lines().filter_map(|line| line.strip_prefix("    "));
    let variants = variants.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    variants.map(|line| line.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_lowercase()).collect()
}

/// Options of `keepsake`: every field of its arguments, and what clap adds.
pub fn keepsake_options() -> BTreeSet<String> {
    let ours =
        |path: &PathBuf| path.starts_with("cli/src/arguments") || path.ends_with("cli/src/arguments.rs");
    let sources = files("rs").into_iter().filter(ours);
    let text: String = sources.map(|path| read(&path.display().to_string())).collect();
    let lines = text.lines().map(|line| line.trim().trim_start_matches("pub "));
    let fields = lines.filter_map(|line| line.split_once(": ")).map(|(name, _)| name.replace('_', "-"));
    fields.chain(["help".to_owned(), "version".to_owned()]).collect()
}

/// Exit codes as `keepsake --help` lists them.
pub fn exit_codes() -> BTreeSet<String> {
    let text = read("cli/src/arguments.rs");
    let (_, list) = text.split_once("Exit codes:\n").expect("a list of exit codes");
    let lines = list.lines().take_while(|line| line.starts_with("  "));
    lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Documents that programs name, in their help or in a comment.
pub fn documents_named_in_code() -> BTreeSet<String> {
    let mut sources = files("rs");
    sources.retain(|path| !path.starts_with("tests/tests/documents") && !path.ends_with("documents.rs"));
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | '-');
    let texts = sources.into_iter().map(|path| read(&path.display().to_string()));
    let named = texts.flat_map(|text| {
        let rests = text.split("docs/").skip(1);
        rests
            .map(|rest| rest.split(|c| !is_name(c)).next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    });
    named.filter_map(|name| Some(format!("docs/{}.md", name.split_once(".md")?.0))).collect()
}

/// Names of all functions in Rust files, tests among them.
pub fn function_names() -> BTreeSet<String> {
    let texts = files("rs").into_iter().map(|path| read(&path.display().to_string()));
    texts.flat_map(|text| names_after_fn(&text)).collect()
}

fn names_after_fn(text: &str) -> Vec<String> {
    let starts = text.split("fn ").skip(1);
    let name =
        |rest: &str| rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().map(str::to_owned);
    starts.filter_map(name).collect()
}

/// Names of failures that a state machine may see.
pub fn error_names() -> BTreeSet<String> {
    let classes = quoted(&read("crates/domain/src/failure.rs"), "\"Keepsake.");
    let raised = machines().iter().flat_map(|machine| quoted(machine, "\"Keepsake.")).collect::<Vec<_>>();
    classes.into_iter().chain(raised).map(|name| format!("Keepsake.{name}")).collect()
}

fn machines() -> Vec<String> {
    ["backup", "test-restore"].map(|name| read(&format!("statemachines/{name}.asl.json"))).to_vec()
}

/// Names of all task states of both machines, inner ones too.
pub fn task_states() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for machine in machines() {
        tasks(&serde_json::from_str(&machine).unwrap(), &mut found);
    }
    found
}

fn tasks(value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, inner) in fields {
                if inner["Type"] == "Task" {
                    found.insert(name.clone());
                }
                tasks(inner, found);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| tasks(item, found)),
        _ => {}
    }
}

/// Parameters of the template.
pub fn parameters() -> BTreeSet<String> {
    let text = read("infra/template.yaml");
    let (_, rest) = text.split_once("\nParameters:\n").unwrap();
    let block = rest.lines().take_while(|line| line.is_empty() || line.starts_with(' '));
    let keys = block.filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':'));
    keys.filter(|key| !key.starts_with(' ')).map(str::to_owned).collect()
}

/// Every folder that a reader meets: crates, and the top level.
pub fn folders() -> Vec<String> {
    let top =
        names("").into_iter().filter(|name| !name.starts_with('.') && name != "target" && name != "crates");
    let top = top.filter(|name| root().join(name).is_dir());
    let crates = names("crates").into_iter().map(|name| format!("crates/{name}"));
    top.chain(crates.filter(|path| exists(&Path::new(path).join("Cargo.toml")))).collect()
}
