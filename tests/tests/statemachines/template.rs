//! Facts of `infra/template.yaml`, read line by line: its layout is ours, and its tags need no YAML reader.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Top-level blocks of one section: logical id and lines.
fn blocks(section: &str) -> BTreeMap<String, Vec<String>> {
    let text = std::fs::read_to_string(root().join("infra/template.yaml")).unwrap();
    let mut blocks: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut inside, mut open) = (false, None);
    for line in text.lines() {
        if !line.starts_with(' ') && !line.is_empty() {
            inside = line == format!("{section}:");
            open = None;
        } else if inside
            && line.starts_with("  ")
            && line.as_bytes().get(2).is_some_and(u8::is_ascii_alphabetic)
        {
            open = line.trim().strip_suffix(':').map(str::to_owned);
        } else if let (true, Some(name)) = (inside, &open) {
            blocks.entry(name.clone()).or_default().push(line.to_owned());
        }
    }
    assert!(!blocks.is_empty(), "the template has no {section}");
    blocks
}

fn value<'a>(lines: &'a [String], key: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "))
}

fn functions() -> BTreeMap<String, Vec<String>> {
    let mut all = blocks("Resources");
    all.retain(|_, lines| value(lines, "Type") == Some("AWS::Serverless::Function"));
    all
}

/// Timeout in seconds by logical id.
pub fn function_timeouts() -> BTreeMap<String, u64> {
    let timeout = |lines: &[String]| value(lines, "Timeout").unwrap().parse().unwrap();
    functions().iter().map(|(name, lines)| (name.clone(), timeout(lines))).collect()
}

/// The last folder of each function's `CodeUri`.
pub fn function_folders() -> BTreeSet<String> {
    let folder = |lines: &Vec<String>| {
        value(lines, "CodeUri")
            .unwrap()
            .strip_prefix("../target/lambda/")
            .unwrap()
            .trim_end_matches('/')
            .to_owned()
    };
    functions().values().map(folder).collect()
}

/// Files in `functions/src/bin`, without their extension.
pub fn binaries() -> BTreeSet<String> {
    let entries = std::fs::read_dir(root().join("functions/src/bin")).unwrap();
    entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// Keys of `DefinitionSubstitutions` of the machine whose definition is `<name>.asl.json`.
pub fn substitutions(name: &str) -> BTreeSet<String> {
    let uri = format!("../statemachines/{name}.asl.json");
    let machines = blocks("Resources");
    let lines = machines.values().find(|lines| value(lines, "DefinitionUri") == Some(&uri)).unwrap();
    let from = lines.iter().position(|line| line.trim() == "DefinitionSubstitutions:").unwrap() + 1;
    let inside = lines[from..].iter().take_while(|line| line.starts_with("        "));
    inside.map(|line| line.trim().split(':').next().unwrap().to_owned()).collect()
}

/// Logical ids of the functions that a rule on events or a schedule calls.
pub fn called_by_events() -> BTreeSet<String> {
    let mut called = BTreeSet::new();
    for lines in blocks("Resources").values() {
        if !matches!(value(lines, "Type"), Some("AWS::Events::Rule" | "AWS::Scheduler::Schedule")) {
            continue;
        }
        let arns =
            lines.iter().filter_map(|line| line.trim().strip_prefix("Arn: !GetAtt ")?.strip_suffix(".Arn"));
        called.extend(arns.filter(|name| name.ends_with("Function")).map(str::to_owned));
    }
    called
}

/// Trimmed lines of each IAM statement that allows an action by its name, by the logical id of its resource, in the template's order
/// of names.
pub fn statements_with(action: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for (name, lines) in blocks("Resources") {
        let lines: Vec<String> = lines.iter().map(|line| line.trim().to_owned()).collect();
        for statement in lines.split(|line| line.starts_with("- Sid: ")).skip(1) {
            let named = [format!("- {action}"), format!("Action: {action}")];
            let allows = statement.iter().any(|line| line == "Effect: Allow");
            if allows && statement.iter().any(|line| named.contains(line)) {
                found.push((name.clone(), statement.to_vec()));
            }
        }
    }
    found
}

/// One property of a parameter.
pub fn parameter(name: &str, property: &str) -> String {
    value(&blocks("Parameters")[name], property).unwrap().to_owned()
}
