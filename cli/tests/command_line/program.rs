//! Runs the program, and checks of every run that no secret left it.

use serde_json::Value;
use std::io::Read;
use std::process::{Child, Command, Output, Stdio};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_keepsake");

/// A run that ended.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn of(output: Output, secrets: &[String]) -> Self {
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        for secret in secrets {
            assert!(!stdout.contains(secret), "a secret is on standard output:\n{stdout}");
            assert!(!stderr.contains(secret), "a secret is on standard error:\n{stderr}");
        }
        assert!(!stderr.contains("AGE-SECRET-KEY-1"), "a key is on standard error:\n{stderr}");
        Self { code: output.status.code(), stdout, stderr }
    }

    /// The run ended well.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The run failed with this code, and its last three lines are the error with all these texts, what is at risk, and
    /// what is next.
    pub fn failed(self, code: i32, texts: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        let mut last: Vec<&str> = self.stderr.lines().rev().take(3).collect();
        last.reverse();
        let begins = ["error: ", "at risk: ", "next: "];
        let are_three =
            last.len() == 3 && last.iter().zip(begins).all(|(line, begin)| line.starts_with(begin));
        assert!(are_three, "not the three lines:\n{}", self.stderr);
        for text in texts {
            assert!(last[0].contains(text), "\"{text}\" is not in: {}", last[0]);
        }
        self
    }

    /// Standard output is exactly one JSON document.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}:\n{}", self.stdout))
    }
}

/// A command that inherits nothing of our secrets.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for variable in ["PGPASSWORD", "PGUSER", "PGHOST", "PGDATABASE"] {
        command.env_remove(variable);
    }
    command
}

/// Runs without any secret.
pub fn run(arguments: &[&str]) -> Ended {
    Ended::of(command(arguments).output().unwrap(), &[])
}

/// What a child that was stopped had said.
pub fn said(mut child: Child) -> String {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    text
}
