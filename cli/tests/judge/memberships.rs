//! Options of memberships, as version 16 brought them, on real servers that know them.

use crate::server::{Database, Server};
use crate::ways::{Bench, answer};
use serde_json::Value;
use uuid::Uuid;

/// Every choice of `ADMIN`, `INHERIT` and `SET`, and what nobody chose; `TEAM` and `MEMBER` are names that end so.
fn grants(suffix: &str) -> (Vec<String>, String) {
    let (mut roles, mut script) = (Vec::new(), "CREATE TABLE kept (n integer);".to_owned());
    for choice in 0..8_u8 {
        let word = |bit: u8| if choice & bit == 0 { "FALSE" } else { "TRUE" };
        let (team, member) = (format!("team_{choice}_{suffix}"), format!("member_{choice}_{suffix}"));
        script.push_str(&format!(
            "CREATE ROLE {team}; CREATE ROLE {member} NOINHERIT;
             GRANT {team} TO {member} WITH ADMIN {}, INHERIT {}, SET {};",
            word(1),
            word(2),
            word(4)
        ));
        roles.extend([team, member]);
    }
    let (plain, heir) = (format!("plain_{suffix}"), format!("heir_{suffix}"));
    script.push_str(&format!("CREATE ROLE {plain}; CREATE ROLE {heir} IN ROLE {plain}, pg_monitor;"));
    roles.extend([plain, heir]);
    (roles, script)
}

fn memberships(database: &Database, suffix: &str) -> Vec<String> {
    let all = database.sql(&format!(
        "SELECT roleid::regrole, member::regrole, bool_or(admin_option), bool_or(inherit_option), bool_or(set_option)
         FROM pg_auth_members WHERE member::regrole::text LIKE '%\\_{suffix}' GROUP BY 1, 2"
    ));
    let mut lines: Vec<String> = all.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

/// Roles of other tests live on the same servers.
fn of_ours(sentences: &Value, suffix: &str) -> Vec<String> {
    let all = sentences.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned());
    all.filter(|one| one.contains(suffix)).collect()
}

#[test]
fn every_option_of_a_membership_comes_back_from_16_to_18_and_on_newer_majors() {
    for (from, to) in [(16, 16), (16, 17), (17, 18), (18, 18)] {
        let suffix = Uuid::now_v7().simple().to_string();
        let (roles, script) = grants(&suffix);
        let names: Vec<&str> = roles.iter().map(String::as_str).collect();
        let source = Database::on(&Server::of_major(from));
        source.sql(&script);
        let before = memberships(&source, &suffix);
        assert_eq!(before.len(), 10, "{before:?}");
        let bench = Bench::new();
        bench.backup_whole(&source);
        // On the same server they would stand there already.
        source.sql(&names.iter().map(|role| format!("DROP ROLE {role};")).collect::<String>());

        let mut target = Database::on(&Server::of_major(to));
        target.owns_roles(&names);
        let restored = answer(&bench.restore(&target, &["--roles"]));

        assert_eq!(of_ours(&restored["globals"]["refused"], &suffix), [""; 0], "{from} to {to}");
        assert_eq!(memberships(&target, &suffix), before, "{from} to {to}");
        let again = Database::on(&Server::of_major(to));
        let again = answer(&bench.restore(&again, &["--roles"]));
        assert_eq!(of_ours(&again["globals"]["added"], &suffix), [""; 0], "a second time nothing is added");
    }
}
