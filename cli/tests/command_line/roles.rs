//! Roles, memberships and settings beside the database.

use crate::bench::Bench;
use crate::database::{Database, Server};
use crate::providers::{PASSWORD, Roles, restore};

fn owned_by(database: &Database, role: &str) -> String {
    database.sql(&format!("SELECT count(*) FROM pg_class WHERE relowner = '{role}'::regrole"))
}

fn source_of(roles: &Roles) -> (Database, String) {
    let source = Database::empty(Server::Source);
    let app = roles.make(Server::Source, "app", "");
    source.sql(&format!(
        "GRANT CREATE ON SCHEMA public TO {app}; SET ROLE {app}; CREATE TABLE t (n int); INSERT INTO t VALUES (1), (2)"
    ));
    (source, app)
}

/// Every schema of a target that is not the server's own: none, while no restore was begun.
fn begun(target: &Database) -> String {
    target.sql("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> ALL ('{public,information_schema}')")
}

#[test]
fn no_name_of_a_role_stands_in_clear_in_manifest_or_readme() {
    let (bench, roles) = (Bench::new(), Roles::new());
    let (source, owner) = source_of(&roles);
    let (idle, set) = (roles.make(Server::Source, "idle", ""), roles.make(Server::Source, "set", "LOGIN"));
    source.sql(&format!("ALTER ROLE {set} IN DATABASE {} SET work_mem = '5MB'", source.name));
    bench.good_backup(&source);

    let archive = bench.archive(&bench.repo());
    for file in ["manifest.json", "README.txt"] {
        let text = std::fs::read_to_string(archive.join(file)).unwrap();
        for role in [&owner, &idle, &set, &Server::Source.login().role] {
            assert!(!text.contains(role), "{role} is in {file}:\n{text}");
        }
        assert!(text.contains("settings of the database: 1 for single roles"), "{text}");
    }
}

