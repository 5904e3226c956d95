//! Databases of the test servers, looked at with psql and pg_dump: another eye than the program's own.

use keepsake_testkit::cluster::until;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use uuid::Uuid;

/// A login of this test run, the same on all servers. Its password is like nothing else in any output.
#[derive(Clone)]
pub struct Login {
    pub role: String,
    pub password: String,
}

/// One server.
#[derive(Clone, Copy)]
pub enum Server {
    Source,
    Target,
    /// Where a restore may create every role of the source's server: no other test minds what roles are there.
    Apart,
}

impl Server {
    fn superuser(self) -> String {
        let variable = match self {
            Self::Source => "KEEPSAKE_TEST_SOURCE_URL",
            Self::Target => "KEEPSAKE_TEST_TARGET_URL",
            Self::Apart => "KEEPSAKE_TEST_POSTGRES_16_URL",
        };
        std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run cargo x test"))
    }

    /// As the server's own superuser.
    pub fn sql(self, statements: &str) -> String {
        psql(&self.superuser(), statements)
    }

    /// Made once per server and test run; a superuser, as the sample's owner is.
    pub fn login(self) -> &'static Login {
        static LOGIN: OnceLock<Login> = OnceLock::new();
        static ON_SOURCE: OnceLock<()> = OnceLock::new();
        static ON_TARGET: OnceLock<()> = OnceLock::new();
        static APART: OnceLock<()> = OnceLock::new();
        let login = LOGIN.get_or_init(|| {
            let id = Uuid::now_v7().simple();
            Login { role: format!("keepsake_cli_{id}"), password: format!("pässw%2F@rd-{id}") }
        });
        let made = match self {
            Self::Source => &ON_SOURCE,
            Self::Target => &ON_TARGET,
            Self::Apart => &APART,
        };
        made.get_or_init(|| {
            let Login { role, password } = login;
            // Another test's restore of all roles may have made it already.
            psql(
                &self.superuser(),
                &format!(
                    "DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
                     ALTER ROLE {role} SUPERUSER LOGIN PASSWORD '{password}'"
                ),
            );
        });
        login
    }
}

/// A database of its own, dropped at the end.
pub struct Database {
    server: Server,
    pub name: String,
}

impl Database {
    pub fn empty(server: Server) -> Self {
        Self::with(server, "")
    }

    /// With options of `CREATE DATABASE`.
    pub fn with(server: Server, options: &str) -> Self {
        let name = format!("cli_{}", Uuid::now_v7().simple());
        let role = &server.login().role;
        psql(
            &server.superuser(),
            &format!("CREATE DATABASE {name} OWNER {role} TEMPLATE template0 {options}"),
        );
        Self { server, name }
    }

    /// Another one on the same server with the same content.
    pub fn like(other: &Self) -> Self {
        let name = format!("cli_{}", Uuid::now_v7().simple());
        let (role, template) = (&other.server.login().role, &other.name);
        psql(&other.server.superuser(), &format!("CREATE DATABASE {name} OWNER {role} TEMPLATE {template}"));
        Self { server: other.server, name }
    }

    pub fn filled() -> Self {
        let database = Self::empty(Server::Source);
        database.sql(include_str!("schema.sql"));
        database
    }

    /// With the login's password.
    pub fn url(&self) -> String {
        let login = self.server.login();
        let password: String = login.password.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.url_as(&format!("{}:{password}", login.role))
    }

    /// With these credentials.
    pub fn url_as(&self, user: &str) -> String {
        let superuser = self.server.superuser();
        let (scheme, rest) = superuser.split_once("://").unwrap();
        let (authority, path) = rest.split_once('/').unwrap();
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let options = path.split_once('?').map_or(String::new(), |(_, options)| format!("?{options}"));
        format!("{scheme}://{user}@{host}/{}{options}", self.name)
    }

    pub fn sql(&self, statements: &str) -> String {
        psql(&self.url(), statements)
    }

    /// Waits until every transaction of this server that is open now is over, those of other tests too: one that was
    /// open when changes began, and still is in a full backup's snapshot, keeps that backup from joining them.
    pub fn wait_for_older_writers(&self) {
        let next = self.sql("SELECT pg_snapshot_xmax(pg_current_snapshot())");
        let are_over = format!("SELECT pg_snapshot_xmin(pg_current_snapshot()) >= '{}'::xid8", next.trim());
        until("the transactions of before are over", || self.sql(&are_over).trim() == "t");
    }

    /// Everything that can be compared: rows, sequences, large objects, and the schema.
    pub fn content(&self) -> Vec<String> {
        let mut content = self.rows();
        content.push(self.schema());
        content
    }

