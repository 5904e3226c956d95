//! Managed servers, played by roles and grants on a plain one: what each forbids, and that backup and restore cope
//! with exactly that. Providers are played on the source's server only, so that the target's stays plain.

use crate::bench::{Bench, ended};
use crate::database::{Database, Server};
use crate::program::{Ended, command};
use serde_json::Value;
use uuid::Uuid;

pub const PASSWORD: &str = "pr0vided-and-kept";

/// Roles of one test, on both servers; dropped after the databases that name them.
pub struct Roles {
    suffix: String,
}

impl Roles {
    pub fn new() -> Self {
        Self { suffix: Uuid::now_v7().simple().to_string() }
    }

    pub fn name(&self, role: &str) -> String {
        format!("{role}_{}", self.suffix)
    }

    /// Makes a role; answers its name.
    pub fn make(&self, server: Server, role: &str, options: &str) -> String {
        let name = self.name(role);
        server.sql(&format!("CREATE ROLE {name} {options}"));
        name
    }

    /// Makes a role that logs in.
    pub fn login(&self, server: Server, role: &str, options: &str) -> String {
        self.make(server, role, &format!("LOGIN PASSWORD '{PASSWORD}' {options}"))
    }
}

impl Drop for Roles {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // The first failure is the one to be read.
        }
        for server in [Server::Source, Server::Target, Server::Apart] {
            let mine = format!("SELECT rolname FROM pg_roles WHERE rolname LIKE '%\\_{}'", self.suffix);
            for role in server.sql(&mine).lines() {
                server.sql(&format!("DROP ROLE {role}"));
            }
        }
    }
}

pub fn backup(bench: &Bench, source: &Database, role: &str, more: &[&str]) -> Ended {
    bench.backup(&source.url_as(&format!("{role}:{PASSWORD}")), more)
}

pub fn restore(bench: &Bench, target: &Database, role: &str, more: &[&str]) -> Ended {
    let (repo, key) = (bench.repo(), bench.key_file());
    let mut arguments = vec!["restore", "--repo", &repo, "--to", "env:TARGET", "--key-file", &key];
    arguments.extend(more);
    ended(command(&arguments).env("TARGET", target.url_as(&format!("{role}:{PASSWORD}"))))
}

/// Rules of the certificate's list of what was left out.
fn rules(restored: &Value) -> Vec<String> {
    let left_out = restored["certificate"]["left_out"].as_array().cloned().unwrap_or_default();
    let mut rules: Vec<String> =
        left_out.iter().map(|one| one["rule"].as_str().unwrap().to_owned()).collect();
    rules.dedup();
    rules
}

/// A database that belongs to a role of the user's, with what users make.
fn shop(source: &Database, app: &str) {
    source.sql(&format!(
        "ALTER DATABASE {name} OWNER TO {app}; SET ROLE {app}; CREATE EXTENSION hstore;
         CREATE SCHEMA shop; CREATE TABLE shop.orders (id serial PRIMARY KEY, what hstore NOT NULL, note text);
         INSERT INTO shop.orders (what, note) SELECT hstore('n', n::text), repeat('x', n) FROM generate_series(1, 300) n;
         CREATE TABLE notes (id int PRIMARY KEY, of_order int REFERENCES shop.orders);
         INSERT INTO notes VALUES (1, 7), (2, NULL); ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON notes TO {app} USING (true); CREATE VIEW many AS SELECT * FROM shop.orders WHERE id > 9;
         CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER touched BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION touch();
         CREATE PUBLICATION news FOR TABLE notes; GRANT SELECT ON notes TO PUBLIC; SELECT lo_from_bytea(9, 'photo');
         CREATE TEXT SEARCH DICTIONARY words (TEMPLATE = pg_catalog.simple);
         CREATE TEXT SEARCH CONFIGURATION plain (COPY = pg_catalog.simple);
         CREATE SCHEMA \"Sales Data\"; CREATE TABLE \"Sales Data\".totals (n int PRIMARY KEY);
         INSERT INTO \"Sales Data\".totals VALUES (1); ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
        name = source.name
    ));
}

/// Owner and rights of everything in these schemas.
fn owners(database: &Database, schemas: &str) -> String {
    database.sql(&format!(
        "SELECT c.oid::regclass, pg_get_userbyid(c.relowner), c.relacl FROM pg_class c
         WHERE c.relnamespace::regnamespace::text IN ({schemas}) AND c.relkind IN ('r', 'v', 'S')
         ORDER BY c.oid::regclass::text COLLATE \"C\""
    ))
}

fn rows(database: &Database, table: &str) -> String {
    database.sql(&format!("SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t"))
}

