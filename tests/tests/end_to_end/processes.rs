//! The processes of functions in the local cloud.

use std::process::Command;

/// Process ids and names of the functions that run now, idle ones too: Lambda names the function in their environment.
pub fn functions() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let process = entry.file_name().into_string().unwrap_or_default();
        let Ok(environment) = std::fs::read(entry.path().join("environ")) else { continue };
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let name =
            environment.split('\0').find_map(|variable| variable.strip_prefix("AWS_LAMBDA_FUNCTION_NAME="));
        if let Some(name) = name
            && process.bytes().all(|digit| digit.is_ascii_digit())
        {
            found.push((process, name.to_owned()));
        }
    }
    found
}

/// Those of one function.
pub fn of(function: &str) -> Vec<String> {
    functions().into_iter().filter(|(_, name)| name.contains(function)).map(|(process, _)| process).collect()
}

/// Ends them at once; those that ended before are not missed.
pub fn kill(processes: &[String]) {
    Command::new("kill").arg("-9").args(processes).stderr(std::process::Stdio::null()).status().unwrap();
}
