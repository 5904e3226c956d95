//! Everything that is printed: results on standard output, progress and failures on standard error.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool speaks on its terminal")]

use crate::failure::Failure;
use crate::text;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Prints a result for people.
pub fn print(text: &str) {
    // A reader that went away (`keepsake list | head`) is no failure of ours.
    drop(writeln!(io::stdout().lock(), "{}", text.trim_end()));
}

/// Prints the one JSON document of a command.
///
/// # Errors
/// When it could not be written: whoever asked for it must not take silence for success.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let failed = |what: String| {
        let next = "look at whatever reads standard output";
        Failure::found(
            keepsake_domain::FailureClass::Permanent,
            what,
            "the answer was lost, the work is done",
            next,
        )
    };
    let json = serde_json::to_string_pretty(value).map_err(|cause| failed(cause.to_string()))?;
    writeln!(io::stdout().lock(), "{json}")
        .map_err(|cause| failed(format!("cannot print the answer: {cause}")))
}

/// Prints a note on standard error.
pub fn note(text: &str) {
    eprintln!("{}", crate::secret_text::redact(text.trim_end()));
}

/// Shows how far a command is: a bar on a terminal, one line per step otherwise.
pub struct Progress {
    bar: Option<ProgressBar>,
    rows: AtomicU64,
}

impl Progress {
    /// On standard error.
    #[must_use]
    pub fn new() -> Self {
        let bar = io::stderr().is_terminal().then(ProgressBar::new_spinner);
        if let Some(bar) = &bar {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar, rows: AtomicU64::new(0) }
    }

    /// Begins a step.
    pub fn step(&self, what: &str) {
        match &self.bar {
            Some(bar) => {
                let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                bar.set_message(what.to_owned());
            }
            None => eprintln!("{what}"),
        }
    }

    /// Begins a step over so many bytes (an estimate).
    pub fn step_over(&self, what: &str, total_bytes: u64) {
        self.step(what);
        if let Some(bar) = &self.bar {
            let style =
                "{spinner} {msg} [{bar:30}] {bytes}/{total_bytes}, {prefix}, {bytes_per_sec}, eta {eta}";
            let style = ProgressStyle::with_template(style);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_length(total_bytes);
            bar.set_prefix("0 rows");
            bar.reset();
        }
    }

    /// A part of the step is done: `bytes` of the estimate, and its rows.
    pub fn advance(&self, bytes: u64, rows: u64) {
        let rows = self.rows.fetch_add(rows, Ordering::Relaxed) + rows;
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
            bar.set_prefix(format!("{} rows", text::count(rows)));
        }
    }

    /// Takes the bar away; lines stay.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
