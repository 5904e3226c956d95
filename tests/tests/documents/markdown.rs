//! Markdown, as far as the checks need it.

use std::path::{Path, PathBuf};

/// One document.
pub struct Document {
    /// Relative to the repository's root.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

impl Document {
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Everything outside of fences, and the lines within them; a line that ends in a backslash goes on in the next.
    fn parts(&self) -> (String, Vec<String>) {
        let (mut prose, mut fenced) = (String::new(), Vec::new());
        let mut inside = false;
        for line in self.text.lines() {
            if line.trim_start().starts_with("```") {
                inside = !inside;
            } else if inside {
                join(&mut fenced, line.trim());
            } else {
                prose.push_str(line);
                prose.push('\n');
            }
        }
        (prose, fenced)
    }

    /// Inline code and the lines of code blocks.
    pub fn code(&self) -> Vec<String> {
        let (prose, mut fenced) = self.parts();
        let spans = prose.split('`').skip(1).step_by(2);
        fenced.extend(spans.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")));
        fenced
    }

    /// Inline code only.
    pub fn spans(&self) -> Vec<String> {
        self.parts().0.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// Targets of links, without those that lead out of the repository.
    pub fn links(&self) -> Vec<String> {
        let (prose, _) = self.parts();
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        targets.map(|(target, _)| target.to_owned()).filter(|target| !target.contains("://")).collect()
    }

    /// The files that it links to.
    pub fn linked_files(&self) -> Vec<PathBuf> {
        let files = self.links().into_iter().filter_map(|link| self.file_of(&link));
        files.collect()
    }

    /// The file of a link; `None` when it stays in this document.
    pub fn file_of(&self, link: &str) -> Option<PathBuf> {
        let file = link.split('#').next().filter(|file| !file.is_empty())?;
        let mut resolved = self.path.parent().unwrap_or(Path::new("")).to_path_buf();
        for piece in Path::new(file).components() {
            match piece {
                std::path::Component::ParentDir => drop(resolved.pop()),
                other => resolved.push(other),
            }
        }
        Some(resolved)
    }

    /// What a link can point to within it, as GitHub names headings.
    pub fn anchors(&self) -> Vec<String> {
        let (prose, _) = self.parts();
        let headings = prose.lines().filter(|line| line.starts_with('#'));
        headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
    }

    /// The first cells of its tables, without backticks; one entry per word of code.
    pub fn first_cells(&self) -> Vec<String> {
        let rows = self.text.lines().filter_map(|line| line.strip_prefix('|')?.split('|').next());
        rows.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned)).collect()
    }
}

fn join(lines: &mut Vec<String>, line: &str) {
    let open = lines.last_mut().filter(|last| last.ends_with('\\'));
    match open {
        Some(last) => {
            last.pop();
            last.push_str(line);
        }
        None => lines.push(line.to_owned()),
    }
}

fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
