//! Real servers of several majors, and databases on them that go away with their test.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use uuid::Uuid;

/// Of roles that a test makes.
const PASSWORD: &str = "judged-and-dropped";

/// One server, as superuser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    url: String,
    /// Of every session, as `?options=` takes them.
    options: String,
}

impl Server {
    pub fn source() -> Self {
        Self::named("KEEPSAKE_TEST_SOURCE_URL")
    }

    pub fn target() -> Self {
        Self::named("KEEPSAKE_TEST_TARGET_URL")
    }

    /// Of 15 there are two; this one restores.
    pub fn of_major(major: u32) -> Self {
        match major {
            15 => Self::target(),
            other => Self::named(&format!("KEEPSAKE_TEST_POSTGRES_{other}_URL")),
        }
    }

    fn named(variable: &str) -> Self {
        let url =
            std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run cargo x test"));
        Self { url, options: String::new() }
    }

    /// The same server, with a setting in every session.
    pub fn with_setting(&self, name: &str, value: &str) -> Self {
        Self { url: self.url.clone(), options: format!("&options=-c%20{name}%3D{value}") }
    }

    fn url_of(&self, database: &str) -> String {
        let (server, _) = self.url.rsplit_once('/').unwrap();
        format!("{server}/{database}?sslmode=prefer{}", self.options)
    }

    pub fn major(&self) -> u32 {
        psql(&self.url, "SHOW server_version_num").trim().parse::<u32>().unwrap() / 10_000
    }
}

/// A database of its own; dropped with its roles at the end, also when the test fails.
pub struct Database {
    pub server: Server,
    pub name: String,
    roles: Vec<String>,
    /// Who backs it up or restores it, if not the superuser.
    login: Option<String>,
}

impl Database {
    pub fn on(server: &Server) -> Self {
        Self::with(server, "")
    }

    /// With options of `CREATE DATABASE`.
    pub fn with(server: &Server, options: &str) -> Self {
        let name = format!("judge_{}", Uuid::now_v7().simple());
        psql(&server.url, &format!("CREATE DATABASE {name} TEMPLATE template0 {options}"));
        Self { server: server.clone(), name, roles: Vec::new(), login: None }
    }

    pub fn url(&self) -> String {
        self.server.url_of(&self.name)
    }

    /// For the programs under test.
    pub fn login_url(&self) -> String {
        let Some(role) = &self.login else { return self.url() };
        let url = self.url();
        let (_, place) = url.split_once('@').unwrap();
        format!("postgres://{role}:{PASSWORD}@{place}")
    }

    /// Gives the database to a role of its own, as which it is backed up or restored from now on.
    pub fn belongs_to_a_role(&mut self, options: &str) -> String {
        let role = format!("{}_owner", self.name);
        psql(&self.server.url, &format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}' {options}"));
        self.sql(&format!("ALTER DATABASE {} OWNER TO {role}", self.name));
        self.roles.push(role.clone());
        self.login = Some(role.clone());
        role
    }

    /// Runs a script in which `ROLE_A` and `ROLE_B` stand for two roles of this database's own.
    pub fn load(&mut self, script: &str) {
        if self.roles.is_empty() {
            self.roles = ["a", "b"].map(|which| format!("{}_{which}", self.name)).to_vec();
            for role in &self.roles {
                psql(&self.server.url, &format!("CREATE ROLE {role}"));
            }
        }
        let script = script.replace("ROLE_A", &self.roles[0]).replace("ROLE_B", &self.roles[1]);
        self.sql(&script);
    }

    /// Roles that the database's own script makes, to be dropped with it.
    pub fn owns_roles(&mut self, names: &[&str]) {
        self.roles.extend(names.iter().map(|name| (*name).to_owned()));
    }

    /// Roles that a restore made here, to be dropped with this database.
    pub fn owns_the_roles_of(&mut self, source: &Self) {
        if self.server != source.server {
            self.roles.clone_from(&source.roles);
        }
    }

    /// What the statements print, unaligned.
    pub fn sql(&self, statements: &str) -> String {
        psql(&self.url(), statements)
    }

    /// A query with one JSON value.
    pub fn json(&self, query: &str) -> serde_json::Value {
        let text = self.sql(query);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {query}: {text}"))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A database with a subscription cannot be dropped.
        let unsubscribe = "DO $$ DECLARE s name; BEGIN
            FOR s IN SELECT subname FROM pg_subscription WHERE subdbid =
                (SELECT oid FROM pg_database WHERE datname = current_database()) LOOP
                EXECUTE format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', s);
                EXECUTE format('DROP SUBSCRIPTION %I', s);
            END LOOP; END $$";
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let _ = feed(psql_command(&self.url()), unsubscribe.as_bytes());
        let roles = self.roles.iter().map(|role| format!("DROP ROLE IF EXISTS {role}"));
        for statement in std::iter::once(drop).chain(roles) {
            let output = feed(psql_command(&self.server.url), statement.as_bytes());
            if !output.status.success() {
                eprintln!("{statement}: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }
}

/// The client programs' root, `<root>/<major>/bin`, by the variable of `cargo x test`.
fn programs_root() -> PathBuf {
    let folder = std::env::var("KEEPSAKE_TEST_PG_BIN").expect("KEEPSAKE_TEST_PG_BIN: run cargo x test");
    PathBuf::from(folder).parent().unwrap().parent().unwrap().to_owned()
}

fn majors() -> Vec<u32> {
    let entries = std::fs::read_dir(programs_root()).unwrap();
    let mut majors: Vec<u32> =
        entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok()).collect();
    majors.sort_unstable();
    majors
}

/// A program of this major, or of the oldest that is newer.
pub fn program(name: &str, major: u32) -> PathBuf {
    let fitting = majors().into_iter().find(|there| *there >= major);
    let fitting = fitting.unwrap_or_else(|| panic!("no {name} for {major}"));
    programs_root().join(fitting.to_string()).join("bin").join(name)
}

/// The newest: it reads every server.
pub fn newest(name: &str) -> PathBuf {
    program(name, *majors().last().expect("client programs"))
}

pub fn psql_command(url: &str) -> Command {
    let mut command = Command::new("psql");
    command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
    command.args(["--dbname", url]);
    command.env("PGOPTIONS", "-c client_min_messages=error").env("PGCLIENTENCODING", "UTF8");
    command
}

/// Runs a command with this standard input.
pub fn feed(mut command: Command, input: &[u8]) -> Output {
    use std::io::Write;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("psql is installed");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    // A program that failed early closes its input; its status tells.
    let _ = writer.join().unwrap();
    output
}

fn psql(url: &str, statements: &str) -> String {
    let output = feed(psql_command(url), statements.as_bytes());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\nin: {}", statements.chars().take(300).collect::<String>());
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