#[test]
fn missing_roles_are_created_without_login_or_refused_or_done_without() {
    let (bench, roles) = (Bench::new(), Roles::new());
    let (source, app) = source_of(&roles);
    bench.good_backup(&source);
    let target = Database::empty(Server::Target);
    let refused = bench.restore(&bench.repo(), &target, &["--missing-roles", "refuse"]);
    refused.failed(12, &["lacks roles", &app]);
    assert_eq!(begun(&target), "");

    let keeper = roles.login(Server::Target, "keeper", "");
    target.sql(&format!("ALTER DATABASE {} OWNER TO {keeper}", target.name));
    let refused = restore(&bench, &target, &keeper, &[]).failed(12, &["lacks roles", &app]);
    assert!(refused.stderr.contains(&format!("GRANT each of them TO {keeper}")), "{}", refused.stderr);
    assert_eq!(begun(&target), "");
    let skipped =
        restore(&bench, &target, &keeper, &["--missing-roles", "skip-ownership", "--json"]).ok().json();
    assert_eq!(skipped["certificate"]["left_out"][0]["rule"], "ownership");
    assert_eq!(owned_by(&target, &keeper), "1");
    assert_eq!(Server::Target.sql(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{app}'")), "0");

    let faithful = Database::empty(Server::Target);
    bench.restore(&bench.repo(), &faithful, &[]).ok();
    assert_eq!(owned_by(&faithful, &app), "1");
    assert_eq!(Server::Target.sql(&format!("SELECT rolcanlogin FROM pg_roles WHERE rolname = '{app}'")), "f");
}

#[test]
fn a_role_that_a_policy_names_is_never_done_without() {
    let (bench, roles) = (Bench::new(), Roles::new());
    let (source, app) = source_of(&roles);
    source
        .sql(&format!("ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t TO {app} USING (true)"));
    bench.good_backup(&source);
    let target = Database::empty(Server::Target);
    let refused = bench.restore(&bench.repo(), &target, &["--missing-roles", "skip-ownership"]);
    refused.failed(12, &["lacks roles", &app]);
}

#[test]
fn an_owner_whom_the_restoring_role_may_not_act_for_is_named_before_anything_is_restored() {
    let (bench, roles) = (Bench::new(), Roles::new());
    let (source, app) = source_of(&roles);
    bench.good_backup(&source);
    let target = Database::empty(Server::Target);
    roles.make(Server::Target, "app", "");
    let keeper = roles.login(Server::Target, "keeper", "");
    target.sql(&format!("ALTER DATABASE {} OWNER TO {keeper}", target.name));
    let refused = restore(&bench, &target, &keeper, &[]).failed(12, &["may not give objects to", &app]);
    assert!(refused.stderr.contains(&format!("next: as an administrator GRANT each of them TO {keeper}")));
    assert_eq!(begun(&target), "");
    target.sql(&format!("GRANT {app} TO {keeper}"));
    restore(&bench, &target, &keeper, &[]).ok();
    assert_eq!(owned_by(&target, &app), "1");
}

#[test]
fn roles_memberships_and_settings_come_back_on_request_and_a_second_time_nothing_is_added() {
    let (bench, roles) = (Bench::new(), Roles::new());
    let (source, app) = source_of(&roles);
    let server = Server::Source;
    let team = roles.make(server, "team", "NOINHERIT CREATEDB CONNECTION LIMIT 7");
    let person = roles.login(server, "person", "IN ROLE pg_monitor");
    let database = &source.name;
    server.sql(&format!(
        "GRANT {team} TO {person} WITH ADMIN OPTION; GRANT {app} TO {team};
         ALTER ROLE {person} SET search_path = \"$user\", public, \"a, b\"; ALTER ROLE {person} SET app.motto = 'it''s';
         ALTER DATABASE {database} SET work_mem = '5MB'; ALTER DATABASE {database} SET default_transaction_read_only = on;
         ALTER ROLE {person} IN DATABASE {database} SET work_mem = '6MB'"
    ));
    bench.good_backup(&source);

    let target = Database::empty(Server::Apart);
    let answer = bench.restore(&bench.repo(), &target, &["--roles", "--json"]).ok().json();

    assert_eq!(answer["globals"]["refused"].as_array().unwrap().len(), 0, "{}", answer["globals"]);
    let look = |server: Server, database: &str| {
        server.sql(&format!(
            "SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolconnlimit,
             ARRAY(SELECT unnest(rolconfig) ORDER BY 1) FROM pg_roles
             WHERE rolname IN ('{app}', '{team}', '{person}') ORDER BY 1;
             SELECT roleid::regrole, member::regrole, admin_option FROM pg_auth_members
             WHERE member::regrole::text IN ('{app}', '{team}', '{person}') ORDER BY 1, 2;
             SELECT setrole::regrole, ARRAY(SELECT unnest(setconfig) ORDER BY 1) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
             WHERE datname = '{database}' ORDER BY 1"
        ))
    };
    assert_eq!(look(Server::Apart, &target.name), look(server, database));
    let logins = format!(
        "SELECT count(*) FROM pg_authid WHERE rolname = '{person}' AND (rolcanlogin OR rolpassword IS NOT NULL)"
    );
    assert_eq!(Server::Apart.sql(&logins), "0", "nobody gets in by a restore");
    assert!(!answer.to_string().contains(PASSWORD));

    let again = Database::empty(Server::Apart);
    let answer = bench.restore(&bench.repo(), &again, &["--roles", "--json"]).ok().json();
    let added: Vec<&str> =
        answer["globals"]["added"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert!(added.iter().all(|one| one.ends_with("database")), "only the new database's settings: {added:?}");
    assert_eq!(added.len(), 3);
}

#[test]
fn a_setting_that_the_server_does_not_know_is_told_and_ends_nothing() {
    let (bench, roles) = (Bench::new(), Roles::new());
    let (source, _) = source_of(&roles);
    // As a version that has another setting would hold it: SQLSTATE 42704 at the target.
    source.sql(&format!(
        "ALTER DATABASE {name} SET work_mem = '5MB';
         UPDATE pg_db_role_setting SET setconfig = array_prepend('no_such_setting=1', setconfig)
         WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = '{name}')",
        name = source.name
    ));
    bench.good_backup(&source);
    let target = Database::empty(Server::Apart);

    let answer = bench.restore(&bench.repo(), &target, &["--roles", "--json"]).ok().json();

    assert_eq!(answer["certificate"]["verdict"], "passed");
    let refused = answer["globals"]["refused"].to_string();
    assert_eq!(answer["globals"]["refused"].as_array().unwrap().len(), 1, "{refused}");
    assert!(refused.contains("unrecognized configuration parameter \\\"no_such_setting\\\""), "{refused}");
    assert_eq!(target.sql("SHOW work_mem"), "5MB", "what stands behind the refused one");
    assert_eq!(begun(&target), "");
}

#[test]
fn a_proof_outlives_settings_that_cannot_be_added_and_the_same_command_adds_them() {
    let (bench, roles) = (Bench::new(), Roles::new());
    let (source, _) = source_of(&roles);
    let person = roles.make(Server::Source, "person", "");
    source.sql(&format!("ALTER ROLE {person} SET work_mem = '5MB'"));
    bench.good_backup(&source);
    let target = Database::empty(Server::Apart);
    roles.make(Server::Apart, "person", "");
    let (first, second) = (bench.path("first.json"), bench.path("second.json"));
    let kept = |file: &std::path::Path| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    };
    let options = |file: &std::path::Path| {
        ["--roles", "--json", "--certificate"]
            .map(str::to_owned)
            .into_iter()
            .chain([file.to_str().unwrap().to_owned()])
            .collect::<Vec<_>>()
    };
    let restore = |file: &std::path::Path| {
        let options = options(file);
        bench.restore(&bench.repo(), &target, &options.iter().map(String::as_str).collect::<Vec<_>>())
    };
    // Who sets something for a role waits for whoever drops it.
    let dropping = target.open_transaction(&format!("DROP ROLE {person}"));
    let ended = std::thread::scope(|scope| {
        let restoring = scope.spawn(|| restore(&first));
        target.end_who_waits();
        restoring.join().unwrap()
    });
    drop(dropping);

    let ended = ended.failed(10, &[&format!("set work_mem for role {person}")]);
    assert!(
        ended.stderr.contains("at risk: the restored database is equal to the backup"),
        "{}",
        ended.stderr
    );
    assert_eq!(kept(&first)["verdict"], "passed");
    assert_eq!(ended.json()["certificate"], kept(&first));
    assert_eq!(begun(&target), "keepsake_restore", "it is not finished, and does not look so");

    let again = restore(&second).ok().json();

    assert_eq!(again["globals"]["added"], serde_json::json!([format!("set work_mem for role {person}")]));
    assert_eq!(kept(&second)["verdict"], "passed");
    assert_eq!(begun(&target), "");
}
