//! The demo's second act: a day's changes, a statement without its `WHERE`, and the database as it was right before it,
//! restored from the second region by the recovery key alone.

use crate::cloud::LocalCloud;
use crate::deployment::{Deployment, SOURCE};
use crate::sample::Target;
use crate::say;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;

/// The database that is restored to, on the other cluster.
const RESTORED: &str = "before_the_mistake";

/// What happens after the full backup: new rows, rows that change, rows that go. Triggers of the sample write their audit.
const CHANGES: &str = "
    INSERT INTO gift_registry (wedding_id, item) SELECT id, 'a toaster' FROM weddings;
    UPDATE guests SET notes = 'changed after the full backup', table_number = 7 WHERE id % 10 = 0;
    UPDATE photos SET caption = coalesce(caption, '') || ' (retouched)' WHERE width % 3 = 0;
    DELETE FROM messages WHERE id IN (SELECT id FROM messages ORDER BY id LIMIT 100)";

/// What somebody meant to do to one wedding.
const MISTAKE: &str = "DELETE FROM photos";

/// The source under protection.
pub struct Protected<'a> {
    cloud: &'a LocalCloud,
    deployment: &'a Deployment,
    kms_key: String,
    recipient: String,
}

impl<'a> Protected<'a> {
    /// Before the full backup: only then it joins the changes.
    pub fn begin(cloud: &'a LocalCloud, deployment: &'a Deployment) -> Result<Self> {
        let declared: Value = serde_json::from_slice(&std::fs::read(cloud.run_dir().join("catalog.json"))?)?;
        let recipient = declared["policies"][0]["recovery_recipients"][0].as_str();
        let protected = Self {
            cloud,
            deployment,
            kms_key: deployment.output("BackupKeyArn")?.to_owned(),
            recipient: recipient.context("the policy has a recovery recipient")?.to_owned(),
        };
        say("protecting the source: keepsake protect makes a publication and a replication slot");
        protected.on_source("protect")?;
        Ok(protected)
    }

    /// Changes, mistake, capture, copy, restore, comparison; told as they happen, and in a report.
    pub fn undo_a_mistake(&self) -> Result<()> {
        let source = Target::parse(self.cloud.postgres_url("source")?)?;
        say("changing rows after the full backup");
        source.ask(CHANGES)?;
        let before = digests(&source)?;
        let moment = source.ask(
            "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00'",
        )?;
        say(&format!("the mistake: {MISTAKE}"));
        source.ask(MISTAKE)?;
        ensure!(digests(&source)? != before, "the mistake changed nothing");
        say("keepsake capture, and keepsake replicate to the second region");
        let captured = self.on_source("capture")?;
        let (from, to) = (self.deployment.repository()?, self.deployment.copy_repository());
        let copied = self.keepsake(&["replicate", "--repo", &from, "--to", &to, "--name", SOURCE], None)?;
        let key = self.deployment.recovery_key.display().to_string();
        let rpo = self.keepsake(&["rpo", "--repo", &to, "--name", SOURCE, "--key-file", &key], None)?;
        say(&format!("keepsake restore --at '{moment}', from the second region, with the recovery key"));
        let (target, url) = self.empty_target()?;
        let restore = ["restore", "--repo", &to, "--to", "env:TARGET", "--key-file", &key, "--at", &moment];
        let restored = self.keepsake(&restore, Some(&url))?;
        let after = digests(&target)?;
        if let Some((table, _)) = before.iter().find(|(table, held)| after.get(*table) != Some(held)) {
            bail!("table {table} is not what it was before the mistake");
        }
        ensure!(before.len() == after.len(), "the restored database has other tables");
        println!("\nThe mistake, undone");
        println!("  moment          {moment}, right before {MISTAKE}");
        println!(
            "  captured        {} transactions with {} changes since the full backup, the mistake among them",
            captured["transactions"], captured["changes"]
        );
        println!(
            "  copied          {} manifests to {to}; RPO there {} s",
            copied["lineages"][0]["manifests"], rpo["rpo_seconds"]
        );
        told(&restored);
        println!(
            "  compared        {} tables row for row by psql: as they were at that moment",
            before.len()
        );
        println!(
            "  photos          {} rows again",
            before.get("public.photos").map_or("no", |held| &held.rows)
        );
        Ok(())
    }

    /// `protect` or `capture`.
    fn on_source(&self, command: &str) -> Result<Value> {
        let repository = self.deployment.repository()?;
        let arguments = [command, "--source", "env:SOURCE", "--repo", &repository, "--name", SOURCE];
        let holders = ["--kms-key", &self.kms_key, "--recipient", &self.recipient];
        self.keepsake(&[&arguments[..], &holders[..]].concat(), None)
    }

    /// Runs `keepsake`; its answer.
    fn keepsake(&self, arguments: &[&str], target: Option<&str>) -> Result<Value> {
        let mut command = self.cloud.command(&self.deployment.keepsake);
        command.args(arguments).arg("--json").env("SOURCE", self.cloud.postgres_url("source")?);
        command.envs(target.map(|url| ("TARGET", url)));
        let output = command.output().context("cannot start keepsake")?;
        if !output.status.success() {
            bail!("keepsake {} failed:\n{}", arguments[0], String::from_utf8_lossy(&output.stderr));
        }
        serde_json::from_slice(&output.stdout).context("keepsake answers JSON")
    }

    fn empty_target(&self) -> Result<(Target, String)> {
        let catalog = self.cloud.postgres_url("catalog")?;
        Target::parse(catalog)?.ask(&format!("CREATE DATABASE {RESTORED} TEMPLATE template0"))?;
        let (server, _) = catalog.rsplit_once('/').context("a database's URL ends with its name")?;
        let url = format!("{server}/{RESTORED}");
        Ok((Target::parse(&url)?, url))
    }
}

fn told(restored: &Value) {
    let certificate = &restored["certificate"];
    let recovered = &certificate["recovered"];
    println!(
        "  restored        {}: full backup and {} transactions of {} segments, the last committed at {}",
        certificate["verdict"].as_str().unwrap_or_default(),
        recovered["transactions"],
        recovered["segments"],
        recovered["at"].as_str().unwrap_or_default()
    );
    println!(
        "  recovery time   {:.1} s, everything read back and compared included",
        restored["seconds"].as_f64().unwrap_or_default()
    );
}

/// What a table held.
#[derive(PartialEq, Eq)]
struct Held {
    rows: String,
    digest: String,
}

/// Tables that are not partitions, counted and digested by the server itself, in an order of their own.
const DIGESTS: &str = "
    SELECT string_agg(format($$SELECT %L || '|' || count(*) || '|' || coalesce(md5(string_agg(md5(t::text), '' ORDER BY md5(t::text))), '')
        FROM %s t$$, name, name), ' UNION ALL ')
    FROM (SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^pg_'
            AND n.nspname <> 'information_schema') tables";

fn digests(database: &Target) -> Result<BTreeMap<String, Held>> {
    let answered = database.ask(&database.ask(DIGESTS)?)?;
    answered
        .lines()
        .map(|line| {
            let mut fields = line.rsplitn(3, '|').map(str::to_owned);
            let (digest, rows, table) = (fields.next(), fields.next(), fields.next());
            let held = Held { rows: rows.context("a count")?, digest: digest.context("a digest")? };
            Ok((table.context("a table")?, held))
        })
        .collect()
}
