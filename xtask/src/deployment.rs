//! The product on the local cloud: catalog, secrets, the SAM templates, one policy. The same templates go to AWS.

use crate::cloud::{DR_REGION, LocalCloud, REGION};
use crate::{functions, say, setup};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The policy that the demo and the tests run.
pub const POLICY: &str = "wedsync-nightly";
/// Its source.
pub const SOURCE: &str = "wedsync";
/// The stack in the first region.
const STACK: &str = "keepsake";
/// The stack in the second region.
const DR_STACK: &str = "keepsake-dr";

/// What was deployed.
pub struct Deployment {
    /// Outputs of `infra/template.yaml`.
    pub outputs: BTreeMap<String, String>,
    /// The bucket that copies go to.
    pub copy_bucket: String,
    /// The offline recovery key.
    pub recovery_key: PathBuf,
    /// The `keepsake` command.
    pub keepsake: PathBuf,
    /// Secret with the source's connection URL.
    pub source_secret: String,
}

impl Deployment {
    /// Deploys everything. The workspace must be built: [`functions::build_workspace`].
    pub fn deploy(cloud: &LocalCloud, subscriber_url: &str) -> Result<Self> {
        let keepsake = functions::target_folder(&setup::root()).join("debug/keepsake");
        say("creating the catalog");
        let catalog = cloud.postgres_url("catalog")?.to_owned();
        run_keepsake(cloud, &keepsake, &catalog, &["catalog", "migrate"])?;
        let catalog_secret = create_secret(cloud, "keepsake/catalog", &catalog)?;
        let source_secret = create_secret(cloud, "keepsake/source", cloud.postgres_url("source")?)?;
        let mut deployment = Self {
            outputs: BTreeMap::new(),
            copy_bucket: String::new(),
            recovery_key: cloud.run_dir().join("recovery.key"),
            keepsake,
            source_secret,
        };
        deployment.deploy_stacks(cloud, &catalog_secret, subscriber_url)?;
        deployment.declare(cloud, &catalog)?;
        Ok(deployment)
    }

    /// One output of the template.
    pub fn output(&self, name: &str) -> Result<&str> {
        self.outputs.get(name).map(String::as_str).with_context(|| format!("the stack has no output {name}"))
    }

    /// The repository that backups are written to.
    pub fn repository(&self) -> Result<String> {
        Ok(format!("s3://{}/archive", self.output("ArchiveBucketName")?))
    }

    /// The repository that they are copied to.
    pub fn copy_repository(&self) -> String {
        format!("s3://{}/archive", self.copy_bucket)
    }

    /// What tests need to know, as JSON.
    pub fn describe(&self) -> Value {
        json!({
            "policy": POLICY,
            "source": SOURCE,
            "source_secret": self.source_secret,
            "outputs": self.outputs,
            "repository": self.repository().unwrap_or_default(),
            "copy_repository": self.copy_repository(),
            "recovery_key": self.recovery_key,
            "keepsake": self.keepsake,
        })
    }

    fn deploy_stacks(
        &mut self,
        cloud: &LocalCloud,
        catalog_secret: &str,
        subscriber_url: &str,
    ) -> Result<()> {
        say("deploying infra/dr-region.yaml to the second region (sam deploy)");
        sam_deploy(cloud, "infra/dr-region.yaml", DR_STACK, DR_REGION, &[])?;
        let second = outputs(cloud, DR_STACK, DR_REGION)?;
        self.copy_bucket = second.get("CopyBucketName").context("the second stack names no bucket")?.clone();
        say("building infra/template.yaml (sam build)");
        sam_build(cloud, "infra/template.yaml")?;
        say("deploying infra/template.yaml (sam deploy)");
        let parameters = [
            format!("CatalogSecretArn={catalog_secret}"),
            format!("SourceSecretArns={}", self.source_secret),
            format!("PolicyName={POLICY}"),
            format!("Architecture={}", if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }),
            format!("PgBin={}", setup::POSTGRES_BIN),
            format!("CopyBucketName={}", self.copy_bucket),
            format!("HttpSubscriber={subscriber_url}"),
            "InstancePollSeconds=1".to_owned(),
            // A cluster is up within seconds, also on a busy machine; a test waits until an instance is given up.
            "InstanceLooks=60".to_owned(),
            "MapConcurrency=2".to_owned(),
            // So that a continuous capture is relayed while a test looks on.
            "CaptureSeconds=3".to_owned(),
        ];
        sam_deploy(cloud, "infra/template.yaml", STACK, REGION, &parameters)?;
        self.outputs = outputs(cloud, STACK, REGION)?;
        say("deploying the backup key's replica to the second region (sam deploy)");
        let key = format!("PrimaryKeyArn={}", self.output("BackupKeyArn")?);
        sam_deploy(cloud, "infra/dr-region.yaml", DR_STACK, DR_REGION, &[key])
    }

    /// Draws the recovery key and declares source, locations and policy in the catalog.
    fn declare(&self, cloud: &LocalCloud, catalog: &str) -> Result<()> {
        say("declaring source, locations and policy in the catalog");
        let key = self.recovery_key.display().to_string();
        let drawn = run_keepsake(cloud, &self.keepsake, catalog, &["keygen", "--out", &key])?;
        let recipient = drawn
            .split_whitespace()
            .find(|word| word.starts_with("age1"))
            .context("keepsake keygen named no recipient")?;
        let file = cloud.run_dir().join("catalog.json");
        std::fs::write(&file, self.declaration(recipient)?.to_string())?;
        let file = file.display().to_string();
        run_keepsake(cloud, &self.keepsake, catalog, &["catalog", "apply", &file])?;
        Ok(())
    }

    fn declaration(&self, recipient: &str) -> Result<Value> {
        let location = |name: &str, url: String, region: &str| json!({"name": name, "url": url, "region": region, "storage_type": "s3"});
        Ok(json!({
            "sources": [{"name": SOURCE, "provider": "plain", "connection_secret": self.source_secret}],
            "locations": [
                location("first-region", self.repository()?, REGION),
                location("second-region", self.copy_repository(), DR_REGION),
            ],
            "policies": [{
                "name": POLICY,
                "source": SOURCE,
                "primary": "first-region",
                "copies": ["second-region"],
                "kms_key_id": self.output("BackupKeyArn")?,
                "recovery_recipients": [recipient],
                "schedule_cron": "cron(0 2 * * ? *)",
                "timezone": "Europe/Berlin",
                // Small, so that a demo shows several parts and more than one holder of the snapshot.
                "part_size_bytes": 8 << 20,
                "relay_seconds": 4,
                "notify_success": true,
                "test_restore": true,
            }],
        }))
    }
}

