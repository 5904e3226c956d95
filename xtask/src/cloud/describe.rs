//! `describe.json`: what runs where, for people, for child processes and for tests.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::{DR_REGION, REGION};
use crate::setup;

/// The description before anything runs; the parts add themselves.
pub fn plan(id: &str, run_dir: &Path, data_dir: &Path, port: u16, rds_port: u16) -> Value {
    let mut paths = setup::program_folders();
    paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let path = std::env::join_paths(paths).unwrap_or_default().to_string_lossy().into_owned();
    let endpoint = format!("http://127.0.0.1:{port}");
    let rds = format!("http://127.0.0.1:{rds_port}");
    json!({
        "id": id,
        "run_dir": run_dir,
        "data_dir": data_dir,
        "region": REGION,
        "dr_region": DR_REGION,
        "endpoint_url": endpoint,
        "rds_endpoint_url": rds,
        "rds_double": false,
        // While this file exists, each function's first answer is lost and its state machine invokes it once more.
        "lose_answers": run_dir.join("lose-answers"),
        "postgres": {},
        "postgres_bin": {
            "14": setup::postgres_bin(14),
            "15": setup::POSTGRES_BIN,
            "16": setup::postgres_bin(16),
            "17": setup::postgres_bin(17),
            "18": setup::postgres_bin(18),
        },
        "logs": {
            "ministack": run_dir.join("ministack.log"),
            "rds-double": run_dir.join("rds-double.log"),
            "source": run_dir.join("source.log"),
            "catalog": run_dir.join("catalog.log"),
        },
        "environment": {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ENDPOINT_URL_RDS": rds,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
            "SAM_CLI_TELEMETRY": "0",
            "KEEPSAKE_CLOUD": run_dir.join("describe.json"),
            "PATH": path,
        },
    })
}

/// The environment variables with which a child process reaches the cloud.
pub fn environment(describe: &Value) -> Vec<(String, String)> {
    let none = Map::new();
    let all = describe["environment"].as_object().unwrap_or(&none);
    all.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

/// Writes `describe.json`, readable for its owner alone: it holds the passwords of the throwaway clusters.
pub fn write(run_dir: &Path, describe: &Value) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let path = run_dir.join("describe.json");
    fs::write(&path, serde_json::to_string_pretty(describe)? + "\n").context("write describe.json")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).context("protect describe.json")
}

/// How a person reaches the cloud from a shell.
pub fn how_to_reach(describe: &Value) -> String {
    let mut lines = vec!["  in another shell:".to_owned()];
    for (name, value) in environment(describe) {
        let value = if name == "PATH" {
            let folders = setup::program_folders();
            folders.iter().map(|folder| format!("{}:", folder.display())).collect::<String>() + "$PATH"
        } else {
            value
        };
        lines.push(format!("    export {name}=\"{value}\""));
    }
    lines.push("    aws s3 ls".to_owned());
    for cluster in ["source", "catalog"] {
        if let Some(url) = describe["postgres"][cluster]["url"].as_str() {
            lines.push(format!("    psql {url}    # {cluster}"));
        }
    }
    lines.push(format!("  logs and describe.json: {}", describe["run_dir"].as_str().unwrap_or_default()));
    lines.join("\n")
}
