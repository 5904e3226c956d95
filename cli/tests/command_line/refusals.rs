//! Sources, targets and repositories that will not do: each with its exit code and a text that names the thing.

use crate::bench::{Bench, ended};
use crate::database::{Database, Server};
use crate::program::PROGRAM;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use uuid::Uuid;

/// A role without any right but to connect, with its URL for a database. Dropped with what it owns.
struct Stranger<'a> {
    database: &'a Database,
    role: String,
}

impl<'a> Stranger<'a> {
    fn new(database: &'a Database) -> Self {
        let role = format!("stranger_{}", Uuid::now_v7().simple());
        database.sql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'stranger'"));
        Self { database, role }
    }

    fn url(&self) -> String {
        self.database.url_as(&format!("{}:stranger", self.role))
    }

    fn grant(&self, what: &str) {
        self.database.sql(&format!("GRANT {what} TO {}", self.role));
    }
}

impl Drop for Stranger<'_> {
    fn drop(&mut self) {
        self.database.sql(&format!("DROP OWNED BY {0}; DROP ROLE {0}", self.role));
    }
}

const NO_BACKUP: &str = "no backup stands in";

fn nothing_stands(bench: &Bench) {
    assert_eq!(bench.list(&bench.repo())["backups"].as_array().unwrap().len(), 0);
    bench.verify(&bench.repo(), &[]).failed(14, &[NO_BACKUP]);
}

#[test]
fn a_wrong_password_is_refused_by_the_server_and_not_repeated() {
    let (bench, source) = (Bench::new(), Database::empty(Server::Source));
    let role = &Server::Source.login().role;
    let wrong = bench.backup(&source.url_as(&format!("{role}:wr0ng-pass")), &[]);
    assert!(!wrong.stderr.contains("wr0ng-pass"), "{}", wrong.stderr);
    wrong.failed(12, &["refused the login"]);
    nothing_stands(&bench);
}

#[test]
fn an_unknown_host_is_named() {
    let bench = Bench::new();
    bench.backup("postgres://anna:x@nowhere.invalid/d", &[]).failed(12, &["unknown host in nowhere.invalid"]);
}

#[test]
fn a_server_that_does_not_answer_may_come_back() {
    let bench = Bench::new();
    bench.backup("postgres://anna:x@127.0.0.1:1/d", &[]).failed(10, &["cannot reach 127.0.0.1:1"]);
}

#[test]
fn a_table_that_may_not_be_read_is_named_before_anything_is_written() {
    let (bench, source) = (Bench::new(), Database::empty(Server::Source));
    source.sql("CREATE TABLE open (i int); CREATE TABLE closed (i int)");
    let stranger = Stranger::new(&source);
    stranger.grant("pg_monitor");
    stranger.grant("SELECT ON open");
    let failed = bench.backup(&stranger.url(), &[]).failed(12, &["may not read", "closed"]);
    assert!(!failed.stderr.contains("public.open"), "{}", failed.stderr);
    nothing_stands(&bench);
}

#[test]
fn hidden_rows_are_an_error_and_not_a_silent_loss() {
    let (bench, source) = (Bench::new(), Database::empty(Server::Source));
    source.sql(
        "CREATE TABLE veiled (i int); INSERT INTO veiled VALUES (1), (2); ALTER TABLE veiled ENABLE ROW LEVEL SECURITY;
         CREATE POLICY one ON veiled USING (i = 1)",
    );
    let stranger = Stranger::new(&source);
    stranger.grant("pg_monitor");
    stranger.grant("pg_read_all_data");
    bench.backup(&stranger.url(), &[]).failed(12, &["row-level security would hide rows", "veiled"]);
    nothing_stands(&bench);
}

#[test]
fn a_role_without_access_to_the_wal_position_is_told_which_function_it_lacks() {
    let (bench, source) = (Bench::new(), Database::empty(Server::Source));
    source.sql("REVOKE EXECUTE ON FUNCTION pg_current_wal_lsn() FROM PUBLIC");
    let stranger = Stranger::new(&source);
    stranger.grant("pg_read_all_data");
    let failed = bench.backup(&stranger.url(), &[]).failed(12, &["may not execute"]);
    assert!(failed.stderr.contains("next: GRANT EXECUTE ON FUNCTION"), "{}", failed.stderr);
}

#[test]
fn all_problems_of_a_source_are_told_in_one_run() {
    let (bench, source) = (Bench::new(), Database::empty(Server::Source));
    source.sql("CREATE TABLE closed (i int); REVOKE EXECUTE ON FUNCTION pg_current_wal_lsn() FROM PUBLIC");
    let stranger = Stranger::new(&source);
    let failed = bench.backup(&stranger.url(), &[]).failed(12, &["closed", "pg_current_wal_lsn()"]);
    for remedy in ["GRANT pg_read_all_data", "GRANT EXECUTE ON FUNCTION"] {
        assert!(failed.stderr.lines().last().unwrap().contains(remedy), "{}", failed.stderr);
    }
}