/// Runs the `keepsake` command against the cloud; the catalog's URL goes through the environment.
pub fn run_keepsake(
    cloud: &LocalCloud,
    keepsake: &Path,
    catalog: &str,
    arguments: &[&str],
) -> Result<String> {
    let mut command = cloud.command(keepsake);
    command.args(arguments).env("KEEPSAKE_CATALOG_URL", catalog);
    if arguments.first() == Some(&"catalog") {
        command.args(["--catalog", "env:KEEPSAKE_CATALOG_URL"]);
    }
    let output = command.output().context("cannot start keepsake")?;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("keepsake {} failed:\n{text}", arguments.join(" "));
    }
    Ok(text)
}

/// Runs the aws command line and reads its JSON; an empty answer is `null`.
pub fn aws(cloud: &LocalCloud, arguments: &[&str]) -> Result<Value> {
    let output = cloud.command("aws").args(arguments).args(["--output", "json"]).output();
    let output = output.context("cannot start aws")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "aws {} failed: {}",
            arguments.iter().take(2).copied().collect::<Vec<_>>().join(" "),
            said.trim()
        );
    }
    if output.stdout.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&output.stdout).context("aws answers JSON")
}

/// Keeps a connection URL where the functions find it. The text goes through a file, so that no process list shows it.
fn create_secret(cloud: &LocalCloud, name: &str, url: &str) -> Result<String> {
    let file = cloud.run_dir().join("secret.txt");
    std::fs::write(&file, url)?;
    let from = format!("file://{}", file.display());
    let made = aws(cloud, &["secretsmanager", "create-secret", "--name", name, "--secret-string", &from]);
    std::fs::remove_file(&file)?;
    made?["ARN"].as_str().map(str::to_owned).context("the secret has no ARN")
}

/// Gathers functions and template as `sam local invoke` and other tools of SAM take them; shows that they fit.
fn sam_build(cloud: &LocalCloud, template: &str) -> Result<()> {
    let mut sam = cloud.command("sam");
    sam.current_dir(setup::root()).args(["build", "--template-file", template]);
    sam.arg("--build-dir").arg(cloud.run_dir().join("sam-build"));
    run_sam(sam, &format!("sam build of {template}"))
}

fn run_sam(mut sam: Command, what: &str) -> Result<()> {
    let output = sam.output().context("cannot start sam")?;
    if !output.status.success() {
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        bail!("{what} failed:\n{said}");
    }
    Ok(())
}

fn sam_deploy(
    cloud: &LocalCloud,
    template: &str,
    stack: &str,
    region: &str,
    parameters: &[String],
) -> Result<()> {
    let mut sam = cloud.command("sam");
    sam.current_dir(setup::root()).env("AWS_REGION", region).env("AWS_DEFAULT_REGION", region);
    sam.args(["deploy", "--template-file", template, "--stack-name", stack, "--region", region]);
    sam.args(["--resolve-s3", "--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"]);
    sam.args(["--capabilities", "CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]);
    sam.args(["--config-env", "local"]);
    if !parameters.is_empty() {
        sam.arg("--parameter-overrides").args(parameters);
    }
    run_sam(sam, &format!("sam deploy of {template}"))
}

fn outputs(cloud: &LocalCloud, stack: &str, region: &str) -> Result<BTreeMap<String, String>> {
    let described =
        aws(cloud, &["cloudformation", "describe-stacks", "--stack-name", stack, "--region", region])?;
    let list = described["Stacks"][0]["Outputs"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(list.iter().map(|output| (text(&output["OutputKey"]), text(&output["OutputValue"]))).collect())
}

/// Moves a schedule to two seconds from now. Everything else of it stays: its target, role and input start the run.
pub fn fire_schedule(cloud: &LocalCloud, name: &str) -> Result<()> {
    let schedule = aws(cloud, &["scheduler", "get-schedule", "--name", name])?;
    let at = Command::new("date").args(["-u", "-d", "+2 seconds", "+at(%Y-%m-%dT%H:%M:%S)"]).output();
    let at = String::from_utf8(at.context("cannot start date")?.stdout)?;
    let target = schedule["Target"].to_string();
    aws(
        cloud,
        &[
            "scheduler",
            "update-schedule",
            "--name",
            name,
            "--schedule-expression",
            at.trim(),
            "--schedule-expression-timezone",
            "UTC",
            "--flexible-time-window",
            "Mode=OFF",
            "--target",
            &target,
        ],
    )?;
    Ok(())
}