    /// Rows by count and hash of their text, sequences and large objects: the same on every server and version.
    pub fn rows(&self) -> Vec<String> {
        let tables = self.sql(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'm') AND c.relispopulated AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
             ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\"",
        );
        let mut content: Vec<String> = tables
            .lines()
            .map(|table| {
                let hash = format!(
                    "SELECT count(*), md5(string_agg(md5(t::text), '' ORDER BY md5(t::text))) FROM ONLY {table} t"
                );
                format!("{table}: {}", self.sql(&hash))
            })
            .collect();
        content.push(self.sql("SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2"));
        content.push(self.sql("SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY 1"));
        content
    }

    pub fn schema(&self) -> String {
        let url = self.url();
        let arguments = ["--schema-only", "--no-tablespaces", "--dbname", &url];
        let output = Command::new("pg_dump").args(arguments).output().expect("pg_dump is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        // What watches a source's schema is ours, and in no target; neither is what stands around it.
        let is_ours =
            |entry: &&str| entry.lines().next().is_some_and(|line| line.contains("keepsake_capture"));
        let entries: Vec<&str> = text.split("--\n-- Name: ").filter(|entry| !is_ours(entry)).collect();
        // Newer versions write a random word there.
        let around = ["\\", "SET default_", "--"];
        let skipped = |line: &&str| line.is_empty() || around.iter().any(|begin| line.starts_with(begin));
        let lines = entries.iter().flat_map(|entry| entry.lines()).filter(|line| !skipped(line));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Sessions of our login in this database.
    pub fn sessions(&self) -> u64 {
        let count = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{}'", self.name);
        psql(&self.server.superuser(), &count).parse().unwrap()
    }
}

/// A session of the server's superuser with an open transaction, ended with this value; then it never was.
pub struct OpenTransaction {
    server: Server,
    name: String,
    psql: Child,
}

impl Database {
    /// Returns when the statements are done and hold their locks.
    pub fn open_transaction(&self, statements: &str) -> OpenTransaction {
        let name = format!("open_{}", Uuid::now_v7().simple());
        let superuser = self.server.superuser();
        let url = format!("{}/{}", superuser.rsplit_once('/').unwrap().0, self.name);
        // Longer than any test; the session is ended with the value.
        let held = format!("BEGIN; {statements}; SELECT pg_sleep(600)");
        let mut command = psql_command(&url, &held);
        let psql =
            command.env("PGAPPNAME", &name).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let open = OpenTransaction { server: self.server, name, psql };
        let sleeps = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}' AND wait_event = 'PgSleep'",
            open.name
        );
        until("the transaction is open", || self.server.sql(&sleeps) == "1");
        open
    }

    /// Ends the session of ours that waits for a lock, once there is one.
    pub fn end_who_waits(&self) {
        let end = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = '{}' AND wait_event_type = 'Lock'",
            self.name
        );
        until("somebody waits", || self.server.sql(&end) != "0");
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        let end = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{}'",
            self.name
        );
        let _ = psql_command(&self.server.superuser(), &end).output();
        let _ = self.psql.wait();
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A database with a slot cannot be dropped, nor a slot that somebody streams from.
        let slots = format!(
            "DO $$ DECLARE s record; BEGIN
                FOR s IN SELECT slot_name, active_pid FROM pg_replication_slots WHERE database = '{}' LOOP
                    PERFORM pg_terminate_backend(s.active_pid, 60000) WHERE s.active_pid IS NOT NULL;
                    PERFORM pg_drop_replication_slot(s.slot_name);
                END LOOP; END $$",
            self.name
        );
        let _ = psql_command(&self.server.superuser(), &slots).output();
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let outcome = psql_command(&self.server.superuser(), &drop).output();
        if !outcome.is_ok_and(|output| output.status.success()) {
            eprintln!("database {} is left behind", self.name);
        }
    }
}

fn psql_command(url: &str, statements: &str) -> Command {
    let mut command = Command::new("psql");
    command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
    command.args(["--dbname", url, "--command", statements]).stdin(Stdio::null());
    // The text of a value must be the same on every server.
    command.env(
        "PGOPTIONS",
        "-c client_min_messages=warning -c timezone=UTC -c datestyle=ISO -c extra_float_digits=1",
    );
    command
}

/// What statements print, unaligned.
pub fn psql(url: &str, statements: &str) -> String {
    let output = psql_command(url, statements).output().expect("psql is installed");
    assert!(output.status.success(), "{statements}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}