#[test]
fn a_server_newer_than_pg_dump_is_refused_with_both_versions() {
    let (bench, source) = (Bench::new(), Database::empty(Server::Source));
    let tools = bench.path("tools");
    std::fs::create_dir(&tools).unwrap();
    for program in ["pg_dump", "pg_restore"] {
        let path = tools.join(program);
        std::fs::write(&path, format!("#!/bin/sh\necho '{program} (PostgreSQL) 9.6.24'\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let failed = bench.backup(&source.url(), &["--pg-bin", tools.to_str().unwrap()]);
    failed.failed(12, &["server version", "9.6.24", "older than the server"]);
}

#[test]
fn a_repository_that_does_not_exist_is_named_and_not_made() {
    let (bench, source) = (Bench::new(), Database::empty(Server::Source));
    std::fs::remove_dir(bench.path("repo")).unwrap();
    bench.backup(&source.url(), &[]).failed(12, &["repo", "does not exist"]);
    assert!(!bench.path("repo").exists());
}

#[test]
fn a_repository_that_cannot_be_written_is_denied() {
    let (bench, source) = (Bench::new(), Database::empty(Server::Source));
    // Kernel folders refuse everyone, also root.
    let arguments =
        ["backup", "--source", "env:SOURCE", "--repo", "file:///sys/kernel", "--recipient", &bench.recipient];
    let mut command = crate::program::command(&arguments);
    ended(command.env("SOURCE", source.url())).failed(12, &["file:///sys/kernel"]);
}

#[test]
fn a_write_that_ends_in_the_middle_of_an_object_leaves_no_backup() {
    let (bench, source) = (Bench::new(), Database::filled());
    // The limit lets keys and README pass and stops a part; the signal is ignored so that the write itself fails.
    let script = format!("trap '' XFSZ; ulimit -f 32; exec {PROGRAM} \"$@\"");
    let mut command = Command::new("bash");
    let repo = bench.repo();
    command.args(["-c", &script, "keepsake", "backup", "--source", "env:SOURCE", "--repo", &repo]);
    command.args(["--recipient", &bench.recipient]).env("SOURCE", source.url());
    ended(&mut command).failed(12, &["repo"]);
    nothing_stands(&bench);
    bench.backup(&source.url(), &[]).ok();
    bench.verify(&repo, &["--deep", "--key-file", &bench.key_file()]).ok();
}

#[test]
fn a_disk_that_runs_full_is_named_and_leaves_no_backup_and_the_next_run_succeeds() {
    let (bench, source) = (Bench::new(), Database::filled());
    let (repo, summary) = (bench.repo(), bench.good_backup(&source));
    std::fs::remove_dir_all(bench.path("repo")).unwrap();
    std::fs::create_dir(bench.path("repo")).unwrap();
    // Half of what the backup needs, on a disk of its own that nobody else sees. Users may mount in a namespace of theirs.
    let size = summary["stored_bytes"].as_u64().unwrap() / 2;
    let backup =
        format!("{PROGRAM} backup --source env:SOURCE --repo {repo} --recipient {}", bench.recipient);
    let script = format!(
        "mount -t tmpfs -o size={size} none {0} && df --output=size {0} >/dev/null && {{ {backup}; code=$?; }} &&
         {PROGRAM} list --repo {repo} && mount -o remount,size=100% {0} && {backup} >&2 &&
         {PROGRAM} verify --repo {repo} --deep >&2 && exit $code",
        bench.path("repo").display()
    );
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "bash", "-c", &script]).env("SOURCE", source.url());
    let ended = ended(&mut command);
    assert_eq!(ended.code, Some(12), "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains(&format!("error: {repo} is full")), "{}", ended.stderr);
    assert!(ended.stdout.contains(NO_BACKUP), "{}", ended.stdout);
}

#[test]
fn a_target_that_holds_anything_is_refused_and_stays_as_it_is() {
    let (bench, source, target) = (Bench::new(), Database::filled(), Database::empty(Server::Target));
    bench.good_backup(&source);
    target.sql("CREATE TABLE precious (i int); INSERT INTO precious VALUES (1)");
    let before = target.content();
    let refused = bench.restore(&bench.repo(), &target, &[]).failed(12, &["is not empty", "precious"]);
    assert!(refused.stderr.contains("at risk: nothing"), "{}", refused.stderr);
    assert_eq!(target.content(), before);
}

#[test]
fn a_target_full_of_things_is_told_in_a_few_words() {
    let (bench, source, target) = (Bench::new(), Database::filled(), Database::empty(Server::Target));
    bench.good_backup(&source);
    target.sql(
        "DO $$ BEGIN FOR n IN 1..60 LOOP EXECUTE format('CREATE TABLE mine_%s (i int)', n); END LOOP; END $$",
    );
    let refused = bench.restore(&bench.repo(), &target, &[]).failed(12, &["is not empty", "and more"]);
    assert!(refused.stdout.matches("mine_").count() + refused.stderr.matches("mine_").count() < 20);
    let plan =
        bench.restore(&bench.repo(), &target, &["--plan", "--json"]).failed(12, &["is not empty"]).json();
    assert!(plan["target_holds"].as_array().unwrap().len() > 15, "{plan}");
}

#[test]
fn a_plan_names_what_of_the_target_does_not_fit_and_what_to_do_and_touches_nothing() {
    let (bench, source) = (Bench::new(), Database::filled());
    bench.good_backup(&source);
    let target = Database::with(Server::Target, "ENCODING 'LATIN1' LOCALE 'C'");
    let before = target.content();
    for more in [&["--plan"][..], &[]] {
        let refused = bench.restore(&bench.repo(), &target, more);
        let refused = refused.failed(12, &["does not fit", "LATIN1", "UTF8"]);
        assert!(refused.stdout.contains("UNFIT"), "the plan: {}", refused.stdout);
        assert!(refused.stderr.contains("next: make the target with CREATE DATABASE"), "{}", refused.stderr);
        assert_eq!(target.content(), before);
    }
}

#[test]
fn a_certificate_that_exists_is_refused_before_anything_is_done() {
    let (bench, source, target) = (Bench::new(), Database::filled(), Database::empty(Server::Target));
    bench.good_backup(&source);
    let path = bench.path("certificate.json");
    std::fs::write(&path, "precious").unwrap();
    let before = target.content();
    let certificate = ["--certificate", path.to_str().unwrap()];
    bench.restore(&bench.repo(), &target, &certificate).failed(2, &["certificate.json", "exists"]);
    assert_eq!((target.content(), std::fs::read_to_string(&path).unwrap()), (before, "precious".to_owned()));
    let nowhere = ["--certificate", "/nowhere/certificate.json"];
    bench.restore(&bench.repo(), &target, &nowhere).failed(2, &["folder that does not exist"]);

    std::fs::remove_file(&path).unwrap();
    bench.restore(&bench.repo(), &target, &certificate).ok();
    let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(kept["verdict"], "passed");
}

#[test]
fn a_source_without_any_table_is_backed_up_with_a_warning() {
    let (bench, source) = (Bench::new(), Database::empty(Server::Source));
    let ended = bench.backup(&source.url(), &["--json"]).ok();
    let warning = &ended.json()["warnings"][0];
    assert!(warning.as_str().unwrap().contains("holds no table"), "{warning}");
    assert!(ended.stderr.contains("warning: database"), "{}", ended.stderr);
}

#[test]
fn the_first_characters_of_an_id_are_enough_if_they_mean_one_backup() {
    let (bench, source) = (Bench::new(), Database::empty(Server::Source));
    let backup =
        || bench.backup(&source.url(), &["--json"]).ok().json()["backup_id"].as_str().unwrap().to_owned();
    let (first, second) = (backup(), backup());
    let alike = first.bytes().zip(second.bytes()).take_while(|(one, other)| one == other).count();
    let (repo, enough) = (bench.repo(), &second[..=alike]);
    let show = |id: &str| crate::program::run(&["show", "--repo", &repo, "--json", id]);

    assert_eq!(show(enough).ok().json()["manifest"]["backup_id"], second.as_str());
    let verified = bench.verify(&repo, &[enough, "--json"]).ok().json();
    assert_eq!(verified["backups"][0]["backup_id"], second.as_str());
    show(&second[..alike]).failed(12, &["2 backups", &first, &second]);
    show("0000").failed(12, &["no backup 0000 stands in"]);
}

#[test]
fn a_key_that_is_no_holder_opens_nothing_and_touches_no_target() {
    let (bench, source, target) = (Bench::new(), Database::filled(), Database::empty(Server::Target));
    bench.good_backup(&source);
    let other = Bench::new();
    let (before, repo, other_key) = (target.content(), bench.repo(), other.key_file());
    let arguments = ["restore", "--repo", &repo, "--to", "env:TARGET", "--key-file", &other_key];
    let mut command = crate::program::command(&arguments);
    let failed = ended(command.env("TARGET", target.url())).failed(12, &[]);
    assert!(failed.stderr.contains(&bench.recipient), "the holders are named: {}", failed.stderr);
    assert_eq!(target.content(), before);
    bench.verify(&repo, &["--deep", "--key-file", &other_key]).failed(12, &[]);
}

#[test]
fn a_pg_restore_that_does_not_run_is_found_before_anything_is_read_or_begun() {
    let (bench, target) = (Bench::new(), Database::empty(Server::Target));
    let tools = bench.path("tools");
    std::fs::create_dir(&tools).unwrap();
    std::fs::write(tools.join("pg_restore"), "not a program").unwrap();
    for more in [&["--plan"][..], &[]] {
        let options = [&["--pg-bin", tools.to_str().unwrap()], more].concat();
        let ended = bench.restore("file:///no/such/repository", &target, &options);
        let ended = ended.failed(12, &["pg_restore was not found in", tools.to_str().unwrap()]);
        assert!(ended.stderr.contains("at risk: nothing"), "{}", ended.stderr);
        assert!(ended.stderr.contains("next: install PostgreSQL client tools"), "{}", ended.stderr);
    }
}
