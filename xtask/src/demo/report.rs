//! The report at the end of the demo. Every number is read back from catalog, repository and history.

use crate::cloud::LocalCloud;
use crate::deployment::{Deployment, run_keepsake};
use crate::execution::Ended;
use anyhow::{Context, Result};
use serde_json::Value;

/// Prints the report of the backup.
pub fn print(
    cloud: &LocalCloud,
    deployment: &Deployment,
    ended: &Ended,
    notice: &(String, Value),
) -> Result<()> {
    let catalog = cloud.postgres_url("catalog")?;
    let shown = run_keepsake(cloud, &deployment.keepsake, catalog, &["catalog", "show", "--json"])?;
    let shown: Value = serde_json::from_str(&shown).context("keepsake catalog show answers JSON")?;
    let row = find_row(&shown, &ended.arn).context("the catalog has no row of this execution")?;
    println!("\nReport");
    backup(row);
    copies(row);
    proof(row);
    println!("  alert           {}", notice.0);
    for line in serde_json::to_string_pretty(&notice.1)?.lines() {
        println!("    {line}");
    }
    println!("  catalog row");
    for (column, value) in row.as_object().into_iter().flatten() {
        if !value.is_object() && !value.is_array() {
            println!("    {column:31} {}", text(value));
        }
    }
    Ok(())
}

fn find_row<'a>(shown: &'a Value, arn: &str) -> Option<&'a Value> {
    let rows = shown.as_array().or_else(|| shown["executions"].as_array())?;
    rows.iter().find(|row| row["execution_id"] == arn)
}

fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_f64().map(|float| float as u64)).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn ratio(row: &Value) -> f64 {
    row["compression_ratio"].as_f64().unwrap_or(1.0)
}

fn backup(row: &Value) {
    let (raw, stored) = (number(&row["raw_bytes"]), number(&row["stored_bytes"]));
    let snapshot = &row["snapshot"];
    println!("  backup id       {}", text(&row["backup_id"]));
    println!("  status          {}", text(&row["status"]));
    println!("  content         {} tables, {} rows", number(&snapshot["tables"]), number(&snapshot["rows"]));
    println!(
        "  snapshot        {} at WAL {}",
        text(&snapshot["snapshot_timestamp"]),
        text(&snapshot["wal_lsn"])
    );
    println!(
        "  bytes           {:.1} MiB raw, {:.1} MiB stored ({:.2} : 1), encrypted",
        mebibytes(raw),
        mebibytes(stored),
        raw as f64 / (stored.max(1)) as f64
    );
    if let Some(rate) = row["transfer_rate_bytes_per_second"].as_f64() {
        println!(
            "  rate            {:.1} MiB/s of rows, {:.1} MiB/s stored, from begin to seal",
            rate * ratio(row) / f64::from(1 << 20),
            rate / f64::from(1 << 20)
        );
    }
}

fn copies(row: &Value) {
    for copy in row["copies"].as_array().into_iter().flatten() {
        println!(
            "  copy            {} in {}: {} at {}",
            text(&copy["location"]),
            text(&copy["region"]),
            text(&copy["status"]),
            text(&copy["verified_at"])
        );
    }
}

fn proof(row: &Value) {
    println!("  manifest        sha256 {}", text(&row["snapshot"]["manifest_sha256"]));
    for test in
        row["tests"].as_array().into_iter().flatten().filter(|test| test["test_type"] == "restore_test")
    {
        let compared = &test["data_verified"];
        println!("  test restore    {} in {}", text(&test["verdict"]), text(&test["instance_name"]));
        println!(
            "  compared        {} tables, {} rows by digest, {} sequences, {} schema objects: {} differences",
            number(&compared["tables"]),
            number(&compared["rows"]),
            number(&compared["sequences"]),
            number(&compared["objects"]),
            number(&compared["differences"])
        );
        let phases = test["recovery_time_by_phase"].as_object().cloned().unwrap_or_default();
        let seconds = |value: &Value| value.as_f64().unwrap_or_default();
        let each: Vec<String> =
            phases.iter().map(|(phase, value)| format!("{phase} {:.1} s", seconds(value))).collect();
        let total: f64 = phases.values().map(seconds).sum();
        println!("  recovery time   {total:.1} s ({})", each.join(", "));
    }
}

/// How to look further while everything stays up.
pub fn further(cloud: &LocalCloud, deployment: &Deployment, ended: &Ended) -> Result<()> {
    let endpoint = cloud.describe()["endpoint_url"].as_str().unwrap_or_default();
    let keepsake = deployment.keepsake.display();
    println!("\nLook further (`cargo x cloud --stop` ends it)");
    println!(
        "  export AWS_ENDPOINT_URL={endpoint} AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=eu-central-1 AWS_DEFAULT_REGION=eu-central-1"
    );
    println!("  {keepsake} list --repo {}", deployment.repository()?);
    println!("  {keepsake} list --repo {}", deployment.copy_repository());
    println!("  .localcloud/venv/bin/aws stepfunctions get-execution-history --execution-arn {}", ended.arn);
    println!("  .localcloud/venv/bin/aws s3 ls --recursive {}/", deployment.repository()?);
    Ok(())
}