#[test]
fn an_owner_without_superuser_backs_up_and_another_restores_everything() {
    let (bench, roles) = (Bench::new(), Roles::new());
    let (source, target) = (Database::empty(Server::Source), Database::empty(Server::Target));
    let app = roles.login(Server::Source, "app", "");
    let keeper = roles.login(Server::Target, "keeper", "CREATEROLE");
    shop(&source, &app);
    target.sql(&format!("ALTER DATABASE {} OWNER TO {keeper}", target.name));
    backup(&bench, &source, &app, &[]).ok();

    let restored = restore(&bench, &target, &keeper, &["--json"]).ok().json();

    assert_eq!(rules(&restored), [""; 0]);
    assert_eq!(target.content(), source.content());
}

/// `rdsadmin` is the one superuser; the user's role has `rds_superuser` with predefined roles.
fn rds(roles: &Roles, database: &Database) -> String {
    let server = Server::Source;
    for role in ["rdsadmin SUPERUSER", "rds_superuser"] {
        server.sql(&format!(
            "DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        ));
    }
    let master = roles.login(server, "master", "CREATEROLE CREATEDB");
    database.sql(&format!(
        "GRANT rds_superuser, pg_monitor, pg_signal_backend, pg_read_all_data TO {master};
         ALTER DATABASE {} OWNER TO {master}",
        database.name
    ));
    master
}

#[test]
fn a_plain_database_comes_to_rds_and_back() {
    let (bench, roles) = (Bench::new(), Roles::new());
    let (plain, managed, back) =
        (Database::empty(Server::Target), Database::empty(Server::Source), Database::empty(Server::Target));
    let app = roles.login(Server::Target, "app", "");
    shop(&plain, &app);
    plain.sql(&format!(
        "CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; ALTER FUNCTION watch OWNER TO
         {app}; CREATE EVENT TRIGGER \"Watch\" ON ddl_command_end WHEN TAG IN ('CREATE RULE') EXECUTE FUNCTION watch()"
    ));
    let master = rds(&roles, &managed);
    backup(&bench, &plain, &app, &[]).ok();

    let restored = restore(&bench, &managed, &master, &["--json"]).ok().json();
    assert_eq!(rules(&restored), ["event_trigger"], "{}", restored["certificate"]);
    assert_eq!(restored["certificate"]["left_out"][0]["object"], "event trigger Watch");
    let schemas = "'public', 'shop'";
    assert_eq!(owners(&managed, schemas), owners(&plain, schemas));

    let home = Bench::new();
    backup(&home, &managed, &master, &[]).ok();
    home.restore(&home.repo(), &back, &[]).ok();
    assert_eq!(owners(&back, schemas), owners(&plain, schemas));
    for table in ["shop.orders", "notes", "many"] {
        assert_eq!(rows(&back, table), rows(&plain, table), "{table}");
    }
}

/// What a new project of Supabase holds; answers the role that plays its `postgres`.
fn supabase(roles: &Roles, database: &Database) -> String {
    let server = Server::Source;
    for role in [
        "supabase_admin SUPERUSER",
        "supabase_auth_admin",
        "supabase_storage_admin",
        "anon",
        "authenticated",
        "service_role BYPASSRLS",
    ] {
        server.sql(&format!(
            "DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        ));
    }
    let user = roles.login(server, "pguser", "CREATEROLE CREATEDB REPLICATION BYPASSRLS");
    let name = &database.name;
    database.sql(&format!(
        "GRANT anon, authenticated, service_role, pg_monitor, pg_read_all_data TO {user};
         ALTER DATABASE {name} OWNER TO {user}; SET ROLE supabase_admin;
         CREATE SCHEMA auth; CREATE SCHEMA storage; CREATE SCHEMA extensions;
         CREATE TABLE auth.users (id int PRIMARY KEY, email text); ALTER TABLE auth.users OWNER TO supabase_auth_admin;
         CREATE TABLE auth.schema_migrations (version text PRIMARY KEY); INSERT INTO auth.schema_migrations VALUES ('{name}');
         ALTER TABLE auth.schema_migrations OWNER TO supabase_auth_admin;
         CREATE TABLE auth.tokens (id serial PRIMARY KEY); ALTER TABLE auth.tokens OWNER TO supabase_auth_admin;
         CREATE TABLE storage.objects (id int PRIMARY KEY, name text);
         ALTER TABLE storage.objects OWNER TO supabase_storage_admin;
         GRANT ALL ON SCHEMA auth, storage, extensions TO {user}; GRANT ALL ON auth.users, auth.tokens, auth.tokens_id_seq, storage.objects TO {user};
         GRANT USAGE ON SCHEMA auth TO anon, authenticated;
         GRANT ALL ON SCHEMA auth TO supabase_auth_admin; GRANT ALL ON SCHEMA storage TO supabase_storage_admin;
         CREATE FUNCTION extensions.pgrst_watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
         CREATE EVENT TRIGGER pgrst_watch ON ddl_command_end WHEN TAG IN ('CREATE RULE')
             EXECUTE FUNCTION extensions.pgrst_watch();
         CREATE PUBLICATION supabase_realtime; ALTER PUBLICATION supabase_realtime OWNER TO {user};
         ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO {user}, anon, authenticated"
    ));
    user
}

/// A project with accounts, the name of a file, and a table that refers to accounts; answers who plays `postgres`.
fn project(roles: &Roles, source: &Database) -> String {
    let user = supabase(roles, source);
    source.sql(&format!(
        "CREATE EXTENSION hstore SCHEMA extensions; SET ROLE {user}; INSERT INTO auth.users VALUES (1, 'a@example.com'), (2, 'b@example.com');
         INSERT INTO storage.objects VALUES (7, 'photo.jpg'); INSERT INTO auth.tokens DEFAULT VALUES;
         CREATE TABLE profiles (id int PRIMARY KEY REFERENCES auth.users, tags extensions.hstore);
         INSERT INTO profiles VALUES (1, 'a=>1'), (2, NULL); ALTER TABLE profiles ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON profiles TO authenticated USING (true); GRANT SELECT ON profiles TO anon;
         ALTER PUBLICATION supabase_realtime ADD TABLE profiles"
    ));
    user
}

#[test]
fn a_supabase_project_comes_to_a_plain_server_whole() {
    let (bench, roles) = (Bench::new(), Roles::new());
    let (source, target) = (Database::empty(Server::Source), Database::empty(Server::Target));
    let user = project(&roles, &source);
    let coverage = backup(&bench, &source, &user, &["--json"]).ok().json();
    let limited: Vec<&str> =
        coverage["limited"].as_array().unwrap().iter().map(|one| one["what"].as_str().unwrap()).collect();
    assert!(limited.contains(&"schema auth") && limited.contains(&"schema storage"), "{limited:?}");

    let restored = bench.restore(&bench.repo(), &target, &["--json"]).ok().json();

    assert_eq!(rules(&restored), ["provider_event_trigger"], "{}", restored["certificate"]);
    let schemas = "'public', 'auth', 'storage'";
    assert_eq!(owners(&target, schemas), owners(&source, schemas));
    for table in ["auth.users", "storage.objects", "profiles"] {
        assert_eq!(rows(&target, table), rows(&source, table), "{table}");
    }
}

/// A right on a parameter is the server's, and keeps its role from being dropped.
struct MayBeSilent<'a> {
    database: &'a Database,
    role: &'a str,
}

impl<'a> MayBeSilent<'a> {
    fn grant(database: &'a Database, role: &'a str) -> Self {
        database.sql(&format!("GRANT SET ON PARAMETER session_replication_role TO {role}"));
        Self { database, role }
    }
}

impl Drop for MayBeSilent<'_> {
    fn drop(&mut self) {
        self.database.sql(&format!("REVOKE SET ON PARAMETER session_replication_role FROM {}", self.role));
    }
}

#[test]
fn a_supabase_project_comes_to_another_one_with_its_accounts_or_not_at_all() {
    let (bench, roles, others) = (Bench::new(), Roles::new(), Roles::new());
    let (source, target) = (Database::empty(Server::Source), Database::empty(Server::Source));
    let user = project(&roles, &source);
    backup(&bench, &source, &user, &[]).ok();
    let keeper = supabase(&others, &target);
    target.sql(&format!("GRANT {user} TO {keeper}"));
    let refused = |reasons: &[&str]| {
        let reasons = [&["its provider supabase keeps schemas by itself"], reasons].concat();
        restore(&bench, &target, &keeper, &[]).failed(12, &reasons);
        assert_eq!(target.sql("SELECT to_regnamespace('keepsake_restore') IS NULL"), "t");
    };
    target.sql("INSERT INTO storage.objects VALUES (1, 'theirs.jpg')");
    refused(&["storage.objects has 1 rows: the target's has rows already"]);
    target.sql("DELETE FROM storage.objects; ALTER TABLE auth.users ADD phone text");
    refused(&["auth.users has 2 rows: its columns are (id, email) in the backup and (id, email, phone)"]);
    target.sql(&format!(
        "ALTER TABLE auth.users DROP phone; REVOKE UPDATE ON auth.tokens_id_seq FROM {keeper}"
    ));
    refused(&["sequence auth.tokens_id_seq"]);
    target.sql(&format!(
        "GRANT UPDATE ON auth.tokens_id_seq TO {keeper}; CREATE FUNCTION auth.greet() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN NEW.email = ''greeted''; RETURN NEW; END';
         CREATE TRIGGER greet BEFORE INSERT ON auth.users FOR EACH ROW EXECUTE FUNCTION auth.greet()"
    ));
    refused(&["trigger greet would act on each row"]);

    let silent = MayBeSilent::grant(&target, &keeper);
    let restored = restore(&bench, &target, &keeper, &["--json"]).ok().json();
    drop(silent);

    let left_out = restored["certificate"]["left_out"].to_string();
    assert!(left_out.contains("rows of table auth.schema_migrations"), "{left_out}");
    assert_eq!(restored["certificate"]["tables"], 4, "those of the provider are compared too");
    for table in ["auth.users", "auth.tokens", "storage.objects", "profiles"] {
        assert_eq!(rows(&target, table), rows(&source, table), "{table}");
    }
    assert_eq!(target.sql("SELECT nextval('auth.tokens_id_seq')"), "2", "the next account gets a new number");
    assert_eq!(
        target.sql("SELECT version FROM auth.schema_migrations"),
        target.name,
        "it tells of the target"
    );
}

#[test]
fn a_plain_database_comes_to_a_supabase_project() {
    let (bench, roles) = (Bench::new(), Roles::new());
    let (source, target) = (Database::empty(Server::Target), Database::empty(Server::Source));
    let app = roles.login(Server::Target, "app", "");
    shop(&source, &app);
    source.sql(&format!(
        "CREATE PUBLICATION supabase_realtime; ALTER PUBLICATION supabase_realtime OWNER TO {app};
        SET ROLE {app}; ALTER PUBLICATION supabase_realtime ADD TABLE notes"
    ));
    let user = supabase(&roles, &target);
    backup(&bench, &source, &app, &[]).ok();

    let restored = restore(&bench, &target, &user, &["--json"]).ok().json();

    assert_eq!(rules(&restored), ["provider_publication"], "{}", restored["certificate"]);
    let tables =
        "SELECT string_agg(tablename, ',') FROM pg_publication_tables WHERE pubname = 'supabase_realtime'";
    assert_eq!(target.sql(tables), "notes");
    assert_eq!(target.sql("SELECT count(*) FROM auth.users"), "0", "the provider's schema is as it was");
}

/// One case for each rule: what makes it needed, and the rule that meets it. All else comes back.
#[test]
fn each_rule_is_met_on_a_real_server_and_nothing_else_is_left_out() {
    let login = Server::Source.login().role.clone();
    let cases = [
        (
            format!("ALTER SCHEMA public OWNER TO {login}"),
            "SELECT".to_owned(),
            vec!["public_schema_owner"],
        ),
        (
            "GRANT CREATE ON SCHEMA public TO PUBLIC".to_owned(),
            format!("ALTER SCHEMA public OWNER TO {login}"),
            vec!["public_schema_rights"],
        ),
        ("SELECT".to_owned(), "CREATE EXTENSION hstore".to_owned(), vec!["extension_comment"]),
        (
            format!("ALTER DEFAULT PRIVILEGES FOR ROLE {login} GRANT SELECT ON TABLES TO PUBLIC"),
            "SELECT".to_owned(),
            vec!["default_privileges"],
        ),
        (
            "CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; ALTER FUNCTION watch OWNER TO @app;
             CREATE EVENT TRIGGER watch ON ddl_command_end WHEN TAG IN ('CREATE RULE') EXECUTE FUNCTION watch();
             COMMENT ON EVENT TRIGGER watch IS 'watches'"
                .to_owned(),
            "SELECT".to_owned(),
            vec!["event_trigger"],
        ),
    ];
    for (before, at_target, expected) in cases {
        let (bench, roles) = (Bench::new(), Roles::new());
        let (source, target) = (Database::empty(Server::Source), Database::empty(Server::Target));
        let app = roles.login(Server::Source, "app", "");
        shop(&source, &app);
        source.sql(&before.replace("@app", &app));
        let keeper = roles.login(Server::Target, "keeper", "CREATEROLE");
        target.sql(&format!("ALTER DATABASE {} OWNER TO {keeper}; {at_target}", target.name));
        target.sql(&format!("GRANT CREATE ON SCHEMA public TO {keeper}, PUBLIC"));
        bench.good_backup(&source);
        let restored = restore(&bench, &target, &keeper, &["--json"]).ok().json();
        assert_eq!(rules(&restored), expected, "{before} / {at_target}");
        for table in ["shop.orders", "notes", "many"] {
            assert_eq!(rows(&target, table), rows(&source, table), "{table}");
        }
    }
}

#[test]
fn what_no_rule_names_fails_the_restore() {
    let (bench, roles) = (Bench::new(), Roles::new());
    let (source, target) = (Database::empty(Server::Source), Database::empty(Server::Target));
    source.sql("CREATE EXTENSION pageinspect");
    let keeper = roles.login(Server::Target, "keeper", "CREATEROLE");
    target.sql(&format!("ALTER DATABASE {} OWNER TO {keeper}", target.name));
    bench.good_backup(&source);
    restore(&bench, &target, &keeper, &[]).failed(12, &["pg_restore failed", "pageinspect"]);
}
