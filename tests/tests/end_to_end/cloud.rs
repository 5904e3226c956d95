//! The deployment under test, reached as an operator reaches it: by the aws command line and by SQL.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, NoTls};

/// A run at a time: see the module's first page.
static TURN: Mutex<()> = Mutex::new(());

/// The longest that one run of these small databases may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(240);

pub struct Cloud {
    pub deployment: Value,
    environment: Value,
    _turn: MutexGuard<'static, ()>,
}

/// Answers of functions are lost while this lives.
pub struct LostAnswers(PathBuf);

impl LostAnswers {
    /// The functions whose answer was lost, each once.
    pub fn functions(&self) -> BTreeSet<String> {
        let text = std::fs::read_to_string(&self.0).unwrap();
        text.lines().map(|arn| arn.rsplit_once(":keepsake-").unwrap().1.to_owned()).collect()
    }
}

impl Drop for LostAnswers {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// How an execution ended.
#[derive(Debug)]
pub struct Ended {
    pub arn: String,
    pub status: String,
    pub error: String,
    pub cause: String,
}

fn read_json(variable: &str) -> Value {
    let path = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run cargo x test"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

impl Cloud {
    pub fn take() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            deployment: read_json("KEEPSAKE_DEPLOYMENT"),
            environment: read_json("KEEPSAKE_CLOUD"),
            _turn: turn,
        }
    }

    pub fn output(&self, name: &str) -> String {
        self.deployment["outputs"][name].as_str().unwrap().to_owned()
    }

    pub fn text(&self, name: &str) -> String {
        self.deployment[name].as_str().unwrap().to_owned()
    }

    pub fn source_url(&self) -> String {
        self.environment["postgres"]["source"]["url"].as_str().unwrap().to_owned()
    }

    pub fn aws(&self, arguments: &[&str]) -> Result<Value> {
        let output = Command::new("aws").args(arguments).args(["--output", "json"]).output()?;
        if !output.status.success() {
            bail!("aws {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        if output.stdout.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&output.stdout).context("aws answers JSON")
    }

    /// The `keepsake` command, with the recovery key at hand.
    pub fn keepsake(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(self.text("keepsake")).args(arguments).output().unwrap()
    }

    /// The same in another region, without the recovery key.
    pub fn keepsake_in(&self, region: &str, arguments: &[&str]) -> std::process::Output {
        let mut keepsake = Command::new(self.text("keepsake"));
        keepsake.args(arguments).env("AWS_REGION", region).env("AWS_DEFAULT_REGION", region);
        keepsake.output().unwrap()
    }

    pub async fn catalog(&self) -> Client {
        connect(self.environment["postgres"]["catalog"]["url"].as_str().unwrap()).await
    }

    /// Starts a run of a policy, as a person does from the console.
    pub fn start(&self, policy: &str) -> Result<String> {
        self.start_machine("BackupStateMachineArn", policy)
    }

    /// A capture of a policy's changes, to its end.
    pub fn capture(&self, policy: &str) -> Ended {
        self.wait(&self.start_capture(policy))
    }

    /// A capture of a policy's changes, begun.
    pub fn start_capture(&self, policy: &str) -> String {
        self.start_machine("IncrementalStateMachineArn", policy).unwrap()
    }

    /// One look of the governor, as its schedule makes it.
    pub fn govern(&self, policy: &str) -> Value {
        let folder = tempfile::tempdir().unwrap();
        let (event, out) = (folder.path().join("event"), folder.path().join("out"));
        std::fs::write(&event, json!({"policy": policy}).to_string()).unwrap();
        let payload = format!("fileb://{}", event.display());
        let invoke = ["lambda", "invoke", "--function-name", "keepsake-govern", "--payload", &payload];
        self.aws(&[invoke.as_slice(), &[out.to_str().unwrap()]].concat()).unwrap();
        serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap()
    }

    fn start_machine(&self, machine: &str, policy: &str) -> Result<String> {
        let input = json!({"policy": policy, "requested_by": "end-to-end"}).to_string();
        let machine = self.output(machine);
        let started = self.aws(&[
            "stepfunctions",
            "start-execution",
            "--state-machine-arn",
            &machine,
            "--input",
            &input,
        ])?;
        Ok(started["executionArn"].as_str().context("an execution's id")?.to_owned())
    }

    pub fn describe(&self, arn: &str) -> Result<Value> {
        self.aws(&["stepfunctions", "describe-execution", "--execution-arn", arn])
    }

    pub fn stop(&self, arn: &str) -> Result<Value> {
        self.aws(&["stepfunctions", "stop-execution", "--execution-arn", arn])
    }

    pub fn wait(&self, arn: &str) -> Ended {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let described = self.describe(arn).unwrap();
            let text = |name: &str| described[name].as_str().unwrap_or_default().to_owned();
            if text("status") != "RUNNING" {
                return Ended {
                    arn: arn.to_owned(),
                    status: text("status"),
                    error: text("error"),
                    cause: text("cause"),
                };
            }
            std::thread::sleep(Duration::from_millis(300));
        }
        panic!("execution {arn} did not end within {PATIENCE:?}")
    }

    /// The states that an execution has entered, in their order.
    pub fn states(&self, arn: &str) -> Vec<String> {
        let history = self.aws(&["stepfunctions", "get-execution-history", "--execution-arn", arn]).unwrap();
        let events = history["events"].as_array().unwrap().iter();
        events
            .filter_map(|event| event["stateEnteredEventDetails"]["name"].as_str().map(str::to_owned))
            .collect()
    }

    /// Whether a state of this execution, not of its Maps' children, failed and was entered again or left by its catch.
    pub fn repeated_a_step(&self, arn: &str) -> bool {
        let history = self.aws(&["stepfunctions", "get-execution-history", "--execution-arn", arn]).unwrap();
        let mut events = history["events"].as_array().unwrap().iter();
        events.any(|event| matches!(event["type"].as_str(), Some("TaskFailed" | "LambdaFunctionFailed")))
    }

    /// From now on the first answer of every function is lost, until what this returns is dropped.
    pub fn lose_answers(&self) -> LostAnswers {
        let path = PathBuf::from(self.environment["lose_answers"].as_str().unwrap());
        std::fs::write(&path, "").unwrap();
        LostAnswers(path)
    }

    /// Waits until an execution has entered a state.
    pub fn wait_for_state(&self, arn: &str, state: &str) {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if self.states(arn).iter().any(|entered| entered == state) {
                return;
            }
            assert_eq!(self.describe(arn).unwrap()["status"], "RUNNING", "ended before it entered {state}");
            std::thread::sleep(Duration::from_millis(150));
        }
        panic!("execution {arn} never entered {state}");
    }

    /// Notices of one execution: subject and body.
    pub fn notices(&self, arn: &str) -> Vec<(String, Value)> {
        self.notices_where(|body| body["execution_id"] == arn)
    }

    /// Waits for a notice of that kind about a source.
    pub fn notice_of(&self, source: &str, kind: &str) -> Option<Value> {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(60) {
            let found = self.notices_where(|body| body["source"] == source && body["kind"] == kind).pop();
            if let Some((_, body)) = found {
                return Some(body);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        None
    }

    fn notices_where(&self, fits: impl Fn(&Value) -> bool) -> Vec<(String, Value)> {
        let text = std::fs::read_to_string(std::env::var("KEEPSAKE_NOTICES").unwrap()).unwrap();
        let envelopes = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        envelopes
            .map(|envelope| {
                let message = envelope["Message"].as_str().unwrap_or_default();
                let body = serde_json::from_str(message).unwrap_or(Value::Null);
                (envelope["Subject"].as_str().unwrap_or_default().to_owned(), body)
            })
            .filter(|(_, body): &(String, Value)| fits(body))
            .collect()
    }

    /// Waits for the first notice of an execution.
    pub fn wait_for_notice(&self, arn: &str) -> (String, Value) {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(60) {
            if let Some(notice) = self.notices(arn).pop() {
                return notice;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        panic!("no notice of {arn} came");
    }

    /// Throwaway instances that the RDS API reports.
    pub fn instances(&self) -> Vec<String> {
        let listed = self.aws(&["rds", "describe-db-instances"]).unwrap();
        let instances = listed["DBInstances"].as_array().unwrap().iter();
        instances.map(|one| one["DBInstanceIdentifier"].as_str().unwrap().to_owned()).collect()
    }

    /// Checks that a run left nothing behind: no instance, no lease, no holder, no unfinished upload.
    pub async fn assert_nothing_left(&self, arn: &str, policy: &str) {
        let begun = Instant::now();
        // The failure rule runs beside us, and deleting an instance takes a moment.
        while begun.elapsed() < Duration::from_secs(90) {
            if self.left_behind(arn, policy).await.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!("left behind: {:?}", self.left_behind(arn, policy).await);
    }

    async fn left_behind(&self, arn: &str, policy: &str) -> Vec<String> {
        let mut left = self.instances();
        let catalog = self.catalog().await;
        let count = async |sql: &str, parameter: &str| -> i64 {
            catalog.query_one(sql, &[&parameter]).await.unwrap().get(0)
        };
        let lease = format!("policy/{policy}");
        let held = "select count(*) from keepsake.leases where name = $1 and holder is not null and expires_at > now()";
        if count(held, &lease).await > 0 {
            left.push("lease".to_owned());
        }
        let open = "select count(*) from keepsake.snapshot_holds h join keepsake.backup_executions e on e.id = h.execution_id \
                    where e.execution_id = $1 and h.released_at is null and h.ends_at > now()";
        if count(open, arn).await > 0 {
            left.push("snapshot holder".to_owned());
        }
        let running =
            "select count(*) from keepsake.backup_executions where execution_id = $1 and status = 'running'";
        if count(running, arn).await > 0 {
            left.push("running execution".to_owned());
        }
        let bucket = self.output("ArchiveBucketName");
        let uploads = self.aws(&["s3api", "list-multipart-uploads", "--bucket", &bucket]).unwrap();
        left.extend(
            uploads["Uploads"].as_array().into_iter().flatten().map(|upload| upload["Key"].to_string()),
        );
        left
    }

    /// The run's row in the catalog.
    pub async fn status(&self, arn: &str) -> (String, Option<String>, Option<String>) {
        let sql = "select status, error_class, error_message from keepsake.backup_executions where execution_id = $1";
        let row = self.catalog().await.query_one(sql, &[&arn]).await.unwrap();
        (row.get(0), row.get(1), row.get(2))
    }
}

/// Connects, and keeps the connection for as long as the client lives.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
